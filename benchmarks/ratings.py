"""How far predicted ratings are off, ours and our peers': `python -m benchmarks.quality ratings --json OUT`.

MovieLens-100K in its five official folds, MovieLens-1M with a tenth of the ratings drawn as test. Every library gets
the same ratings, the same facts about people and films where it can read them, and the same budget on a validation part
of each training fold. Predictions are clipped to the scale by us.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.process import PeerFailed, Worker
from benchmarks.rows import ROOT, Row, write
from benchmarks.spaces import Params, search
from benchmarks.splits import folder
from shortlist.batch.spaces import Space
from shortlist.data import movielens
from shortlist.data.frames import to_dataset
from shortlist.dataset import Dataset
from shortlist.eval.bootstrap import Interval, intervals
from shortlist.eval.ratings import Biases, predict
from shortlist.models.fields import Fields
from shortlist.types import Columns

OWN = "shortlist"
SCRIPTS = {OWN: "stars_shortlist.py", "peer:surprise": "stars_surprise.py", "peer:myfm": "stars_myfm.py"}
TRIALS = 4
SECONDS = 60.0  # after which a search begins no other trial, whosever it is
HELD = 0.1  # share of the training ratings that settings are chosen on, and of MovieLens-1M that is test
LEAST = 5  # people or films that share a fact for peers to be told of it, as with us
MEASURES = ("rmse", "mae")
TOO_LONG = {("movielens-1m", "svdpp", "peer:surprise")}  # a quarter of an hour a fit


_DESCENT: Space = {"factors": (62,), "reg": (0.06, 0.08), "epochs": (60, 90)}
SPACES: Mapping[str, Mapping[str, Space]] = {
    "als": {OWN: {"factors": (4, 8, 16), "exponent": (0.3,)}},
    "biased-mf": {
        OWN: _DESCENT,
        "peer:surprise": {"n_factors": (100, 200), "n_epochs": (40, 80), "lr_all": (0.005,), "reg_all": (0.1,)},
    },
    "itemknn": {"peer:surprise": {"k": (20, 40)}},
    "svdpp": {OWN: _DESCENT, "peer:surprise": {"cache_ratings": (True,)}},  # a fit takes it long: as it comes
    "timesvd": {OWN: {**_DESCENT, "factors": (30,)}},
    "bayesian-fm": {
        OWN: {"factors": (14, 30), "sweeps": (250,), "samples": (30,)},
        "peer:myfm": {"rank": (10, 16), "n_iter": (250,), "warmup": (40,)},
    },
}
"""Few settings, around what is known to be good of each library: some take minutes for one."""


@cache
def movielens_100k() -> Dataset:
    return to_dataset(movielens.movielens_100k(folder("movielens-100k")))[0]


@cache
def movielens_1m() -> Dataset:
    return to_dataset(movielens.movielens_1m(folder("movielens-1m")))[0]


def official_folds() -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The name of each fold and which ratings are its test (E,)."""
    path = folder("movielens-100k")
    data, users, items = to_dataset(movielens.movielens_100k(path))
    of_user, of_item = ({id: row for row, id in enumerate(ids)} for ids in (users, items))
    pair = data.events.user.astype(np.int64) * data.n_items + data.events.item
    for name in ("u1", "u2", "u3", "u4", "u5"):
        lines = [line.split("\t") for line in (path / f"{name}.test").read_text().splitlines()]
        asked = np.array([of_user[user] * data.n_items + of_item[item] for user, item, *_ in lines])
        yield name, np.isin(pair, asked)


def one_tenth() -> Iterator[tuple[str, NDArray[np.bool_]]]:
    place = np.random.default_rng(0).permutation(len(movielens_1m()))
    yield "random", place < len(place) * HELD


SETS: Mapping[str, Callable[[], Dataset]] = {"movielens-100k": movielens_100k, "movielens-1m": movielens_1m}
FOLDS: Mapping[str, Callable[[], Iterator[tuple[str, NDArray[np.bool_]]]]] = {
    "movielens-100k": official_folds,
    "movielens-1m": one_tenth,
}


@dataclass(frozen=True)
class Fold:
    """One set in three parts, written for the libraries: settings are chosen in `valid`, figures come from `test`."""

    set: str
    name: str
    train: Dataset
    test: Dataset
    held: NDArray[np.float32]  # (V,) the ratings of the validation part
    folder: Path

    @staticmethod
    def of(set_name: str, name: str, asked: NDArray[np.bool_], place: Path) -> Fold:
        data = SETS[set_name]()
        chance = np.random.default_rng(1)
        valid = ~asked & (chance.random(len(data)) < HELD)
        _write(place / "test", set_name, data, ~asked, asked)
        _write(place / "valid", set_name, data, ~asked & ~valid, valid)
        return Fold(set_name, name, data.only(~asked), data.only(asked), data.events.value[valid], place)


