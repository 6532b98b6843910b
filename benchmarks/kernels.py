"""How fast models fit and rank, as ratios to our peers at equal quality: `python -m benchmarks.kernels --json OUT`.

Two works of every model: the fit, and with what was fitted the hundred best items of everybody. A ratio is the peer's
seconds over ours: larger is better for us. Each library works in a process of its own on the same files; neither
loading nor judging is timed; they take turns, and the best of the repetitions counts. Fits stop where all libraries are
equally good: an iterative algorithm makes as many rounds as it needs to come within `SLACK` of the NDCG@100 on
validation that the least of them reaches at most. Models that are learned with PyTorch run only when they are named.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.item2vec import write_walks
from benchmarks.peers.process import LEARNED, Answered, PeerFailed, Worker, write_job
from benchmarks.peers.with_shortlist import RECIPES
from benchmarks.races import OWN, Params, Race, races
from benchmarks.rows import ROOT, Row, write
from benchmarks.splits import SPLITS
from shortlist.eval import offline
from shortlist.eval.protocol import Part, Split
from shortlist.models.als import Als

SETS = {"movielens-1m": "leave-last", "gowalla": "published", "movielens-100k": "leave-last"}
USUAL, SMALL = ("movielens-1m", "gowalla"), "movielens-100k"
TOP = "top-100"  # also names the race that ranks given vectors
COUNTS = ("trend",)  # nothing is fitted that a race could be about
MODELS = (*(name for name in RECIPES if name not in (*LEARNED, *COUNTS)), TOP)
ASKED = 3000  # questions that rounds are chosen on
PLACES = 100
SLACK = 0.98
PATIENCE = 15.0  # seconds: a library that takes longer for a turn gets no other
PREFIX = {"fit": "", TOP: f"{TOP}-"}  # of the metrics of a work
SECONDS: Mapping[str, Callable[[Answered], float]] = {"fit": attrgetter("seconds"), TOP: attrgetter("answering")}


class Ground(NamedTuple):
    """A set with the folders that the libraries read."""

    set: str
    split: Split
    folder: Path
    environments: Path
    repeats: int

    @staticmethod
    def of(name: str, split: Split, folder: Path, environments: Path, repeats: int) -> Ground:
        """`folder` gets the jobs "valid", some questions, and "test", everybody's."""
        ground = Ground(name, split, folder, environments, repeats)
        write_job(folder / "valid", split.train, ground.valid, PLACES)
        write_job(folder / "test", split.final, split.test, PLACES)
        return ground

    @property
    def valid(self) -> Part:
        part = self.split.valid
        return part.take(np.sort(np.random.default_rng(17).permutation(len(part))[:ASKED]))


def run(ground: Ground, race: Race) -> list[Row]:
    """Choose the rounds on validation, then fit and answer in turns; rows of quality and seconds for each side, and of
    ratios for each peer."""
    if race.model == "item2vec":
        write_walks(ground.folder / "test", ground.split.final)
    params = _equal(ground, race) if race.rounds else dict(race.params)
    return _rows(ground, race.model, race.note, params, _in_turns(ground, race.model, params), tuple(PREFIX))


def rank(ground: Ground, factors: int) -> list[Row]:
    """The hundred best items of everybody, from the same vectors."""
    model = Als(factors=factors).fit(ground.split.final, seed=0)
    path = ground.folder / f"vectors-{factors}.npz"
    np.savez(path, user=model.fold_in(ground.split.test.history), item=model.item)
    sides = (OWN, "peer:implicit", "peer:irspack", "peer:rectools")
    answers = _in_turns(ground, "top", {side: {"vectors": str(path)} for side in sides})
    note = f"{len(ground.split.test)} lists of {PLACES}, {factors} factors"
    return _rows(ground, TOP, note, {side: {"factors": factors} for side in sides}, answers, (TOP,))


def _equal(ground: Ground, race: Race) -> dict[str, Params]:
    """Each library's settings with the fewest rounds that bring it to the quality all can reach."""
    reached: dict[str, dict[int, float]] = {}
    for side, params in race.params.items():
        try:
            with Worker(side, race.model, ground.folder / "valid", ground.environments) as worker:
                each = {rounds: worker.ask({**params, race.rounds[side]: rounds}).shown for rounds in race.tried}
        except PeerFailed as failed:
            _left_out(side, failed)
            continue
        values = {rounds: _judge(ground.valid, shown)[f"ndcg@{PLACES}"] for rounds, shown in each.items()}
        reached[side] = values
        _say(f"  {race.model} {race.note} {side}: " + ", ".join(f"{n}: {v:.4f}" for n, v in values.items()))
    goal = SLACK * min(max(values.values()) for values in reached.values())
    fewest = {side: min(n for n, value in values.items() if value >= goal) for side, values in reached.items()}
    return {side: {**race.params[side], race.rounds[side]: number} for side, number in fewest.items()}


