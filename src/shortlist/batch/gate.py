"""The gate before publishing: is the release whole, does it fit, does it answer as well as the one that serves now?

Quality is judged on rehearsals: beside its pipelines a release carries the judged one as fitted without the end of the
data. Rehearsals of both releases are asked what happened at the end of today's log, which neither has seen. The release
itself is asked too: it has seen the answers, so it must know more of them than its rehearsal; when it does not, the
rehearsal had seen them as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Literal, TypeAlias, cast

import numpy as np
from threadpoolctl import threadpool_limits

from shortlist import release
from shortlist.batch.golden import replay, warm_up
from shortlist.batch.steps import by_role, judged_pipeline, system
from shortlist.batch.train import read_window, run, split
from shortlist.config import Settings
from shortlist.dataset import Dataset
from shortlist.errors import DataError, NotFound, ReleaseError
from shortlist.eval import baselines
from shortlist.eval.baselines import System
from shortlist.eval.bootstrap import Interval, intervals
from shortlist.eval.metrics import Values, exposure, places
from shortlist.eval.offline import ask, measure
from shortlist.eval.protocol import Part
from shortlist.pipeline import Pipeline
from shortlist.release import Release
from shortlist.stores import Stores
from shortlist.types import Events, Queries, Ragged, Rows

QUESTIONS = 1_000  # of the held-out window
PEOPLE = 250  # asked as they are today
TIMED, ROUNDS = 25, 4  # questions one at a time, each so often
TRIES = 3  # a release that is too slow is timed again: the machine may have been busy with something else
LATENCY = 1.2  # times the live release's
SLACK = 0.0005  # seconds that do not matter
COVERAGE = 0.8  # of the live release's
OVERLAP = 0.2  # of the first ten places
TRIFLE = 0.02  # of the live release's quality: another seed alone makes as much of a difference
GAIN = 2.0  # times the live release's quality: more is too good to be true
MEMORY = 0.01  # of its rehearsal's quality is what a release must gain by having seen the answers

FATAL = frozenset({"integrity", "compatibility"})  # what fails these cannot be served, nor examined further

Verdict: TypeAlias = Literal["pass", "fail", "none"]


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table. `verdict` none: there was nothing to compare, `hint` says why."""

    name: str
    live: float | None
    candidate: float | None
    limit: str
    verdict: Verdict
    hint: str = ""  # what is wrong and what to do


@dataclass(frozen=True, slots=True)
class Gate:
    """What was found about a release that is to be published."""

    release: str
    live: str | None
    checks: tuple[Check, ...]
    seconds: float

    @property
    def failed(self) -> list[str]:
        return [check.name for check in self.checks if check.verdict == "fail"]


class GateFailed(ReleaseError):
    """The release was not published; `gate` says why."""

    def __init__(self, gate: Gate) -> None:
        first = next(check for check in gate.checks if check.verdict == "fail")
        super().__init__(
            f"{gate.release} was refused: {', '.join(gate.failed)}",
            where="publish gate",
            hint=first.hint or "train again, or publish it nevertheless with --force",
        )
        self.gate = gate


def publish(
    settings: Settings, stores: Stores, version: str = "", *, force: bool = False, by: str = "", why: str = ""
) -> Gate:
    """Let `version` (empty = the newest) through the gate and make it current, or raise GateFailed.

    With `force` it is published although checks failed, which the history keeps; never one that cannot be served.
    """
    root = settings.releases_path
    known = release.versions(root)
    if not known:
        raise NotFound("there is no release to publish", where=str(root), hint="make one with: shortlist train")
    gate = examine(settings, stores, version or known[-1])
    if gate.failed and (not force or set(gate.failed) & FATAL):
        release.refuse(root, gate.release, by=by, failed=gate.failed)
        raise GateFailed(gate)
    action: release.Action = "force" if gate.failed else "publish"
    release.publish(root, gate.release, action=action, by=by, why=why, failed=gate.failed)
    return gate


