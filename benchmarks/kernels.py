"""How fast we fit and rank, as ratios to our peers at equal quality: `python -m benchmarks.kernels --json OUT`.

A ratio is the peer's seconds over ours: larger is better for us. Every library works in a process of its own on the
same files; they take turns, and the best of the repetitions counts. Fits stop where all libraries are equally good: an
iterative algorithm makes as many rounds as it needs to come within `SLACK` of the NDCG@100 on validation that the least
of them reaches at most.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.process import Answered, PeerFailed, Worker, write_job
from benchmarks.rows import ROOT, Row, write
from benchmarks.splits import SPLITS
from shortlist.eval import offline
from shortlist.eval.protocol import Part, Split
from shortlist.models.als import Als

OWN = "shortlist"
SETS = {"movielens-1m": "leave-last", "gowalla": "published"}
ASKED = 3000  # questions that quality is measured on
PLACES = 100
ROUNDS = (4, 8, 16)
SLACK = 0.98

Params = Mapping[str, Any]


class Race(NamedTuple):
    """One algorithm in several libraries, with settings that validation found for each."""

    model: str
    note: str
    params: Mapping[str, Params]
    rounds: Mapping[str, str] = {}  # what the libraries call the number of rounds, where there are any


def races(name: str) -> list[Race]:
    """What is compared on a set."""
    rounds = {OWN: "iterations", "peer:implicit": "iterations", "peer:irspack": "train_epochs"}
    dense = name == "movielens-1m"
    pair, reg = (1.0, 0.003) if dense else (0.014, 0.003)
    alpha, penalty = (2.0, 10.0) if dense else (50.0, 60.0)
    found = []
    for factors in (64, 128):
        implicit = {"factors": factors, "alpha": alpha, "regularization": penalty}
        params = {
            OWN: {"factors": factors},
            "peer:implicit": implicit,
            "peer:irspack": {"n_components": factors, "alpha0": pair, "reg": reg},
            "peer:rectools": implicit,
        }
        found.append(Race("als", f"{factors} factors", params, {**rounds, "peer:rectools": "iterations"}))
    neighbours = {"weighting": "cosine", "neighbours": 100}
    knn = {
        OWN: neighbours,
        "peer:implicit": neighbours,
        "peer:irspack": {"feature_weighting": "NONE", "top_k": 100},
        "peer:rectools": neighbours,
    }
    found.append(Race("itemknn", "cosine, 100 neighbours", knn))
    if dense:  # EASE inverts a matrix of items by items
        ease = {OWN: {"reg": 500.0}, "peer:irspack": {"reg": 500.0}, "peer:rectools": {"regularization": 500.0}}
        found.append(Race("ease", "", ease))
    return found


class Ground(NamedTuple):
    """A set with the folders that the libraries read."""

    set: str
    split: Split
    folder: Path
    environments: Path
    repeats: int

    def part(self, name: str) -> Part:
        part = self.split.valid if name == "valid" else self.split.test
        return part if name == "all" else _some(part)


def run(ground: Ground, race: Race) -> list[Row]:
    """Choose the rounds on validation, then fit in turns; rows of quality for each side and of ratios for each peer."""
    params = _equal(ground, race) if race.rounds else dict(race.params)
    answers = _in_turns(ground, race.model, "test", params)
    judged = {side: _judge(ground.part("test"), each[0].shown) for side, each in answers.items()}
    return _rows(ground, race.model, race.note, params, answers, judged)


def rank(ground: Ground, factors: int) -> list[Row]:
    """The hundred best items of everybody, from the same vectors."""
    model = Als(factors=factors).fit(ground.split.final, seed=0)
    path = ground.folder / f"vectors-{factors}.npz"
    part = ground.part("all")
    np.savez(path, user=model.fold_in(part.history), item=model.item)
    sides = (OWN, "peer:implicit", "peer:irspack", "peer:rectools")
    answers = _in_turns(ground, "top", "all", {side: {"vectors": str(path)} for side in sides})
    judged = {side: _judge(part, each[0].shown) for side, each in answers.items()}
    note = f"{len(part)} lists of {PLACES}, {factors} factors"
    return _rows(ground, "top-100", note, {side: {"factors": factors} for side in sides}, answers, judged)


def _equal(ground: Ground, race: Race) -> dict[str, Params]:
    """Each library's settings with the fewest rounds that bring it to the quality all can reach."""
    reached: dict[str, dict[int, float]] = {}
    for side, params in race.params.items():
        with Worker(side, race.model, ground.folder / "valid", ground.environments) as worker:
            values = reached[side] = {}
            for rounds in ROUNDS:
                answered = worker.ask({**params, race.rounds[side]: rounds})
                values[rounds] = _judge(ground.part("valid"), answered.shown)[f"ndcg@{PLACES}"]
        _say(f"  {race.model} {race.note} {side}: " + ", ".join(f"{n}: {v:.4f}" for n, v in values.items()))
    goal = SLACK * min(max(values.values()) for values in reached.values())
    fewest = {side: min(n for n, value in values.items() if value >= goal) for side, values in reached.items()}
    return {side: {**params, race.rounds[side]: fewest[side]} for side, params in race.params.items()}


