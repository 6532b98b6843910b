"""Write docs/reference/{cli,config,components}.md from the code: `python scripts/reference.py`. Tests compare."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import cleandoc
from pathlib import Path
from typing import Any

import typer

import shortlist
from shortlist.batch.spaces import SPACES
from shortlist.cli import failures
from shortlist.cli.app import command, commands
from shortlist.cli.settings import notes
from shortlist.config import store_roles, use_path
from shortlist.eval.search import shown

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
NOTE = "<!-- Written by scripts/reference.py from the code. -->"
ROOMS = ("recall", "models", "filters", "features", "rank", "rerank")
VERBS = ("fit", "learn", "recall", "keep", "columns", "score", "order")

CLI = """\
Data goes to standard output, talk to standard error; progress is shown on a terminal only. With `--json` a command
prints one object on standard output, whose `schema` names its form and version; a failure is one on standard error.
`NO_COLOR` is honoured. Every option is also an environment variable: `SHORTLIST_SERVE_PORT=9000`."""
CONFIG = """\
One file, `shortlist.toml`; an empty one is valid. Order, last wins: defaults, the file, the environment
(`SHORTLIST__SECTION__KEY=value`, TOML syntax or plain text), options. Unknown keys are errors with a suggestion.

The annotated file at the root of the repository is the full text; this is its index."""
COMPONENTS = """\
Everything that `use` may name in `shortlist.toml`. Every other key beside `use` is a field of the class. Fields that
are stores are filled by the loader."""


def cli() -> str:
    root = command()
    exits = cleandoc(failures.__doc__ or "").partition("\n")[2].strip()
    parts = [NOTE, "# Command line", CLI, f"## Exit codes\n\n{exits}"]
    for words, each in list(commands(root))[1:]:
        name = " ".join(("shortlist", *words))
        context = typer.Context(each, info_name=name, terminal_width=100, max_content_width=100)
        parts.append(f"{'#' * (len(words) + 1)} {name}\n\n```text\n{each.get_help(context).rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


def config() -> str:
    """The tables of shortlist.toml as pages: section, key, default, meaning."""
    lines = [NOTE, "", "# Configuration", "", CONFIG]
    for note in notes((ROOT / "shortlist.toml").read_text("utf-8")):
        if note.key:
            default, meaning = (text.replace("|", "\\|") for text in (note.default, note.meaning))
            lines.append(f"| `{note.key}` | `{default}` | {meaning} |")
        else:
            about = f"\n\n{note.meaning[0].upper()}{note.meaning[1:].rstrip('.')}." if note.meaning else ""
            lines.append(f"\n## [{note.section}]{about}\n\n| key | default | meaning |\n|---|---|---|")
    return "\n".join(lines) + "\n"


def components() -> str:
    parts = [NOTE, "# Components", COMPONENTS]
    for room in ROOMS:
        parts.append(f"## {room}")
        parts += [component(cls) for cls in classes(room)]
    return "\n\n".join(parts) + "\n"


def classes(room: str) -> Iterator[type[Any]]:
    """The public dataclasses of a room that a configuration can build: recipes, and stages without learned arrays."""
    package = importlib.import_module(f"shortlist.{room}")
    for each in sorted(pkgutil.iter_modules(package.__path__), key=lambda each: each.name):
        module = importlib.import_module(f"shortlist.{room}.{each.name}")
        for name, cls in vars(module).items():
            if (
                name.startswith("_")
                or not is_dataclass(cls)
                or not isinstance(cls, type)
                or cls.__module__ != module.__name__
            ):
                continue
            if any(hasattr(cls, verb) for verb in VERBS) and (
                hasattr(cls, "fit") or hasattr(cls, "learn") or buildable(cls)
            ):
                yield cls


def buildable(cls: type[Any]) -> bool:
    """True for a recipe, and for a stage that learned nothing."""
    if hasattr(cls, "fit") or hasattr(cls, "learn"):
        return True
    learned = ("Rows", "Scores", "Vectors", "NDArray", "Ragged", "Column", "Mask")
    return not any(word in str(each.type) for each in fields(cls) if each.init for word in learned)


def component(cls: type[Any]) -> str:
    text = cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")
    stores = store_roles(cls)
    given = [each for each in fields(cls) if each.init and each.name not in stores]
    space = SPACES.get(use_path(cls), {})
    head = ["field", "type", "default", *(["`shortlist tune` tries"] if space else [])]
    lines = []
    for each in given:
        cells = [f"`{each.name}`", f"`{str(each.type).replace('|', chr(92) + '|')}`", default(each)]
        lines.append([*cells, *([", ".join(map(shown, space.get(each.name, ())))] if space else [])])
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    table = f"\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}\n{rows}" if given else ""
    inner = {name: values for name, values in space.items() if "." in name}
    if inner:
        table += (
            "\n\nAlso tried: " + "; ".join(f"`{name}` {', '.join(map(shown, inner[name]))}" for name in inner) + "."
        )
    needs = f" Needs the {' and the '.join(stores.values())} store." if stores else ""
    return f"### `{use_path(cls)}`\n\n{text}{needs}{table}"


def default(each: Field[Any]) -> str:
    if each.default is not MISSING:
        return f"`{each.default!r}`"
    return f"`{each.default_factory()!r}`" if each.default_factory is not MISSING else "required"


PAGES = {"cli.md": cli, "config.md": config, "components.md": components}

if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for page, write in PAGES.items():
        (FOLDER / page).write_text(write(), "utf-8")
    print(f"shortlist {shortlist.__version__}: {', '.join(PAGES)} written")
