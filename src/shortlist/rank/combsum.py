"""What several opinions say together, each in standard deviations of its query: CombSUM (Fox and Shaw, TREC 1994)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.errors import ConfigError
from shortlist.protocols import Additive, Ranker, Scorer
from shortlist.rank.weighted import judges, opinions
from shortlist.types import Candidates, Part, Queries, Scores

BASE = "base"


@dataclass(frozen=True, slots=True)
class CombSum:
    """The weighted mean of what the sources think, each in standard deviations of the query. Nothing is learned, so
    nothing can be learned wrongly: where what is asked differs from what could be learned from, hard to beat.

    As in `rank.weighted`, `score.NAME` takes the place of column NAME, and a source that knows nothing of a row thinks
    as little of it as of its worst row.
    """

    weights: Mapping[str, float] = field(default_factory=dict)  # by source; one that is not named weighs 1

    def __post_init__(self) -> None:
        _check(tuple(self.weights.values()), "rank.combsum: weights")

    def score(self, queries: Queries, found: Candidates) -> Scores:
        total = np.zeros(len(found), np.float32)
        for _, opinion, share in self._said(found):
            total += opinion * share
        return total

    def parts(self, queries: Queries, found: Candidates) -> list[Part]:
        """For each source `NAME` (z) and its share of the weights."""
        return [Part(name, opinion, np.full(len(found), share)) for name, opinion, share in self._said(found)]

    def _said(self, found: Candidates) -> list[tuple[str, Scores, np.float32]]:
        names = judges(found.columns)
        if not names:
            return []
        weight = np.array([self.weights.get(name, 1.0) for name in names], np.float32)
        share = weight / (weight.sum() or np.float32(1))
        return list(zip(names, opinions(found, names), share, strict=True))


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Lets every one of `rankers` learn from the same rows, and adds up what they say, each in standard deviations of
    the query. Those that learn nothing (`CombSum`, `rank.fuse`) speak as they are.

    The same ranker twice is two of them: each has a seed of its own, so what chance put into one is halved (bagging,
    Breiman 1996). Beside `CombSum`, trees keep what they learned and lose less where the future is not like the past.
    """

    rankers: tuple[Ranker | Scorer, ...]
    weights: tuple[float, ...] = ()  # of each; empty = 1

    def __post_init__(self) -> None:
        if not self.rankers or len(self.weights) not in (0, len(self.rankers)):
            raise ConfigError(
                f"{len(self.rankers)} rankers and {len(self.weights)} weights: there must be a ranker, and as many"
                " weights as rankers, or none",
                where="rank.combsum: rankers, weights",
            )
        if wrong := [type(each).__name__ for each in self.rankers if not isinstance(each, Ranker | Scorer)]:
            raise ConfigError(f"{', '.join(wrong)} can neither learn nor score", where="rank.combsum: rankers")
        _check(self.weights, "rank.combsum: weights")

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> EnsembleModel:
        scorers = tuple(
            each.learn(found, label, seed=seed + number, weight=weight) if isinstance(each, Ranker) else each
            for number, each in enumerate(self.rankers)
        )
        share = np.array(self.weights or [1.0] * len(scorers), np.float32)
        return EnsembleModel(scorers, share / share.sum())


@dataclass(frozen=True, slots=True)
class EnsembleModel:
    """Sum of share · z over the scorers; of a row that one has no opinion of, it thinks as little as of its worst."""

    scorers: tuple[Scorer, ...]
    share: Scores  # (C,) they add up to 1

    def score(self, queries: Queries, found: Candidates) -> Scores:
        total = np.zeros(len(found), np.float32)
        for scorer, share in zip(self.scorers, self.share, strict=True):
            total += share * ops.standardize_within(found.query, scorer.score(queries, found)[None])[0]
        return total

    def parts(self, queries: Queries, found: Candidates) -> list[Part]:
        """Each part of each scorer, in deviations of its score; parts of one name are one. `base` holds the means, and
        all that a scorer without parts says stands under its class."""
        one, base = np.ones(len(found), np.float32), np.zeros(len(found))
        told: dict[str, NDArray[np.float64]] = {}
        for scorer, share in zip(self.scorers, self.share.astype(np.float64), strict=True):
            score = scorer.score(queries, found)
            rest = share * ops.standardize_within(found.query, score[None])[0]
            if isinstance(scorer, Additive):
                unit = share * _unit(found, score)
                for part in scorer.parts(queries, found):
                    given = np.nan_to_num(part.value * part.weight * unit)
                    rest = rest - given
                    if part.name == BASE:
                        base += given
                    else:
                        told[part.name] = told.get(part.name, 0) + given
                base += rest
            else:
                name = type(scorer).__name__
                told[name] = told.get(name, 0) + rest
        return [Part(name, one, value.astype(np.float32)) for name, value in {BASE: base, **told}.items()]


def _unit(found: Candidates, score: Scores) -> NDArray[np.float64]:
    """(N,) 1 / the deviation of the scores of the row's query; 0 where they are all alike."""
    value = score.astype(np.float64)
    known = ~np.isnan(value)
    query, size = found.query[known], int(found.query.max(initial=-1)) + 1
    count = np.maximum(np.bincount(query, minlength=size), 1)
    off = value[known] - (np.bincount(query, value[known], size) / count)[query]
    spread = np.sqrt(np.bincount(query, off**2, size) / count)[found.query]
    return np.divide(1.0, spread, out=np.zeros(len(found)), where=spread > 1e-12)


def _check(weights: Sequence[float], where: str) -> None:
    if weights and not (all(np.isfinite(each) and each >= 0 for each in weights) and sum(weights) > 0):
        raise ConfigError(
            f"are {', '.join(map(str, weights))}: they must be numbers of 0 or more, not all 0", where=where
        )