def _in_turns(ground: Ground, model: str, params: Mapping[str, Params]) -> dict[str, list[Answered]]:
    """What each side did in each of its turns; a peer that fails is left out."""
    answers: dict[str, list[Answered]] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for turn in range(ground.repeats):
            for side in params:
                before = answers.get(side, [])
                if turn and (not before or before[0].seconds + before[0].answering > PATIENCE):
                    continue
                try:
                    if not turn:
                        worker = Worker(side, model, ground.folder / "test", ground.environments)
                        workers[side] = stack.enter_context(worker)
                    answers[side] = [*before, workers[side].ask(params[side])]
                except PeerFailed as failed:
                    _left_out(side, failed)
                    answers.pop(side, None)
    return answers


def _left_out(side: str, failed: PeerFailed) -> None:
    if side == OWN:
        raise failed
    _say(f"left out: {failed}")


def _rows(
    ground: Ground,
    model: str,
    note: str,
    params: Mapping[str, Params],
    answers: Mapping[str, list[Answered]],
    works: Sequence[str],
) -> list[Row]:
    """Of each side its quality and the seconds of the works, of each peer the ratios."""
    rows: list[Row] = []
    for side, turns in answers.items():
        row = partial(Row, model, side, ground.set, ground.split.name, params=params[side])
        values = _judge(ground.split.test, turns[0].shown)
        rows += [row(metric, value, note=note) for metric, value in values.items()]
        told = []
        for work in works:
            took, own = (np.array([SECONDS[work](each) for each in answers[of]]) for of in (side, OWN))
            best, low, high = (round(float(each), 4) for each in (took.min(), took.min(), took.max()))
            said = "; ".join(each for each in (note, f"best of {len(took)}, low and high of the turns") if each)
            rows.append(row(f"{PREFIX[work]}seconds", best, low, high, seconds=best, note=said))
            told.append(f"{work} {best:.3f} s")
            if side != OWN:
                ratio, pairs = float(took.min() / own.min()), took / own[: len(took)]
                low, high = float(pairs.min()), float(pairs.max())
                rows.append(row(f"{PREFIX[work]}ratio", ratio, low, high, seconds=best, note=said))
                told[-1] += f" = {ratio:.2f} of ours"
        _say(f"{ground.set} {model} {note} {side}: {', '.join(told)}, ndcg@10 {values['ndcg@10']:.4f}")
    return rows


def _judge(part: Part, shown: np.ndarray) -> dict[str, float]:
    values, _ = offline.measure(shown, part, (10, 20, PLACES))
    return {metric: float(np.nanmean(values[metric])) for metric in ("ndcg@10", "recall@20", f"ndcg@{PLACES}")}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", choices=list(SETS), help="one set only; may be given twice")
    parser.add_argument("--only", nargs="+", metavar="MODEL", choices=[*MODELS, *LEARNED], help="these models alone")
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument("--quick", action="store_true", help=f"{SMALL}, once: shows that it works, measures nothing")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", type=Path, default=ROOT / ".benchmarks/peers", help="where environments are made")
    given = parser.parse_args(words)
    os.environ.pop("OPENBLAS_CORETYPE", None)  # everybody's own choice
    names = given.set or ([SMALL] if given.quick else list(USUAL))
    wanted = given.only or MODELS
    rows: list[Row] = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            split = SPLITS[name][SETS[name]]()
            ground = Ground.of(name, split, Path(folder), given.peers, 1 if given.quick else given.repeats)
            for race in races(name, split.name, split.final.n_users):
                if race.model in wanted:
                    rows += run(ground, race._replace(tried=race.tried[:1]) if given.quick else race)
            for factors in (64, 128) if TOP in wanted else ():
                rows += rank(ground, factors)
    if given.json:
        write(given.json, "kernels", " ".join(names), rows)


if __name__ == "__main__":
    main()
