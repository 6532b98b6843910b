"""Who asks, for what, after what: rows of the catalogue as codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.errors import ConfigError
from shortlist.types import Candidates, Column, Columns, Events, Queries, Reason, Rows

KNOWN = 2  # the code of row 0; 0 = nobody, nothing


@dataclass(frozen=True, slots=True)
class Ids:
    """Columns of int32 codes, row + 2, 0 = none: `id.user` and `id.item` (N,), and `id.recent` (N, `recent`) the items
    that the person liked, newest last. What a ranker did not meet while learning it reads as unknown."""

    recent: int = 20

    def __post_init__(self) -> None:
        if self.recent < 1:
            raise ConfigError(f"recent is {self.recent}, expected at least 1", where="features.ids")

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        liked = queries.history.where(queries.history["weight"] > 0).last(self.recent)
        lists = np.zeros((len(queries), self.recent), np.int32)
        place = np.arange(len(liked["item"])) - liked.ptr[1:][liked.owner] + self.recent
        lists[liked.owner, place] = _codes(liked["item"])
        return {
            "id.user": _codes(queries.user)[found.query],
            "id.item": _codes(found.item),
            "id.recent": lists[found.query],
        }

    def update(self, events: Events) -> None:
        """The history arrives with the query."""

    def words(self, name: str, value: Column) -> Reason | None:
        count = int(np.count_nonzero(value))
        return {
            "id.user": Reason("what is known of you alone" if count else "you are new here"),
            "id.item": Reason("what is known of this item alone"),
            "id.recent": Reason("the last {count} items that you liked", {"count": count}),
        }.get(name)


def _codes(rows: Rows) -> Rows:
    codes: Rows = np.where(rows >= 0, rows + KNOWN, 0).astype(np.int32)
    return codes
