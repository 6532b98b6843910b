"""What a person has met already is not proposed again."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.dataset import Dataset, Kinds, duration
from shortlist.errors import ConfigError
from shortlist.types import Candidates, Mask, Queries, Ragged, Reason


@dataclass(frozen=True, slots=True)
class Seen:
    """Takes out the items of the history. Disliked items (weight < 0) are out for good, whatever the window and kinds.

    Fitting resolves `kinds` by the names of the data; unfitted they are looked up among the default kinds.
    """

    window: str = ""  # "90d": events older than this are forgotten; empty = never
    kinds: tuple[str, ...] = ()  # names of the kinds of event that count; empty = all

    def fit(self, data: Dataset, *, seed: int) -> SeenKinds:
        return self._resolve(data.kinds)

    def narrow(self, queries: Queries) -> Queries:
        return self._resolve(Kinds()).narrow(queries)

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        return self._resolve(Kinds()).keep(queries, found)

    def reasons(self, queries: Queries, found: Candidates) -> list[Reason]:
        return self._resolve(Kinds()).reasons(queries, found)

    def _resolve(self, kinds: Kinds) -> SeenKinds:
        for name in self.kinds:
            if name not in kinds.table:
                near = get_close_matches(name, kinds.table, 1)
                raise ConfigError(
                    f"there is no kind of event {name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""),
                    where="filters.seen: kinds",
                    hint=f"choose among: {', '.join(kinds.table)}",
                )
        codes = np.array([kinds.table[name].code for name in self.kinds], np.uint8)
        return SeenKinds(duration(self.window) if self.window else 0, codes)


@dataclass(frozen=True, slots=True)
class SeenKinds:
    """`Seen` with the kinds as stored codes."""

    window: int  # microseconds, 0 = all time
    codes: NDArray[np.uint8]  # none = all

    def narrow(self, queries: Queries) -> Queries:
        return queries.with_exclude(self._seen(queries))

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        return ~ops.contains(self._seen(queries), found.query, found.item)

    def reasons(self, queries: Queries, found: Candidates) -> list[Reason]:
        """The dislike that put a row out for good, or the last meeting that counts."""
        history = queries.history
        seen = history.where(self._counts(queries))
        told = []
        for query, item in zip(found.query.tolist(), found.item.tolist(), strict=True):
            met = np.flatnonzero((seen.owner == query) & (seen["item"] == item))
            disliked = met[seen["weight"][met] < 0]
            last = (disliked if len(disliked) else met)[-1]
            text = "disliked on {time} ({kind}): never proposed again" if len(disliked) else "seen on {time} ({kind})"
            facts = {name: seen[name][last] for name in ("time", "kind", "value")}
            told.append(Reason(text, {**facts, "times": len(met)}))
        return told

    def _seen(self, queries: Queries) -> Ragged:
        met = Ragged(queries.history.ptr, {"item": queries.history["item"]})
        return met.where(self._counts(queries)) if self.window or len(self.codes) else met

    def _counts(self, queries: Queries) -> Mask:
        """(H,) the rows of the histories that put their item out."""
        history = queries.history
        counts = np.ones(len(history["item"]), np.bool_)
        if self.window:
            counts &= history["time"] > np.repeat(queries.time - self.window, history.length)
        if len(self.codes):
            counts &= np.isin(history["kind"], self.codes)
        counts |= history["weight"] < 0
        return counts
