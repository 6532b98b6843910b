"""What the doors offer, in the words of the wire: ids become rows here, and rows ids."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import UNSET

from shortlist.data.events import context_number, request_number
from shortlist.dataset import duration
from shortlist.errors import ConfigError, StoreError
from shortlist.pipeline import FilterFailed, Step
from shortlist.release import Release, overdue
from shortlist.rungs import LEVELS
from shortlist.runtime import Reply, Runtime
from shortlist.serve import wire
from shortlist.serve.cursors import Cursors
from shortlist.serve.idempotency import Once
from shortlist.serve.intake import Intake, kind_code
from shortlist.serve.lists import Lists, degradations
from shortlist.serve.logs import FACTS, Pseudonyms
from shortlist.serve.metrics import Metrics, merged
from shortlist.serve.privacy import Privacy
from shortlist.serve.problems import Refusal, refusal
from shortlist.serve.remembered import Memory
from shortlist.serve.siblings import PASSED_ON, Siblings
from shortlist.types import HISTORY, Columns, Queries, Ragged, Rows

if TYPE_CHECKING:
    from shortlist.serve.opentelemetry import Spans

LOOKED_AT = 2_000  # people among whom different ones are looked for
log = logging.getLogger("shortlist.serve")
SESSION: Mapping[str, Any] = {name: HISTORY[name] for name in ("item", "kind", "value", "time")}


def _spans(url: str) -> Spans | None:
    if not url:
        return None
    try:
        from shortlist.serve import opentelemetry
    except ImportError as error:
        raise ConfigError(
            f"spans cannot be sent: {error}",
            where="serve.traces",
            hint="pip install 'shortlist[telemetry]', or leave serve.traces empty",
        ) from None
    return opentelemetry.to(url)


class ConditionRefused(ConfigError):
    """The condition of a request does not fit the columns of the items."""


class Service:
    """Every operation of the API, without a transport."""

    def __init__(self, runtime: Runtime, metrics: Metrics, siblings: Siblings | None = None) -> None:
        self.runtime, self.metrics, self.siblings = runtime, metrics, siblings
        self.leaving = False  # told to stop
        self.spans = _spans(runtime.settings.serve.traces)
        self._steps = threading.local()  # of the answers that a thread makes now
        self._names = Pseudonyms(runtime.secret("logs"), plain=runtime.settings.serve.log_pii)
        self._told: dict[tuple[str, int], float] = {}  # when degraded answers were logged last
        self.catalog, self.kinds = runtime.catalog, runtime.kinds
        self.intake = Intake(runtime, metrics)
        self.lists = Lists(runtime)
        self.changing = threading.Lock()  # held from reading facts until their change is stored
        self.cursors = Cursors(runtime.secret("cursors"))
        self.once = Once(runtime)
        self.streams = 0  # of events, open now
        serve = runtime.settings.serve
        self.memory = Memory(serve.remember, duration(serve.remember_for))
        self.privacy = Privacy(runtime, self.memory, self.once)

    # lists

    def recommend(
        self,
        asks: Sequence[wire.RecommendRequest],
        request_ids: Sequence[str],
        where: Sequence[str],
        trial: Release | None = None,
        *,
        waited: float = 0.0,
    ) -> list[wire.Recommendation | Refusal]:
        """An answer or a refusal for each question; those that want the same of one pipeline are asked together.

        `where` is the JSON pointer to each question. A `trial` is asked in place of what is served, and not remembered.
        `waited` is how many seconds of every deadline are over.
        """
        results: dict[int, wire.Recommendation | Refusal] = {}
        groups: dict[tuple[str, object, str, object], list[int]] = {}
        for position, (ask, pointer) in enumerate(zip(asks, where, strict=True)):
            try:
                self._check(ask, pointer, trial)
            except Refusal as refused:
                results[position] = refused
            else:
                groups.setdefault((ask.scenario, ask.n, ask.filter, ask.deadline_ms), []).append(position)
        for some in groups.values():
            answered = self._together(
                [asks[at] for at in some], [request_ids[at] for at in some], [where[at] for at in some], trial, waited
            )
            results.update(zip(some, answered, strict=True))
        return [results[position] for position in range(len(asks))]

    def similar(self, item_id: str, query: wire.SimilarQuery, request_id: str) -> wire.Recommendation:
        """Items like one item. Raises not_found for an item that the catalog does not know."""
        self._known("item", item_id)
        ask = wire.RecommendRequest(
            user_id=query.user_id or None,
            scenario="similar",
            n=query.n,
            context=[item_id],
            explain=query.explain,
            fields=[name for name in query.fields.split(",") if name],
        )
        (answer,) = self.recommend([ask], [request_id], [""])
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def question(self, ask: wire.Question, request_id: str) -> Queries:
        """One question as the pipelines read it. Raises Refusal."""
        asked = wire.RecommendRequest(**{name: getattr(ask, name) for name in wire.Question.__struct_fields__})
        self._check(asked, "")
        try:
            return self._queries([asked], [request_id])
        except ConditionRefused as error:
            raise _condition(error, "") from None

    def _together(
        self,
        asks: Sequence[wire.RecommendRequest],
        request_ids: Sequence[str],
        where: Sequence[str],
        trial: Release | None,
        waited: float,
    ) -> Sequence[wire.Recommendation | Refusal]:
        """Questions of one scenario, number and filter."""
        try:
            return self._answers(asks, request_ids, trial, waited)
        except ConditionRefused as error:
            return [_condition(error, pointer) for pointer in where]
        except FilterFailed as error:
            return [refusal(error)] * len(asks)

    def _check(self, ask: wire.RecommendRequest, where: str, trial: Release | None = None) -> None:
        scenarios = (trial or self.runtime.release).pipelines
        if ask.scenario not in scenarios:
            raise Refusal(
                "invalid_argument",
                f"there is no scenario {ask.scenario!r}",
                hint=f"choose one of: {', '.join(scenarios)}",
                pointer=f"{where}/scenario",
            )
        if ask.user_id is not None:
            wire.identifier(ask.user_id, f"{where}/user_id")
        for name in ("context", "exclude"):
            for at, each in enumerate(getattr(ask, name)):
                wire.identifier(each, f"{where}/{name}/{at}")
        for at, event in enumerate(ask.events):
            wire.identifier(event.item_id, f"{where}/events/{at}/item_id")
            kind_code(self.kinds, event.type, f"{where}/events/{at}/type")
        unknown = set(ask.fields).difference(self.catalog.names("item"))
        if unknown:
            raise Refusal(
                "invalid_argument",
                f"items have no column {min(unknown)!r}",
                hint=f"they have: {', '.join(self.catalog.names('item'))}",
                pointer=f"{where}/fields",
            )

    def _answers(
        self,
        asks: Sequence[wire.RecommendRequest],
        request_ids: Sequence[str],
        trial: Release | None,
        waited: float,
    ) -> list[wire.Recommendation]:
        start, version = perf_counter(), self.catalog.version("item")
        queries = self._queries(asks, request_ids)
        explain = any(ask.explain != "none" for ask in asks)
        seconds = (asks[0].deadline_ms or self.runtime.settings.serve.deadline_ms) / 1000 - waited
        reply = self.runtime.recommend(
            asks[0].scenario, queries, asks[0].n or None, explain=explain, seconds=seconds, trial=trial
        )
        if trial is None:
            self.metrics.answered(asks[0].scenario, len(asks), reply)
        self._note(asks, request_ids, reply)
        lists = self.lists.of(asks, queries, reply)
        versions = wire.versions(reply.release, self.runtime.clock())
        took = round((perf_counter() - start) * 1000, 3)
        trace = reply.trace
        stages = [
            wire.Stage(
                step.stage, step.name, round(step.seconds * 1000, 3), int(step.rows_in), int(step.rows_out), step.error
            )
            for step in (*trace.steps, *reply.explained.steps)
        ]
        wanted = asks[0].n or reply.release.pipelines[asks[0].scenario].limit
        answers = [
            wire.Recommendation(
                request_id,
                None if ask.user_id is None else str(ask.user_id),
                ask.scenario,
                items,
                versions,
                degraded,
                took,
                stages if ask.explain == "full" else UNSET,
            )
            for ask, request_id, items, degraded in zip(
                asks, request_ids, lists, degradations(reply, lists, wanted), strict=True
            )
        ]
        if trial is None:
            self.memory.keep(asks, answers, stages, wanted, queries, reply, version)
        return answers

    def steps(self) -> Sequence[Step]:
        """The steps of the answers that this thread has made since it was asked last."""
        steps: Sequence[Step] = getattr(self._steps, "made", ())
        self._steps.made = ()
        return steps

    def _note(self, asks: Sequence[wire.RecommendRequest], request_ids: Sequence[str], reply: Reply) -> None:
        """For the spans, what was done; for the log, once a second, that an answer came from a lower rung."""
        if self.spans is not None:
            self._steps.made = (*getattr(self._steps, "made", ()), *reply.trace.steps, *reply.explained.steps)
        at = int(reply.rung.argmax())
        rung, now = int(reply.rung[at]), monotonic()
        if rung and now - self._told.get((asks[at].scenario, rung), -inf) >= 1:
            self._told[asks[at].scenario, rung] = now
            user = asks[at].user_id
            facts = {
                "request_id": request_ids[at],
                "user": None if user is None else self._names.of(str(user)),
                "scenario": asks[at].scenario,
                "level": LEVELS[rung],
                "reasons": reply.trace.reasons,
            }
            log.info("an answer came from a lower rung", extra={FACTS: facts})

    def _queries(self, asks: Sequence[wire.RecommendRequest], request_ids: Sequence[str]) -> Queries:
        now = self.runtime.clock()
        user = np.full(len(asks), -1, np.int32)
        named = [position for position, ask in enumerate(asks) if ask.user_id is not None]
        user[named] = self.catalog.rows("user", [str(asks[position].user_id) for position in named])
        self.metrics.people(len(named), int(np.count_nonzero(user[named] < 0)))
        seed = np.array(
            [
                request_number(request_id) if ask.seed is UNSET else ask.seed
                for ask, request_id in zip(asks, request_ids, strict=True)
            ],
            np.uint64,
        )
        events = [event for ask in asks for event in ask.events]
        session = self._items([[event.item_id for event in ask.events] for ask in asks])
        said = {
            "kind": [self.kinds.table[event.type].code for event in events],
            "value": [event.value for event in events],
            "time": [now if event.time is None else wire.micros(event.time) for event in events],
        }
        columns = {**session.columns, **{name: np.asarray(values, SESSION[name]) for name, values in said.items()}}
        try:
            queries = self.runtime.queries(
                user,
                seed,
                session=Ragged(session.ptr, columns),
                context=self._items([ask.context for ask in asks]),
                exclude=self._items([ask.exclude for ask in asks]),
                where=asks[0].filter,
            )
        except ConfigError as error:
            raise ConditionRefused(error.message, hint=error.hint) from None
        told: Columns = {**_facts(asks), **_wishes(asks)}
        return replace(queries, columns={**queries.columns, **told}) if told else queries

    def _items(self, lists: Sequence[Sequence[str | int]]) -> Ragged:
        """Lists of ids as lists of rows, -1 for the unknown."""
        if not any(lists):
            return Ragged(np.zeros(len(lists) + 1, np.int64), {"item": np.empty(0, np.int32)})
        ptr = np.concatenate(([0], np.cumsum([len(each) for each in lists]))).astype(np.int64)
        return Ragged(ptr, {"item": self.catalog.rows("item", [str(id) for each in lists for id in each])})

    # people

    def history(self, user_id: str, limit: int) -> wire.History:
        """The newest events of a person."""
        recent = self.runtime.state.lists("user", "recent", self._known("user", user_id)).last(limit)
        names = self.catalog.ids("item", recent["item"])
        rows = zip(
            names,
            self.lists.titles(recent["item"]),
            recent["kind"].tolist(),
            recent["value"].tolist(),
            recent["time"],
            strict=True,
        )
        met = [
            wire.Met(id, title, self.kinds.name(kind), value, wire.moment(time))
            for id, title, kind, value, time in rows
        ]
        return wire.History(user_id, met[::-1])

    def people(self, limit: int) -> wire.People:
        """Different people: spread evenly from the longest history to the shortest."""
        size = self.catalog.size("user")
        some = np.unique(np.linspace(0, max(0, size - 1), min(size, LOOKED_AT)).astype(np.int32))
        lists = self.runtime.state.lists("user", "recent", some)
        order = np.argsort(-lists.length, kind="stable")
        order = order[lists.length[order] > 0]
        chosen = order[np.unique(np.linspace(0, max(0, len(order) - 1), min(limit, len(order))).astype(np.intp))]
        picked = lists.take(chosen)
        return wire.People(
            [
                wire.Person(id, int(length), wire.moment(picked["time"][end - 1]))
                for id, length, end in zip(
                    self.catalog.ids("user", some[chosen]), picked.length, picked.ptr[1:], strict=True
                )
            ]
        )

    def info(self) -> wire.Info:
        runtime = self.runtime
        return wire.Info(
            runtime.settings.serve.titles,
            list(self.catalog.names("item")),
            sorted(runtime.release.pipelines),
            sorted(self.kinds.table),
            self.catalog.size("item"),
            self.catalog.size("user"),
            runtime.release.version or None,
        )

    def close(self) -> None:
        """Send the spans that wait."""
        if self.spans is not None:
            self.spans.close()

    def leave(self) -> None:
        """From now on this server is not ready: it was told to stop."""
        self.leaving = True

    def ready(self) -> wire.Ready:
        """From the moment the server listens until it is told to stop: without a release it answers from the
        catalogue."""
        runtime = self.runtime
        old = overdue(runtime.release.facts, runtime.clock(), runtime.settings.releases.schedule)
        reasons = [reason for reason in (runtime.refused, old) if reason]
        if self.leaving:
            reasons.append("the server was told to stop")
        return wire.Ready(not self.leaving, self.runtime.release.version or None, reasons)

    def exposition(self, headers: Mapping[str, str]) -> bytes:
        """The metrics as text: of all workers, unless one of them asks (with `headers`)."""
        own = self.metrics.text(self.runtime)
        if self.siblings is None or PASSED_ON in headers:
            return own
        texts = {self.siblings.number: own}
        for number in self.siblings.others:
            with suppress(StoreError):  # it is being started again
                texts[number] = bytes(self.siblings.ask(number, "GET", "/metrics", headers, b"").body)
        return merged(dict(sorted(texts.items())))

    def _known(self, entity: str, id: str) -> Rows:
        row = self.catalog.rows(entity, [wire.identifier(id, "")])
        known = self.catalog.present("item", row) if entity == "item" else row >= 0  # who was deleted has a history
        if not known[0]:
            raise Refusal("not_found", f"there is no {entity} {id!r}", hint=f"make it with PUT /v1/{entity}s/{{id}}")
        return row


def _condition(error: ConditionRefused, where: str) -> Refusal:
    return Refusal("invalid_argument", str(error), hint=error.hint, pointer=f"{where}/filter")


def _facts(asks: Sequence[wire.RecommendRequest]) -> Columns:
    """What the questions say of the moment, as numbers, 0 where they do not."""
    names = sorted({name for ask in asks for name in ask.facts})
    return {
        f"fact.{name}": np.array([context_number(ask.facts.get(name, "")) for ask in asks], np.int64) for name in names
    }


def _wishes(asks: Sequence[wire.RecommendRequest]) -> Columns:
    """What the questions turn of their scenario, NaN where they leave it; no columns when all leave everything."""
    given = {name: [getattr(ask, name) for ask in asks] for name in ("diversity", "exploration")}
    return {
        name: np.array([math.nan if value is UNSET else value for value in values], np.float64)
        for name, values in given.items()
        if any(value is not UNSET for value in values)
    }
