"""The benchmark's own parts: an even-handed search, jobs that workers read back, rows that JSON can say."""

import json

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from benchmarks import rows, spaces
from benchmarks.peers import process, with_shortlist, worker
from shortlist.eval import protocol
from shortlist.testing.world import synthetic

SPACE = {"a": (0, 1, 2, 3, 4, 5), "b": (0, 1, 2, 3, 4, 5), "c": ("x", "y")}


def bowl(params):
    return -((params["a"] - 4) ** 2) - (params["b"] - 1) ** 2 - (params["c"] == "x")


def test_search_tries_as_many_settings_as_it_may_and_each_once():
    trials = spaces.search(SPACE, 12, bowl)
    assert len(trials) == len({tuple(trial.params.values()) for trial in trials}) == 12
    assert [trial.value for trial in trials] == sorted((trial.value for trial in trials), reverse=True)


def test_search_takes_a_small_space_whole_and_finds_its_best():
    trials = spaces.search({"a": (0, 1, 2, 3, 4), "b": (1,), "c": ("x", "y")}, 12, bowl)
    assert len(trials) == 10
    assert trials[0].params == {"a": 4, "b": 1, "c": "y"}


def test_search_climbs_from_what_it_drew():
    drawn = spaces.search(SPACE, 60, bowl)
    assert drawn[0].params == {"a": 4, "b": 1, "c": "y"}


def test_every_side_of_an_algorithm_is_tuned_and_can_be_run():
    for model, sides in spaces.SPACES.items():
        assert "shortlist" in sides, model
        assert set(sides) <= set(process.SCRIPTS), model
        assert model.removesuffix("-recent") in with_shortlist.RECIPES


@pytest.fixture
def split():
    return protocol.leave_last(synthetic().data)


def test_a_job_is_read_back_as_it_was_written(tmp_path, split):
    folder = process.write_job(tmp_path, split.final, split.test, 7)
    ours = with_shortlist.Asked.read(folder)
    assert ours.k == 7
    assert ours.train.events.id.tolist() == split.final.events.id.tolist()
    assert ours.part.relevant["item"].tolist() == split.test.relevant["item"].tolist()
    assert ours.part.history["weight"].tolist() == split.test.history["weight"].tolist()
    theirs = worker.Job.read(folder)
    np.testing.assert_array_equal(theirs.train.toarray(), split.final.matrix.toarray() > 0)
    for q in range(len(split.test)):
        mine = split.test.take(np.array([q])).history
        assert set(theirs.seen[q].indices) == set(mine["item"])
        assert set(theirs.history[q].indices) == set(mine["item"][mine["weight"] > 0])


def test_a_worker_shows_the_best_of_what_is_left():
    nothing = csr_matrix((2, 5), dtype=np.float32)
    seen = csr_matrix(np.array([[1, 0, 0, 0, 0], [0, 1, 1, 1, 0]], np.float32))
    known = np.array([True, True, True, True, False])
    job = worker.Job(nothing, np.arange(2), nothing, seen, known, 3)
    score = np.array([[9, 1, 2, 2, 9], [0, 5, 5, 5, 9]])
    assert job.best(lambda block: score[block]).tolist() == [[2, 3, 1], [0, -1, -1]]


def test_rows_say_null_where_there_is_no_number(tmp_path):
    row = rows.Row("als", "peer:x", "anime", "published", "ndcg@10", float("nan"), note="failed")
    rows.write(tmp_path / "out.json", "quality", "anime", [row])
    content = json.loads((tmp_path / "out.json").read_text())
    assert set(content) == {"benchmark", "set", "commit", "machine", "date", "rows"}
    assert content["rows"][0]["value"] is None
    assert set(content["rows"][0]) == {
        *("model", "side", "set", "split", "metric", "value", "low", "high", "seconds", "peak_mb", "params", "note"),
    }