def _write(place: Path, name: str, data: Dataset, train: NDArray[np.bool_], asked: NDArray[np.bool_]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    (place / "set").write_text(name)
    events = data.events
    low, high = float(events.value.min()), float(events.value.max())
    columns: dict[str, Any] = {each: getattr(events, each)[train] for each in ("user", "item", "value")}
    columns |= {f"asked_{each}": getattr(events, each)[asked] for each in ("user", "item")}
    columns |= {"place": np.flatnonzero(train), "asked_place": np.flatnonzero(asked), "low": low, "high": high}
    np.savez(place / "ratings.npz", **columns)
    for entity, facts, rows in (("people", data.users, data.n_users), ("items", data.items, data.n_items)):
        np.savez(place / f"{entity}.npz", **_facts(facts, rows))


def _facts(columns: Columns, rows: int) -> dict[str, NDArray[Any]]:
    """What peers.stars.Facts holds."""
    fields = Fields.of(columns, (), LEAST)
    codes = fields.codes(columns, rows)
    first = np.cumsum((0, *fields.sizes))
    field = np.searchsorted(first, codes["code"], side="right") - 1
    _, place, many = np.unique(codes.owner * len(first) + field, return_inverse=True, return_counts=True)
    return {"ptr": codes.ptr, "code": codes["code"], "share": 1 / np.sqrt(many[place]), "sizes": np.array(fields.sizes)}


class Settings:
    """The best settings on validation by set, fold, model and side: those kept in a file, or found now."""

    def __init__(self, path: Path, trials: int, seconds: float, *, again: bool, keep: bool) -> None:
        self.path, self.trials, self.seconds, self.again, self.keep = path, trials, seconds, again, keep
        self.known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def of(self, fold: Fold, model: str, side: str, environments: Path) -> tuple[Params, str]:
        """The settings, and how they were found. Raises PeerFailed when none can be fitted."""
        slot = self.known.setdefault(fold.set, {}).setdefault(fold.name, {}).setdefault(model, {})
        if side not in slot or self.again:
            slot[side] = self._search(fold, model, side, environments)
            if self.keep:
                self.path.parent.mkdir(exist_ok=True)
                self.path.write_text(json.dumps(self.known, indent=1, sort_keys=True) + "\n")
        many = slot[side]["trials"]
        note = f"best of {many} settings on a tenth of the training ratings" if many > 1 else "one setting"
        return dict(slot[side]["params"]), note

    def _search(self, fold: Fold, model: str, side: str, environments: Path) -> dict[str, Any]:
        space, scale = SPACES[model][side], _scale(fold.train)
        if all(len(values) == 1 for values in space.values()):
            return {"params": {name: values[0] for name, values in space.items()}, "trials": 1}
        with Worker(side, model, fold.folder / "valid", environments, script=SCRIPTS[side]) as worker:

            def value(params: Params) -> float:
                try:
                    told = worker.tell({"params": params})
                except PeerFailed as failed:
                    if worker.ended:
                        raise
                    say(f"  {params}: {failed}")
                    return float("-inf")
                error = float(np.sqrt(np.mean((np.clip(np.load(worker.out), *scale) - fold.held) ** 2)))
                say(f"  {side} {model} {params}: {error:.4f} on validation, {told['seconds']:.1f} s")
                return -error

            trials = search(space, self.trials, value, seconds=self.seconds)
        if trials[0].value == float("-inf"):
            raise PeerFailed(f"{side} {model}: none of {len(trials)} settings could be fitted")
        return {"params": trials[0].params, "rmse": round(-trials[0].value, 5), "trials": len(trials)}


@dataclass(frozen=True)
class Judged:
    """One model of one side on one fold: squared and absolute errors, and what they cost."""

    fold: str
    error: Mapping[str, NDArray[np.float64]]  # by measure, (N,)
    cost: Mapping[str, Any]

    def of(self, measure: str) -> Interval:
        return _measured(measure, intervals({measure: self.error[measure]})[measure])


def run(name: str, settings: Settings, models: Sequence[str], folds: Sequence[str], environments: Path) -> list[Row]:
    """Every model of every side on every fold; rows by fold, and of their mean where there are several."""
    judged: dict[tuple[str, str], list[Judged]] = {}
    failures: list[Row] = []
    for fold_name, asked in FOLDS[name]():
        if folds and fold_name not in folds:
            continue
        with tempfile.TemporaryDirectory() as place:
            fold = Fold.of(name, fold_name, asked, Path(place))
            mean = float(fold.train.events.value.mean(dtype=np.float64))
            beside = {
                "mean": np.full(len(fold.test), mean),
                "biases": predict(Biases.of(fold.train), fold.train, fold.test),
            }
            for plain, predicted in beside.items():
                judged.setdefault((plain, OWN), []).append(_judge(fold, predicted, {}))
            for model, side in [(each, side) for each in models for side in SPACES[each]]:
                if (name, model, side) in TOO_LONG:
                    continue
                try:
                    each = _fitted(fold, settings, model, side, environments)
                except PeerFailed as failed:
                    if side == OWN:
                        raise
                    failures.append(
                        Row(model, side, name, fold_name, "rmse", float("nan"), note=f"failed: {failed}"[:500])
                    )
                    say(f"{name} {fold_name} {model:12} {side} failed: {failed}")
                    continue
                judged.setdefault((model, side), []).append(each)
                error, seconds = each.of("rmse").value, each.cost["seconds"]
                say(f"{name} {fold_name} {model:12} {side:14} rmse {error:.4f}, {seconds} s")
    rows = []
    for (model, side), many in judged.items():
        for each in many:
            for measure in MEASURES:
                rows.append(Row(model, side, name, each.fold, measure, *each.of(measure)[:3], **each.cost))
        if len(many) > 1:
            for measure in MEASURES:
                value, low, high = _together(many, measure)
                rows.append(Row(model, side, name, "folds", measure, value, low, high, **_spent(many)))
                say(f"{name} folds {model:12} {side:14} {measure} {value:.4f} ({low:.4f} to {high:.4f})")
    return [*rows, *failures]


def _fitted(fold: Fold, settings: Settings, model: str, side: str, environments: Path) -> Judged:
    params, note = settings.of(fold, model, side, environments)
    with Worker(side, model, fold.folder / "test", environments, script=SCRIPTS[side]) as worker:
        told = worker.tell({"params": params})
        predicted = np.load(worker.out)
    cost = {"seconds": round(told["seconds"], 2), "peak_mb": round(told["peak_mb"], 1), "params": params, "note": note}
    return _judge(fold, predicted, cost)


def _judge(fold: Fold, predicted: NDArray[np.floating], cost: Mapping[str, Any]) -> Judged:
    gap = np.clip(predicted.astype(np.float64), *_scale(fold.train)) - fold.test.events.value
    return Judged(fold.name, {"rmse": gap * gap, "mae": np.abs(gap)}, cost)


def _scale(train: Dataset) -> tuple[float, float]:
    return float(train.events.value.min()), float(train.events.value.max())


def _measured(measure: str, found: Interval) -> Interval:
    return Interval(*(each**0.5 for each in found[:3]), found.n) if measure == "rmse" else found


def _together(many: Sequence[Judged], measure: str) -> tuple[float, float, float]:
    """The mean of the folds' figures; its interval from theirs, which are of different ratings."""
    each = np.array([judged.of(measure)[:3] for judged in many])
    value = float(each[:, 0].mean())
    below, above = (float(np.sqrt(((each[:, side] - each[:, 0]) ** 2).sum())) / len(many) for side in (1, 2))
    return value, value - below, value + above


def _spent(many: Sequence[Judged]) -> dict[str, Any]:
    if not many[0].cost:
        return {}
    seconds = round(sum(each.cost["seconds"] for each in many), 2)
    return {"seconds": seconds, "peak_mb": max(each.cost["peak_mb"] for each in many), "note": "seconds of all folds"}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """The command, which benchmarks.quality hands its words to."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality ratings", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="file for the rows")
    parser.add_argument("--set", action="append", choices=sorted(SETS), help="default: all")
    parser.add_argument("--fold", action="append", default=[], help="u1 to u5, random; default: all")
    parser.add_argument("--only", default=",".join(SPACES), help="models, comma between them (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one setting each, nothing kept")
    parser.add_argument("--tune", action="store_true", help="search for settings again")
    parser.add_argument("--trials", type=int, default=TRIALS, help="settings tried of each (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of one search (default %(default)s)")
    parser.add_argument("--peers", type=Path, default=ROOT / ".benchmarks" / "peers", help="folder of environments")
    given = parser.parse_args(words)
    models = given.only.split(",")
    if unknown := set(models) - set(SPACES):
        parser.error(f"unknown models {', '.join(sorted(unknown))}; there are: {', '.join(SPACES)}")
    path = ROOT / "benchmarks" / "tuned" / "ratings.json"
    settings = Settings(path, 1 if given.quick else given.trials, given.seconds, again=given.tune, keep=not given.quick)
    rows: list[Row] = []
    for name in given.set or list(SETS):
        rows += run(name, settings, models, given.fold, given.peers)
    if given.json:
        write(given.json, "quality", "ratings", rows)
