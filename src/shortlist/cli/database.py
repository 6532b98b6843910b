"""From a SQL database of ratings to a published release: what `shortlist predict --from URL` does first."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shortlist.cli.screen import Screen

if TYPE_CHECKING:
    from shortlist.batch.steps import Judged
    from shortlist.config import Settings

BLUEPRINT, THERE = "movies", "sqlite:///movies.db"  # what the blueprint reads as it is shipped
NETWORKS, NAMED = "\n# Networks: ", ', "deep", "multitask"]'  # where they begin in it, and where they are named
PLACES = 20  # on everybody's list


def from_database(screen: Screen, url: str, config: Path, into: str) -> dict[str, Any]:
    """Configure, load, judge, train, publish and, with a table `into`, write back; the facts of each step.

    Beginning again goes on where the tables have grown: no row counts twice. Conflict when another configuration is
    there.
    """
    from datetime import UTC, datetime

    from shortlist.batch import steps
    from shortlist.batch.train import read_window
    from shortlist.cli.answers import asked
    from shortlist.cli.ingest import configured, loaded, plain
    from shortlist.cli.lists import write
    from shortlist.cli.publish import as_json, through_the_gate
    from shortlist.data import sql

    url = sql.located(url, Path.cwd()) if url.startswith("sqlite:///") else url
    settings = _configured(screen, url, config)
    with steps.open_configured(settings) as stores:
        sources = [plain(each) for each in loaded(screen, settings, stores, configured(settings).values())]
        data = read_window(settings, stores.catalog, stores.log)
        names = tuple(name for name, table in settings.pipelines.items() if name not in ("predict", "similar"))
        judged = steps.judge(settings, data, stores, pipelines=names, progress=screen.fitted)
        _tell(screen, judged)
        version, _ = steps.make_release(
            settings, data, stores, created=datetime.now(UTC), rehearsal=judged.rehearsal, progress=screen.fitted
        )
        gate = through_the_gate(screen, settings, stores, version)
    done: dict[str, Any] = {
        "sources": sources,
        "evaluation": judged.result.as_json(),
        "ratings": {name: {e: each._asdict() for e, each in both.items()} for name, both in judged.errors.items()},
        "gate": as_json(gate),
    }
    if into:
        table = f"{url}#{into}"
        with asked(settings) as service:
            people, places = write(service, table, "home", PLACES)
        screen.text(f"{places:,} places of {people:,} people: {sql.masked(table)}")
        done["lists"] = {"written": sql.masked(table), "people": people, "places": places}
    return done


def _configured(screen: Screen, url: str, config: Path) -> Settings:
    """The settings of a blueprint for the database, written when there are none."""
    from importlib.resources import files as shipped
    from importlib.util import find_spec

    from shortlist.cli.failures import Conflict
    from shortlist.config import load

    file = config if config.suffix == ".toml" else config / "shortlist.toml"
    if not file.exists():
        text = (shipped("shortlist") / "blueprints" / f"{BLUEPRINT}.toml").read_text("utf-8")
        if find_spec("torch") is None:
            text = text.partition(NETWORKS)[0].replace(NAMED, "]")
            screen.say("without networks, which PyTorch would learn: pip install 'shortlist[torch]'")
        text = text.replace(f'"{THERE}#', f"{json.dumps(url, ensure_ascii=False)[:-1]}#")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)  # the URL may hold a password
        file.write_text(text, "utf-8")
        screen.say(f"written: {file}")
    settings = load(file, os.environ)
    if any(not mapping.source.startswith(f"{url}#") for mapping in settings.ingest.values()) or not settings.ingest:
        raise Conflict(
            "there is a configuration already, and it reads something else",
            where=str(file),
            hint="choose another place with --config DIR, or leave --from away",
        )
    return settings


def _tell(screen: Screen, judged: Judged) -> None:
    from shortlist.eval import ratings

    result = judged.result
    header, *lines = result.table([name for name in result.metrics if name.startswith("hit@")])
    screen.table(header, lines)
    for sentence in result.verdict():
        screen.text(f"\n{sentence}")
    header, *lines = ratings.table(judged.errors)
    screen.table(header, lines)
