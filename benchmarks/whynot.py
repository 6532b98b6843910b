"""Is why-not right? `python -m benchmarks.whynot --json benchmarks/results/whynot.json`

For random (person, item) pairs of a MovieLens-100K release: remove the reason that the explanation names, run the
pipeline itself, and see whether the item appears or moves as it said. Three draws:

- `random`: a thousand pairs, asked as a page asks;
- `near`: items among the forty best candidates, where rules decide;
- `ruled out`: questions with exclusions and conditions, items that are unavailable or came after training.

Beside it: the share of shown items with at least one reason that can be derived again from the data.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import time_ns

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.rows import Row, write
from benchmarks.splits import folder
from shortlist import ops, why
from shortlist.batch.steps import make_release, open_configured
from shortlist.batch.train import read_window
from shortlist.config import Settings, parse
from shortlist.data.frames import load_frames
from shortlist.data.movielens import movielens_100k
from shortlist.filters.attribute import Attribute
from shortlist.pipeline import Pipeline, Recall, Trace
from shortlist.protocols import Filter, Scorer
from shortlist.recall.given import Given
from shortlist.release import publish
from shortlist.rerank.chain import Chain
from shortlist.rerank.mmr import MmrModel
from shortlist.runtime import Runtime
from shortlist.types import Candidates, Mask, Queries, Ragged, Rows

CONDITION = "year >= 1990"


@dataclass(frozen=True, slots=True)
class Case:
    """A question, the same question without what it rules out itself, and the item that is asked about."""

    queries: Queries
    free: Queries
    item: int


@dataclass(frozen=True, slots=True)
class Passing:
    """A filter that lets one item through: the reason removed for it alone."""

    filter: Filter
    item: int

    def narrow(self, queries: Queries) -> Queries:
        return passing(self.filter.narrow(queries), self.item)

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        return self.filter.keep(queries, found) | (found.item == self.item)


def passing(queries: Queries, item: int) -> Queries:
    """The question with nothing against that one item."""
    allowed = queries.allowed.copy()
    allowed[item : item + 1] = True
    return replace(queries, exclude=queries.exclude.where(queries.exclude["item"] != item), allowed=allowed)


def wrong(pipeline: Pipeline, case: Case, k: int, items: int) -> list[str]:
    """What the explanation of a case says and the pipeline does not do. Empty = it is right."""
    told = why.explain(pipeline, case.queries, case.item, k, items=items, likings=0)
    slate, _ = pipeline.recommend(case.queries, k)
    said = [] if told.shown == (case.item in slate.item) else [f"shown: {told.shown}"]
    if told.shown:
        said += [] if slate.item[told.place - 1] == case.item else [f"place {told.place}"]
    open_, queries = pipeline, case.queries
    if told.refused:
        said += list(_refused(pipeline, case, told))
        open_, queries = _lifted(pipeline, case.item), passing(case.queries, case.item)
        place = _place_of(open_, queries, case.item, k)
        said += [] if place == told.place else [f"without the filters at {told.place}, is at {place}"]
    said += list(_sources(open_, queries, case.item, told))
    if told.ranked is None:
        said += [] if told.fallback else list(_unproposed(open_, queries, case.item, told))
    else:
        said += list(_ranked(open_, queries, case.item, told, k))
        said += list(_moved(open_, queries, case.item, told, k))
    return said


def _refused(pipeline: Pipeline, case: Case, told: why.Account) -> Iterator[str]:
    """Each rule that is named stops the item by itself; without all of them it gets past."""
    named = {each.name for each in told.refused if each.stage != "request"}
    item = np.array([case.item], np.int32)
    bare = replace(pipeline, sources={"it": Recall(Given(item, np.zeros(1, np.float32)), 1)}, features={})

    def passes(filters: Callable[[str], bool], queries: Queries) -> bool:
        kept = {name: each for name, each in {**pipeline.filters, **pipeline.late_filters}.items() if filters(name)}
        return bool(len(replace(bare, filters=kept, late_filters={}).candidates(queries, Trace())[1]))

    if not passes(lambda name: name not in named, case.free):
        yield f"gets not past the filters that are left when {named} are gone"
    for name in named:
        if passes(lambda each, name=name: each == name, case.free):
            yield f"filter {name} lets it through"
    if any(each.stage == "request" for each in told.refused) == passes(lambda name: False, case.queries):
        yield "the request itself does not do what is said"


def _lifted(pipeline: Pipeline, item: int) -> Pipeline:
    return replace(
        pipeline,
        filters={name: Passing(each, item) for name, each in pipeline.filters.items()},
        late_filters={name: Passing(each, item) for name, each in pipeline.late_filters.items()},
    )


def _sources(pipeline: Pipeline, queries: Queries, item: int, told: why.Account) -> Iterator[str]:
    """Asked for as many as the rank that is named, a source proposes the item; asked for one less, it does not."""
    narrowed, _ = pipeline.candidates(queries, Trace())
    for each in told.proposals:
        if each.name == "fallback":
            continue
        source = pipeline.sources[each.name].source

        def proposes(k: int, source: object = source) -> bool:
            return item in source.recall(narrowed, k).item  # type: ignore[attr-defined]

        if each.rank and not (proposes(each.rank) and not proposes(each.rank - 1)):
            yield f"source {each.name} does not have it at rank {each.rank}"
        if not each.rank and proposes(10**6):
            yield f"source {each.name} can propose it"


def _unproposed(pipeline: Pipeline, queries: Queries, item: int, told: why.Account) -> Iterator[str]:
    """With the nearest source asked for its rank, the item is a candidate."""
    lost = replace(told, refused=(), place=0).lost
    assert lost is not None
    name, rank = lost.name, lost.reason.facts.get("rank")

    def found(sources: dict[str, Recall]) -> bool:
        changed = replace(pipeline, sources={**pipeline.sources, **sources})
        return item in changed.candidates(queries, Trace())[1].item

    if lost.stage != "recall":
        yield f"lost at {lost.stage}, but no candidate"
    elif not name and found({each: replace(recall, k=10**6) for each, recall in pipeline.sources.items()}):
        yield "a source proposes it when it is asked for everything"
    elif name and not (found({name: replace(pipeline.sources[name], k=rank)}) and not found({})):
        yield f"no candidate with {name} asked for {rank}"


def _ranked(pipeline: Pipeline, queries: Queries, item: int, told: why.Account, k: int) -> Iterator[str]:
    """By score alone it stands where it is said to; a page of `enough` places shows it, a shorter one does not."""
    ranked = told.ranked
    assert ranked is not None
    if _place_of(replace(pipeline, reranker=None), queries, item, ranked.place) != ranked.place:
        yield f"not at place {ranked.place} by score"
    total = sum(value * weight for _, value, weight, _ in ranked.parts)
    if abs(total - ranked.score) > 1e-4 * max(1, abs(ranked.score)):
        yield "the parts do not add up to the score"
    if ranked.enough and not _place_of(pipeline, queries, item, ranked.enough):
        yield f"a page of {ranked.enough} does not show it"
    if ranked.enough > 1 and _place_of(pipeline, queries, item, ranked.enough - 1):
        yield f"a page shorter than {ranked.enough} shows it"
    if not ranked.enough and _place_of(pipeline, queries, item, ranked.of):
        yield "a long page shows it"


def _moved(pipeline: Pipeline, queries: Queries, item: int, told: why.Account, k: int) -> Iterator[str]:
    """Without a rule the item stands where it is said to; Mmr that trades nothing leaves it at the place before."""
    rules = pipeline.reranker.steps if isinstance(pipeline.reranker, Chain) else (pipeline.reranker,)
    for at, move in enumerate(told.moved if pipeline.reranker is not None else ()):
        left = rules[:at] + rules[at + 1 :]
        without = replace(pipeline, reranker=Chain(left) if left else None)  # type: ignore[arg-type]
        place = _place_of(without, queries, item, k)
        if place != move.without:
            yield f"without {move.name} at {place}, said {move.without}"
        rule = rules[at]
        if isinstance(rule, MmrModel) and not at:
            plain = replace(pipeline, reranker=replace(rule, trade=0.0))
            place = _place_of(plain, queries, item, max(move.before, 1))
            if place != move.before:
                yield f"with trade 0 at {place}, said {move.before}"


def _place_of(pipeline: Pipeline, queries: Queries, item: int, k: int) -> int:
    slate, _ = replace(pipeline, fallback=None).recommend(queries, k)
    at = np.flatnonzero(slate.item == item)
    return int(at[0]) + 1 if len(at) else 0


def outcome(pipeline: Pipeline, case: Case, k: int, items: int) -> str:
    """What is named as the reason: "shown", or the stage and the rule."""
    told = why.explain(pipeline, case.queries, case.item, k, items=items, likings=0)
    lost = told.lost
    return "shown" if lost is None else f"{lost.stage} {lost.name}".strip()


def true_reasons(pipeline: Pipeline, queries: Queries, k: int) -> tuple[int, int, int]:
    """Items shown to one person; those with a reason that holds; those whose reason is something the person did.

    A source is a reason when it proposes the item again with the same score, asked about that item alone; an item of
    the history is one when the source's score falls without it.
    """
    slate, _ = pipeline.recommend(queries, k)
    narrowed, _ = pipeline.candidates(queries, Trace())
    spoken, _ = pipeline.because(queries, slate)
    true = own = 0
    for row, item in enumerate(slate.item.tolist()):
        only = np.zeros(int(slate.item.max()) + 1, np.bool_)
        only[item] = True
        alone = narrowed.with_allowed(only)
        named = [name for name in pipeline.sources if name in slate.columns and not np.isnan(slate.columns[name][row])]
        sources = [(pipeline.sources[name].source, slate.columns[name][row], name) for name in named]
        if slate.columns["fallback"][row]:
            true += pipeline.fallback is not None and item in pipeline.fallback.recall(alone, 1).item
            continue
        again = []
        for source, score, name in sources:
            found = source.recall(alone, k)
            found = found.take(found.item == item)
            if len(found) and np.isclose(found.columns["score"][0], score, rtol=1e-3, atol=1e-5):
                again.append((source, name))
        true += bool(again)
        own += any(
            _falls(source, queries, item, int(spoken[name][row]))
            for source, name in again
            if name in spoken and spoken[name][row] >= 0 and isinstance(source, Scorer)
        )
    return len(slate), true, own


def _falls(source: Scorer, queries: Queries, item: int, because: int) -> bool:
    """Whether `because` was liked, and the score of `item` falls without it."""
    history = queries.history
    mine = history["item"] == because
    if not np.any(history["weight"][mine] > 0):
        return False
    silent = {**history.columns, "weight": np.where(mine, np.float32(0), history["weight"])}
    row = Candidates(np.zeros(1, np.int32), np.array([item], np.int32))
    without = np.nan_to_num(source.score(replace(queries, history=Ragged(history.ptr, silent)), row))
    return bool(source.score(queries, row)[0] > without[0])


def random(runtime: Runtime, count: int, seed: int) -> Iterator[Case]:
    chance = np.random.default_rng(seed)
    users, items = runtime.catalog.size("user"), runtime.catalog.size("item")
    for user, item in zip(chance.integers(0, users, count), chance.integers(0, items, count), strict=True):
        queries = _asked(runtime, int(user))
        yield Case(queries, queries, int(item))


def near(runtime: Runtime, pipeline: Pipeline, count: int, seed: int) -> Iterator[Case]:
    chance = np.random.default_rng(seed)
    for user in chance.integers(0, runtime.catalog.size("user"), count):
        queries = _asked(runtime, int(user))
        best, _ = replace(pipeline, reranker=None, fallback=None).recommend(queries, 40)
        if len(best):
            yield Case(queries, queries, int(chance.choice(best.item)))


def ruled_out(runtime: Runtime, unusual: Rows, count: int, seed: int) -> Iterator[Case]:
    """Every third is left out by the request, every third has a condition, every third is one of `unusual`."""
    chance = np.random.default_rng(seed)
    users, items = runtime.catalog.size("user"), runtime.catalog.size("item")
    for at in range(count):
        user, item = int(chance.integers(users)), int(chance.integers(items))
        free = _asked(runtime, user)
        queries = free
        if at % 3 == 0:
            queries = free.with_exclude(Ragged.of([{"item": [item]}], {"item": np.int32}))
        elif at % 3 == 1:
            queries = Attribute(runtime.catalog, CONDITION).narrow(free)
            meets = bool(Attribute(runtime.catalog, CONDITION).keep(free, _row(item))[0])
            free = queries if meets else free  # without the reason: only where there is one
        else:
            item = int(chance.choice(unusual))
        yield Case(queries, free, item)


def _row(item: int) -> Candidates:
    return Candidates(np.zeros(1, np.int32), np.array([item], np.int32))


def _asked(runtime: Runtime, user: int) -> Queries:
    return runtime.queries(np.array([user], np.int32), ops.mix(np.array([user], np.uint64)))


def prepare(home: Path) -> Settings:
    """The default pipelines trained on MovieLens-100K and published; then some films are sold out and some come."""
    settings = parse({}, home=home)
    stores = open_configured(settings)
    try:
        frames = movielens_100k(folder("movielens-100k"))
        now = time_ns() // 1000
        load_frames(frames, stores.catalog, stores.log, kinds=settings.kinds, now=now, rejects=home / "rejects")
        data = read_window(settings, stores.catalog, stores.log)
        version, _ = make_release(settings, data, stores, created=datetime.now(UTC))
        new = stores.catalog.rows("item", [f"new {at}" for at in range(30)], create=True)
        stores.catalog.put("item", new, {"year": np.full(len(new), 1998.0)})
        sold_out = np.arange(0, data.n_items, 20, dtype=np.int32)
        stores.catalog.put("item", sold_out, {"available": np.zeros(len(sold_out))})
    finally:
        stores.close()
    publish(settings.releases_path, version)
    return settings


def judged(pipeline: Pipeline, cases: Iterator[Case], k: int, items: int) -> tuple[int, list[str], Counter[str]]:
    """How many cases there were, what was wrong about each that was, and the reasons that were named."""
    faults: list[str] = []
    named: Counter[str] = Counter()
    for case in cases:
        said = wrong(pipeline, case, k, items)
        faults += [f"user {case.queries.user[0]}, item {case.item}: {'; '.join(said)}"] if said else []
        named[outcome(pipeline, case, k, items)] += 1
    return named.total(), faults, named


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path)
    options.add_argument("--pairs", type=int, default=1000)
    given = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as place:
        settings = prepare(Path(place))
        with Runtime.open(settings) as runtime, threadpool_limits(1):
            pipeline, items = runtime.release.pipelines["home"], runtime.catalog.size("item")
            k = pipeline.limit
            unusual = np.append(np.arange(0, items, 20), np.arange(items - 30, items)).astype(np.int32)
            draws = {
                "random": random(runtime, given.pairs, 0),
                "near": near(runtime, pipeline, given.pairs // 3, 1),
                "ruled out": ruled_out(runtime, unusual, given.pairs // 3, 2),
            }
            for name, cases in draws.items():
                count, faults, named = judged(pipeline, cases, k, items)
                reasons = ", ".join(f"{each} {times}" for each, times in named.most_common())
                print(f"{name:10} {count - len(faults)} of {count} right; {reasons}")
                print("\n".join(faults[:20]), end="\n" if faults else "")
                for metric, value in (("right", count - len(faults)), ("cases", count)):
                    rows.append(Row(name, "shortlist", "movielens-100k", "", metric, value, note=reasons))
            people = np.random.default_rng(3).choice(runtime.catalog.size("user"), given.pairs // 5, replace=False)
            shown, true, own = np.sum(
                [true_reasons(pipeline, _asked(runtime, int(user)), k) for user in people], axis=0
            )
            share, personal = true / shown, own / shown
            print(f"{shown} items shown: {share:.2%} with a true reason, {personal:.2%} with one of the person's own")
            for metric, value in (("shown", shown), ("with a true reason", true), ("with a personal one", own)):
                rows.append(Row("reasons", "shortlist", "movielens-100k", "", metric, float(value)))
    if given.json:
        write(given.json, "whynot", "movielens-100k", rows)
    if any(row.metric == "right" and row.value != rows[at + 1].value for at, row in enumerate(rows)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