def examine(settings: Settings, stores: Stores, version: str) -> Gate:
    """Every check of `version` against the current release. Raises NotFound when there is no such version."""
    start, live = perf_counter(), release.current(settings.releases_path)
    checks: list[Check] = []
    shelf = _Shelf(settings, stores)
    candidate: Release | None = None
    for name, limit, load in (
        ("integrity", "every byte as it was written, every number finite", shelf.whole),
        ("compatibility", "format, catalogue, columns and shapes of this installation", shelf.fitting),
    ):
        try:
            candidate = load(version)
        except NotFound:
            raise
        except Exception as error:  # whatever a foreign class raises
            hint = getattr(error, "hint", "") or "train again"
            checks.append(Check(name, None, None, limit, "fail", f"{_said(error)}; {hint}"))
            return Gate(version, live, tuple(checks), perf_counter() - start)
        checks.append(Check(name, None, None, limit, "pass"))
    assert candidate is not None
    serving = shelf.serving(live)
    name = judged_pipeline(candidate.pipelines)
    data = _window(settings, stores)
    checks.append(_golden(shelf, candidate))
    checks += _today(data, candidate, serving, name)
    checks += _quality(settings, data, shelf, candidate, serving, name)
    return Gate(version, live, tuple(checks), perf_counter() - start)


@dataclass(frozen=True, slots=True)
class _Shelf:
    """The releases of an installation."""

    settings: Settings
    stores: Stores

    def whole(self, version: str) -> None:
        release.check(self.settings.releases_path, version)

    def fitting(self, version: str) -> Release:
        """Loaded and asked once by each pipeline: what is missing shows as an error of a stage."""
        root, trust = self.settings.releases_path, self.settings.releases.trust
        loaded = release.load(root, version, by_role(self.stores), trust=trust)
        for name, trace in warm_up(loaded, self.stores.catalog).items():
            if trace.errors:
                raise ReleaseError(f"pipeline {name}: {trace.reasons[0]}", where=version)
        return loaded

    def serving(self, live: str | None) -> Release | None:
        """The live release, None when there is none that can be compared with."""
        try:
            return None if live is None else self.fitting(live)
        except Exception:  # a damaged one cannot be compared with; the sooner it is replaced the better
            return None

    def part(self, version: str, name: str) -> object | None:
        root, trust = self.settings.releases_path, self.settings.releases.trust
        return release.load_part(root, version, name, by_role(self.stores), trust=trust)

    def rehearsal(self, version: str, pipeline: str) -> Pipeline | None:
        part = self.part(version, "rehearsal")
        return cast(Pipeline | None, part.get(pipeline)) if isinstance(part, dict) else None


def _golden(shelf: _Shelf, candidate: Release) -> Check:
    limit = "the lists of the day it was made"
    try:
        part = shelf.part(candidate.version, "golden")
        if part is None:
            return Check("golden", None, None, limit, "none", "it carries no golden lists; shortlist train makes them")
        told = replay(candidate.pipelines, part)
    except Exception as error:  # whatever a foreign class raises
        told = [_said(error)]
    if told:
        return Check("golden", None, float(len(told)), limit, "fail", f"{told[0]}; train again on this machine")
    return Check("golden", None, 0.0, limit, "pass")


