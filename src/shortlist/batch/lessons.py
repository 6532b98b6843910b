"""What rankers learn from: the candidates of questions whose answers are known, and rows that stand for the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.eval.protocol import BLOCK, Part
from shortlist.pipeline import GivenLists, Pipeline, Recall, Trace
from shortlist.protocols import Probable, Ranker, Scorer
from shortlist.rank import labels
from shortlist.rank.fuse import ReciprocalRank
from shortlist.types import Candidates, Mask, Queries, Ragged, Rows, Scores

DRAWN = "drawn from the catalogue"  # the source of uniform negatives, while lessons are made
FOLDS = 2  # parts of the questions; what a coarse ranker lets through of one, it has not learned from


class Lessons(NamedTuple):
    """Rows in the order of their questions."""

    found: Candidates
    label: Scores  # (N,) 1 = taken
    weight: Scores  # (N,) how many candidates of its question a row stands for
    outside: Mask  # (N,) rows that were no candidates: drawn from the whole catalogue

    def of(self, mask: Mask) -> Lessons:
        """The rows where `mask` (N,) is true."""
        return Lessons(self.found.take(mask), self.label[mask], self.weight[mask], self.outside[mask])

    @staticmethod
    def joined(parts: list[Lessons]) -> Lessons:
        """All rows, in the order of their questions."""
        query = np.concatenate([part.found.query for part in parts])
        order = np.argsort(query, kind="stable")
        columns = (np.concatenate([part[each] for part in parts])[order] for each in (1, 2, 3))
        return Lessons(Candidates.concat([part.found for part in parts]), *columns)


@dataclass(frozen=True, slots=True)
class Negatives:
    """Rows labelled 0 beside what was taken, by lot; see `lessons`."""

    others: int = 0  # candidates of a question; 0 = all
    uniform: int = 0  # items of the whole catalogue for a question
    seed: int = 0


CANDIDATES = Negatives()


def lessons(
    pipeline: Pipeline, queries: Queries, query: Rows, item: Rows, negatives: Negatives = CANDIDATES
) -> Lessons:
    """The candidates of `queries`, labelled 1 where (query, item) is one of the given pairs.

    Questions of whose pairs none is among the candidates teach nothing and are left out. Of n candidates labelled 0,
    `others` are kept and stand for n / others each (Horvitz, Thompson 1952), so that sums over rows are those over all
    candidates. Of the items that a question allows `uniform` are drawn; those that are no candidates count as much as
    one of the others, and are read as if some source had proposed them. The candidates are read without them.
    """
    wanted = (query.astype(np.int64) << 32) | item
    parts: list[Lessons] = []
    for start in range(0, len(queries), BLOCK):
        block = queries.take(np.arange(start, min(start + BLOCK, len(queries))))
        here = wanted[(wanted >> 32 >= start) & (wanted >> 32 < start + len(block))] - (start << 32)
        _, found = pipeline.candidates(block, Trace())
        asked = _candidates(block, found, here, negatives.others)
        if negatives.uniform:
            asked = Lessons.joined([asked, _drawn(pipeline, block, found, asked, here, negatives)])
        found = asked.found
        parts.append(
            asked._replace(found=Candidates((found.query + start).astype(np.int32), found.item, found.columns))
        )
    return Lessons.joined(parts or [_candidates(queries, Candidates.empty(), wanted, 0)])


def _candidates(block: Queries, found: Candidates, wanted: NDArray[np.int64], others: int) -> Lessons:
    label = np.isin(_key(found), wanted)
    kept, weight = np.isin(found.query, found.query[label]), np.ones(len(found), np.float32)
    if others:
        lot = ops.chance(block.seed[found.query] + block.time[found.query].view(np.uint64), found.item)
        rank = ops.rank_within(found.query, np.where(label, np.nan, lot).astype(np.float32), len(block))
        count = np.bincount(found.query[~label], minlength=len(block))[found.query]
        weight = np.where(label, 1, np.maximum(count / others, 1)).astype(np.float32)
        kept &= label | (rank <= others)
    return Lessons(found, label.astype(np.float32), weight, np.zeros(len(found), np.bool_)).of(kept)


def _drawn(
    pipeline: Pipeline, block: Queries, found: Candidates, asked: Lessons, wanted: NDArray[np.int64], how: Negatives
) -> Lessons:
    """Items of the catalogue for the questions that teach something, none that was a candidate or taken."""
    known, asking = np.flatnonzero(block.allowed), np.unique(asked.found.query)
    owner, draw = np.repeat(asking, how.uniform), np.tile(np.arange(how.uniform), len(asking))
    lot = ops.chance(block.seed[owner] + block.time[owner].view(np.uint64) + np.uint64(how.seed), draw)
    rows = np.unique((owner.astype(np.int64) << 32) | known[(lot * len(known)).astype(np.int64)])
    rows = rows[~np.isin(rows, _key(found)) & ~np.isin(rows, wanted)]
    lists = Ragged(
        ops.pointers((rows >> 32).astype(np.int32), len(block)), {"item": (rows & 0xFFFFFFFF).astype(np.int32)}
    )
    _, more = _beside(pipeline, lists).candidates(block, Trace())
    more = more.take(~np.isnan(more.columns[DRAWN]) & np.isin(_key(more), rows))
    rest = {name: column for name, column in more.columns.items() if name != DRAWN}
    other = asked.label == 0
    count = np.bincount(asked.found.query[other], minlength=len(block))
    total = np.bincount(asked.found.query[other], asked.weight[other], len(block))
    weight = np.where(count > 0, total / np.maximum(count, 1), 1)[more.query].astype(np.float32)
    one = np.ones(len(more), np.bool_)
    return Lessons(Candidates(more.query, more.item, rest), np.zeros(len(more), np.float32), weight, one)


def _beside(pipeline: Pipeline, lists: Ragged) -> Pipeline:
    """`pipeline` with the items of `lists` (B) among its candidates, whatever its coarse ranker thinks of them."""
    coarse = pipeline.coarse
    if coarse is not None:
        scorer = coarse.scorer or ReciprocalRank({DRAWN: 0.0})
        coarse = replace(coarse, scorer=scorer, always=(*coarse.always, DRAWN))
    most = int(lists.length.max(initial=0))
    return replace(
        pipeline, sources={**pipeline.sources, DRAWN: Recall(GivenLists(lists), max(most, 1))}, coarse=coarse
    )


def _key(found: Candidates) -> NDArray[np.int64]:
    return (found.query.astype(np.int64) << 32) | found.item


def taught(ranker: Ranker, read: Lessons, seed: int) -> Scorer | None:
    """What `ranker` learns from `read`; None when nothing in it was taken.

    Where rows were drawn from the whole catalogue, probabilities are shifted so that over the candidates, as many as
    their rows stand for, they add up to how many were taken.
    """
    if not read.label.any():
        return None
    weight = None if (read.weight == 1).all() else read.weight
    scorer = ranker.learn(read.found, read.label, seed=seed, weight=weight)
    if not (read.outside.any() and isinstance(scorer, Probable)):
        return scorer
    inside = read.of(~read.outside)
    people = Queries.of(np.full(int(inside.found.query[-1]) + 1, -1, np.int32))
    return scorer.shifted(labels.agreement(scorer.score(people, inside.found), inside.label, inside.weight))


class Learned(NamedTuple):
    """What came of one stage."""

    stage: str  # coarse | fine
    scorer: Scorer | None  # None: nothing was taken
    told: str  # what it learned from
    seconds: float


def learn(pipeline: Pipeline, part: Part, negatives: Negatives, rankers: Mapping[str, Ranker]) -> Iterator[Learned]:
    """Scorers of the stages of `rankers`, "coarse" and "fine".

    The coarse ranker learns from all candidates. The fine one learns from what goes on to it, and knows it as it will
    be: a question's candidates are cut by a coarse ranker that has not learned from that question.
    """
    folds = [pipeline]
    if "coarse" in rankers and pipeline.coarse is not None:
        start, ranker = perf_counter(), rankers["coarse"]
        read = _read(replace(pipeline, coarse=None, features=pipeline.coarse.features), part, negatives)
        scorer = taught(ranker, read, negatives.seed)
        if "fine" in rankers and scorer is not None:
            part_of = read.found.query % FOLDS
            apart = [taught(ranker, read.of(part_of != each), negatives.seed) for each in range(FOLDS)]
            folds = [replace(pipeline, coarse=replace(pipeline.coarse, scorer=each or scorer)) for each in apart]
        yield Learned("coarse", scorer, _sentence(read), perf_counter() - start)
    if "fine" in rankers:
        start, parts = perf_counter(), []
        for fold, each in enumerate(folds):
            rows = np.arange(fold, len(part), len(folds), dtype=np.int32)
            read = _read(each, part.take(rows), negatives)
            found = read.found
            parts.append(read._replace(found=Candidates(rows[found.query], found.item, found.columns)))
        read = Lessons.joined(parts)
        yield Learned("fine", taught(rankers["fine"], read, negatives.seed), _sentence(read), perf_counter() - start)


def _read(pipeline: Pipeline, part: Part, negatives: Negatives) -> Lessons:
    return lessons(pipeline, part.queries, part.relevant.owner, part.relevant["item"], negatives)


def _sentence(read: Lessons) -> str:
    drawn = f" and {int(read.outside.sum()):,} other items" if read.outside.any() else ""
    inside = int((~read.outside).sum())
    return f"{int(read.label.sum()):,} held-out items found among {inside:,} candidates{drawn}"
