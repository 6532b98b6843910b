"""Rows become events: checked a batch at a time, every refusal with its reason, ids resolved, the rest appended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import repeat

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shortlist import failpoints, ops
from shortlist.data import times
from shortlist.data.checks import number, odd_ids, refusal, without
from shortlist.data.held import AHEAD, COLUMNS, Held, note, release
from shortlist.data.mapping import Mapping
from shortlist.data.names import Names, Numbers
from shortlist.data.rows import ID_BYTES, Batch, Reject
from shortlist.data.tally import Refused, Tally
from shortlist.dataset import Kinds
from shortlist.errors import ConfigError
from shortlist.protocols import Catalog, EventLog
from shortlist.types import Events, Mask, Rows

IN_ORDER = 946_684_800_000_000  # microseconds: row n of a source without times happened n seconds after 2000-01-01


def hashed(ids: Sequence[str]) -> NDArray[np.uint64]:
    """(E, 2) the 128-bit event id of each text: BLAKE2b."""
    digests = b"".join(blake2b(each.encode("utf-8"), digest_size=16).digest() for each in ids)
    return np.frombuffer(digests, "<u8").reshape(-1, 2).astype(np.uint64)


def context_number(text: str) -> int:
    """63 bits of what a fact of the moment says, such as the place on a page; 0 = nothing."""
    return request_number(text) >> 1 if text else 0


def request_number(request_id: str) -> int:
    """64 bits of the request id that an answer carried: how events name the answer that led to them."""
    return int.from_bytes(blake2b(request_id.encode("utf-8"), digest_size=8).digest(), "little")


@dataclass
class Sheet:
    """The columns of a batch as they will be stored, and what would refuse a row, in order of precedence."""

    columns: list[pl.Series | pl.Expr] = field(default_factory=list)
    checks: list[tuple[str, pl.Expr]] = field(default_factory=list)

    def frame(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The columns, with the first reason that refuses each row, null for good rows."""
        reasons = (pl.when(bad.fill_null(False)).then(pl.lit(name)) for name, bad in self.checks)
        return rows.select(self.columns).with_columns(pl.coalesce(*reasons).alias("reason"))


