"""Races of every model: who takes part, what is timed, which rows and lines come out."""

import ast
from pathlib import Path

import numpy as np
import pytest

from benchmarks import kernels, races, tables
from benchmarks.peers import process
from benchmarks.peers.with_shortlist import RECIPES
from benchmarks.splits import SPLITS
from shortlist.eval import protocol
from shortlist.testing.world import synthetic

PEERS = Path(process.__file__).parent


def models_of(side):
    """The keys of the literal that a peer's script serves, read without running it: its library may not be here."""
    tree = ast.parse((PEERS / process.SCRIPTS[side]).read_text("utf-8"))
    served = tree.body[-1]
    return {node.value for each in ast.walk(served) if isinstance(each, ast.Dict) for node in each.keys}


@pytest.mark.parametrize("name", kernels.SETS)
def test_peers_of_a_race_have_its_model(name):
    assert kernels.SETS[name] in SPLITS[name]
    for race in races.races(name, kernels.SETS[name], 1000):
        assert race.model in RECIPES
        assert next(iter(race.params)) == kernels.OWN
        assert set(race.rounds) in (set(), set(race.params))
        assert len(race.params) > 1 or race.note
        for side in set(race.params) - {kernels.OWN}:
            assert race.model in models_of(side), f"{side} {race.model}"


def test_every_model_is_raced():
    raced = {race.model for race in races.races("movielens-1m", "leave-last", 6040)}
    assert raced == set(RECIPES) - set(kernels.COUNTS)
    assert {*kernels.MODELS, *process.LEARNED} == raced | {kernels.TOP}


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kernels")
    return kernels.Ground.of("movielens-1m", protocol.leave_last(synthetic().data), folder, folder / "peers", 2)


def test_a_race_of_one_says_its_seconds(ground):
    rows = kernels.run(ground, races.Race("transitions", races.NOBODY, {kernels.OWN: {}}))
    value = {row.metric: row.value for row in rows}
    assert set(value) == {"ndcg@10", "recall@20", "ndcg@100", "seconds", "top-100-seconds"}
    assert min(value["seconds"], value["top-100-seconds"]) > 0
    lines = tables.kernels([{**vars(row), "benchmark": "kernels"} for row in rows]).splitlines()[2:]
    assert [line.split(" | ")[1:4] for line in lines] == [
        ["transitions, no peer has it", "fit", "–"],
        ["transitions, no peer has it", "top-100", "–"],
    ]
    assert f"{value['top-100-seconds']:.2f} s" in lines[1]


def test_a_peer_of_the_same_objective_is_as_good_and_one_that_fails_is_left_out(ground):
    pytest.importorskip("irspack")
    race = next(each for each in races.races("movielens-1m", "", ground.split.final.n_users) if each.model == "edlae")
    rows = kernels.run(ground, race._replace(params={**race.params, "peer:implicit": {}}))
    assert {row.side for row in rows} == {kernels.OWN, "peer:irspack"}
    value = {(row.side, row.metric): row.value for row in rows}
    assert value["peer:irspack", "ndcg@10"] == pytest.approx(value[kernels.OWN, "ndcg@10"], rel=0.01)
    for prefix in ("", "top-100-"):
        ratio = value["peer:irspack", f"{prefix}seconds"] / value[kernels.OWN, f"{prefix}seconds"]
        assert value["peer:irspack", f"{prefix}ratio"] == pytest.approx(ratio, rel=0.2)  # seconds are rounded


class Learner:
    """In the place of a worker: after so many rounds it answers so many questions rightly."""

    def __init__(self, side, model, folder, environments):
        self.side, self.part = side, protocol.leave_last(synthetic().data).valid

    def ask(self, params):
        right = RIGHT[self.side][params["rounds"]]
        shown = np.full((len(self.part), kernels.PLACES), -1, np.int32)
        if right is None:
            raise process.PeerFailed("cannot")
        first = self.part.relevant["item"][self.part.relevant.ptr[:-1]]
        asked = np.arange(len(self.part)) % 100 < right
        shown[asked, 0] = first[asked]
        return process.Answered(shown, 0.0, 0.0)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


RIGHT = {
    kernels.OWN: {4: 40, 8: 80, 16: 90},
    "peer:implicit": {4: 60, 8: 60, 16: 61},
    "peer:irspack": {4: None, 8: 1, 16: 1},
}


def test_rounds_are_the_fewest_that_reach_what_all_can(ground, monkeypatch):
    monkeypatch.setattr(kernels, "Worker", Learner)
    race = races.Race("als", "", {side: {"side": side} for side in RIGHT}, dict.fromkeys(RIGHT, "rounds"))
    chosen = kernels._equal(ground, race)
    assert chosen == {
        kernels.OWN: {"side": kernels.OWN, "rounds": 8},
        "peer:implicit": {"side": "peer:implicit", "rounds": 4},
    }


def test_ratios_are_listed_by_race_and_work():
    def row(model, side, metric, value, note="", seconds=None):
        return {
            "benchmark": "kernels", "set": "x", "model": model, "side": side, "metric": metric, "value": value,
            "seconds": seconds, "note": note,
        }  # fmt: skip

    rows = []
    for side, quality in (("shortlist", 0.5), ("peer:a", 0.25), ("peer:b", 0.75)):
        rows.append(row("als", side, "ndcg@10", quality, "64 factors"))
        for metric, seconds in (("", 4.0), ("top-100-", 6.0)):
            rows.append(row("als", side, f"{metric}seconds", seconds, "64 factors; best of 3", seconds))
            if side != "shortlist":
                rows.append(row("als", side, f"{metric}ratio", 2.0, "64 factors; best of 3", seconds))
    assert tables.kernels(rows).splitlines()[2:] == [
        "| x | als, 64 factors | fit | a | 2.00 s | 4.00 s | 2.00 | 0.5000, 0.2500 |",
        "| x | als, 64 factors | fit | b | 2.00 s | 4.00 s | 2.00 | 0.5000, 0.7500 |",
        "| x | als, 64 factors | top-100 | a | 3.00 s | 6.00 s | 2.00 | 0.5000, 0.2500 |",
        "| x | als, 64 factors | top-100 | b | 3.00 s | 6.00 s | 2.00 | 0.5000, 0.7500 |",
    ]
