"""`shortlist config`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

if TYPE_CHECKING:
    from shortlist.errors import ConfigError

HELP = described(
    """
    shortlist config show --sources
    shortlist config check
    shortlist config explain serve.port
    """,
    """
    What is configured and why: defaults, then shortlist.toml, then SHORTLIST__SECTION__KEY in the environment; the
    last wins. Passwords are masked.
    """,
)
SHOW = described(
    """
    shortlist config show
    shortlist config show --sources --changed
    SHORTLIST__SERVE__PORT=9000 shortlist config show --sources
    """,
    "Every key with its value.",
)
CHECK = described(
    """
    shortlist config check
    shortlist config check --config shop/shortlist.toml --json
    """,
    """
    Read the configuration and make everything that it names, without data and without training: models, pipelines,
    kinds of events, sources. All that is wrong is listed. Exit code 5 when something is.
    """,
)
EXPLAIN = described(
    """
    shortlist config explain serve.port
    shortlist config explain events.kinds.rate.least
    shortlist config explain train
    """,
    "What a key means, its type, its default, its value and where that comes from; for a table, all its keys.",
)
group = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None)


@group.command("show", help=SHOW)
def show(
    sources: Annotated[bool, typer.Option("--sources", help="Also where each value comes from.")] = False,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not a default.")] = False,
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from dataclasses import asdict

    from shortlist.cli.settings import all_keys

    screen = Screen(json=json, quiet=quiet)
    found = [each for each in all_keys(config) if not (changed and each.source == "default")]
    rows = [(each.key, _shown(each.value), *([each.source] if sources else [])) for each in found]
    screen.table(("key", "value", *(["from"] if sources else [])), rows)
    screen.result("config.show", {"keys": [asdict(each) for each in found]})
    screen.next("shortlist config explain KEY")


@group.command("check", help=CHECK)
def check(config: Config = HERE, json: Json = False, quiet: Quiet = False) -> None:
    from shortlist.cli.settings import all_keys
    from shortlist.config import load
    from shortlist.errors import ConfigError

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    wrong = problems(settings)
    if wrong:
        rows = [("✗", each.where, each.message, each.hint or "correct it") for each in wrong]
        screen.table(("", "where", "what", "do"), rows)
    set_ = sum(each.source != "default" for each in all_keys(config))
    if not wrong:
        parts = (f"{len(settings.pipelines)} pipelines", f"{len(settings.train.models)} models", f"{set_} keys set")
        screen.text(f"✓ {', '.join(parts)}: everything that is named can be made")
    faults = [{"where": each.where, "message": each.message, "hint": each.hint} for each in wrong]
    screen.result("config.check", {"ok": not wrong, "problems": faults, "keys_set": set_})
    if wrong:
        raise typer.Exit(ConfigError.exit_code)
    screen.next("shortlist doctor")


def problems(settings: Any) -> list[ConfigError]:
    """Everything that cannot be made as it is configured."""
    from shortlist.config import Builder
    from shortlist.dataset import duration
    from shortlist.errors import ConfigError, ShortlistError
    from shortlist.stores import ROLES, open_stores

    found: list[ConfigError] = []

    def tried(where: str, make: Any, *given: Any) -> Any:
        try:
            return make(*given)
        except ConfigError as error:
            found.append(ConfigError(error.message, where=error.where or where, hint=error.hint))
        except ShortlistError as error:
            found.append(ConfigError(str(error), where=where, hint=error.hint))
        return None

    with open_stores(dict.fromkeys(ROLES, "memory:")) as stores:
        models: dict[str, Any] = {}
        known = {role: getattr(stores, role) for role in ROLES}
        builder = Builder(models, known, lambda component, where: component, settings.releases.trust)
        for name, table in settings.train.models.items():
            models[name] = tried(f"train.models.{name}", builder.component, table, f"train.models.{name}")
        for name, pipeline in settings.pipelines.items():
            for stage in ("sources", "filters", "features", "late_filters"):
                for key, table in getattr(pipeline, stage).items():
                    where = f"pipelines.{name}.{stage}.{key}"
                    own = {each: value for each, value in table.items() if (stage, each) != ("sources", "k")}
                    tried(where, builder.component, own, where)
            alone = {stage: getattr(pipeline, stage) for stage in ("rank", "rerank", "fallback")}
            alone |= {f"coarse.features.{key}": table for key, table in pipeline.coarse.features.items()}
            for stage, table in {**alone, "coarse.rank": pipeline.coarse.rank}.items():
                if table:
                    tried(f"pipelines.{name}.{stage}", builder.component, table, f"pipelines.{name}.{stage}")
    if settings.train.window:
        tried("train.window", duration, settings.train.window)
    for kind, length in settings.retention.items():
        tried(f"retention.{kind}", duration, length)
    for name, mapping in settings.ingest.items():
        tried(f"ingest.{name}.source", _sources, mapping.source, settings.home)
    return found


def _sources(pattern: str, home: Path) -> None:
    from shortlist.data.sources import expand

    if pattern:
        expand(pattern, home)


@group.command("explain", help=EXPLAIN)
def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Such as serve.port, or a table: serve.")],
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from dataclasses import asdict
    from difflib import get_close_matches

    from shortlist.cli.settings import all_keys, meaning
    from shortlist.errors import NotFound

    screen = Screen(json=json, quiet=quiet)
    known = all_keys(config)
    found = [each for each in known if each.key == key or each.key.startswith(f"{key}.")]
    if not found:
        near = get_close_matches(key, [each.key for each in known], 1, 0.5)
        raise NotFound(
            f"there is no key {key!r}",
            where=str(config),
            hint=f"did you mean {near[0]}?" if near else "see: shortlist config show",
        )
    if found[0].key == key:
        (only,) = found
        facts = (
            ("key", key),
            ("means", only.meaning or "see docs/reference/components.md"),
            ("type", only.type),
            ("default", _shown(only.default)),
            ("value", _shown(only.value)),
            ("from", only.source),
            ("set by", f"{_section(key)} in shortlist.toml, or SHORTLIST__{key.upper().replace('.', '__')}=VALUE"),
        )
        for name, said in facts:
            screen.text(f"{name + ':':<9} {said}")
    else:
        screen.text(meaning(key))
        rows = [(each.key, each.type, _shown(each.value), each.source, each.meaning) for each in found]
        screen.table(("key", "type", "value", "from", "means"), rows)
    screen.result("config.explain", {"keys": [asdict(each) for each in found]})


def _section(key: str) -> str:
    table, _, name = key.rpartition(".")
    return f"[{table}] {name}"


def _shown(value: Any) -> str:
    """A value as TOML would have it, short."""
    import json

    if value is None:
        return "(must be given)"
    if isinstance(value, str) and value in ("inf", "-inf", "nan"):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else f"{text[:97]}..."
