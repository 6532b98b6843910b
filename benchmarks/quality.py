"""How good the lists are, ours and our peers', on public data: `python -m benchmarks.quality SET --json OUT`.

Every library gets the same train, the same questions and the same budget on validation (so many settings, so many
seconds, whichever ends first); its lists are judged by our measures, person by person. Each algorithm is fitted in a
process of its own. Settings that were found are kept in benchmarks/tuned/SET.json and used again unless `--tune` is
given.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import ctr, published, ratings, two_stage
from benchmarks.item2vec import write_walks
from benchmarks.peers.process import LEARNED, Answered, PeerFailed, Worker, write_job
from benchmarks.rows import ROOT, Row, write
from benchmarks.spaces import SPACES, Params, search
from benchmarks.splits import SPLITS, TIMED
from shortlist.eval import baselines, offline
from shortlist.eval.bootstrap import intervals
from shortlist.eval.metrics import Values
from shortlist.eval.offline import Background
from shortlist.eval.protocol import Part, Split

OWN = "shortlist"
KS = (10, 20)
MAIN = "ndcg@10"
ANSWERS = {("movielens-1m", "global"): 20}
"""Of a validation question, at least: that test asks about years, its validation about weeks (decision 18)."""
ADDED = {("movielens-1m", "global")}
"""Where the blend adds its sources up as they are: weights that were learned then are wrong by now (decision 19)."""
CHOSEN_BY = {"gowalla": "recall@20"}  # what settings are chosen by, where what is published is not MAIN
BESIDE = ("recall@10", "ndcg@20", "recall@20", "mrr@20", "novelty@20", "serendipity@20", "diversity@20")
TOGETHER = ("coverage@20", "gini@20")
TRIALS = 12
SECONDS = 600.0  # after which a search begins no other trial, whosever it is
TUNED_ON = 3000  # validation questions at most: LensKit answers one at a time
QUICK = 500  # questions, with --quick
ORDERED = (
    "sasrec",
    "slist",
    "transitions",
    "trend",
    *(name for name in SPACES if name.endswith("-recent")),
)  # what came first matters
LARGE = 20_000  # items beyond which those who need their square are not run
DENSE = ("ease", "edlae", "dan", "slim", "slist")
USUAL = tuple(name for name in SPACES if name not in LEARNED)  # the others take an hour and more: name them
FUSED = ("transitions", "ease-recent", "ease", "als", "itemknn-recent", "userknn", "trend")
FUSED_UNORDERED = ("ease", "als", "itemknn", "userknn")


@dataclass
class Ground:
    """One split of one set with its folders, and the lists' figures found so far."""

    set: str
    split: Split
    valid: Part  # the validation questions that settings are chosen on
    folder: Path
    environments: Path
    people: NDArray[np.intp]  # test questions of people with a history: the figures are theirs
    background: Background
    rows: list[Row] = field(default_factory=list)
    values: dict[tuple[str, str], Mapping[str, Values]] = field(default_factory=dict)  # by model and side

    @staticmethod
    def of(name: str, split: Split, folder: Path, environments: Path, quick: bool) -> Ground:
        valid = _some(split.valid.take(chosen_on(name, split)), QUICK if quick else TUNED_ON)
        test = _some(split.test, QUICK) if quick else split.test
        split = Split(split.name, split.train, valid, split.final, test)
        write_job(folder / "valid", split.train, valid, max(KS))
        write_job(folder / "test", split.final, test, max(KS))
        people = met(test)
        background = Background.of(split.final, test.take(people), max(KS))
        return Ground(name, split, valid, folder, environments, people, background)

    def add(self, model: str, side: str, answered: Answered, params: Mapping[str, Any], note: str) -> None:
        """Judge what was shown; one row a measure. Who had no history by then is a segment of its own: METRIC-new."""
        cost = {"seconds": round(answered.seconds, 3), "peak_mb": round(answered.peak_mb, 1)}

        def rows(values: Mapping[str, Values], names: Sequence[str], segment: str = "") -> None:
            for metric, each in intervals({name: values[name] for name in names if name in values}).items():
                told = (f"{metric}{segment}", each.value, each.low, each.high)
                self._row(model, side, *told, params=params, note=note, **cost)

        shown, test, people = answered.shown, self.split.test, self.people
        values, together = offline.measure(shown[people], test.take(people), KS, self.background)
        self.values[model, side] = values
        rows(values, (MAIN, *BESIDE))
        for metric in TOGETHER:
            self._row(model, side, metric, together[metric], params=params, note=note, **cost)
        new = np.setdiff1d(np.arange(len(test)), people)
        if len(new):
            rows(offline.measure(shown[new], test.take(new), KS)[0], (MAIN, f"recall@{max(KS)}"), "-new")
        say(f"{model:15} {side:15} {MAIN} {np.nanmean(values[MAIN]):.4f}, {answered.seconds:.1f} s")

    def compare(self, model: str, other: tuple[str, str], note: str) -> None:
        """A row for the paired difference of our `model` to `other` (model and side)."""
        gap = self.values[model, OWN][MAIN] - self.values[other][MAIN]
        name = other[1] if other[0] == model else other[0] if other[1] == OWN else f"{other[0]}-{other[1]}"
        found = intervals({MAIN: gap})[MAIN]
        self._row(model, OWN, f"{MAIN}-minus-{name}", found.value, found.low, found.high, note=note)
        say(f"{model:15} minus {name:15} {found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f}) {note}")

    def failed(self, model: str, side: str, error: Exception) -> None:
        self._row(model, side, MAIN, float("nan"), note=f"failed: {error}"[:500])
        say(f"{model:15} {side:15} failed: {error}")

    def _row(
        self, model: str, side: str, metric: str, value: float, low: float | None = None, high: float | None = None,
        **more: Any,
    ) -> None:  # fmt: skip
        self.rows.append(Row(model, side, self.set, self.split.name, metric, value, low, high, **more))