def _in_turns(ground: Ground, model: str, job: str, params: Mapping[str, Params]) -> dict[str, list[Answered]]:
    answers: dict[str, list[Answered]] = {side: [] for side in params}
    with ExitStack() as stack:
        workers = {
            side: stack.enter_context(Worker(side, model, ground.folder / job, ground.environments)) for side in params
        }
        for _ in range(ground.repeats):
            for side, worker in workers.items():
                answers[side].append(worker.ask(params[side]))
    return answers


def _rows(
    ground: Ground,
    model: str,
    note: str,
    params: Mapping[str, Params],
    answers: Mapping[str, list[Answered]],
    judged: Mapping[str, Mapping[str, float]],
) -> list[Row]:
    rows = []
    seconds = {side: [each.seconds for each in tries] for side, tries in answers.items()}
    best = {side: min(each) for side, each in seconds.items()}
    for side, values in judged.items():
        common: dict[str, Any] = {"seconds": round(best[side], 4), "params": params[side], "note": note}
        for metric, value in values.items():
            rows.append(Row(model, side, ground.set, ground.split.name, metric, value, **common))
        if side != OWN:
            pairs = np.array(seconds[side]) / np.array(seconds[OWN])
            low, high = float(pairs.min()), float(pairs.max())
            ratio = best[side] / best[OWN]
            said = f"{note}; best of {ground.repeats}, low and high of the turns" if note else ""
            common["note"] = said or f"best of {ground.repeats}, low and high of the turns"
            rows.append(Row(model, side, ground.set, ground.split.name, "ratio", ratio, low, high, **common))
        told = f" = {best[side] / best[OWN]:.2f} of ours" if side != OWN else ""
        _say(f"{ground.set} {model} {note} {side}: {best[side]:.3f} s{told}, ndcg@10 {values['ndcg@10']:.4f}")
    return rows


def _judge(part: Part, shown: np.ndarray) -> dict[str, float]:
    values, _ = offline.measure(shown, part, (10, 20, PLACES))
    return {metric: float(np.nanmean(values[metric])) for metric in ("ndcg@10", "recall@20", f"ndcg@{PLACES}")}


def _some(part: Part) -> Part:
    if len(part) <= ASKED:
        return part
    return part.take(np.sort(np.random.default_rng(17).permutation(len(part))[:ASKED]))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", choices=list(SETS), help="one set only; may be given twice")
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument("--quick", action="store_true", help="MovieLens-1M once: shows that it works, measures nothing")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers", type=Path, default=ROOT / ".benchmarks/peers", help="where environments are made")
    given = parser.parse_args()
    os.environ.pop("OPENBLAS_CORETYPE", None)  # everybody's own choice
    names = ["movielens-1m"] if given.quick else given.set or list(SETS)
    rows: list[Row] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            split = SPLITS[name][SETS[name]]()
            ground = Ground(name, split, Path(folder), given.peers, 1 if given.quick else given.repeats)
            for job, train in (("valid", split.train), ("test", split.final), ("all", split.final)):
                write_job(ground.folder / job, train, ground.part(job), PLACES)
            for race in races(name):
                try:
                    rows += run(ground, race)
                except PeerFailed as failure:
                    _say(f"left out: {name} {race.model}: {failure}")
            for factors in (64, 128):
                rows += rank(ground, factors)
    if given.json:
        write(given.json, "kernels", " ".join(names), rows)


if __name__ == "__main__":
    main()
