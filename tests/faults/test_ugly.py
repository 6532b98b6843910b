"""Twenty-nine ugly CSV files (I5): every row is accepted, a duplicate, or refused for its reason; ids stay text.

The mapping is that of a configuration: columns by name, or by position where a file has no header."""

from __future__ import annotations

from pathlib import Path

import pytest

from shortlist.data.load import load
from shortlist.data.mapping import Mapping
from shortlist.dataset import Kinds
from shortlist.stores.embedded import Embedded

FOLDER = Path(__file__).parent / "ugly"
COLUMNS = {"kind_column": "kind", "value": "value", "time": "timestamp", "time_unit": "s"}
NAMES = ("user_id", "item_id", "kind", "value", "timestamp")

IDS = [("../x", "a:b"), ("🎬", "é"), ("e\u0301", "é"), (" 1", " 1"), ("é" * 128, "a")]
MIXED = [("1", "cafÃ©"), *((str(n), f"i{n}") for n in range(10, 20)), ("2", "café")]  # read as Latin-1, with a note
EXPECTED: dict[str, tuple[int, int, int, dict[str, int], list[tuple[str, str]]]] = {
    "blank-lines.csv": (2, 2, 0, {}, [("1", "a"), ("2", "b")]),
    "bom.csv": (2, 2, 0, {}, [("1", "a"), ("2", "b")]),
    "crlf.csv": (2, 2, 0, {}, [("1", "a"), ("2", "b")]),
    "decimal-commas.csv": (2, 1, 0, {"value": 1}, [("2", "b")]),
    "double-header.csv": (3, 2, 0, {"unknown-kind": 1}, [("1", "a"), ("2", "b")]),
    "embedded-line-ends.csv": (3, 2, 0, {"id-control": 1}, [("1", "a"), ("3", "c")]),
    "huge-field.csv": (3, 2, 0, {"id-long": 1}, [("1", "a"), ("3", "c")]),
    "ids.csv": (6, 5, 0, {"id-long": 1}, IDS),
    "kinds.csv": (4, 1, 0, {"unknown-kind": 3}, [("1", "a")]),
    "latin-1.csv": (2, 2, 0, {}, [("1", "Amélie"), ("2", "Käse")]),
    "missing-ids.csv": (4, 2, 0, {"missing-user": 1, "missing-item": 1}, [("null", "c"), ("4", "d")]),
    "mixed-encodings.csv": (12, 12, 0, {}, MIXED),
    "mixed-line-ends.csv": (3, 3, 0, {}, [("1", "a"), ("2", "b"), ("3", "c")]),
    "no-header.csv": (2, 2, 0, {}, [("1", "a"), ("2", "b")]),
    "no-last-line-end.csv": (2, 2, 0, {}, [("1", "a"), ("2", "b")]),
    "nul.csv": (2, 1, 0, {"id-control": 1}, [("2", "b")]),
    "numbers.csv": (7, 1, 0, {"value-range": 3, "value": 2, "missing-value": 1}, [("4", "d")]),
    "only-header.csv": (0, 0, 0, {}, []),
    "open-quote.csv": (3, 2, 0, {"quotes": 1}, [("2", "b"), ("3", "c")]),
    "quotes.csv": (2, 2, 0, {}, [("1", 'a "x", y'), ("2", "b")]),
    "ragged.csv": (4, 2, 0, {"columns": 2}, [("1", "a"), ("4", "d")]),
    "same-names.csv": (2, 2, 0, {}, [("1", "a"), ("2", "b")]),
    "semicolons.csv": (2, 2, 0, {}, [("1", "a"), ("2", "b")]),
    "times.csv": (6, 1, 0, {"time-range": 3, "time": 1, "missing-time": 1}, [("1", "a")]),
    "trailing-commas.csv": (2, 2, 0, {}, [("1", "a"), ("2", "b")]),
    "twice.csv": (4, 3, 1, {}, [("1", "a"), ("1", "a"), ("1", "a")]),
    "utf-16-no-mark.csv": (2, 2, 0, {}, [("1", "a"), ("2", "b")]),
    "utf-16.csv": (2, 2, 0, {}, [("1", "日本"), ("2", "b")]),
    "zero-padded.csv": (3, 3, 0, {}, [("001", "007"), ("1", "7"), ("1.0", "7.0")]),
}
"""File -> rows, accepted, duplicate, rejected by reason, (user, item) of what was accepted."""


def taken(name: str, folder: Path, **fields: object) -> tuple[int, int, int, dict[str, int], list[tuple[str, str]]]:
    if name == "no-header.csv":
        fields |= {"names": NAMES, "header": "no"}
    mapping = Mapping(**COLUMNS, **fields)  # type: ignore[arg-type]
    rejects = folder / "rejects.jsonl"
    with Embedded.memory() as stores:
        given = {"kinds": Kinds(), "now": 1_767_225_600_000_000, "rejects": rejects, "held": stores.held}
        found = load(FOLDER / name, mapping, stores.catalog, stores.log, **given)  # type: ignore[arg-type]
        catalog = stores.catalog
        ids = [
            pair
            for _, events in stores.log.scan()
            for pair in zip(catalog.ids("user", events.user), catalog.ids("item", events.item), strict=True)
        ]
    kept = len(rejects.read_text("utf-8").splitlines()) if rejects.exists() else 0
    assert kept == sum(found.rejected.values()) == found.rows - found.accepted - found.duplicate
    return found.rows, found.accepted, found.duplicate, dict(found.rejected), ids


@pytest.mark.fault("I5")
@pytest.mark.parametrize("name", sorted(each.name for each in FOLDER.iterdir()))
def test_every_row_has_the_fate_it_should(name: str, tmp_path: Path) -> None:
    assert taken(name, tmp_path) == EXPECTED[name]


@pytest.mark.fault("I5")
def test_a_line_of_another_encoding_is_refused_when_one_is_declared(tmp_path: Path) -> None:
    rows, accepted, _, rejected, ids = taken("mixed-encodings.csv", tmp_path, encoding="utf-8")
    assert (rows, accepted, rejected, ids[0]) == (12, 11, {"encoding": 1}, ("1", "café"))
