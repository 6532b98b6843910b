"""A weighted sum of what every source thinks, the weights learned directly on the measure that counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.errors import ConfigError
from shortlist.types import Candidates, Columns, Mask, Part, Queries, Ragged, Rows, Scores

PAIRS = 3_000_000  # pairs (taken row, other row) looked at while learning; of more, whole queries are drawn
STEPS = (-0.5, -0.25, -0.1, 0.1, 0.25, 0.5)  # of the largest weight
FINEST = 0.2  # the last factor on STEPS
ROUNDS = 40
LEAST = 1e-6  # NDCG that any source is granted


@dataclass(frozen=True, slots=True)
class ZBlend:
    """Learns `ZBlendModel` by coordinate ascent on NDCG (Metzler and Croft 2007), starting from the best single source.

    On what it learns from it is therefore no worse than the best single source that speaks. Where a feature gives
    `score.NAME` (see features.scores), it takes the place of column NAME, so that each source judges every candidate.
    """

    columns: tuple[str, ...] = ()  # sources to blend; empty = all
    depth: int = 20  # places of the list that count; more than are shown, because that is less noisy

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> ZBlendModel:
        names = self.columns or _some_judges(found.columns)
        opinion = opinions(found, names)
        pairs = _Pairs.of(np.concatenate((opinion, _bent(opinion))), found.query, label > 0, self.depth, seed)
        alone = _alone(pairs, len(names))
        heavy = _ascend(pairs, alone)
        return ZBlendModel(tuple(names), heavy[: len(names)], heavy[len(names) :], alone)


@dataclass(frozen=True, slots=True)
class ZBlendModel:
    """Sum over the sources of weight · z + bend · max(z, 0)², z the source's score in standard deviations of its query.

    A source that knows nothing of a row thinks as little of it as of its worst row; one that is absent says nothing.
    Weights learned together correct each other. Where the heaviest source says nothing at all, as for somebody new,
    there is nothing to correct, and each of the others counts for what it is worth alone.
    """

    columns: tuple[str, ...]
    weight: Scores  # (C,)
    bend: Scores  # (C,) how much more (or less) the very best of a source count
    alone: Scores  # (C,) NDCG of each source without the others, above 0

    def score(self, queries: Queries, found: Candidates) -> Scores:
        opinion = opinions(found, self.columns)
        together = _sum(self.weight[:, None] * opinion + self.bend[:, None] * _bent(opinion))
        spoken = self._spoken(found, opinion)
        return together if spoken.all() else np.where(spoken, together, _sum(self.alone[:, None] * opinion))

    def parts(self, queries: Queries, found: Candidates) -> list[Part]:
        """For each source `NAME` (z) and `NAME, high` (max(z, 0)²)."""
        opinion = opinions(found, self.columns)
        bent, spoken = _bent(opinion), self._spoken(found, opinion)
        said = []
        for each, name in enumerate(self.columns):
            said.append(Part(name, opinion[each], np.where(spoken, self.weight[each], self.alone[each])))
            said.append(Part(f"{name}, high", bent[each], np.where(spoken, self.bend[each], np.float32(0))))
        return said

    def _spoken(self, found: Candidates, opinion: Scores) -> Mask:
        """(N,) true where the heaviest source says anything in that query."""
        says: Mask = opinion[np.argmax(np.abs(self.weight))] != 0
        return says if says.all() else np.bincount(found.query, says)[found.query] > 0


def judges(columns: Columns) -> tuple[str, ...]:
    """The sources that `columns` say anything of."""
    completed = [name.removeprefix("score.") for name in columns if name.startswith("score.")]
    return tuple(dict.fromkeys([*ops.source_columns(columns), *completed]))


def _some_judges(columns: Columns) -> tuple[str, ...]:
    names = judges(columns)
    if not names:
        raise ConfigError("the candidates carry no column of a source to blend", where="rank.weighted")
    return names


def opinions(found: Candidates, names: Sequence[str]) -> Scores:
    """(C, N) z-scores of each source, its gaps filled with its least of that query; 0 where it says nothing at all."""
    silent = np.full(len(found), np.nan, np.float32)
    raw = [found.columns.get(f"score.{name}", found.columns.get(name, silent)) for name in names]
    return ops.standardize_within(found.query, np.stack(raw))


def _sum(said: Scores) -> Scores:
    """(N,) of (C, N), in order: np.sum would round one row differently from many."""
    score = np.zeros(said.shape[1], np.float32)
    for each in said:
        score += each
    return score


def _bent(opinion: Scores) -> Scores:
    high: Scores = np.square(np.maximum(opinion, 0))
    return high


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Every taken row against every other row of its query: enough to know its rank under any weights."""

    ahead: Scores  # (2C, P) by how much the other row exceeds the taken one, for each input
    beaten: Scores  # (P,) the other row comes first when its score exceeds the taken one's by more than this
    start: NDArray[np.intp]  # (T,) first pair of each taken row
    gain: NDArray[np.float64]  # (T, W) share of the whole when the row's rank is 0, 1 ...; the last is 0

    @staticmethod
    def of(value: Scores, query: Rows, taken: NDArray[np.bool_], depth: int, seed: int) -> _Pairs:
        queries = int(query[-1]) + 1 if len(query) else 0
        segments = Ragged(ops.pointers(query, queries), {"row": np.arange(len(query))})
        right = np.flatnonzero(taken)
        right = right[np.isin(query[right], _drawn(segments.length, query[right], seed))]
        lists = segments.take(query[right])
        lists = lists.where(lists["row"] != right[lists.owner])
        right, lists = right[lists.length > 0], lists.take(np.flatnonzero(lists.length > 0))
        other, own = lists["row"], right[lists.owner]
        ahead = np.stack([each[other] - each[own] for each in value])
        # of equal scores the earlier row comes first: the comparison is then with the number just below 0
        beaten = np.where(other < own, np.nextafter(np.float32(0), np.float32(-1)), np.float32(0))
        discount = np.append(1 / np.log2(np.arange(depth) + 2), 0)
        count = np.bincount(query[right], minlength=queries)[query[right]]
        ideal = np.cumsum(discount)[np.minimum(count, depth) - 1] * len(np.unique(query[right]))
        return _Pairs(ahead, beaten, lists.ptr[:-1], discount / ideal[:, None])

    def ndcg(self, score: Scores) -> float:
        """Mean NDCG when the other rows lead by `score` (P,)."""
        if not len(self.start):
            return 0.0
        rank = np.add.reduceat(score > self.beaten, self.start, dtype=np.int64)
        return float(self.gain[np.arange(len(rank)), np.minimum(rank, self.gain.shape[1] - 1)].sum())


