"""Times: recognised when there is no doubt, refused with the remedy when there is."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.data import times
from shortlist.errors import DataError

MOMENT = 1_714_564_800_000_000  # 2024-05-01T12:00:00Z


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T12:00:00Z", MOMENT),
        ("2024-05-01 12:00:00", MOMENT),
        ("2024-05-01T12:00", MOMENT),
        ("2024-05-01T12:00:00.5Z", MOMENT + 500_000),
        ("2024-05-01T12:00:00.123456789Z", MOMENT + 123_456),
        ("2024-05-01T14:00:00+02:00", MOMENT),
        ("2024-05-01T14:00:00+0200", MOMENT),
        ("2024-05-01T10:30:00-01:30", MOMENT),
        ("2024-05-01 12:00:00 UTC", MOMENT),
        (" 2024-05-01T12:00:00Z ", MOMENT),
        ("2024-05-01", MOMENT - 43_200_000_000),
        ("1931-01-01", -1_230_768_000_000_000),
        ("2024-02-30", None),
        ("2024-05-01T25:00:00Z", None),
        ("01.05.2024", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_iso(text: str | None, expected: int | None) -> None:
    assert times.micros(pl.Series([text], dtype=pl.String), "iso")[0].to_list() == [expected]


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("1714564800", "s", MOMENT),
        ("1714564800.25", "s", MOMENT + 250_000),
        (" 1714564800 ", "s", MOMENT),
        ("1714564800000", "ms", MOMENT),
        ("1714564800000000", "us", MOMENT),
        ("1e20", "s", None),
        ("99999999999999999999", "us", None),
        ("nan", "s", None),
        ("x", "s", None),
        ("01.05.2024 12:00", "%d.%m.%Y %H:%M", MOMENT),
        ("20240501", "%Y%m%d", MOMENT - 43_200_000_000),
    ],
)
def test_numbers_and_patterns(text: str, unit: str, expected: int | None) -> None:
    assert times.micros(pl.Series([text]), unit)[0].to_list() == [expected]


def test_typed_columns() -> None:
    stamp = pl.Series([datetime(2024, 5, 1, 12)], dtype=pl.Datetime("us"))
    assert times.unit_of(stamp, "auto", "") == "stamp"
    assert times.micros(stamp, "stamp")[0].to_list() == [MOMENT]
    assert times.micros(pl.Series([1_714_564_800, None]), "s")[0].to_list() == [MOMENT, None]
    assert times.micros(pl.Series([1_714_564_800.5, float("nan")]), "s")[0].to_list() == [MOMENT + 500_000, None]
    assert times.micros(pl.Series([True]), "s")[0].to_list() == [None]


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2099, 12, 31)),
    st.sampled_from([("s", 1_000_000), ("ms", 1_000), ("us", 1)]),
)
def test_a_unit_is_recognised_from_any_moment_of_this_age(moment: datetime, unit: tuple[str, int]) -> None:
    name, size = unit
    micros = int(moment.replace(tzinfo=UTC).timestamp()) * 1_000_000
    column = pl.Series([str(micros // size)])
    assert times.unit_of(column, "auto", "") == name
    assert times.micros(column, name)[0].to_list() == [micros]


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (["5", "6"], "neither ISO 8601 nor seconds"),
        (["1714564800", "1714564800000"], "fits s and ms"),
        (["20240501"], "neither ISO 8601"),
        (["May 1st"], "neither ISO 8601"),
        ([], "holds nothing"),
    ],
)
def test_doubtful_units_are_not_guessed(values: list[str], what: str) -> None:
    with pytest.raises(DataError, match=what) as doubt:
        times.unit_of(pl.Series("when", values, pl.String), "auto", "log.csv")
    assert "column 'when'" in doubt.value.message
    assert "--time-unit" in doubt.value.hint


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("1714564800", 'time_unit = "s"'),
        ("1714564800000", 'time_unit = "ms"'),
        ("1714564800000000", 'time_unit = "us"'),
        ("1714564800000000000", "nanoseconds"),
        ("20240501", "%Y%m%d"),
        ("0", "0 and small numbers are no times"),
        ("tomorrow", "ISO 8601"),
    ],
)
def test_a_time_out_of_range_says_what_it_may_be(text: str, remedy: str) -> None:
    assert remedy in times.doubt(text)