class Settings:
    """The best settings on validation: those kept in a file, or found now by the search that everybody gets."""

    def __init__(self, path: Path, trials: int, seconds: float, *, again: bool, keep: bool) -> None:
        self.path, self.trials, self.seconds, self.again, self.keep = path, trials, seconds, again, keep
        self.known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self.found: set[tuple[str, str, str]] = set()  # split, model and side of the searches of this run

    def of(self, ground: Ground, model: str, side: str) -> Params:
        """Raises PeerFailed when no setting can be fitted."""
        slot = self.known.setdefault(ground.split.name, {}).setdefault(model, {})
        asked = (ground.split.name, model, side)
        if side not in slot or (self.again and asked not in self.found):
            slot[side] = self._search(ground, model, side)
            self.found.add(asked)
            if self.keep:
                self.path.parent.mkdir(exist_ok=True)
                self.path.write_text(json.dumps(self.known, indent=1, sort_keys=True) + "\n")
        return dict(slot[side]["params"])

    def note(self, ground: Ground, model: str, side: str) -> str:
        """How much was tried for the settings of `of`."""
        return f"best of {self.known[ground.split.name][model][side]['trials']} settings on validation"

    def _search(self, ground: Ground, model: str, side: str) -> dict[str, Any]:
        space = SPACES[model][side]
        if all(len(values) == 1 for values in space.values()):
            short = {"descent.epochs": 1} if model in LEARNED and not self.keep else {}
            return {"params": {**{name: values[0] for name, values in space.items()}, **short}, "trials": 1}
        start, chosen_by = perf_counter(), CHOSEN_BY.get(ground.set, MAIN)
        with Worker(side, model, ground.folder / "valid", ground.environments) as worker:

            def value(params: Params) -> float:
                try:
                    shown = worker.ask(params).shown
                except PeerFailed as failed:
                    if worker.ended:
                        raise
                    say(f"  {params}: {failed}")
                    return float("-inf")
                return float(np.mean(offline.measure(shown, ground.valid, KS)[0][chosen_by]))

            trials = search(space, self.trials, value, seconds=self.seconds)
        best = trials[0]
        if best.value == float("-inf"):
            raise PeerFailed(f"{side} {model}: none of {len(trials)} settings could be fitted")
        say(f"  {side} {model}: {best.params} {best.value:.4f} of {len(trials)}, {perf_counter() - start:.0f} s")
        return {"params": best.params, chosen_by: round(best.value, 5), "trials": len(trials)}


def run(ground: Ground, settings: Settings, models: Sequence[str]) -> list[Row]:
    """Fit, ask, judge and compare `models`, with chance and popularity beside."""
    split, test = ground.split, ground.split.test
    possible = [name for name in SPACES if ground.set in TIMED or name not in ORDERED]
    possible = [name for name in possible if len(test.known) <= LARGE or name.removesuffix("-recent") not in DENSE]
    if not split.final.items:
        possible.remove("content")
    if "item2vec" in models:
        write_walks(ground.folder / "valid", split.train)
        write_walks(ground.folder / "test", split.final)
    sources = [name for name in (FUSED if ground.set in TIMED else FUSED_UNORDERED) if name in possible]
    beside = {
        "random": baselines.random(len(test.known)),
        "popular": baselines.popular(split.final),
        "recent": baselines.recent(split.final),
    }
    for name, system in beside.items():
        ground.add(name, OWN, Answered(offline.ask(system, test, max(KS)), 0.0, 0.0), {}, "")
    for model in possible:
        if model not in models and not ("fused" in models and model in sources):
            continue
        for side in SPACES[model] if model in models else (OWN,):
            try:
                params = settings.of(ground, model, side)
                with Worker(side, model, ground.folder / "test", ground.environments) as worker:
                    note = f"{settings.note(ground, model, side)}{_note(model, side)}"
                    ground.add(model, side, worker.ask(params), params, note)
            except PeerFailed as failed:
                if side == OWN:
                    raise
                ground.failed(model, side, failed)
        peers = [key for key in ground.values if key[0] == model and key[1] != OWN]
        best = max(peers, key=lambda key: float(np.nanmean(ground.values[key][MAIN])), default=None)
        for peer in peers:
            ground.compare(model, peer, "the best peer" if peer == best else "")
    if "fused" in models:
        params = {name: settings.of(ground, name, OWN) for name in sources}
        with Worker(OWN, "fused", ground.folder / "test", ground.environments) as worker:
            added = (ground.set, split.name) in ADDED
            answered = worker.ask({"valid": "" if added else str(ground.folder / "valid"), "sources": params})
        note = "sum of the sources in deviations" if added else "blend of the sources, weights learned on validation"
        ground.add("fused", OWN, answered, params, note)
        for source in sources:
            ground.compare("fused", (source, OWN), "one of its sources")
    if "two-stage" in models:
        ranked(ground, settings)
    return ground.rows


