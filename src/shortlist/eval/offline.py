"""Ask every system the same questions, compare person by person, say in a sentence what came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.eval import baselines, metrics
from shortlist.eval.baselines import System
from shortlist.eval.bootstrap import Interval, intervals
from shortlist.eval.metrics import Values
from shortlist.eval.protocol import Part, Split
from shortlist.eval.result import EVERYONE, Result, Row
from shortlist.types import Columns, Mask, Rows, Vectors


@dataclass(frozen=True)
class Background:
    """What measures beyond accuracy compare lists with; a missing part leaves its measure out."""

    users: int
    users_of_item: NDArray[np.int64]  # (I,)
    expected: Rows  # (B, k) popularity's own lists
    born: NDArray[np.int64]  # (I,) first event, microseconds, -1 = none
    vectors: Vectors  # (I, D) attributes; D = 0: unknown

    @staticmethod
    def of(train: Dataset, part: Part, k: int) -> Background:
        users_of_item = np.diff(train.matrix.tocsc().indptr).astype(np.int64)
        born = np.full(train.n_items, -1, np.int64)
        born[train.events.item[::-1]] = train.events.time[::-1]
        expected = ask(baselines.popular(train), part, k)
        users = int(np.count_nonzero(np.diff(train.matrix.indptr)))
        return Background(users, users_of_item, expected, born, attribute_vectors(train.items, train.n_items))


def attribute_vectors(items: Columns, n_items: int, limit: int = 256) -> Vectors:
    """(I, D) one 0/1 column per value of every text or list-of-text column with at most `limit` values."""
    parts = [np.zeros((n_items, 0), np.float32)]
    for column in items.values():
        if column.dtype != object:
            continue
        lists = [value if isinstance(value, tuple) else (value,) for value in column.tolist()]
        names = {name for each in lists for name in each if name}
        if not 2 <= len(names) <= limit:
            continue
        code = {name: c for c, name in enumerate(sorted(names))}
        vectors = np.zeros((n_items, len(code)), np.float32)
        for item, each in enumerate(lists):
            vectors[item, [code[name] for name in each if name]] = 1
        parts.append(vectors)
    return np.concatenate(parts, axis=1)


def ask(system: System, part: Part, k: int) -> Rows:
    """(B, k) the items the system shows, -1 = an empty place; questions in the blocks of the part."""
    shown = [metrics.places(system(queries, k), len(queries), k) for queries in part.blocks()]
    return np.concatenate(shown) if shown else np.empty((0, k), np.int32)


def measure(
    shown: Rows, part: Part, ks: Sequence[int], background: Background | None = None
) -> tuple[dict[str, Values], dict[str, float]]:
    """Figures per question ("ndcg@10": (B,)) and of all lists together ("coverage@20"), for `shown` (B, >= max(ks))."""
    hit = metrics.hits(shown, part.relevant)
    values = {f"{name}@{k}": value for k in ks for name, value in metrics.ranking(hit, part.relevant.length, k).items()}
    k = max(ks)
    shown, hit = shown[:, :k], hit[:, :k]
    whole = {f"{name}@{k}": value for name, value in metrics.exposure(shown, part.known).items()}
    if background is not None:
        values[f"novelty@{k}"] = metrics.novelty(shown, background.users_of_item, background.users)
        values[f"serendipity@{k}"] = metrics.serendipity(shown, hit, background.expected[:, :k])
        if background.vectors.shape[1]:
            values[f"diversity@{k}"] = metrics.diversity(shown, background.vectors)
        if np.ptp(background.born) > 0:
            values[f"age_days@{k}"] = metrics.age_days(shown, background.born, part.time)
    return values, whole


def user_segments(part: Part) -> dict[str, Mask]:
    """People by the length of their history: none, below the median of the others, the rest. Empty ones left out."""
    length = part.history.length
    some = length > 0
    middle = int(np.median(length[some])) if some.any() else 0
    segments = {
        "new (no events)": ~some,
        f"light (1 to {middle - 1} events)": some & (length < middle),
        f"heavy ({middle} events or more)": some & (length >= middle),
    }
    return {name: mask for name, mask in segments.items() if mask.any()}


def item_segments(train: Dataset) -> dict[str, Mask]:
    """Right answers by popularity: head = the fewest items that together draw half of the events, tail = the rest."""
    count = np.bincount(train.events.item, minlength=train.n_items)
    order = np.argsort(-count, kind="stable")
    head = np.zeros(train.n_items, np.bool_)
    head[order[: int(np.searchsorted(np.cumsum(count[order]), len(train) / 2)) + 1]] = True
    return {"head items": head, "tail items": ~head}


def evaluate(
    systems: Mapping[str, System],
    split: Split,
    *,
    ks: Sequence[int] = (10, 20),
    part: str = "test",
    against: str = "popular",
    resamples: int = 1000,
    seed: int = 0,
) -> Result:
    """Full ranking of every question of `part` by each of `systems`, with random and popularity always beside.

    Differences to the system named `against` are paired by person. `systems` must have learned from `split.final`
    alone, or from `split.train` when `part` is "valid".
    """
    asked = {"test": split.test, "valid": split.valid}[part]
    past = split.final if part == "test" else split.train
    beside = {
        "random": baselines.random(len(asked.known)),
        "popular": baselines.popular(past),
        "recent": baselines.recent(past),
    }
    everyone = {**beside, **systems}
    if against not in everyone:
        raise ConfigError(
            f"there is no system {against!r} to compare with; there are: {', '.join(everyone)}",
            where="evaluate",
            hint="Name one of them as the baseline.",
        )
    background = Background.of(past, asked, max(ks))
    values: dict[str, dict[str, Values]] = {}
    wholes: dict[str, dict[str, float]] = {}
    of_items: dict[str, dict[str, dict[str, Values]]] = {name: {} for name in item_segments(past)}
    seconds: dict[str, float] = {}
    for name, system in everyone.items():
        start = perf_counter()
        shown = ask(system, asked, max(ks))
        seconds[name] = perf_counter() - start
        values[name], wholes[name] = measure(shown, asked, ks, background)
        for segment, items in item_segments(past).items():
            kept = replace(asked, relevant=asked.relevant.where(items[asked.relevant["item"]]))
            of_items[segment][name] = _few(measure(shown, kept, ks)[0])
    of_users = {
        segment: {name: {metric: value[mask] for metric, value in _few(each).items()} for name, each in values.items()}
        for segment, mask in user_segments(asked).items()
    }
    rows = [
        row
        for segment, each in {EVERYONE: values, **of_users, **of_items}.items()
        for row in _rows(segment, each, against, resamples, seed)
    ]
    rows += [
        Row(name, EVERYONE, metric, Interval(value, np.nan, np.nan, len(asked)), None)
        for name, whole in wholes.items()
        for metric, value in whole.items()
    ]
    extra = tuple(name for name in beside if name not in systems)
    return Result(split.name, part, against, f"ndcg@{ks[0]}", len(asked), extra, seconds, values, tuple(rows))


def _few(values: Mapping[str, Values]) -> dict[str, Values]:
    """The metrics that segments are told apart by."""
    return {name: value for name, value in values.items() if name.startswith(("ndcg@", "recall@"))}


def _rows(
    segment: str, values: Mapping[str, Mapping[str, Values]], against: str, resamples: int, seed: int
) -> Iterator[Row]:
    base = values[against]
    plain = {(name, metric): value for name, each in values.items() for metric, value in each.items()}
    paired = {(name, metric): value - base[metric] for (name, metric), value in plain.items() if name != against}
    value = intervals(plain, resamples=resamples, seed=seed)
    difference = intervals(paired, resamples=resamples, seed=seed)
    for name, metric in plain:
        yield Row(name, segment, metric, value[name, metric], difference.get((name, metric)))