@dataclass
class EventLoad:
    """Takes the batches of one source of events."""

    mapping: Mapping
    catalog: Catalog
    log: EventLog
    kinds: Kinds
    now: int
    where: str
    tally: Tally
    held: Held | None = None
    unit: str = ""  # of the times, once it is known
    unknown_kinds: Counter[str] = field(default_factory=Counter)
    ghosts: int = 0  # events of items that the catalogue did not have

    def __post_init__(self) -> None:
        mapping = self.mapping
        self.names = {role: Names() for role in ("user", "item")}
        self.kind = mapping.kind or ("rate" if mapping.value else "click")
        self.codes = {name: kind.code for name, kind in self.kinds.table.items()}
        fixed = () if mapping.kind_column else (self.kind,)
        for name in (*fixed, *mapping.kinds.values(), *(rule.kind for rule in mapping.rules)):
            if name not in self.codes:
                raise ConfigError(
                    f"{name!r} is no kind of event (kinds: {', '.join(self.codes)})",
                    where="ingest",
                    hint=f"declare it: [events.kinds.{name}] code = 100",
                )
        if mapping.unknown_items == "hold" and self.held is None:
            raise ConfigError(
                'these stores cannot hold events: unknown_items = "hold"', hint='use "create" or "reject"'
            )
        self.had_items = self.catalog.size("item") > 0

    @property
    def wanted(self) -> tuple[str, ...]:
        """The columns that must be there."""
        m = self.mapping
        own = (m.user, m.item, m.kind_column, m.value, m.time, m.id, m.request, *m.context)
        return tuple(name for name in own if name)

    def take(self, batch: Batch, refused: Refused) -> None:
        """Check a batch, append what is good, write down what is not."""
        checked = self._checked(batch)
        good = checked["reason"].is_null().to_numpy()
        refused.write(self._refusals(batch, checked, np.flatnonzero(~good)), self.tally)
        failpoints.at("load.refused")
        position, frame = np.flatnonzero(good), checked.filter(good)
        for entity, policy in (("item", self.mapping.unknown_items), ("user", self.mapping.unknown_users)):
            if policy == "create":
                continue
            absent = self._rows(entity, _numbers(frame, entity), create=False) < 0
            aside = np.flatnonzero(absent)[~self._erased(frame["user"].filter(absent))]
            if policy == "hold":
                self._hold(frame[aside])
            else:
                refused.write(self._unknown(batch, frame["user"], position, aside, entity), self.tally)
            failpoints.at("held.stored")
            position, frame = position[~absent], frame.filter(~absent)
        if len(frame):
            events = self._events(frame)
            if len(events) < len(frame):
                self.tally.rejected["erased"] += len(frame) - len(events)
            new = int(np.sum(self.log.append(events)))
            self.tally.accepted += new
            self.tally.duplicate += len(events) - new

    def finish(self) -> None:
        """What can be said only at the end."""
        notes = self.tally.notes
        for role, met in self.names.items():
            for what, count in odd_ids(met.all):
                self.tally.oddities[f"{role} ids {what}"] += count
        if self.unknown_kinds:
            names = ", ".join(f"{name!r} ({count:,})" for name, count in self.unknown_kinds.most_common(10))
            notes[f"kinds of events that are not known: {names}"] = None
        if self.ghosts and self.had_items:
            share = 100 * self.ghosts / self.tally.rows
            notes[f"{share:.3g} % of the events refer to items that were not in the catalogue"] = None
        if not self.mapping.time:
            notes["no time column: rows count as one second apart, in order; recency and splits mean little"] = None

    def _checked(self, batch: Batch) -> pl.DataFrame:
        rows, sheet = batch.frame, Sheet()
        absent = [pl.lit(None, pl.String).alias(name) for name in self.wanted if name not in rows.columns]
        rows = rows.with_columns(absent)
        self._ids(rows, sheet)
        self._kind(rows, sheet)
        self._value(rows, sheet)
        self._time(rows, batch.line, sheet)
        self._request(rows, sheet)
        sheet.columns += [
            self._numbered(rows[name], context_number, pl.Int64).alias(f"context {name}")
            for name in self.mapping.context
        ]
        frame = sheet.frame(rows)
        for rule in self.mapping.rules:
            fits = pl.col("value") == rule.value
            kind = pl.lit(self.codes[rule.kind], pl.UInt8)
            frame = frame.with_columns(
                pl.when(fits).then(kind).otherwise(pl.col("kind")).alias("kind"),
                pl.when(fits).then(1.0).otherwise(pl.col("value")).alias("value"),
            )
        return frame

    def _ids(self, rows: pl.DataFrame, sheet: Sheet) -> None:
        for role, name in (("user", self.mapping.user), ("item", self.mapping.item)):
            ids = without(rows[name], self.mapping.missing).cast(pl.String).alias(role)
            names = self.names[role]
            numbers = names.numbers(ids)
            sheet.columns += [ids, pl.Series(f"{role} number", numbers)]
            sheet.checks.append((f"missing-{role}", pl.col(role).is_null()))
            for reason, wrong in (("id-long", names.long), ("id-control", names.control)):
                if wrong.any():
                    sheet.columns.append(pl.Series(f"{role} {reason}", ops.gather(wrong, numbers, False)))
                    sheet.checks.append((reason, pl.col(f"{role} {reason}")))

    def _kind(self, rows: pl.DataFrame, sheet: Sheet) -> None:
        if not self.mapping.kind_column:
            sheet.columns.append(pl.lit(self.codes[self.kind], pl.UInt8).alias("kind"))
            return
        named = rows[self.mapping.kind_column].cast(pl.String).replace(dict(self.mapping.kinds))
        code = named.replace_strict(self.codes, default=None, return_dtype=pl.UInt8).alias("kind")
        self.unknown_kinds.update(named.filter(code.is_null()).drop_nulls().to_list())
        sheet.columns.append(code)
        sheet.checks.append(("unknown-kind", pl.col("kind").is_null()))

    def _value(self, rows: pl.DataFrame, sheet: Sheet) -> None:
        if not self.mapping.value:
            sheet.columns.append(pl.lit(1.0).alias("value"))
            return
        given = without(rows[self.mapping.value], self.mapping.missing)
        sheet.columns += [number(given).alias("value"), given.is_null().alias("no value")]
        sheet.checks += [
            ("missing-value", pl.col("no value")),
            ("value", pl.col("value").is_null()),
            ("value-range", ~pl.col("value").cast(pl.Float32).is_finite()),
        ]

    def _time(self, rows: pl.DataFrame, line: NDArray[np.int64], sheet: Sheet) -> None:
        if not self.mapping.time:
            sheet.columns.append(pl.Series("time", IN_ORDER + line * 1_000_000))
            return
        given = without(rows[self.mapping.time], self.mapping.missing)
        if not self.unit:
            self.unit = times.unit_of(given, self.mapping.time_unit, self.where)
        moment, bare = times.micros(given, self.unit)
        if bare:
            self.tally.oddities["times have no zone and are read as UTC"] += bare
        late = moment.is_between(self.now + AHEAD, times.NEWEST, closed="none").fill_null(False)
        if late.any():
            self.tally.oddities["times lie in the future and were set to now"] += int(late.sum())
        sheet.columns += [moment.alias("time"), given.is_null().alias("no time")]
        sheet.checks += [
            ("missing-time", pl.col("no time")),
            ("time", pl.col("time").is_null()),
            ("time-range", ~pl.col("time").is_between(times.OLDEST, times.NEWEST)),
        ]

    def _request(self, rows: pl.DataFrame, sheet: Sheet) -> None:
        m = self.mapping
        if m.id:
            sheet.columns.append(without(rows[m.id], m.missing).cast(pl.String).alias("id"))
            sheet.checks.append(("missing-id", pl.col("id").is_null()))
        request: pl.Series | pl.Expr = pl.lit(0, pl.UInt64)
        if m.request:
            request = self._numbered(rows[m.request], request_number, pl.UInt64)
        sheet.columns.append(request.alias("request"))

    def _numbered(self, column: pl.Series, number: Callable[[str], int], dtype: type[pl.DataType]) -> pl.Series:
        """The number of each text, 0 where there is none."""
        given = without(column, self.mapping.missing).cast(pl.String)
        numbers = {text: number(text) for text in given.unique().drop_nulls().to_list()}
        return given.replace_strict(numbers, default=0, return_dtype=dtype)

    def _rows(self, entity: str, numbers: Numbers, create: bool) -> Rows:
        """(E,) the row of each id; -1 where it is unknown and not to be created."""
        names = self.names[entity]
        rows = names.row[numbers]
        asked = np.unique(numbers[rows < 0])
        if not len(asked):
            return rows
        texts = names.texts(asked)
        found = self.catalog.rows(entity, texts).copy()
        absent = np.flatnonzero(found < 0)
        if len(absent):
            if entity == "item":
                self.ghosts += int(np.isin(numbers, asked[absent]).sum())
            if create:
                new = [texts[at] for at in absent.tolist()]
                found[absent] = self.catalog.rows(entity, new, create=True)
                failpoints.at("load.named")
                self.tally.created[entity] += len(new)
                if entity == "item" and self.held is not None:
                    self.tally.released += release(self.held, new, self.catalog, self.log, self.kinds, self.now)
        names.row[asked] = found
        return names.row[numbers]

    def _events(self, frame: pl.DataFrame) -> Events:
        user, item = (self._rows(entity, _numbers(frame, entity), create=True) for entity in ("user", "item"))
        kind, value = frame["kind"].to_numpy(), frame["value"].cast(pl.Float32).to_numpy()
        time, request = frame["time"].to_numpy(), frame["request"].to_numpy()
        # the id is made of the time as stated, so that it is the same whenever the row is loaded
        id = hashed(frame["id"].to_list()) if self.mapping.id else ops.event_ids(user, item, kind, value, time)
        time = np.where(time > self.now + AHEAD, self.now, time)
        context = {name: frame[f"context {name}"].to_numpy() for name in self.mapping.context}
        events = Events(user, item, kind, value, time, request, id, context)
        return events if (user >= 0).all() else events.take(user >= 0)  # who was erased has no row

    def _erased(self, users: pl.Series) -> Mask:
        """(E,) true for people who were erased: their rows are counted, and written nowhere."""
        unique = users.drop_nulls().unique()
        named = unique.filter(self.catalog.erased(unique.to_list()))
        gone: Mask = users.is_in(named.implode()).fill_null(False).to_numpy()
        if gone.any():
            self.tally.rejected["erased"] += int(gone.sum())
        return gone

    def _hold(self, frame: pl.DataFrame) -> None:
        if not len(frame):
            return
        assert self.held is not None
        names = {code: name for name, code in self.codes.items()}
        ids = [""] * len(frame)
        if self.mapping.id:
            ids = [f"{first:016x}{second:016x}" for first, second in hashed(frame["id"].to_list()).tolist()]
        frame = frame.with_columns(
            pl.col("kind").replace_strict(names, return_dtype=pl.String),
            pl.Series("id", ids),
        )
        context = frame.select(pl.col(f"context {name}").alias(name) for name in self.mapping.context)
        told = context.iter_rows(named=True) if self.mapping.context else repeat(dict[str, int]())
        notes = [note(row, said) for row, said in zip(frame.select(*COLUMNS).iter_rows(named=True), told, strict=False)]
        new = int(np.sum(self.held.add(frame["item"].to_list(), notes)))
        self.tally.held += new
        self.tally.duplicate += len(notes) - new

    def _refusals(self, batch: Batch, checked: pl.DataFrame, positions: NDArray[np.intp]) -> list[Reject]:
        m = self.mapping
        columns = {"user": m.user, "item": m.item, "kind": m.kind_column, "value": m.value, "time": m.time, "id": m.id}
        out = []
        positions = positions[~self._erased(checked["user"].gather(positions))]
        reasons = checked["reason"].gather(positions).to_list()
        for position, row, reason in zip(positions.tolist(), batch.rows(positions), reasons, strict=True):
            if reason in ("id-long", "id-control"):
                user = checked["user"][position]
                fine = len(user.encode()) <= ID_BYTES if reason == "id-long" else user.isprintable()
                column = m.item if fine else m.user
            else:
                role = reason.removeprefix("missing-").removeprefix("unknown-").removesuffix("-range")
                column = columns.get(role, m.request)
            cell = batch.frame[column][position] if column in batch.frame.columns else None
            whose = checked["user"][position]
            out.append(refusal(int(batch.line[position]), row, reason, column, cell)._replace(user=whose))
        return out

    def _unknown(
        self, batch: Batch, users: pl.Series, position: NDArray[np.intp], aside: NDArray[np.intp], entity: str
    ) -> list[Reject]:
        """The rows at `position[aside]`; `users` are those of `position`."""
        column = self.mapping.item if entity == "item" else self.mapping.user
        at = position[aside]
        cells, whose = batch.frame[column].gather(at).to_list(), users.gather(aside).to_list()
        return [
            refusal(int(line), row, f"unknown-{entity}", column, cell)._replace(user=user)
            for line, row, cell, user in zip(batch.line[at], batch.rows(at), cells, whose, strict=True)
        ]


def _numbers(frame: pl.DataFrame, role: str) -> Numbers:
    """(N,) the numbers of the ids of a role, see data.names."""
    numbers: Numbers = frame[f"{role} number"].to_numpy()
    return numbers