def ranked(ground: Ground, settings: Settings) -> None:
    """The second stage, once a seed; the first of them beside everything else that was asked."""
    for seed in two_stage.SEEDS:
        params = two_stage.params(ground.set, ground.split.name, seed, lambda model: settings.of(ground, model, OWN))
        with Worker(OWN, "two-stage", ground.folder / "test", ground.environments) as worker:
            answered = worker.ask(params)
        name = "two-stage" if seed == two_stage.SEEDS[0] else f"two-stage-seed-{seed}"
        note = f"trees over {len(params['sources'])} sources, seed {seed}; fitted with all its sources"
        ground.add(name, OWN, answered, params, note)
    beside = [key for key in ground.values if not key[0].startswith("two-stage")]
    best = {
        mine: max(some, key=lambda key: float(np.nanmean(ground.values[key][MAIN])))
        for mine in (True, False)
        if (some := [key for key in beside if (key[1] == OWN) == mine and key[0] != "fused"])
    }
    for key in beside:
        ground.compare("two-stage", key, "the best single model of its side" if key in best.values() else "")


def _note(model: str, side: str) -> str:
    if (model, side) == ("userknn", "peer:irspack"):
        return "; neighbours of people as they were in train: it does not take a newer history"
    if (model, side) == ("bpr", "peer:implicit"):
        return "; people as they were in train: it finds no vector for a newer history"
    if model.endswith("-recent"):
        return "; history weighted by recency"
    return ""


def met(part: Part) -> NDArray[np.intp]:
    """The questions of people with a history."""
    return np.flatnonzero(part.history.length > 0)


def chosen_on(name: str, split: Split) -> NDArray[np.intp]:
    """The validation questions that settings are chosen on: of people with a history, and with enough answers."""
    asked, least = split.valid, ANSWERS.get((name, split.name), 1)
    return np.flatnonzero((asked.history.length > 0) & (asked.relevant.length >= least))


def _some(part: Part, count: int) -> Part:
    if len(part) <= count:
        return part
    return part.take(np.sort(np.random.default_rng(5).choice(len(part), count, replace=False)))


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """The command."""
    words = sys.argv[1:] if words is None else words
    if words[:1] == ["ctr"]:  # probabilities, not lists
        ctr.main(words[1:])
        return
    if words[:1] == ["ratings"]:  # numbers of stars
        ratings.main(words[1:])
        return
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=(__doc__ or "").splitlines()[0])
    staged = {f"{name}{two_stage.SUFFIX}": name for name in two_stage.STAGES}
    parser.add_argument("set", choices=sorted([*SPLITS, *staged]), help="with -two-stage: its second stage beside them")
    parser.add_argument("--json", type=Path, metavar="OUT", help="file for the rows")
    parser.add_argument("--split", action="append", help="leave-last, global or published; default: the set's first")
    parser.add_argument(
        "--only", default="", help=f"models, comma between them; default: fused and all but {', '.join(LEARNED)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK} questions, two trials or one epoch, nothing kept"
    )
    parser.add_argument("--tune", action="store_true", help="search for settings again")
    parser.add_argument("--trials", type=int, default=TRIALS, help="settings tried of each (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of one search (default %(default)s)")
    parser.add_argument("--peers", type=Path, default=ROOT / ".benchmarks" / "peers", help="folder of environments")
    given = parser.parse_args(words)
    base = staged.get(given.set, given.set)
    whole = [*USUAL, "fused", *(["two-stage"] if base != given.set else [])]
    models = given.only.split(",") if given.only else whole
    unknown = set(models) - {*SPACES, "fused", "two-stage"}
    if unknown:
        parser.error(f"unknown models {', '.join(sorted(unknown))}; there are: {', '.join([*SPACES, *whole[-2:]])}")
    path = ROOT / "benchmarks" / "tuned" / f"{base}.json"
    settings = Settings(path, 2 if given.quick else given.trials, given.seconds, again=given.tune, keep=not given.quick)
    rows: list[Row] = []
    for name in given.split or list(SPLITS[base])[:1]:
        with tempfile.TemporaryDirectory() as folder:
            ground = Ground.of(base, SPLITS[base][name](), Path(folder), given.peers, given.quick)
            found = [*run(ground, settings, models), *published.rows(base, ground.split.name)]
            rows += [replace(row, set=given.set) for row in found]
    if given.json:
        write(given.json, "quality", given.set, rows)


if __name__ == "__main__":
    main()
