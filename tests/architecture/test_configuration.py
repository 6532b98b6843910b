"""The annotated shortlist.toml at the root is documentation: it must name every key, with its default."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from shortlist import config
from shortlist.data.mapping import Mapping as ColumnMapping
from shortlist.dataset import DEFAULT_KINDS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "shortlist.toml").read_text("utf-8")
LIVE = tomllib.loads(TEXT)
EVERYTHING = tomllib.loads(re.sub(r"^#(?=[a-z\[])", "", TEXT, flags=re.MULTILINE))


def test_the_file_changes_nothing() -> None:
    assert config.parse(LIVE) == config.parse({})


def sections() -> list[tuple[str, type[Any], dict[str, Any]]]:
    found = []
    for each in fields(config.Settings):
        section = getattr(config.Settings(), each.name)
        if is_dataclass(section):
            found.append((each.name, type(section), EVERYTHING.get(each.name, {})))
    found.append(("pipelines.home", config.PipelineTable, EVERYTHING["pipelines"]["home"]))
    found.append(("ingest.events", ColumnMapping, EVERYTHING["ingest"]["events"]))
    return found


@pytest.mark.parametrize(("name", "section", "written"), sections(), ids=[each[0] for each in sections()])
def test_every_key_is_documented(name: str, section: type[Any], written: dict[str, Any]) -> None:
    assert {each.name for each in fields(section)} == set(written), f"[{name}] in shortlist.toml"


@pytest.mark.parametrize(
    ("name", "section", "written"),
    [each for each in sections() if each[0] not in ("train", "events", "pipelines.home")],
    ids=[each[0] for each in sections() if each[0] not in ("train", "events", "pipelines.home")],
)
def test_every_default_is_the_one_in_the_code(name: str, section: type[Any], written: dict[str, Any]) -> None:
    assert config.convert(section, written, name) == section()


def test_every_kind_is_documented() -> None:
    assert config.parse(LIVE).events.kinds == DEFAULT_KINDS
    assert set(LIVE["events"]["kinds"]) == set(DEFAULT_KINDS)


def test_every_key_has_a_meaning_beside_it() -> None:
    """A key that is not a component stands with a comment, or below one."""
    told = False
    for line in TEXT.splitlines():
        if line.startswith("# ") or re.match(r"\[.*\]\s+#", line):
            told = True
        elif not line.strip():
            told = False
        key = re.match(r"#?([a-z_]+) = ", line)
        if key and key[1] not in ("seed", "use", "limit", "trade", "column"):
            assert told or "#" in line[1:], f"shortlist.toml: {line!r} has no explanation"
