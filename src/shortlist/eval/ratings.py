"""How far predicted ratings are off: RMSE and MAE on the official folds or on random ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.dataset import Dataset
from shortlist.eval.bootstrap import Interval, intervals
from shortlist.eval.protocol import Part
from shortlist.eval.result import number
from shortlist.protocols import Scorer
from shortlist.types import Candidates, Queries, Scores

ASKED = 1024  # questions held at once, each with a history


def folds(data: Dataset, count: int = 5, *, seed: int = 0) -> Iterator[tuple[Dataset, Dataset]]:
    """Train and test `count` times; each event is in one test."""
    place = np.random.default_rng(seed).permutation(len(data)) % count
    for fold in range(count):
        yield data.only(place != fold), data.only(place == fold)


def answers(data: Dataset, part: Part) -> Dataset:
    """The ratings of `data` that are right answers of `part`."""
    rate = data.kinds.table.get("rate")
    asked = part.user[part.relevant.owner].astype(np.int64) * data.n_items + part.relevant["item"]
    events = data.events
    hidden = np.isin(events.user.astype(np.int64) * data.n_items + events.item, asked)
    return data.only(hidden & (events.kind == (rate.code if rate else -1)))


def table(errors: Mapping[str, Mapping[str, Interval]]) -> list[list[str]]:
    """Header, then a line per model, the baseline first."""
    lines = [["predicts ratings", "rmse", "95 % interval", "mae", "95 % interval"]]
    for name, each in errors.items():
        cells = [(number(each[e].value), f"{number(each[e].low)} to {number(each[e].high)}") for e in ("rmse", "mae")]
        lines.append([name, *cells[0], *cells[1]])
    return lines


def predict(model: Scorer, train: Dataset, test: Dataset) -> Scores:
    """(E,) what `model` predicts for each event of `test`, asked at the end of `train`; NaN = no opinion."""
    events = test.events
    order = np.lexsort((events.item, events.user))
    user, query = np.unique(events.user[order], return_inverse=True)
    queries = Queries.of(user, history=train.histories(user), time=train.now)
    found = Candidates(query.astype(np.int32), events.item[order])
    predicted = np.empty(len(events), np.float32)
    predicted[order] = model.score(queries, found)
    return predicted


def predict_in_time(model: Scorer, train: Dataset, test: Dataset) -> Scores:
    """(E,) what `model` predicts for each event of `test`, asked at its own time and told of all of `train`."""
    events = test.events
    predicted = np.empty(len(events), np.float32)
    for first in range(0, len(events), ASKED):
        part = np.arange(first, min(first + ASKED, len(events)))
        user = events.user[part]
        queries = Queries.of(user, history=train.histories(user), time=events.time[part])
        predicted[part] = model.score(queries, Candidates(np.arange(len(part), dtype=np.int32), events.item[part]))
    return predicted


@dataclass(frozen=True, slots=True)
class Biases:
    """The baseline: mean + what the item is above it + what the person is above that, both shrunk (Koren 2010)."""

    mean: float
    item: Scores  # (I,)
    user: Scores  # (U,)

    @staticmethod
    def of(train: Dataset, shrink_item: float = 10, shrink_user: float = 15) -> Biases:
        events = train.events
        mean = float(events.value.mean(dtype=np.float64)) if len(events) else 0.0
        item = _shrunk(events.item, events.value - mean, train.n_items, shrink_item)
        user = _shrunk(events.user, events.value - mean - item[events.item], train.n_users, shrink_user)
        return Biases(mean, item, user)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        user = ops.gather(self.user, queries.user[found.query], 0)
        predicted: Scores = np.float32(self.mean) + ops.gather(self.item, found.item, 0) + user
        return predicted


def _shrunk(owner: NDArray[np.int32], value: Scores, owners: int, shrink: float) -> Scores:
    total = np.bincount(owner, value, owners)
    return (total / (np.bincount(owner, minlength=owners) + shrink)).astype(np.float32)


def rating_errors(
    models: Mapping[str, Scorer],
    train: Dataset,
    test: Dataset,
    *,
    scale: tuple[float, float],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Interval]]:
    """{"rmse", "mae"} of each model with their intervals over ratings; the baseline "biases" always beside.

    Predictions are clipped to `scale`; where a model has no opinion the baseline's stands in.
    """
    plain = predict(Biases.of(train), train, test)
    columns: dict[tuple[str, str], NDArray[np.float64]] = {}
    for name, model in {"biases": Biases.of(train), **models}.items():
        predicted = predict(model, train, test)
        predicted = np.clip(np.where(np.isnan(predicted), plain, predicted).astype(np.float64), *scale)
        gap = predicted - test.events.value
        columns[name, "rmse"], columns[name, "mae"] = gap * gap, np.abs(gap)
    found = intervals(columns, resamples=resamples, seed=seed)
    return {name: {"rmse": _root(found[name, "rmse"]), "mae": found[name, "mae"]} for name in ("biases", *models)}


def _root(each: Interval) -> Interval:
    return Interval(each.value**0.5, each.low**0.5, each.high**0.5, each.n)