def _today(data: Dataset, candidate: Release, serving: Release | None, name: str) -> Iterator[Check]:
    """What people would get now: never empty, spread as widely, not all another, as quickly."""
    asked = _people(data)
    was = None if serving is None else _empty(serving, asked, data.n_items, name)
    empty, allowed = _empty(candidate, asked, data.n_items, name), was or 0.0
    hint = "a pipeline proposes nothing to somebody: give it a fallback"
    yield _row("empty", was, empty, f"<= {allowed:.2%} of lists", empty <= allowed, hint)
    if serving is None or name not in serving.pipelines:
        for each in ("coverage", "overlap@10", "latency"):
            yield Check(each, None, None, "", "none", "nothing is served that it could be compared with")
        return
    old, new = serving.pipelines[name], candidate.pipelines[name]
    before, after = (places(run(each, asked, 10), len(asked), 10) for each in (old, new))
    had, has = (exposure(each, np.ones(data.n_items, np.bool_))["coverage"] for each in (before, after))
    hint = "fewer different items are shown: look at the sources and at who is favoured"
    yield _row("coverage", had, has, f">= {COVERAGE * had:.4f} of all items", has >= COVERAGE * had, hint)
    shared = _overlap(before, after)
    hint = "nearly every list is another: compare a few with shortlist recommend"
    yield _row("overlap@10", None, shared, f">= {OVERLAP}", shared >= OVERLAP, hint)
    for _ in range(TRIES):
        with threadpool_limits(1):  # as a server computes
            slow, quick = _latency(old, new, asked)
        fine = quick <= LATENCY * slow or quick - slow <= SLACK
        if fine:
            break
    hint = "a stage has become slow: shortlist recommend USER --trace shows which"
    yield _row("latency", slow * 1e3, quick * 1e3, f"<= {LATENCY * slow * 1e3:.2f} ms, median", fine, hint)


def _quality(
    settings: Settings, data: Dataset, shelf: _Shelf, candidate: Release, serving: Release | None, name: str
) -> Iterator[Check]:
    """nDCG@10 on the end of the log."""
    rehearsal = shelf.rehearsal(candidate.version, name)
    try:
        held = split(data, settings.evaluate.split, "evaluate.split")
    except DataError as error:
        yield Check("quality", None, None, "", "none", error.message)
        return
    rival = None if serving is None else shelf.rehearsal(serving.version, name)
    if rehearsal is None:
        verdict: Verdict = "none" if rival is None else "fail"
        hint = "it carries no rehearsal, so nobody knows how good it is: make it with shortlist train"
        yield Check("quality", None, None, "", verdict, hint)
        return
    asked = _some(held.test, QUESTIONS)
    value = {
        "rehearsal": _ndcg(system(rehearsal), asked),
        "release": _ndcg(system(candidate.pipelines[name]), asked),
        "popular": _ndcg(baselines.popular(held.final), asked),
        "against": _ndcg(system(rival) if rival else baselines.random(data.n_items), asked),
    }
    mean = {each: float(column.mean()) for each, column in value.items()}
    of = intervals(
        {each: value["rehearsal"] - value[each] for each in ("release", "popular", "against")},
        resamples=settings.evaluate.resamples,
        seed=settings.evaluate.seed,
    )
    apart, known = of["against"], mean["against"] if rival else None
    trifle = TRIFLE * mean["against"]
    least = mean["against"] - trifle - (apart.high - apart.value)
    hint = f"worse by {-apart.value:.4f} ({-apart.high:.4f} to {-apart.low:.4f}): compare data and parameters"
    limit = f">= {least:.4f} nDCG@10 on {len(asked):,} held-out questions" + ("" if rival else ", of chance")
    yield _row("quality", known, mean["rehearsal"], limit, apart.high >= -trifle, hint)
    if rival:
        hint = "too good to be true: look for something that knows the future; if it is earned, use --force"
        fine = apart.low <= (GAIN - 1) * mean["against"]
        yield _row("gain", known, mean["rehearsal"], f"<= {GAIN * mean['against']:.4f}", fine, hint)
    yield _memory(of["release"], of["popular"], mean["rehearsal"], mean["release"])


