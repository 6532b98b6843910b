"""Which settings to try next, which to give up early, what mattered: Optuna's TPE (Bergstra et al., NeurIPS 2011),
successive halving (Li et al., MLSys 2020) and PED-ANOVA (Watanabe et al., IJCAI 2023).

The one file that knows the library; it comes with `pip install shortlist[tune]`. A study in a file holds whole trials
only, and chance in a trial comes from the seed and the trials before it: a search that was interrupted goes on as if it
had not been.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from math import prod
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias

import numpy as np
import optuna
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial, TrialState

from shortlist.batch.targets import STEPS, Climb
from shortlist.errors import ShortlistError, StoreError, StoreLocked
from shortlist.eval.metrics import Values
from shortlist.eval.search import Tried

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Grid: TypeAlias = Mapping[str, Sequence[Any]]
Point: TypeAlias = dict[str, int]  # a setting as places in the grid

REDUCTION = 3  # of those who reach a rung, one in so many goes on
REDRAWN = 20  # times a setting that was tried already is drawn again before any other is taken
FEWEST = 4  # settings that say what mattered
BEST = 0.25  # share of them that counts as good


class Study:
    """The trials of one search, in a SQLite file that others may share."""

    def __init__(self, study: optuna.Study, grid: Grid, start: Point, seed: int, least: int) -> None:
        self._study, self._grid, self._start, self._seed, self._least = study, grid, start, seed, least
        self._axes = {name: IntDistribution(0, len(values) - 1) for name, values in grid.items() if len(values) > 1}
        self._trials = study.get_trials(deepcopy=False)
        self.size = prod(len(values) for values in grid.values())

    @property
    def tried(self) -> tuple[Tried, ...]:
        return tuple(map(self._told, self._trials))

    def run(self, climb: Climb, trials: int, stop: float, told: Callable[[Tried], None]) -> None:
        """Try settings until there are `trials`, or none is left, or it is `stop` by the monotonic clock.

        The first is what is configured: it is tried in any case, and whole. One that raises ShortlistError failed.
        """
        while (count := len(self._trials)) < min(trials, self.size) and (not count or monotonic() < stop):
            done = self._tried(climb, stop if count else np.inf)
            if done is None:
                return
            self._study.add_trial(done)
            self._trials.append(done)
            told(self._told(done))

    def values(self, number: int) -> Values:
        """(B,) the values per question of the first trial, or of one that was the best when it was made."""
        return np.array(self._trials[number].user_attrs["values"])

    def importance(self) -> dict[str, float]:
        """How much each parameter tells good settings from others, shares, the largest first; empty: too few settings.

        All are compared at the first rung, which all of them reached.
        """
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances  # seconds: it brings sklearn

        whole = optuna.create_study(direction="maximize")
        for each in self._trials:
            if each.intermediate_values:
                first = each.intermediate_values[min(each.intermediate_values)]
                whole.add_trial(optuna.create_trial(value=first, params=each.params, distributions=each.distributions))
        if len(whole.trials) < FEWEST or not self._axes:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a share rests on few trials: the report says how many
            judge = PedAnovaImportanceEvaluator(target_quantile=BEST)
            return get_param_importances(whole, evaluator=judge)

    def _tried(self, climb: Climb, stop: float) -> FrozenTrial | None:
        """A trial of the next setting; None when it was `stop` before the end of it."""
        study, trial = self._next()
        begin, state, note, values = monotonic(), TrialState.COMPLETE, "", None
        first = trial.number == 0
        try:
            for step, values in climb(self._params(trial.params)):
                trial.report(float(np.mean(values)), step)
                if step == STEPS[-1]:
                    break
                if not first and trial.should_prune():
                    state = TrialState.PRUNED
                    break
                if monotonic() >= stop:
                    return None
        except ShortlistError as error:
            if first:
                raise
            state, note = TrialState.FAIL, str(error)
        value = None
        if state is TrialState.COMPLETE and values is not None:
            value = float(np.mean(values))
            if value > max((each.value for each in self.tried if each.state == "whole"), default=-np.inf):
                trial.set_user_attr("values", [round(float(each), 6) for each in values])
        trial.set_user_attr("seconds", monotonic() - begin)
        trial.set_user_attr("note", note)
        return study.tell(trial, value, state)

    def _next(self) -> tuple[optuna.Study, optuna.trial.Trial]:
        """A setting that was not tried, in a study of its own that knows what was."""
        done = self._trials
        known = {self._place(each.params) for each in done}
        for attempt in range(REDRAWN + 1):
            chance = _mixed(self._seed, len(done), attempt)
            study = optuna.create_study(
                direction="maximize",
                sampler=optuna.samplers.TPESampler(seed=chance),
                pruner=optuna.pruners.SuccessiveHalvingPruner(self._least, REDUCTION),
            )
            study.add_trials(done)
            if not done:
                study.enqueue_trial({name: self._start[name] for name in self._axes})
            elif attempt == REDRAWN:
                study.enqueue_trial(self._any(known, chance))
            trial = study.ask(dict(self._axes))
            if self._place(trial.params) not in known:
                break
        return study, trial

    def _any(self, known: set[tuple[Any, ...]], chance: int) -> Point:
        """A setting that is not `known`, all the same to us."""
        draw = np.random.default_rng(chance)
        while True:
            point = {name: int(draw.integers(0, axis.high + 1)) for name, axis in self._axes.items()}
            if self._place(point) not in known:
                return point

    def _place(self, point: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(point[name] for name in self._axes)

    def _params(self, point: Mapping[str, Any]) -> dict[str, Any]:
        return {name: values[point.get(name, 0)] for name, values in self._grid.items()}

    def _told(self, each: FrozenTrial) -> Tried:
        states = {TrialState.COMPLETE: "whole", TrialState.PRUNED: "early", TrialState.FAIL: "failed"}
        state: Any = states[each.state]
        value = float("nan") if state == "failed" or each.value is None else each.value
        share = 0.0 if state == "failed" else (each.last_step or 0) / STEPS[-1]
        about = each.user_attrs
        return Tried(each.number, self._params(each.params), state, value, share, about["seconds"], about["note"])


@contextmanager
def opened(
    path: Path, name: str, grid: Grid, start: Point, *, seed: int, least: int, fresh: bool = False
) -> Iterator[Study]:
    """The study `name` in the file `path`, made when there is none, begun anew when `fresh`; one process at a time.

    `start` is what is configured, `least` the first of targets.STEPS that is taken.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path):
        _check(path)
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        try:
            if fresh:
                with suppress(KeyError):
                    optuna.delete_study(study_name=name, storage=storage)
            study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
            yield Study(study, grid, start, seed, least)
        finally:
            storage.remove_session()
            storage.engine.dispose()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StoreLocked(
                    "another search is running", where=str(path), hint="wait for it, or stop it: what it tried is kept"
                ) from error
        yield
    finally:
        os.close(handle)


def _check(path: Path) -> None:
    try:
        with closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA schema_version").fetchone()
    except sqlite3.Error as error:
        raise StoreError(
            f"the file of searches cannot be used: {error}", where=str(path), hint="move it away and search again"
        ) from error


def _mixed(*parts: int) -> int:
    """A seed of 32 bits from several numbers."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "little")
