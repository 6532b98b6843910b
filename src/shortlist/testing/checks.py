"""What contracts compare, and what they give to components."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from shortlist import ops
from shortlist.testing.world import World
from shortlist.types import Candidates, Column, Mask, Positions, Queries, Ragged, Rows, Scores

PARITY = 1e-6  # between a column at serving and in a replay
TOLERANCE = 1e-5  # matrix products round differently for other batch sizes


def candidates(world: World, queries: Queries, each: int = 25) -> Candidates:
    """`each` different items a query, in part unknown ones, with two source columns and a score: NaN, ties and all.

    What a query gets depends on its user, seed and history alone, so that batch and single see the same rows.
    """
    items = np.append(np.arange(world.data.n_items, dtype=np.int32), world.data.n_items + 4)
    owner = np.repeat(np.arange(len(queries), dtype=np.int32), len(items))
    item = np.tile(items, len(queries))
    seed = queries.seed[owner] + queries.user[owner].astype(np.int64).view(np.uint64)
    draw = ops.chance(seed, item)
    picked = ops.topk(owner, draw.astype(np.float32), each, len(queries))
    picked = np.sort(picked)
    query, item, draw = owner[picked], item[picked], draw[picked]
    second = ops.chance(seed[picked] + np.uint64(1), item)
    columns = {
        "first": np.where(second < 0.7, 10 * draw, np.nan).astype(np.float32),
        "second": np.where(second > 0.3, second, np.nan).astype(np.float32),
        "score": np.where(draw < 0.99, np.round(second, 1), np.nan).astype(np.float32),
    }
    return Candidates(query, item, columns)


def everything(world: World, queries: Queries) -> Candidates:
    """Every item for every query, and one that the world does not know."""
    items = np.append(np.arange(world.data.n_items, dtype=np.int32), world.data.n_items + 4)
    owner = np.repeat(np.arange(len(queries), dtype=np.int32), len(items))
    score = np.zeros(len(owner), np.float32)
    return Candidates(owner, np.tile(items, len(queries)), {"score": score})


def check_parity(one: Column, other: Column, name: str = "") -> None:
    """Two makings of one column are the same: codes exactly, numbers to a millionth."""
    assert one.dtype == other.dtype, name
    if np.issubdtype(one.dtype, np.inexact):
        np.testing.assert_allclose(one, other, rtol=PARITY, atol=PARITY, err_msg=name)
    else:
        np.testing.assert_array_equal(one, other, err_msg=name)


def leaves(thing: object, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value inside nested dataclasses, mappings and tuples, with the path that leads to it."""
    if is_dataclass(thing) and not isinstance(thing, type):
        for field in fields(thing):
            yield from leaves(getattr(thing, field.name), f"{path}.{field.name}")
    elif isinstance(thing, Mapping):
        for name, value in thing.items():
            yield from leaves(value, f"{path}[{name!r}]")
    elif isinstance(thing, tuple):
        for position, value in enumerate(thing):
            yield from leaves(value, f"{path}[{position}]")
    else:
        yield path, thing


def check_agree(one: Candidates, other: Candidates) -> None:
    """Two answers to one question: the same but for swaps among scores that differ by rounding only."""
    assert len(one) == len(other)
    if not len(one):
        return
    ours, theirs = one.columns["score"], other.columns["score"]
    allowed = TOLERANCE * max(1.0, float(np.nanmax(np.abs(ours))))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=allowed)
    for item, score in zip(one.item, ours, strict=True):
        place = np.flatnonzero(other.item == item)
        near = theirs[place[0]] if len(place) else theirs[-1]  # absent: tied with the last one that made it
        assert abs(near - score) <= allowed, f"item {item}: {score} against {near}"


def check_found(found: Candidates, queries: Queries, k: int) -> None:
    query, item, score = found.query, found.item, found.columns["score"]
    assert query.dtype == item.dtype == np.int32
    assert score.dtype == np.float32
    assert len(query) == len(item) == len(score)
    if not len(found):
        return
    assert (query[1:] >= query[:-1]).all()
    assert query[0] >= 0
    assert query[-1] < len(queries)
    assert np.bincount(query).max() <= k
    assert (item >= 0).all()
    assert len(set(zip(query.tolist(), item.tolist(), strict=True))) == len(found)
    assert not np.isinf(score).any()
    falling = np.where(np.isnan(score), -np.inf, score)
    assert (falling[1:] <= falling[:-1])[query[1:] == query[:-1]].all()


def check_order(order: Positions, found: Candidates, queries: Queries, k: int) -> None:
    assert np.issubdtype(order.dtype, np.integer)
    assert len(set(order.tolist())) == len(order)
    if not len(found):
        assert not len(order)
        return
    assert ((order >= 0) & (order < len(found))).all()
    query = found.query[order]
    assert (query[1:] >= query[:-1]).all()
    assert (np.bincount(query, minlength=len(queries)) <= k).all()


def check_same(one: Candidates, other: Candidates) -> None:
    assert np.array_equal(one.query, other.query)
    assert np.array_equal(one.item, other.item)
    assert _same(one.columns["score"], other.columns["score"])


def check_leaves(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    assert list(one) == list(other)
    for path, value in one.items():
        assert _same(value, other[path]), path


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        numbers = np.issubdtype(one.dtype, np.inexact)
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=bool(numbers))
    return type(one) is type(other) and bool(one == other or (one != one and other != other))


def of_one(found: Candidates, b: int) -> Candidates:
    mine = found.take(found.query == b)
    return Candidates(np.zeros(len(mine), np.int32), mine.item, mine.columns)


def lists_of(found: Candidates, queries: int) -> Ragged:
    return Ragged(ops.pointers(found.query, queries), {"item": found.item})


def restricted(queries: Queries) -> Queries:
    some = np.arange(len(queries), dtype=np.int32)
    queries = queries.with_exclude(Ragged(np.arange(len(queries) + 1, dtype=np.int64), {"item": some}))
    return queries.with_allowed(np.arange(20) % 4 > 0)


def pairs_of(lists: Ragged) -> set[tuple[int, int]]:
    return set(zip(lists.owner.tolist(), lists["item"].tolist(), strict=True))


def permits(queries: Queries, item: Rows) -> Mask:
    mask: Mask = ops.gather(queries.allowed, item, True)
    return mask


def labelled(world: World, found: Candidates) -> tuple[Candidates, Scores]:
    """Candidates whose first column mostly tells what was taken."""
    label: Column = np.nan_to_num(found.columns["first"], nan=0) > 4
    return found, label.astype(np.float32)
