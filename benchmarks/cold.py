"""People and items that nobody has met: `python -m benchmarks.cold --json OUT`.

MovieLens-1M. New people: a tenth of all, none of whose events anybody learns from; they are asked with an empty history
and their profile alone (age, gender, occupation, place), against what everybody likes. New items: a tenth of all,
none of whose events anybody learns from; everybody who liked one is asked to tell the new items from each other, by
their content alone, against chance. All ranked, nothing sampled; differences are paired by person.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.process import LEARNED, Answered, Worker, write_job
from benchmarks.rows import ROOT, Row, write
from benchmarks.splits import movielens_1m, movielens_100k
from shortlist.dataset import Dataset
from shortlist.eval import baselines, offline
from shortlist.eval.baselines import System
from shortlist.eval.bootstrap import intervals
from shortlist.eval.metrics import Values
from shortlist.eval.protocol import Part
from shortlist.types import Ragged

OWN = "shortlist"
KS = (10, 20)
MAIN = "ndcg@10"
METRICS = (MAIN, "recall@10", "recall@20", "mrr@20")
SHARE = 0.1  # of all people, or of all items, that are held out
ASKED = 3000  # people at most
MODELS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "new-users": {"profile": {}, "twotower": {}},
    "new-items": {"twotower": {}, "content": {}},
}
QUICK = {"descent.epochs": 1}


class Trial(NamedTuple):
    """What is learned from, what is asked, what everything is compared with."""

    name: str
    train: Dataset
    part: Part
    against: str
    beside: Mapping[str, System]


def new_users(data: Dataset, seed: int = 17) -> Trial:
    """Everything that a tenth of the people liked, asked for at the moment of their first event."""
    held = np.random.default_rng(seed).random(data.n_users) < SHARE
    train, theirs = data.only(~held[data.events.user]), data.only(held[data.events.user])
    known = np.bincount(train.events.item, minlength=data.n_items) > 0
    users, relevant = _liked(theirs, known)
    start = np.full(data.n_users, np.iinfo(np.int64).max)
    np.minimum.at(start, data.events.user, data.events.time)
    part = Part(users, start[users], train.histories(users), relevant, known)
    return Trial("new-users", train, part, "popular", {"popular": baselines.popular(train), **_random(data)})


def new_items(data: Dataset, seed: int = 17) -> Trial:
    """What everybody liked of a tenth of the items, among these alone."""
    held = np.random.default_rng(seed).random(data.n_items) < SHARE
    train, theirs = data.only(~held[data.events.item]), data.only(held[data.events.item])
    users, relevant = _liked(theirs, held)
    part = Part(users, np.full(len(users), data.now), train.histories(users), relevant, held)
    part = part.take(np.flatnonzero(part.history.length > 0))
    return Trial("new-items", train, part, "random", _random(data))


def _liked(data: Dataset, known: np.ndarray) -> tuple[np.ndarray, Ragged]:
    """The people of `data` with the known items they liked."""
    event = (data.weight > 0) & known[data.events.item]
    pair = np.unique(data.events.user[event].astype(np.int64) * data.n_items + data.events.item[event])
    users, first = np.unique(pair // data.n_items, return_index=True)
    relevant = Ragged(np.append(first, len(pair)), {"item": (pair % data.n_items).astype(np.int32)})
    return users.astype(np.int32), relevant


def _random(data: Dataset) -> dict[str, System]:
    return {"random": baselines.random(data.n_items)}


def run(set_name: str, trial: Trial, environments: Path, quick: bool, models: Collection[str]) -> list[Row]:
    """Quality of each model, and its difference to what it must beat."""
    rows: list[Row] = []
    part = trial.part
    if len(part) > ASKED:
        part = part.take(np.sort(np.random.default_rng(5).choice(len(part), ASKED, replace=False)))

    def add(model: str, answered: Answered, params: Mapping[str, Any]) -> Mapping[str, Values]:
        values, _ = offline.measure(answered.shown, part, KS)
        cost = {"seconds": answered.seconds, "peak_mb": answered.peak_mb, "params": params}
        for metric, found in intervals({name: values[name] for name in METRICS}).items():
            rows.append(Row(model, OWN, set_name, trial.name, metric, found.value, found.low, found.high, **cost))
        _say(f"{trial.name} {model:10} {MAIN} {np.mean(values[MAIN]):.4f}, {answered.seconds:.1f} s")
        return values

    base = {
        name: add(name, Answered(offline.ask(system, part, max(KS)), 0.0, 0.0), {})
        for name, system in trial.beside.items()
    }
    with tempfile.TemporaryDirectory() as place:
        folder = write_job(Path(place), trial.train, part, max(KS))
        for model, given in MODELS[trial.name].items():
            if model not in models:
                continue
            params = {**given, **(QUICK if quick and model == "twotower" else {})}
            with Worker(OWN, model, folder, environments) as worker:
                values = add(model, worker.ask(params), params)
            gap = intervals({MAIN: values[MAIN] - base[trial.against][MAIN]})[MAIN]
            note = f"paired, {len(part)} people"
            metric = f"{MAIN}-minus-{trial.against}"
            rows.append(Row(model, OWN, set_name, trial.name, metric, gap.value, gap.low, gap.high, note=note))
            _say(f"  minus {trial.against}: {gap.value:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})")
    return rows


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument("--quick", action="store_true", help="MovieLens-100K, one epoch: shows that it works")
    parser.add_argument("--only", choices=list(MODELS), help="new people or new items alone")
    every = sorted({model for models in MODELS.values() for model in models})
    usual = [model for model in every if model not in LEARNED]
    parser.add_argument(
        "--models", nargs="*", choices=every, default=usual, help=f"default: all but {', '.join(LEARNED)}"
    )
    parser.add_argument("--peers", type=Path, default=ROOT / ".benchmarks/peers", help="where environments are made")
    given = parser.parse_args()
    set_name = "movielens-100k" if given.quick else "movielens-1m"
    data = movielens_100k() if given.quick else movielens_1m()
    rows: list[Row] = []
    for name, make in (("new-users", new_users), ("new-items", new_items)):
        if given.only in (None, name):
            rows += run(set_name, make(data), given.peers, given.quick, given.models)
    if given.json:
        write(given.json, "cold", set_name, rows)


if __name__ == "__main__":
    main()
