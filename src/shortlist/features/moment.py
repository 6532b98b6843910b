"""When it is asked: the hour and the day of the week, as people count them where they are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from shortlist.dataset import DAY
from shortlist.errors import ConfigError
from shortlist.types import Candidates, Column, Columns, Events, Queries, Reason

KNOWN = 2  # the code of midnight and of Monday
HOUR = DAY // 24
THURSDAY = 3  # the weekday of 1970-01-01
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True)
class Moment:
    """Columns of int32 codes, the same for all candidates of a query: `moment.hour` 2 (midnight to one) .. 25, and
    `moment.weekday` 2 (Monday) .. 8. As a number the hour is in features.recency."""

    zone: str = "UTC"  # an IANA name such as Europe/Vienna

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (ValueError, OSError, LookupError):
            raise ConfigError(
                f"there is no time zone {self.zone!r}",
                where="features.moment: zone",
                hint="an IANA name such as Europe/Vienna; a system without zones needs: pip install tzdata",
            ) from None

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        local = queries.time + self._ahead(queries.time)
        hour, weekday = local % DAY // HOUR, (local // DAY + THURSDAY) % 7
        made = {"moment.hour": hour, "moment.weekday": weekday}
        return {name: (code + KNOWN).astype(np.int32)[found.query] for name, code in made.items()}

    def update(self, events: Events) -> None:
        """The time arrives with the query."""

    def words(self, name: str, value: Column) -> Reason | None:
        if name == "moment.hour":
            return Reason("asked at {hour} o'clock", {"hour": int(value) - KNOWN})
        if name == "moment.weekday":
            return Reason("asked on a {weekday}", {"weekday": WEEKDAYS[(int(value) - KNOWN) % 7]})
        return None

    def _ahead(self, time: NDArray[np.int64]) -> NDArray[np.int64]:
        """(B,) microseconds that the zone is ahead of UTC, looked up once a quarter of an hour."""
        if self.zone == "UTC":
            return np.zeros(len(time), np.int64)
        zone, quarter = ZoneInfo(self.zone), HOUR // 4
        moments, at = np.unique(time // quarter, return_inverse=True)
        start = datetime(1970, 1, 1, tzinfo=UTC)
        away = [
            (start + timedelta(microseconds=each * quarter)).astimezone(zone).utcoffset() for each in moments.tolist()
        ]
        ahead = [each // timedelta(microseconds=1) for each in away if each is not None]
        return np.array(ahead, np.int64)[at]
