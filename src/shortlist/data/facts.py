"""Rows become facts of items or users: columns of text, number, time, flag or list."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shortlist import failpoints
from shortlist.data import times
from shortlist.data.checks import CONTROL, number, refusal, without
from shortlist.data.held import Held, release
from shortlist.data.mapping import Mapping, Type
from shortlist.data.rows import ID_BYTES, Batch, Reject, objects
from shortlist.data.tally import Refused, Tally
from shortlist.dataset import Kinds
from shortlist.protocols import Catalog, EventLog
from shortlist.types import Mask

TRUE, FALSE = ("1", "true", "t", "yes", "y"), ("0", "false", "f", "no", "n")
LIST_WORDS = ("genre", "tag", "categor", "keyword", "author", "actor", "topic")


def guess_type(name: str, column: pl.Series, mapping: Mapping) -> Type:
    """The type that fits every value of a sample; text when in doubt."""
    if column.dtype == pl.Datetime:
        return "time"
    if column.dtype == pl.Boolean:
        return "flag"
    if column.dtype.is_numeric():
        return "number"
    if column.dtype == pl.List:
        return "list"
    text = without(column, mapping.missing).str.strip_chars().drop_nulls()
    if not len(text):
        return "text"
    if text.str.contains(mapping.list_separator, literal=True).mean() > 0.05 and (  # type: ignore[operator]
        any(word in name.lower() for word in LIST_WORDS)
        or (
            text.str.contains(mapping.list_separator, literal=True).mean() > 0.5  # type: ignore[operator]
            and mapping.list_separator != ","
        )
    ):
        return "list"
    if text.str.contains(times.ISO).all():
        return "time"
    if text.str.to_lowercase().is_in(["true", "false"]).all():
        return "flag"
    if number(text).is_finite().fill_null(False).all() and not text.str.contains(r"^[+-]?0\d").any():
        return "number"
    return "text"


@dataclass
class FactLoad:
    """Takes the batches of one source of items or users."""

    mapping: Mapping
    catalog: Catalog
    log: EventLog
    kinds: Kinds
    now: int
    where: str
    tally: Tally
    held: Held | None = None
    types: dict[str, tuple[str, Type]] = field(default_factory=dict)  # fact -> (its column, type)
    units: dict[str, str] = field(default_factory=dict)  # of times, from the first batch that has any
    seen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def __post_init__(self) -> None:
        self.entity = self.mapping.entity.removesuffix("s")
        self.id = self.mapping.item if self.entity == "item" else self.mapping.user

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns that must be there."""
        m = self.mapping
        theirs = {fact: column for column, fact in m.rename.items()}
        flags = [column for columns in m.flags.values() for column in columns]
        return (self.id, *m.rename, *(theirs.get(fact, fact) for fact in m.columns if fact not in m.flags), *flags)

    def take(self, batch: Batch, refused: Refused) -> None:
        """Check a batch, put what is good, write down what is not."""
        frame = batch.frame
        if not self.types:
            self._decide(frame)
        bad: dict[int, Reject] = {}
        ids = without(frame[self.id], self.mapping.missing).cast(pl.String)
        self._refuse(batch, ids.is_null(), self.id, f"missing-{self.entity}", bad)
        self._refuse(batch, ids.str.len_bytes() > ID_BYTES, self.id, "id-long", bad)
        self._refuse(batch, ids.str.contains(CONTROL), self.id, "id-control", bad)
        facts = {fact: self._fact(batch, fact, column, kind, bad) for fact, (column, kind) in self.types.items()}
        for fact, columns in self.mapping.flags.items():
            facts[fact] = self._flags(frame, columns)
        erased = self._erased(ids)
        refused.write((self._owned(bad[i], ids[i]) for i in sorted(bad) if not erased[i]), self.tally)
        failpoints.at("load.refused")
        keep = ~erased
        keep[list(bad)] = False
        names = ids.filter(keep).to_list()
        if not names:
            return
        before = self.catalog.size(self.entity)
        rows = self.catalog.rows(self.entity, names, create=True)
        failpoints.at("load.named")
        size = self.catalog.size(self.entity)
        self.tally.created[self.entity] += size - before
        self.seen = np.concatenate((self.seen, np.zeros(size - len(self.seen), np.bool_)))
        first = len(np.unique(rows[~self.seen[rows]]))
        self.seen[rows] = True
        self.tally.accepted += first
        self.tally.duplicate += len(rows) - first
        self.catalog.put(self.entity, rows, {fact: column[keep] for fact, column in facts.items()})
        failpoints.at("load.put")
        if self.held is not None and self.entity == "item":
            self.tally.released += release(self.held, names, self.catalog, self.log, self.kinds, self.now)

    def finish(self) -> None:
        """What can be said only at the end."""
        if self.tally.duplicate:
            self.tally.notes[
                f"{self.tally.duplicate:,} {self.entity} ids occur more than once: the facts of the last row hold"
            ] = None

    def _erased(self, ids: pl.Series) -> Mask:
        """(N,) true for people who were erased: their rows are counted, and written nowhere."""
        if self.entity == "item":
            return np.zeros(len(ids), np.bool_)
        gone = self.catalog.erased(ids.fill_null("").to_list())
        if gone.any():
            self.tally.rejected["erased"] += int(gone.sum())
        return gone

    def _owned(self, reject: Reject, id: str | None) -> Reject:
        return reject if self.entity == "item" else reject._replace(user=id)

    def _decide(self, frame: pl.DataFrame) -> None:
        m = self.mapping
        in_flags = {column for columns in m.flags.values() for column in columns}
        for column in frame.columns:
            fact = m.rename.get(column, column)
            if column == self.id or column in in_flags or (m.columns and fact not in m.columns):
                continue
            kind = m.columns.get(fact) or guess_type(fact, frame[column], m)
            self.types[fact] = column, kind

    def _fact(self, batch: Batch, fact: str, column: str, kind: Type, bad: dict[int, Reject]) -> NDArray[Any]:
        if column not in batch.frame.columns:  # JSON lines may leave a key out for long
            cells = pl.Series(column, [None] * len(batch.frame), pl.String)
        else:
            cells = without(batch.frame[column], self.mapping.missing)
        match kind:
            case "text":
                return objects(cells.cast(pl.String).fill_null("").to_list())
            case "list":
                if cells.dtype == pl.String:
                    cells = cells.str.split(self.mapping.list_separator)
                return objects([_entries(each) for each in cells.to_list()])
            case "number":
                values = number(cells)
                finite = values.is_finite().fill_null(False)
                self._refuse(batch, cells.is_not_null() & ~finite, column, "number", bad)
                return values.fill_null(float("nan")).to_numpy()
            case "time":
                if fact not in self.units:
                    if not len(cells.drop_nulls()):
                        return np.full(len(cells), -1, np.int64)
                    self.units[fact] = times.unit_of(cells, self.mapping.time_unit, self.where)
                moment, _ = times.micros(cells, self.units[fact])
                self._refuse(batch, cells.is_not_null() & moment.is_null(), column, "date", bad)
                return moment.fill_null(-1).to_numpy()
            case "flag":
                word = cells.cast(pl.String).str.strip_chars().str.to_lowercase()
                self._refuse(batch, cells.is_not_null() & ~word.is_in(TRUE + FALSE), column, "flag", bad)
                return word.is_in(TRUE).fill_null(False).to_numpy()

    def _flags(self, frame: pl.DataFrame, columns: tuple[str, ...]) -> NDArray[Any]:
        on = np.stack(
            [frame[name].cast(pl.String).str.to_lowercase().is_in(TRUE).fill_null(False) for name in columns], 1
        )
        return objects([tuple(name for name, set in zip(columns, row, strict=True) if set) for row in on.tolist()])

    def _refuse(self, batch: Batch, wrong: pl.Series, column: str, reason: str, bad: dict[int, Reject]) -> None:
        positions = np.flatnonzero(wrong.fill_null(False).to_numpy())
        if len(positions):
            for i, row in zip(positions.tolist(), batch.rows(positions), strict=True):
                bad.setdefault(i, refusal(int(batch.line[i]), row, reason, column, batch.frame[column][i]))


def _entries(cells: list[str] | None) -> tuple[str, ...]:
    return tuple(each.strip() for each in cells or () if each and each.strip())
