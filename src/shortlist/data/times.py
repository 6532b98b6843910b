"""Times of a source: one unit for the whole source, recognised only when there is no doubt."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from shortlist.errors import DataError

UNITS: Mapping[str, int] = {"s": 1_000_000, "ms": 1_000, "us": 1}  # microseconds of one
SINCE, UNTIL = 631_152_000, 4_102_444_800  # seconds: 1990 to 2100, where a number's unit is beyond doubt
OLDEST, NEWEST = 31_536_000_000_000, UNTIL * 1_000_000  # microseconds: events lie between 1971 and 2100
ISO = r"^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2})(:\d{2}(?:\.\d{1,9})?)?)?\s*(Z|z|UTC|[+-]\d{2}:?\d{2})?$"
SURE = 0.95  # share of the sample that must agree


def unit_of(column: pl.Series, declared: str, where: str) -> str:
    """The unit of a column, from a sample of it: stamp (typed already), s, ms, us, iso, or a strptime pattern."""
    if column.dtype == pl.Datetime:
        return "stamp"
    if declared != "auto":
        return declared
    text = column.drop_nulls()
    if text.dtype == pl.String:
        text = text.str.strip_chars()
        text = text.filter(text != "")
        if len(text) and text.str.contains(ISO).mean() > 0.5:  # type: ignore[operator]
            return "iso"
    number = text.cast(pl.Float64, strict=False).drop_nulls()
    found = {unit: count for unit in UNITS if (count := in_range(number, unit))}
    best = max(found, key=lambda unit: found[unit], default="")
    if best and found[best] >= SURE * sum(found.values()):
        return best
    sample = ", ".join(map(str, text.head(3).to_list())) or "nothing"
    what = f"fits {' and '.join(found)}" if found else "is neither ISO 8601 nor seconds, ms or µs between 1990 and 2100"
    raise DataError(
        f"the unit of the times cannot be told: column {column.name!r} holds {sample}, which {what}",
        where=where,
        hint='set time_unit (flag --time-unit) to s, ms, us, iso, or to a pattern such as "%d.%m.%Y %H:%M"',
    )


def in_range(number: pl.Series, unit: str) -> int:
    """How many values are plausible times in `unit`."""
    scale = 1_000_000 // UNITS[unit]
    return int(number.is_between(SINCE * scale, UNTIL * scale, closed="left").sum())


def micros(column: pl.Series, unit: str) -> tuple[pl.Series, int]:
    """Microseconds since 1970 UTC, null where the text is no time; and how many had no zone and were taken as UTC."""
    if unit == "stamp":
        return column.cast(pl.Int64), 0
    if unit in UNITS:
        return _counted(column, UNITS[unit]), 0
    text = column.cast(pl.String).str.strip_chars()
    if unit != "iso":
        bare = 0 if "%z" in unit else int(text.is_not_null().sum())
        return text.str.strptime(pl.Datetime("us"), unit, strict=False).cast(pl.Int64), bare
    part = text.str.extract_groups(ISO).struct.unnest()
    part.columns = ["day", "minute", "second", "zone"]
    moment = pl.concat_str(
        "day", pl.lit("T"), pl.col("minute").fill_null("00:00"), pl.col("second").fill_null(":00")
    ).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    digits = pl.col("zone").str.replace(":", "")
    hours, minutes = (digits.str.slice(start, 2).cast(pl.Int64, strict=False) for start in (1, 3))
    ahead = pl.when(digits.str.len_chars() == 5).then(hours * 60 + minutes).otherwise(0)
    ahead = pl.when(digits.str.starts_with("-")).then(-ahead).otherwise(ahead)
    out = part.select(
        (moment.cast(pl.Int64) - ahead.fill_null(0) * 60_000_000).alias("time"),
        (pl.col("day").is_not_null() & pl.col("zone").is_null()).alias("bare"),
    )
    return out["time"], int(out["bare"].sum())


def _counted(column: pl.Series, factor: int) -> pl.Series:
    """Whole numbers stay exact; fractions of the unit are kept to the microsecond."""
    limit = (2**63 - 1) // factor
    if column.dtype == pl.String:
        whole = column.cast(pl.Int64, strict=False)
        if whole.null_count() == column.null_count() and whole.is_between(-limit, limit).all():
            return whole * factor
        column = column.str.strip_chars()
    elif not column.dtype.is_numeric():
        return pl.Series(column.name, [None] * len(column), pl.Int64)
    nothing = pl.Series([None] * len(column), dtype=pl.Int64)
    whole = nothing if column.dtype.is_float() else column.cast(pl.Int64, strict=False)
    return pl.select(
        pl.when(whole.is_between(-limit, limit))
        .then(whole * factor)
        .otherwise((column.cast(pl.Float64, strict=False) * factor).cast(pl.Int64, strict=False))
    ).to_series()


def doubt(text: str) -> str:
    """What to do about one value that is out of range: names the unit in which it would make sense."""
    try:
        number = float(text)
    except ValueError:
        return "write times as ISO 8601 with a zone (2024-05-01T12:00:00Z), or set time_unit"
    for unit, factor in UNITS.items():
        if SINCE <= number * factor / 1_000_000 < UNTIL:
            return f'if your times are in {unit}, set time_unit = "{unit}" (flag --time-unit {unit})'
    if 19000101 <= number <= 21001231:
        return 'if this is a date, set time_unit = "%Y%m%d"'
    if SINCE <= number / 1e9 < UNTIL:
        return "this looks like nanoseconds: divide by 1000"
    return "events lie between 1971 and 2100; 0 and small numbers are no times"
