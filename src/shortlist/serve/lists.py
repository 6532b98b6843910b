"""A reply in the words of the wire: rows become ids, columns become items with their reasons."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from shortlist.pipeline import Pipeline
from shortlist.rungs import LEVELS, POPULAR, STALE, STATIC
from shortlist.runtime import Reply, Runtime
from shortlist.serve import wire
from shortlist.serve.sentences import say
from shortlist.types import Queries, Rows
from shortlist.why import reasons

VERBS = {
    "view": "saw",
    "click": "clicked",
    "rate": "rated",
    "like": "liked",
    "cart": "put into the cart",
    "buy": "bought",
}
WORDS = {
    "popular": "popular with everyone",
    "top": "rated highly by many",
    "fresh": "new here",
    "new": "new here",
    "explore": "something different, to learn what you like",
    "fallback": "from the list that everyone gets",
    "last": "from the last list that you got",
}
"""What a source that names no item says; any other: "found by NAME"."""
BELOW = {STALE: "last", POPULAR: "fallback", STATIC: "fallback"}
FILLED = {
    STALE: "the last good list",
    POPULAR: "the fallback list",
    STATIC: "the static list or the catalogue",
}


class Lists:
    """Turns replies into items; about 5 µs an item with its reasons."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.catalog = runtime, runtime.catalog
        kinds = runtime.kinds.table
        self._words = {kind.code: f"you {VERBS[name]}" for name, kind in kinds.items() if name in VERBS}

    def of(self, asks: Sequence[wire.RecommendRequest], queries: Queries, reply: Reply) -> list[list[wire.Item]]:
        """The items of each question, best first."""
        slate = reply.slate
        ids, scores = self.catalog.ids("item", slate.item), slate.columns["score"].tolist()
        given = {name: slate.columns[name] for name in self._sources(asks, reply)}
        proposers = self._proposers(reply, given)
        why = self._reasons(queries, reply) if any(ask.explain != "none" for ask in asks) else None
        pipeline = reply.release.pipelines[asks[0].scenario]
        told = self._told(pipeline, queries, reply) if any(ask.explain == "full" for ask in asks) else None
        facts = self.catalog.read("item", slate.item, sorted({name for ask in asks for name in ask.fields}))
        lists: list[list[wire.Item]] = [[] for _ in asks]
        for row, (query, id, score, sources) in enumerate(
            zip(slate.query.tolist(), ids, scores, proposers, strict=True)
        ):
            ask, places = asks[query], lists[query]
            item = wire.Item(id, len(places) + 1, score if math.isfinite(score) else None, sources)
            if why is not None and ask.explain != "none":
                item.why = why(sources, row)
                if ask.explain == "full":
                    said = {name: float(column[row]) for name, column in given.items()}
                    item.scores = {name: score for name, score in said.items() if math.isfinite(score)}
                    item.why += [] if told is None else told[row]
            if ask.fields:
                item.fields = wire.fields({name: facts[name][row] for name in ask.fields})
            places.append(item)
        return lists

    def titles(self, items: Rows) -> list[str | None]:
        """The title of each item, None where it has none."""
        column = self.runtime.settings.serve.titles
        if column not in self.catalog.names("item"):
            return [None] * len(items)
        return [str(title) or None for title in self.catalog.read("item", items, [column])[column]]

    def _sources(self, asks: Sequence[wire.RecommendRequest], reply: Reply) -> list[str]:
        return [name for name in reply.release.pipelines[asks[0].scenario].sources if name in reply.slate.columns]

    def _proposers(self, reply: Reply, given: Mapping[str, np.ndarray]) -> list[list[str]]:
        """(N,) the sources that proposed each row; rows with the same sources share one list."""
        code = np.zeros(len(reply.slate), np.int64)
        for bit, column in enumerate(given.values()):
            code |= (~np.isnan(column)).astype(np.int64) << bit
        rung = reply.slate.columns["rung"].astype(np.int64)
        code = np.where(rung > 1, -rung, code)
        words = {
            each: [BELOW[-each]] if each < 0 else [name for bit, name in enumerate(given) if each >> bit & 1]
            for each in np.unique(code).tolist()
        }
        return [words[each] for each in code.tolist()]

    def _told(self, pipeline: Pipeline, queries: Queries, reply: Reply) -> list[list[wire.Why]] | None:
        """(N,) the features that gave each row its score, in words; None where that cannot be found out."""
        slate = reply.slate
        told = reply.explained.run("because", "rank", len(slate), lambda: reasons(pipeline, queries, slate), len)
        return None if told is None else [[wire.Why(name, say(reason)[0]) for name, reason in each] for each in told]

    def _reasons(self, queries: Queries, reply: Reply) -> Callable[[Sequence[str], int], list[wire.Why]]:
        """A function from the sources of a row of the slate, and the row, to their reasons in words."""
        spoke = np.unique(np.concatenate([np.empty(0, np.int32), *reply.because.values()]))
        spoke = spoke[spoke >= 0]
        id_of = dict(zip(spoke.tolist(), self.catalog.ids("item", spoke), strict=True))
        title_of = dict(zip(spoke.tolist(), self.titles(spoke), strict=True))
        met = self.met(queries, spoke)
        query = reply.slate.query.tolist()
        because = {name: rows.tolist() for name, rows in reply.because.items()}
        made: dict[tuple[str, int, int], wire.Why] = {}  # by source, item and query: rows of a list have them in common

        def one(name: str, item: int, asked: int) -> wire.Why:
            if item < 0:
                return wire.Why(name, WORDS.get(name, f"found by {name}"))
            title, verb = title_of[item], met.get((asked, item), "of")
            return wire.Why(name, f'because {verb} "{title or id_of[item]}"', id_of[item], title)

        def reasons(names: Sequence[str], row: int) -> list[wire.Why]:
            whys, asked = [], query[row]
            for name in names:
                item = because[name][row] if name in because else -1
                key = name, item, asked if item >= 0 else -1
                if key not in made:
                    made[key] = one(*key)
                whys.append(made[key])
            return whys

        return reasons

    def met(self, queries: Queries, items: Rows) -> dict[tuple[int, int], str]:
        """(query, item) -> what that person liked about the item last, in words; what is in view goes before."""
        met: dict[tuple[int, int], str] = {}
        if not len(items):
            return met
        asked = np.zeros(int(items[-1]) + 1, np.bool_)
        asked[items] = True
        for lists, said in ((queries.history, self._words), (queries.context, None)):
            item = lists["item"]
            told = np.flatnonzero((item < len(asked)) & (lists["weight"] > 0))
            told = told[asked[item[told]]]
            owner = np.searchsorted(lists.ptr, told, side="right") - 1
            rows = zip(owner.tolist(), item[told].tolist(), lists["kind"][told].tolist(), strict=True)
            for query, each, kind in rows:
                met[query, each] = "you are looking at" if said is None else said.get(kind, "of")
        return met


def degradations(reply: Reply, lists: Sequence[Sequence[wire.Item]], wanted: int) -> list[wire.Degradation]:
    """How far each list is from what was configured, and why."""
    failed = reply.trace.errors
    stages = [step.label for step in failed]
    reasons = [f"{stage}: {step.error}" for stage, step in zip(stages, failed, strict=True)]
    if reply.effort < 1:
        stages.append("recall")
        reasons.append(f"sources were asked for {reply.effort:.0%} of their candidates to keep answers quick")
    if not reply.release.version:
        reasons.append("no release is published yet: run shortlist train, then shortlist publish")
    found = []
    for items, rung, age in zip(lists, reply.rung.tolist(), reply.age.tolist(), strict=True):
        told = wire.Degradation(LEVELS[rung], stages, reasons, wanted - len(items))
        if rung >= STALE:
            filled = sum(item.sources[0] in BELOW.values() for item in items if item.sources)
            told.stages = [*stages, "fallback"]
            told.reasons = [*reasons, f"{filled} places filled from {FILLED[rung]}"]
        if math.isfinite(age):
            told.age_s = round(age, 3)
        found.append(told)
    return found
