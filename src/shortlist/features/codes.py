"""Facts of items and people as codes: a saved vocabulary, or keyed hashing where there are too many values for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np

from shortlist.dataset import Dataset
from shortlist.derived import Derived, all_rows, kind_of
from shortlist.errors import ConfigError
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Column, Columns, Events, Queries, Reason

NONE, UNKNOWN, KNOWN = 0, 1, 2  # codes: no value, one that no vocabulary has, the first that one has
KEY = b"shortlist.features.codes"


@dataclass(frozen=True, slots=True)
class ItemCodes:
    """Learns which values the columns `names` of the items have; gives `item.NAME`."""

    catalog: Catalog
    names: tuple[str, ...]
    least: int = 2  # items that must have a value for it to have a code of its own
    width: int = 5  # places of a list column; more values are cut
    buckets: int = 0  # codes that values are hashed to; 0 = a vocabulary is saved

    def fit(self, data: Dataset, *, seed: int) -> ItemCodesModel:
        known = _learned(data.items, self.names, self.least, self.width, self.buckets, "item")
        return ItemCodesModel(self.catalog, known, self.width, self.buckets)


@dataclass(frozen=True)
class ItemCodesModel:
    """Columns `item.NAME` of int32: (N,) the code of a text, (N, `width`) those of a list, padded with 0 in front."""

    catalog: Catalog
    known: Mapping[str, tuple[str, ...]]  # by column: the values with a code, the first has 2
    width: int
    buckets: int

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        return {f"item.{name}": _at(codes, found.item) for name, codes in self._codes().items()}

    def update(self, events: Events) -> None:
        """The catalogue is read again when it has changed."""

    def words(self, name: str, value: Column) -> Reason | None:
        return _worded(name, value, self.known, self.buckets, "item", "its")

    @cached_property
    def _codes(self) -> Derived[dict[str, Column]]:
        return Derived(self.catalog, self._read)

    def _read(self) -> dict[str, Column]:
        facts = self.catalog.read("item", all_rows(self.catalog), list(self.known))
        return {name: _coded(facts[name], known, self.width, self.buckets) for name, known in self.known.items()}


@dataclass(frozen=True, slots=True)
class UserCodes:
    """Learns which values the columns `names` of the people have; gives `user.NAME`."""

    catalog: Catalog
    names: tuple[str, ...]
    least: int = 2  # people who must have a value for it to have a code of its own
    width: int = 5
    buckets: int = 0

    def fit(self, data: Dataset, *, seed: int) -> UserCodesModel:
        known = _learned(data.users, self.names, self.least, self.width, self.buckets, "user")
        return UserCodesModel(self.catalog, known, self.width, self.buckets)


@dataclass(frozen=True)
class UserCodesModel:
    """Columns `user.NAME` of int32, as those of items, the same for all candidates of a query."""

    catalog: Catalog
    known: Mapping[str, tuple[str, ...]]
    width: int
    buckets: int

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        there = (queries.user >= 0) & (queries.user < self.catalog.size("user"))
        facts = self.catalog.read("user", queries.user[there], list(self.known))
        made = {}
        for name, known in self.known.items():
            codes = _coded(facts[name], known, self.width, self.buckets)
            whole = np.zeros((len(queries), *codes.shape[1:]), np.int32)
            whole[there] = codes
            made[f"user.{name}"] = whole[found.query]
        return made

    def update(self, events: Events) -> None:
        """Facts are read with every query."""

    def words(self, name: str, value: Column) -> Reason | None:
        return _worded(name, value, self.known, self.buckets, "user", "your")


def _learned(
    facts: Columns, names: tuple[str, ...], least: int, width: int, buckets: int, entity: str
) -> dict[str, tuple[str, ...]]:
    """By column the values that have a code, most frequent first; a list column is marked by a leading ""."""
    where = f"features.codes: {entity}"
    if least < 1 or width < 1 or buckets < 0:
        raise ConfigError(f"least is {least}, width {width}, buckets {buckets}", where=where)
    known: dict[str, tuple[str, ...]] = {}
    for name in names:
        if name not in facts:
            raise ConfigError(f"there is no column {name!r}", where=where, hint=f"there are: {', '.join(facts)}")
        if kind_of(facts[name]) not in ("text", "list", ""):
            raise ConfigError(
                f"column {name!r} is a {kind_of(facts[name])}, not a text or a list",
                where=where,
                hint="numbers and flags are in features.item",
            )
        listed = kind_of(facts[name]) == "list"
        lists = ((set(row) if listed else (row,)) for row in facts[name].tolist())
        counted = Counter(value for row in lists for value in row if value)
        often = [] if buckets else [value for value, count in counted.items() if count >= least]
        known[name] = (*([""] if listed else []), *sorted(often, key=lambda value: (-counted[value], value)))
    return known


def _coded(column: Column, known: tuple[str, ...], width: int, buckets: int) -> Column:
    listed = known[:1] == ("",)
    number = {value: at for at, value in enumerate(known[listed:], KNOWN)}

    def code(value: str) -> int:
        if not value:
            return NONE
        return KNOWN + _bucket(value, buckets) if buckets else number.get(value, UNKNOWN)

    if not listed:
        return np.array([code(value) for value in column.tolist()], np.int32)
    made = np.zeros((len(column), width), np.int32)
    for row, values in enumerate(column.tolist()):
        codes = [code(value) for value in values[:width] if value]
        made[row, width - len(codes) :] = codes
    return made


def _worded(
    name: str, value: Column, known: Mapping[str, tuple[str, ...]], buckets: int, entity: str, whose: str
) -> Reason | None:
    group, _, fact = name.partition(".")
    if group != entity or fact not in known:
        return None
    told = np.atleast_1d(value)
    told = told[told > NONE]
    if not len(told):
        return Reason(f"no {fact}" if entity == "item" else f"your {fact} is not known")
    if buckets:
        return Reason(f"{whose} {fact}")
    name_of = dict(enumerate(known[fact][known[fact][:1] == ("",) :], KNOWN))
    values = tuple(name_of[code] for code in told.tolist() if code in name_of)
    return Reason(f"{whose} {fact} {{values}}", {"values": values}) if values else Reason(f"{whose} {fact}, a rare one")


def _bucket(value: str, buckets: int) -> int:
    """The same in every process, on every machine."""
    return int.from_bytes(blake2b(value.encode(), digest_size=8, key=KEY).digest(), "big") % buckets


def _at(codes: Column, rows: np.ndarray) -> Column:
    known = (rows >= 0) & (rows < len(codes))
    made = np.zeros((len(rows), *codes.shape[1:]), np.int32)
    made[known] = codes[rows[known]]
    return made
