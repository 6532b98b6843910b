"""The benchmark's own parts: an even-handed search, jobs that workers read back, rows that JSON can say."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from benchmarks import cold, item2vec, quality, rows, spaces
from benchmarks.peers import process, with_shortlist, worker
from shortlist.eval import offline, protocol
from shortlist.models.item2vec import Item2Vec
from shortlist.rank.combsum import CombSum
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


def test_facts_are_read_back_as_they_were(tmp_path, split):
    texts = np.array(["", "a b"], object)
    lists = np.fromiter([("x",), ("x", "y")], object, 2)
    items = {"number": np.array([1.5, np.nan]), "time": np.array([3, -1]), "text": texts, "list": lists}
    train = replace(split.final, items=items)
    told = with_shortlist.Asked.read(process.write_job(tmp_path, train, split.test, 3)).train.items
    assert list(told) == list(items)
    for name, column in items.items():
        assert told[name].dtype == column.dtype
        np.testing.assert_array_equal(told[name], column)
    assert isinstance(told["list"][0], tuple)


def test_a_blend_without_a_validation_is_the_sum_of_its_sources(tmp_path, split):
    """What it says must not come from a blend that was learned, nor change who is asked."""
    job = with_shortlist.Asked.read(process.write_job(tmp_path, split.final, split.test, 10))
    params = {"ease": {"reg": 10.0}, "trend": {}}
    shown = with_shortlist.fused(job, {"valid": "", "sources": params})()
    sources = {name: with_shortlist.source(name, each, job.train) for name, each in params.items()}
    summed = with_shortlist.pipeline(sources, CombSum())
    wanted = offline.ask(lambda queries, k: summed.recommend(queries, k)[0], job.part, 10)
    assert np.array_equal(shown, wanted)
    assert (shown[:, 0] >= 0).all()


def test_params_with_a_dot_are_for_the_descent(split):
    model = with_shortlist.source("sasrec", {"width": 8, "heads": 2, "descent.epochs": 0}, split.final)
    assert model.item.shape == (split.final.n_items, 8)
    assert with_shortlist.source("twotower", {"width": 4, "descent.epochs": 0}, split.final).item.id.shape[1] == 4


def test_walks_are_lines_of_items_that_were_liked(tmp_path, split):
    recipe = Item2Vec(walks=2, length=5)
    item2vec.write_walks(tmp_path, split.final, recipe)
    lines = [[int(word) for word in line.split()] for line in (tmp_path / "walks.txt").read_text().splitlines()]
    liked = np.unique(split.final.events.item[split.final.weight > 0])
    assert {len(line) for line in lines} == {5}
    assert len(lines) >= len(liked)
    assert np.isin(np.concatenate(lines), liked).all()


@pytest.mark.parametrize("make", [cold.new_users, cold.new_items])
def test_who_or_what_is_new_is_in_nobodys_training(make):
    data = synthetic().data
    trial = make(data)
    part, train = trial.part, trial.train
    assert len(part)
    if trial.name == "new-users":
        assert not np.isin(train.events.user, part.user).any()
        assert not len(part.history["item"])
        assert np.isin(part.relevant["item"], train.events.item).all()
    else:
        assert not part.known[train.events.item].any()
        assert part.known[part.relevant["item"]].all()
        assert (part.history.length > 0).all()
    assert (part.relevant.length > 0).all()
    liked = set(
        zip(data.events.user[data.weight > 0].tolist(), data.events.item[data.weight > 0].tolist(), strict=True)
    )
    assert set(zip(part.user[part.relevant.owner].tolist(), part.relevant["item"].tolist(), strict=True)) <= liked


def test_a_worker_shows_the_best_of_what_is_left(tmp_path):
    nothing = csr_matrix((2, 5), dtype=np.float32)
    seen = csr_matrix(np.array([[1, 0, 0, 0, 0], [0, 1, 1, 1, 0]], np.float32))
    known = np.array([True, True, True, True, False])
    job = worker.Job(nothing, np.arange(2), nothing, seen, known, 3, tmp_path)
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


def test_settings_are_chosen_on_people_who_come_back_for_as_much_as_in_the_test(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "ANSWERS", {("movielens-1m", "global"): 3})
    split = protocol.global_time(synthetic(seed=1).data, test=0.4)
    chosen = quality.Ground.of("movielens-1m", split, tmp_path / "large", tmp_path, False).valid
    assert 0 < len(chosen) < len(split.valid)
    assert chosen.history.length.min() > 0
    assert chosen.relevant.length.min() >= 3
    other = quality.Ground.of("movielens-100k", split, tmp_path / "small", tmp_path, False).valid
    assert len(other) == len(quality.met(split.valid)) > len(chosen)


def test_who_has_no_history_by_then_is_a_segment_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(quality, "ANSWERS", {})
    split = protocol.global_time(synthetic(seed=1).data, test=0.4)
    known = split.test.history.length > 0
    assert 0 < known.sum() < len(known)
    ground = quality.Ground.of("movielens-1m", split, tmp_path, tmp_path, False)
    assert np.all(ground.valid.history.length > 0)
    right = np.full((len(known), max(quality.KS)), -1, np.int32)
    right[~known, 0] = split.test.relevant["item"][split.test.relevant.ptr[:-1]][~known]
    ground.add("lucky", quality.OWN, process.Answered(right, 0.0, 0.0), {}, "")
    value = {row.metric: row.value for row in ground.rows}
    assert value["ndcg@10"] == 0 < value["ndcg@10-new"]
    assert value["recall@20"] == 0 < value["recall@20-new"]


def test_rankers_of_a_time_to_come_learn_from_people_who_come_back_and_take_something():
    data = synthetic(seed=1).data
    lessons = with_shortlist.LEARNED_FROM["later"](data, {"shares": (0.2, 0.5), "answers": 3})
    assert len(lessons) == 2
    for past, part in lessons:
        assert len(part) > 0
        assert part.history.length.min() > 0
        assert part.relevant.length.min() >= 3
        assert past.now <= part.time.min()
    assert lessons[0][0].now > lessons[1][0].now


def test_a_search_asked_for_again_is_made_once_in_a_run(tmp_path, monkeypatch):
    ground = quality.Ground.of("movielens-1m", protocol.leave_last(synthetic().data), tmp_path, tmp_path, True)
    searched: list[str] = []

    def search(settings, ground, model, side):
        searched.append(model)
        return {"params": {"run": len(searched)}, "trials": 1}

    monkeypatch.setattr(quality.Settings, "_search", search)
    settings = quality.Settings(tmp_path / "tuned.json", 2, 1.0, again=True, keep=False)
    assert settings.of(ground, "als", quality.OWN) == settings.of(ground, "als", quality.OWN) == {"run": 1}
    settings.of(ground, "ease", quality.OWN)
    assert searched == ["als", "ease"]
