"""Nearest vectors on one thread, ours and faiss, usearch, hnswlib: `python -m benchmarks.ann --json OUT`.

1,000,000 vectors of 64 numbers, as embeddings are: a mixture of Gaussians around centres of unlike weight (Zipf), with
a spread that falls from dimension to dimension, all of length 1. Questions are fresh draws of the same mixture; a list
is right as far as its scores reach the score of the true hundredth. Every library builds in a process of its own on one
thread, two at a time; then one after the other is asked, one question at a time, while nothing else runs. Each is asked
with growing breadth, which gives a curve of recall and time; the time at equal recall is read off the curve.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.near import K
from benchmarks.peers.process import PeerFailed, Worker
from benchmarks.rows import ROOT, Row, write
from shortlist import ops
from shortlist.types import Mask, Vectors, empty_items

OWN = "shortlist"
SIZE, QUICK, WIDTH = 1_000_000, 20_000, 64
CENTRES, NOISE, WEIGHT, FALL = 1000, 0.6, 0.8, 0.5  # of the mixture
ASKED, FILTERED = 1000, 100  # questions, without and with a filter
SHARES = (0.01, 0.1, 0.5)  # of vectors that a filter allows
GOALS = {0.99: 1.0, 0.95: 0.3}  # recall: milliseconds
ROUNDING = 1e-5

GRAPH = (64, 128, 256, 512, 1024)
CELLS = (8, 16, 32, 64, 128, 256)
CONTENDERS: Mapping[tuple[str, str], Sequence[int]] = {  # kind and side: breadths
    ("hnsw", OWN): GRAPH,
    ("hnsw", "peer:faiss"): GRAPH,
    ("hnsw", "peer:usearch"): GRAPH,
    ("hnsw", "peer:hnswlib"): (100, *GRAPH[1:]),
    ("pq", OWN): CELLS,
    ("ivf", OWN): CELLS,
    ("ivf", "peer:faiss"): CELLS,
    ("lsh", OWN): (1000, 4000, 16000),
    ("exact", OWN): (0,),
}


class Point(NamedTuple):
    """What a breadth gives."""

    breadth: int
    recall: float
    p50: float  # milliseconds
    p99: float


@dataclass(frozen=True)
class Question:
    """What is asked of everybody: all vectors, or those a filter allows."""

    name: str  # "" | "1 % allowed" ...
    asked: Vectors
    allowed: Mask
    file: str  # of the mask
    least: NDArray[np.float32]  # (B,) the score of the true hundredth

    def recall(self, vectors: Vectors, rows: NDArray[np.int64]) -> float:
        """Share of the true hundred that `rows` (B, K) hold; nothing counts twice, nor what is not allowed."""
        right = 0
        for asked, least, mine in zip(self.asked, self.least, rows, strict=True):
            mine = np.unique(mine[mine >= 0])
            mine = mine[self.allowed[mine]] if len(self.allowed) else mine
            right += min(K, int(np.count_nonzero(vectors[mine] @ asked >= least - ROUNDING)))
        return right / (K * len(rows))


@dataclass
class Ground:
    """The vectors, the questions and the rows so far."""

    name: str
    vectors: Vectors
    questions: list[Question]
    rows: list[Row] = field(default_factory=list)
    curves: dict[tuple[str, str, str], list[Point]] = field(default_factory=dict)  # by question, kind and side

    @staticmethod
    def of(size: int, folder: Path, count: int) -> Ground:
        chance = np.random.default_rng(17)
        vectors, asked = mixture(chance, size, count)
        np.save(folder / "vectors.npy", vectors)
        np.save(folder / "asked.npy", asked)
        questions = [_question("", vectors, asked, np.empty(0, np.bool_), "")]
        for share in SHARES:
            allowed = chance.random(size) < share
            file = folder / f"allowed-{share}.npy"
            np.save(file, allowed)
            questions.append(
                _question(f"{share:.0%} allowed", vectors, asked[: min(count, FILTERED)], allowed, str(file))
            )
        return Ground(f"clustered-{size}", vectors, questions)

    def add(self, kind: str, side: str, metric: str, value: float, **more: Any) -> None:
        self.rows.append(Row(kind, side, self.name, "", metric, value, **more))


def mixture(chance: np.random.Generator, size: int, asked: int) -> tuple[Vectors, Vectors]:
    """(size, WIDTH) vectors and (asked, WIDTH) questions."""
    spread = (np.arange(WIDTH) + 1.0) ** -FALL
    centres = chance.normal(size=(CENTRES, WIDTH)) * spread
    weight = (np.arange(CENTRES) + 1.0) ** -WEIGHT

    def draw(count: int) -> Vectors:
        vectors = np.empty((count, WIDTH), np.float32)
        for start in range(0, count, 1 << 16):
            part = vectors[start : start + (1 << 16)]
            around = centres[chance.choice(CENTRES, len(part), p=weight / weight.sum())]
            part[:] = around + NOISE * spread * chance.normal(size=part.shape)
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        return vectors

    return draw(size), draw(asked)


def _question(name: str, vectors: Vectors, asked: Vectors, allowed: Mask, file: str) -> Question:
    score = ops.top_of_product(asked, vectors, K, empty_items(len(asked)), allowed).columns["score"]
    return Question(name, asked, allowed, file, score.reshape(len(asked), K)[:, -1])


def run(ground: Ground, folder: Path, environments: Path, contenders: Sequence[tuple[str, str]]) -> None:
    """Build all, two at a time; then ask one after the other."""
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        workers: dict[tuple[str, str], Worker] = {}
        for kind, side in contenders:
            script = f"near_{side.removeprefix('peer:')}.py"
            workers[kind, side] = stack.enter_context(
                Worker(side, kind, folder, environments, script=script, threads=1)
            )
        built = {key: pool.submit(worker.tell, {"build": {}}) for key, worker in workers.items()}
        for (kind, side), future in built.items():
            try:
                said = future.result()
            except PeerFailed as failed:
                _say(f"left out: {failed}")
                continue
            _say(f"{kind:6} {side:15} built in {said['seconds']:.1f} s, {said['mb']:.0f} MB")
            ground.add(kind, side, "seconds", said["seconds"], note="build on one thread, two builds at a time")
            ground.add(kind, side, "mb", said["mb"], note="resident, with its own copy of the vectors")
        pool.shutdown()
        for (kind, side), worker in workers.items():
            if built[kind, side].exception() is None:
                _ask(ground, kind, side, worker)


def _ask(ground: Ground, kind: str, side: str, worker: Worker) -> None:
    """All questions at every breadth; with a filter at every other one."""
    asked = list(ground.questions)
    for number, breadth in enumerate(CONTENDERS[kind, side]):
        for question in [each for each in asked if not each.file or number % 2 == 0]:
            try:
                point = _point(ground, question, breadth, worker)
            except PeerFailed as failed:
                asked.remove(question)
                _say(f"{kind:6} {side:15} {question.name}: {failed}")
                ground.add(kind, side, "p50_ms", float("nan"), note=f"{question.name}: {failed}"[:300])
                continue
            ground.curves.setdefault((question.name, kind, side), []).append(point)
            for metric, value in ((f"recall@{K}", point.recall), ("p50_ms", point.p50), ("p99_ms", point.p99)):
                ground.add(kind, side, metric, value, params={"breadth": breadth}, note=question.name)
            _say(
                f"{kind:6} {side:15} {question.name:12} breadth {breadth:5}: recall {point.recall:.4f},"
                f" p50 {point.p50:.3f} ms, p99 {point.p99:.3f} ms"
            )
    for question in asked:
        for recall in GOALS:
            value = at_recall(ground.curves[question.name, kind, side], recall)
            ground.add(kind, side, f"ms@{recall}", value, note=question.name)


def _point(ground: Ground, question: Question, breadth: int, worker: Worker) -> Point:
    ms = worker.tell({"breadth": breadth, "allowed": question.file, "asked": len(question.asked)})["ms"]
    p50, p99 = np.percentile(ms, (50, 99))
    recall = question.recall(ground.vectors, np.load(worker.out).astype(np.int64))
    return Point(breadth, recall, float(p50), float(p99))


def at_recall(points: Sequence[Point], recall: float) -> float:
    """Median milliseconds at a recall: between the two points around it, in logarithms; NaN if it is never reached."""
    lower: Point | None = None
    for point in sorted(points, key=lambda point: point.recall):
        if point.recall >= recall:
            if lower is None:
                return point.p50
            share = (recall - lower.recall) / (point.recall - lower.recall)
            return float(lower.p50 ** (1 - share) * point.p50**share)
        lower = point
    return float("nan")


def compare(ground: Ground) -> None:
    """Our fastest kind beside the goals, and each library's fastest over it, at equal recall."""
    for question in ground.questions:
        for recall, goal in GOALS.items():
            fastest: dict[str, tuple[float, str]] = {}
            for (name, kind, side), points in ground.curves.items():
                found = (at_recall(points, recall), kind)
                if name == question.name and not np.isnan(found[0]):
                    fastest[side] = min(fastest.get(side, found), found)
            if OWN not in fastest:
                continue
            ours, kind = fastest[OWN]
            beside = "" if question.name else f" (goal: {goal} ms)"
            _say(f"recall {recall} {question.name}: ours {ours:.3f} ms by {kind}{beside}")
            note = f"{question.name or 'no filter'}; ours is {kind}"
            for side, (peer, its) in fastest.items():
                if side != OWN:
                    _say(f"  {side} {its} {peer:.3f} ms, {peer / ours:.2f} of ours")
                    ground.add(its, side, f"ratio@{recall}", peer / ours, note=note)


def _chosen(only: str) -> Iterator[tuple[str, str]]:
    wanted = set(only.split(",")) if only else {kind for kind, _ in CONTENDERS}
    return (key for key in CONTENDERS if key[0] in wanted or key[1].removeprefix("peer:") in wanted)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the rows go")
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK:,} vectors: shows that it works, measures nothing"
    )
    parser.add_argument("--size", type=int, default=SIZE, help="vectors (default %(default)s)")
    parser.add_argument("--only", default="", help="kinds or libraries, comma between them: hnsw,ivf,usearch")
    parser.add_argument("--peers", type=Path, default=ROOT / ".benchmarks/peers", help="where environments are made")
    given = parser.parse_args()
    os.environ.pop("OPENBLAS_CORETYPE", None)  # everybody's own choice
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        ground = Ground.of(QUICK if given.quick else given.size, folder, 100 if given.quick else ASKED)
        run(ground, folder, given.peers, list(_chosen(given.only)))
        compare(ground)
    if given.json:
        write(given.json, "ann", ground.name, ground.rows)


if __name__ == "__main__":
    main()
