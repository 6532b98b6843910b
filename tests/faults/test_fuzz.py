"""Every parser, over its corpus and seeded mutations of it: a value or an error of ours, within a second (I13)."""

from __future__ import annotations

import pytest

from benchmarks.faults import fuzz

CASES = {"csv": 150, "jsonl": 150, "parquet": 300}  # these write a file a case; the others come to 3,000


@pytest.mark.fault("I13")
@pytest.mark.parametrize("parser", fuzz.PARSERS)
def test_nothing_but_errors_of_ours_comes_out(parser: str) -> None:
    assert fuzz.quick(parser, CASES.get(parser, 3_000), seed=1) == []


def test_the_fuzzer_sees_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def brittle(data: bytes) -> None:
        if data.count(b"\xff"):
            raise IndexError("planted")

    monkeypatch.setattr(fuzz, "PARSERS", {"condition": brittle})
    assert any("planted" in each for each in fuzz.quick("condition", 300, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("parser", fuzz.PARSERS)
def test_ten_minutes_guided_by_coverage(parser: str) -> None:
    found = fuzz.guided(parser, 600, seed=1)
    assert not found["wrong"]
    assert found["peak_mb"] < fuzz.MEMORY
