"""The rejects file: everything is counted, so much is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shortlist.data import tally
from shortlist.data.rows import Reject
from shortlist.data.tally import Refused, Tally


@pytest.mark.parametrize(("name", "limit", "kept"), [("KEPT", 3, 3), ("KEPT_BYTES", 150, 2)])
def test_a_source_that_is_wrong_as_a_whole_fills_no_disk(
    name: str, limit: int, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tally, name, limit)
    count, path = Tally(), tmp_path / "rejects.jsonl"
    with Refused(path, "source") as refused:
        for line in range(10):
            refused.write([Reject(line, "row", "columns", "message", "remedy")], count)
    assert count.rejected == {"columns": 10}
    lines = [json.loads(each)["line"] for each in path.read_text().splitlines()]
    assert lines == list(range(kept))
    assert count.warnings() == (f"the rejects file holds the first {kept} rejected rows, not all of them",)
