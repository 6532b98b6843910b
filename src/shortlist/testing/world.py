"""Small seeded worlds whose right answers are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.dataset import DAY, DEFAULT_KINDS, Dataset
from shortlist.stores import ROLES, open_stores
from shortlist.types import HISTORY, Columns, Events, Mask, Queries, Ragged, Rows

START = 1_600_000_000_000_000  # microseconds: the first day of every world
GENRES = ("Action", "Comedy", "Drama", "Horror", "Romance", "Thriller")
VIEW, RATE, HIDE = (DEFAULT_KINDS[name].code for name in ("view", "rate", "hide"))


@dataclass(frozen=True, eq=False)
class World:
    """A dataset and the truth behind it."""

    data: Dataset
    likes: Mask  # (U, I) what each user really likes, seen or not
    withheld: Rows  # (U,) an item the user likes and the data does not show, -1 = none was held back
    successor: Rows  # (I,) the item people often take right after this one, -1 = none

    @property
    def past(self) -> Dataset:
        """What happened before the moment asked: models that a feature asks are fitted on it, counters on all data."""
        return self.data.before(self.data.now)

    def queries(self, users: NDArray[np.integer] | None = None, *, seed: int = 7) -> Queries:
        """Every user (or `users`) asking at the end of the window, with the history of the data."""
        rows = np.arange(self.data.n_users, dtype=np.int32) if users is None else np.asarray(users, np.int32)
        seeds = ops.mix(rows.astype(np.int64).view(np.uint64) + np.uint64(seed))
        return Queries.of(rows, history=self.data.histories(rows), time=self.data.now, seed=seeds)

    def odd_queries(self) -> Queries:
        """What real traffic brings: unknown people, rows newer than the data, empty and foreign histories, contexts."""
        data = self.data
        beyond = data.n_items + 3
        own = [_listed(data.histories(np.array([user], np.int32))) for user in (0, data.n_users - 1)]
        fresh = _made([0, 1, 2], data.now)
        nothing = _made([], data.now)
        foreign = _made([beyond, -1, beyond + 1], data.now)
        mixed = _made([1, beyond, 0, -1], data.now)
        disliked = _made([0, 1], data.now, weight=-1.0)
        twice = _made([0, 0, 1, 0], data.now)
        people = [
            (-1, nothing, nothing),
            (-1, fresh, nothing),
            (data.n_users + 5, nothing, nothing),
            (data.n_users + 5, mixed, foreign),
            (0, own[0], fresh),
            (0, foreign, nothing),
            (data.n_users - 1, own[1], mixed),
            (1, disliked, nothing),
            (1, twice, twice),
        ]
        return Queries.of(
            [user for user, _, _ in people],
            history=Ragged.of([history for _, history, _ in people], HISTORY),
            context=Ragged.of([context for _, _, context in people], HISTORY),
            time=data.now,
            seed=np.arange(len(people), dtype=np.uint64),
        )


def _made(items: list[int], now: int, weight: float = 1.0) -> dict[str, list[float]]:
    size = len(items)
    time = [float(now - size + position) for position in range(size)]
    return {"item": [*items], "kind": [RATE] * size, "value": [4.0] * size, "weight": [weight] * size, "time": time}


def _listed(history: Ragged) -> dict[str, list[float]]:
    return {name: history[name].tolist() for name in HISTORY}


@cache
def checkerboard(side: int = 12) -> World:
    """`side` users and items; everyone likes the items of their own colour. The diagonal is withheld, so the one right
    answer for user u is item u: all else of that colour is seen."""
    user, item = np.nonzero((np.add.outer(np.arange(side), np.arange(side)) % 2 == 0) & ~np.eye(side, dtype=bool))
    time = START + (item * side + user) * DAY // side
    kind = np.full(len(user), RATE, np.uint8)
    data = _dataset(user, item, kind, np.full(len(user), 5.0), time, side, side, {}, {})
    same = np.add.outer(np.arange(side), np.arange(side)) % 2 == 0
    return World(data, same, np.arange(side, dtype=np.int32), np.full(side, -1, np.int32))


@cache
def synthetic(users: int = 60, items: int = 90, events: int = 1_800, seed: int = 0) -> World:
    """Planted tastes: every item is of one genre, every user likes one or two, four steps of five go there.

    Popularity is skewed inside a genre; items of a genre form a series, and a third of the steps take the next of the
    series (`successor`). Kinds: ratings (high for what is liked), views, and hides of what is not. Columns: title,
    genres, year, time (when it was added) of items; age of users.
    """
    chance = np.random.default_rng(seed)
    genre = np.arange(items) % len(GENRES)
    fame = 1 / (1 + chance.permutation(items)) ** 0.8
    favourite = chance.integers(0, len(GENRES), (users, 2))
    likes = (genre == favourite[:, :1]) | (genre == favourite[:, 1:])
    follower = np.where(np.arange(items) + len(GENRES) < items, np.arange(items) + len(GENRES), -1)
    successor = np.where(chance.random(items) < 0.8, follower, -1).astype(np.int32)

    user = np.sort(chance.choice(users, events, p=_skewed(chance, users)))
    item = np.empty(events, np.int64)
    appeal = np.where(likes, 4.0, 1 / (len(GENRES) - 1)) * fame
    appeal = np.cumsum(appeal / appeal.sum(axis=1, keepdims=True), axis=1)
    draw, follow = chance.random(events), chance.random(events) < 1 / 3
    for row in range(events):
        series = successor[item[row - 1]] if row and user[row] == user[row - 1] and follow[row] else -1
        item[row] = series if series >= 0 else min(np.searchsorted(appeal[user[row]], draw[row]), items - 1)

    good = likes[user, item]
    kind = np.where(chance.random(events) < 0.6, RATE, VIEW)
    kind[~good & (chance.random(events) < 0.3)] = HIDE
    value = np.clip(np.round(np.where(good, 4.2, 2.2) + chance.normal(0, 0.7, events)), 1, 5)
    step = chance.exponential(2.0, events) * DAY / 4
    first = np.concatenate(([True], user[1:] != user[:-1])) if events else np.empty(0, bool)
    total = np.cumsum(step)
    since = total - np.maximum.accumulate(np.where(first, total, 0))
    time = START + (chance.random(users)[user] * 90 * DAY + since).astype(np.int64)
    item_columns = {
        "title": np.array([f"{GENRES[g]} story {row}" for row, g in enumerate(genre)], object),
        "genres": _tuples([(GENRES[g],) if row % 3 else (GENRES[g], "Classic") for row, g in enumerate(genre)]),
        "year": 1980.0 + chance.integers(0, 40, items),
        "time": START - (chance.random(items) * 365 * DAY).astype(np.int64),
    }
    ages = {"age": 18.0 + chance.integers(0, 50, users)}
    data = _dataset(user, item, kind, np.where(kind == RATE, value, 1), time, users, items, ages, item_columns)
    return World(data, likes, np.full(users, -1, np.int32), successor)


@cache
def tiny(events: int) -> World:
    """The first `events` (0, 1, 2 ...) events of the synthetic world: the smallest thing a recipe may meet."""
    whole = synthetic()
    data = whole.data
    first = data.events.take(np.arange(events))
    cut = Dataset.of(first, data.n_users, data.n_items, users=data.users, items=data.items, now=data.now)
    return World(cut, whole.likes, whole.withheld, whole.successor)


def stores(world: World) -> Mapping[str, Any]:
    """All four roles in memory, open until the program ends; the catalog holds the users "u0" ... and items "i0" ...

    Worlds with the same facts share them: nobody changes what is in them.
    """
    data = world.data
    key = (id(data.users), id(data.items), data.n_users, data.n_items)
    if key not in _opened:
        _opened[key] = (data, _filled(data))  # with the data, so that the ids stay taken
    return _opened[key][1]


_opened: dict[tuple[int, ...], tuple[Dataset, Mapping[str, Any]]] = {}


def _filled(data: Dataset) -> Mapping[str, Any]:
    opened = open_stores(dict.fromkeys(ROLES, "memory:"))
    for entity, size, columns in (("user", data.n_users, data.users), ("item", data.n_items, data.items)):
        rows = opened.catalog.rows(entity, [f"{entity[0]}{row}" for row in range(size)], create=True)
        if columns:
            opened.catalog.put(entity, rows, columns)
    return {role: getattr(opened, role) for role in ROLES}


def _skewed(chance: np.random.Generator, size: int) -> NDArray[np.float64]:
    weight = 1 / (3 + chance.permutation(size)) ** 0.5
    return np.asarray(weight / weight.sum())


def _tuples(values: list[tuple[str, ...]]) -> NDArray[np.object_]:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def _dataset(
    user: NDArray[np.integer],
    item: NDArray[np.integer],
    kind: NDArray[np.integer],
    value: NDArray[np.floating],
    time: NDArray[np.integer],
    users: int,
    items: int,
    user_columns: Columns,
    item_columns: Columns,
) -> Dataset:
    facts = (user.astype(np.int32), item.astype(np.int32), kind.astype(np.uint8), value.astype(np.float32))
    moment = time.astype(np.int64)
    events = Events(*facts, moment, np.zeros(len(user), np.uint64), ops.event_ids(*facts, moment))
    return Dataset.of(events, users, items, users=user_columns, items=item_columns)


__all__ = ["World", "checkerboard", "stores", "synthetic", "tiny"]
