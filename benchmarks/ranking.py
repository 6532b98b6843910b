"""What ranking costs: features and scores of 500 candidates for one request, on one core.

    python -m benchmarks.ranking --json benchmarks/results/ranking.json

The request is one of the ads system: nine facts of the person and the place, six of each ad. Ours is timed from item
rows to probabilities, and once more without the features; onnxruntime and PyTorch compute the same network from codes
that are encoded already, which spares them the columns. The widths decide what it costs, not what was learned: networks
are taken before learning. Goal: a p50 of 2 ms.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

import lightgbm
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.peers.process import PeerFailed, Worker
from benchmarks.rows import ROOT, Row, write
from shortlist import ops
from shortlist.descent import Descent
from shortlist.pipeline import Coarse, GivenLists, Pipeline, Recall
from shortlist.protocols import Ranker, Scorer
from shortlist.rank.dcn import Dcn, DcnModel
from shortlist.rank.fm import Fm, FmModel, Pairs
from shortlist.rank.gbdt import Gbdt
from shortlist.rank.inputs import Layer
from shortlist.rank.learning import Learning
from shortlist.rank.logistic import Logistic, LogisticModel
from shortlist.types import Candidates, Columns, Events, Queries, Ragged

CANDIDATES, ADS, PEOPLE = 500, 100_000, 1000
KEPT, PAGE = 100, 10  # candidates that a coarse ranker lets through, places of a page
GOAL = 2.0  # ms
PERSON = {"segment": 97, "group": 13, "gender": 2, "age": 7, "value": 4, "shopping": 3, "job": 2, "city": 5, "place": 2}
AD = {"ad": ADS, "category": 6769, "campaign": 20_000, "customer": 20_000, "brand": 10_000}
UNLEARNED = Learning(descent=Descent(epochs=0))
TREES, LEAVES, COUNTERS = 300, 31, 50
MODELS: Mapping[str, tuple[str, Ranker]] = {
    "logistic": ("39 columns and more, one-hot", Logistic(iterations=5)),
    "fm": ("d = 16", Fm(width=16, learning=UNLEARNED)),
    "dcn": (
        "DCN-V2, d = 16, 3 crosses beside 3 x 128",
        Dcn(width=16, crosses=3, layers=(128,) * 3, learning=UNLEARNED),
    ),
}
PEERS = {"peer:onnxruntime": "network_onnxruntime.py", "peer:torch": "network_torch.py"}


@dataclass(frozen=True)
class Facts:
    """Codes of people and ads by row, and prices: what the features of the ads system come to."""

    person: Columns
    ad: Columns
    price: np.ndarray

    @staticmethod
    def drawn() -> Facts:
        chance = np.random.default_rng(0)

        def codes(sizes: Mapping[str, int], rows: int) -> dict[str, np.ndarray]:
            return {name: chance.integers(2, size + 2, rows).astype(np.int32) for name, size in sizes.items()}

        ad = codes(AD, ADS) | {"ad": np.arange(2, ADS + 2, dtype=np.int32)}
        return Facts(codes(PERSON, PEOPLE), ad, chance.lognormal(5, 1.5, ADS).astype(np.float32))

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        person = {name: ops.gather(code, queries.user, 0)[found.query] for name, code in self.person.items()}
        ad = {name: ops.gather(code, found.item, 0) for name, code in self.ad.items()}
        return {**person, **ad, "price": ops.gather(self.price, found.item, np.nan)}

    def update(self, events: Events) -> None:
        """Facts stay what they are."""


def asked(people: int, seed: int) -> tuple[Queries, Candidates]:
    """500 different ads for each of so many people."""
    chance = np.random.default_rng(seed)
    item = np.concatenate([np.sort(chance.choice(ADS, CANDIDATES, replace=False)) for _ in range(people)])
    query = np.repeat(np.arange(people, dtype=np.int32), CANDIDATES)
    return Queries.of(chance.integers(0, PEOPLE, people)), Candidates(query, item.astype(np.int32))


def learned(facts: Facts, ranker: Ranker) -> Scorer:
    queries, found = asked(200, 1)
    label = (np.random.default_rng(2).random(len(found)) < 0.05).astype(np.float32)
    return ranker.learn(found.with_columns(facts.columns(queries, found)), label, seed=0)


def milliseconds(work: Callable[[int], object], times: int) -> np.ndarray:
    """(times,) of each call; what comes first is not counted."""
    for each in range(20):
        work(each)
    taken = np.empty(times)
    for each in range(times):
        start = perf_counter()
        work(each)
        taken[each] = (perf_counter() - start) * 1000
    return taken


def arrays_of(model: Any, columns: Columns, rows: int) -> dict[str, np.ndarray]:
    """The network as plain arrays, and the candidates as it reads them: shared columns first, numbers last."""
    layout = model.layout if isinstance(model, LogisticModel) else model.inputs.layout
    encoded = layout.encode(columns, rows)
    fields = [each for each in layout.fields if each.kind == "category"]
    fields.sort(key=lambda each: not each.shared)
    made = {
        "code": np.stack([encoded.categories[each.name] for each in fields], axis=1),
        "number": np.concatenate(list(encoded.numbers.values()), axis=1),
    }
    if isinstance(model, LogisticModel):
        single = {"weight": model.code, "numbers": model.number, "base": np.array(model.base)}
        return made | {name: each.astype(np.float32) for name, each in single.items()}
    made["table"] = model.inputs.table
    if isinstance(model, FmModel):
        pairs: Pairs = model.pairs
        made |= {"weight": pairs.code, "numbers": pairs.number, "base": np.array(pairs.base, np.float32)}
        made |= {"project": pairs.project, "square": pairs.square}
    if isinstance(model, DcnModel):
        stacks: dict[str, tuple[Layer, ...]] = {"cross": model.crosses, "deep": model.deep, "last": (model.last,)}
        for name, layers in stacks.items():
            for number, layer in enumerate(layers):
                made |= {f"{name}.{number}.weight": layer.weight, f"{name}.{number}.shift": layer.shift}
    return made


def run(times: int, environments: Path) -> list[Row]:
    facts, rows = Facts.drawn(), []
    requests = [asked(1, seed) for seed in range(50)]
    for name, (note, ranker) in MODELS.items():
        scorer = learned(facts, ranker)
        ready = [(queries, found.with_columns(facts.columns(queries, found))) for queries, found in requests]

        def whole(each: int) -> object:
            queries, found = requests[each % 50]
            return scorer.score(queries, found.with_columns(facts.columns(queries, found)))

        rows += _rows(name, "shortlist", "features and scores", milliseconds(whole, times), note)
        scores = milliseconds(lambda each: scorer.score(*ready[each % 50]), times)
        rows += _rows(name, "shortlist", "scores", scores, note)
        expected = scorer.score(*ready[0])
        with tempfile.TemporaryDirectory() as folder:
            np.savez(Path(folder) / "network.npz", **arrays_of(scorer, ready[0][1].columns, CANDIDATES))
            for side, script in PEERS.items():
                try:
                    with Worker(side, name, Path(folder), environments, script=script, threads=1) as worker:
                        told = worker.tell({"times": times})
                        apart = float(np.abs(np.load(worker.out) - expected).max())
                    if apart > 1e-4:
                        raise PeerFailed(f"its probabilities are up to {apart:.2g} from ours")
                    rows += _rows(name, side, "scores", np.array(told["ms"]), "from codes that are encoded already")
                except PeerFailed as failed:
                    rows.append(
                        Row(name, side, "ads", "", "scores-p50-ms", float("nan"), note=f"failed: {failed}"[:500])
                    )
                    print(name, side, failed, file=sys.stderr)
    return rows


def pages(times: int) -> list[Row]:
    """A page of ten from 500 candidates by the pipeline: all of them ranked by DCN-V2, or the hundred that a logistic
    regression puts first."""
    facts, requests = Facts.drawn(), [asked(1, seed) for seed in range(50)]
    cheap, fine = (learned(facts, MODELS[name][1]) for name in ("logistic", "dcn"))
    rows = []
    for what, coarse in (("page", None), ("page-with-a-coarse-ranker", Coarse(cheap, KEPT, {"facts": facts}))):
        pipelines = []
        for _, found in requests:
            given = GivenLists(Ragged(np.array([0, len(found)]), {"item": found.item}))
            recalls, features = {"given": Recall(given, CANDIDATES)}, {"facts": facts}
            pipelines.append(Pipeline(recalls, features=features, scorer=fine, coarse=coarse))
        slate, trace = pipelines[0].recommend(requests[0][0], PAGE)
        wrong = [step for step in trace.steps if step.error]
        if wrong or len(slate) != PAGE:
            raise SystemExit(f"a page of {len(slate)}: {wrong}")
        taken = milliseconds(lambda each: pipelines[each % 50].recommend(requests[each % 50][0], PAGE), times)
        kept = KEPT if coarse else CANDIDATES
        rows += _rows("dcn", "shortlist", what, taken, f"recall, merge, features and top {PAGE}; {kept} ranked by it")
    return rows


@dataclass(frozen=True)
class Counters:
    """As many numbers of each ad as trees read."""

    number: np.ndarray  # (ADS, COUNTERS)

    @staticmethod
    def drawn() -> Counters:
        chance = np.random.default_rng(0)
        number = chance.normal(size=(ADS, COUNTERS)).astype(np.float32)
        number[chance.random(number.shape) < 0.05] = np.nan
        return Counters(number)

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        return {"counter": ops.gather(self.number, found.item, np.nan)}

    def update(self, events: Events) -> None:
        """Facts stay what they are."""


def trees(times: int) -> list[Row]:
    """The same trees by our kernel and by LightGBM, from the same numbers."""
    counters, boosters = Counters.drawn(), []
    train = lightgbm.train

    def kept(*given: Any, **named: Any) -> Any:
        boosters.append(train(*given, **named))
        return boosters[-1]

    queries, found = asked(200, 1)
    found = found.with_columns(counters.columns(queries, found))
    weight = np.random.default_rng(2).normal(size=COUNTERS)
    odds = np.nan_to_num(found.columns["counter"]) @ weight / 3 - 3
    label = (np.random.default_rng(3).random(len(found)) < 1 / (1 + np.exp(-odds))).astype(np.float32)
    with mock.patch.object(lightgbm, "train", kept):
        ranker = Gbdt(objective="binary", trees=TREES, leaves=LEAVES, threads=1)
        scorer = ranker.learn(found, label, seed=0)
    requests = [asked(1, seed) for seed in range(50)]
    ready = [(queries, found.with_columns(counters.columns(queries, found))) for queries, found in requests]
    apart = np.abs(boosters[0].predict(ready[0][1].columns["counter"]) - scorer.score(*ready[0])).max()
    if apart > 1e-6:
        raise SystemExit(f"LightGBM says something else of the same trees: {apart:.2g}")

    def whole(each: int) -> object:
        queries, found = requests[each % 50]
        return scorer.score(queries, found.with_columns(counters.columns(queries, found)))

    def theirs(each: int) -> object:
        return boosters[0].predict(ready[each % 50][1].columns["counter"], num_threads=1)

    note = f"{TREES} trees of {LEAVES} leaves over {COUNTERS} numbers"
    return [
        *_rows("gbdt", "shortlist", "features and scores", milliseconds(whole, times), note),
        *_rows("gbdt", "shortlist", "scores", milliseconds(lambda each: scorer.score(*ready[each % 50]), times), note),
        *_rows("gbdt", "peer:lightgbm", "scores", milliseconds(theirs, max(50, times // 5)), note),
    ]


def _rows(model: str, side: str, what: str, taken: np.ndarray, note: str) -> list[Row]:
    print(
        f"{model:9} {side:17} {what:20} p50 {np.median(taken):.3f} ms, p99 {np.quantile(taken, 0.99):.3f}",
        file=sys.stderr,
    )
    name = what.replace(" ", "-")
    return [
        Row(
            model,
            side,
            "ads",
            "",
            f"{name}-{point}-ms",
            float(np.quantile(taken, at)),
            params={"goal": GOAL},
            note=note,
        )
        for point, at in (("p50", 0.5), ("p99", 0.99))
    ]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--json", type=Path)
    options.add_argument("--times", type=int, default=1000)
    options.add_argument("--peers", type=Path, default=ROOT / ".benchmarks" / "peers", help="folder of environments")
    given = options.parse_args()
    with threadpool_limits(1):
        rows = [*run(given.times, given.peers), *pages(given.times), *trees(given.times)]
    if given.json:
        write(given.json, "ranking", "ads", rows)


if __name__ == "__main__":
    main()