def _memory(behind: Interval, popular: Interval, rehearsed: float, seen: float) -> Check:
    """A release that has seen the answers knows more of them than its rehearsal, which lies `behind`; unless neither
    has learned anything beyond what is popular."""
    least = rehearsed * (1 + MEMORY)
    hint = ""
    if behind.low > 0:
        hint = "it knows less than its rehearsal although it has seen more: it is not what was rehearsed; train again"
    elif popular.low > 0 and -behind.low <= MEMORY * rehearsed:
        hint = "its rehearsal knew the held-out answers: find the source or feature that reads the future"
    return _row("memory", None, seen, f"> {least:.4f}, having seen the answers", not hint, hint)


def _row(name: str, live: float | None, candidate: float | None, limit: str, fine: bool, hint: str) -> Check:
    return Check(name, live, candidate, limit, "pass" if fine else "fail", "" if fine else hint)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, ReleaseError) else f"{type(error).__name__}: {error}"


def _window(settings: Settings, stores: Stores) -> Dataset:
    try:
        return read_window(settings, stores.catalog, stores.log)
    except DataError:  # an empty installation: strangers are asked, and nothing is held out
        return Dataset.of(Events.empty(), 0, 0, kinds=settings.kinds)


def _people(data: Dataset) -> Queries:
    """Some of the people, as they are at the end of the data, and a stranger."""
    some = np.arange(data.n_users, dtype=np.int32)
    if len(some) >= PEOPLE:
        some = np.sort(np.random.default_rng(0).choice(some, PEOPLE - 1, replace=False))
    user = np.append(some, np.int32(-1))
    return Queries.of(user, history=data.histories(user), time=data.now, seed=user.astype(np.int64).view(np.uint64))


def _empty(loaded: Release, asked: Queries, items: int, judged: str) -> float:
    """Share of empty lists of all pipelines, of those for whom something was left; others than `judged` are asked about
    the item met last."""
    last = asked.history.last(1)
    context = Ragged(last.ptr, {**last.columns, "weight": np.ones(len(last["item"]), np.float32)})
    viewing = replace(asked, context=context)
    met = np.bincount(
        np.unique((asked.history.owner.astype(np.int64) << 32) | asked.history["item"]) >> 32, minlength=len(asked)
    )
    left = met < items
    if not left.any():
        return 0.0
    shares = []
    for name, pipeline in loaded.pipelines.items():
        slate = run(pipeline, asked if name == judged else viewing, 1)
        full = np.zeros(len(asked), np.bool_)
        full[slate.query] = True
        shares.append(float(np.mean(~full[left])))
    return float(np.mean(shares))


def _overlap(before: Rows, after: Rows) -> float:
    """Mean share of the places of `before` (B, k) whose item is anywhere in the same list of `after`."""
    shared = (before[:, :, None] == after[:, None, :]).any(axis=2) & (before >= 0)
    return float(shared.sum() / max(1, np.count_nonzero(before >= 0)))


def _latency(old: Pipeline, new: Pipeline, asked: Queries) -> tuple[float, float]:
    """Median seconds of one question, of both. They take turns, and of each question the quickest round counts, so that
    what else the machine does meets both alike."""
    chosen = np.unique(np.linspace(0, len(asked) - 1, TIMED).astype(np.intp))
    took = np.full((2, len(chosen), ROUNDS), np.inf)
    for turn in range(ROUNDS):
        for place, position in enumerate(chosen):
            for which in ((0, 1), (1, 0))[turn % 2]:
                query = asked.take(np.array([position]))  # a new one: what two stages need is kept with the question
                start = perf_counter()
                (old, new)[which].recommend(replace(query), 10)  # nothing worked out before
                took[which, place, turn] = perf_counter() - start
    slow, quick = np.median(took.min(axis=2), axis=1)
    return float(slow), float(quick)


def _ndcg(answer: System, asked: Part) -> Values:
    return measure(ask(answer, asked, 10), asked, [10])[0]["ndcg@10"]


def _some(part: Part, most: int) -> Part:
    if len(part) <= most:
        return part
    return part.take(np.sort(np.random.default_rng(0).choice(len(part), most, replace=False)))