def _drawn(length: NDArray[np.int64], query: Rows, seed: int) -> Rows:
    """The queries to learn from: all that `query` (one entry a taken row) names, or as many as PAIRS allows."""
    names, count = np.unique(query, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    fits = np.cumsum((length[names] * count)[order]) <= PAIRS
    fits[:1] = True
    return names if fits.all() else np.sort(names[order][fits])


def _alone(pairs: _Pairs, sources: int) -> Scores:
    """(C,) what each source is worth by itself; never nothing, so that what it says still makes an order."""
    return np.array([max(pairs.ndcg(each), LEAST) for each in pairs.ahead[:sources]], np.float32)


def _ascend(pairs: _Pairs, alone: Scores) -> Scores:
    """From the best single source, change one weight at a time as long as the measure rises, in ever finer steps."""
    weight = np.zeros(len(pairs.ahead), np.float32)
    weight[np.argmax(alone)] = 1
    best, factor = pairs.ndcg(weight @ pairs.ahead), 1.0
    for _ in range(ROUNDS):
        before, lead = best, weight @ pairs.ahead
        for each in range(len(weight)):
            rest = lead - weight[each] * pairs.ahead[each]
            best, weight[each] = _best_step(pairs, rest, each, weight, factor, best)
            lead = rest + weight[each] * pairs.ahead[each]
        if best - before < 1e-5:
            if factor < FINEST:
                break
            factor /= 2
    return np.asarray(weight / np.abs(weight).max(), np.float32)


def _best_step(
    pairs: _Pairs, rest: Scores, each: int, weight: Scores, factor: float, best: float
) -> tuple[float, np.float32]:
    reach = np.abs(weight).max() * factor
    chosen = np.float32(weight[each])
    trials = [np.float32(weight[each] + reach * step) for step in STEPS]
    if np.count_nonzero(weight) > 1:  # the last one may not go
        trials.append(np.float32(0))
    for trial in trials:
        reached = pairs.ndcg(rest + trial * pairs.ahead[each])
        if reached > best:
            best, chosen = reached, trial
    return best, chosen
