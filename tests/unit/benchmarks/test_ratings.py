"""The benchmark of ratings: parts that do not overlap, what libraries are given, settings that are kept, rows."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import ratings, tables
from benchmarks.peers import stars, stars_shortlist
from benchmarks.rows import Row
from shortlist.testing.world import synthetic


@pytest.fixture
def fold(tmp_path, monkeypatch):
    monkeypatch.setattr(ratings, "SETS", {"world": lambda: rated})
    data = synthetic().data
    rated = data.only(data.events.kind == 2)
    monkeypatch.setattr(stars_shortlist, "SETS", ratings.SETS)
    return ratings.Fold.of("world", "one", np.arange(len(rated)) % 5 == 0, tmp_path)


def test_a_fold_has_three_parts_that_share_no_rating(fold):
    valid, test = (stars.Job.read(fold.folder / name) for name in ("valid", "test"))
    assert not set(test.place) & set(test.asked_place)
    assert set(valid.place) | set(valid.asked_place) == set(test.place)
    assert not set(valid.place) & set(valid.asked_place)
    assert len(valid.asked_place) == len(fold.held) > 0
    data = ratings.SETS["world"]()
    np.testing.assert_array_equal(test.user, data.events.user[test.place])
    np.testing.assert_array_equal(test.value, data.events.value[test.place])
    np.testing.assert_array_equal(test.asked_item, data.events.item[test.asked_place])
    np.testing.assert_array_equal(fold.held, data.events.value[valid.asked_place])
    assert test.scale == (data.events.value.min(), data.events.value.max())


def test_facts_of_one_field_share_its_weight(fold):
    job = stars.Job.read(fold.folder / "test")
    data = ratings.SETS["world"]()
    for facts, rows in ((job.people, data.n_users), (job.items, data.n_items)):
        assert len(facts.ptr) == rows + 1
        assert facts.code.max() < facts.sizes.sum()
        first = np.cumsum((0, *facts.sizes))
        field = np.searchsorted(first, facts.code, side="right") - 1
        owner = np.repeat(np.arange(rows), np.diff(facts.ptr))
        weight = np.zeros((rows, len(facts.sizes)))
        np.add.at(weight, (owner, field), facts.share**2)
        assert np.allclose(weight[weight > 0], 1)


def test_ours_learns_from_the_same_ratings_and_answers_in_their_order(fold):
    job = stars.Job.read(fold.folder / "test")
    asked = stars_shortlist.load(job)
    np.testing.assert_array_equal(asked.train.events.id, fold.train.events.id)
    mixed = np.random.default_rng(0).permutation(len(job.asked_place))
    other = stars_shortlist.load(replace(job, asked_place=job.asked_place[mixed]))
    for model in ("biased-mf", "timesvd"):
        predicted = stars_shortlist.fit(asked, model, {"factors": 4, "epochs": 3})()
        assert len(np.unique(predicted)) > 1
        np.testing.assert_array_equal(
            stars_shortlist.fit(other, model, {"factors": 4, "epochs": 3})(), predicted[mixed]
        )


def test_every_model_of_ours_can_be_run():
    assert {model for model, sides in ratings.SPACES.items() if ratings.OWN in sides} == set(stars_shortlist.RECIPES)
    for model, sides in ratings.SPACES.items():
        assert set(sides) <= set(ratings.SCRIPTS), model


class Asked:
    """A worker whose error is the parameter `a` from 0.3."""

    ended, made = False, 0

    def __init__(self, side, model, folder, environments, script):
        type(self).made += 1
        self.out = folder / "out.npy"
        self.held = np.load(folder / "ratings.npz")

    def tell(self, request):
        truth = ratings.SETS["world"]().events.value[self.held["asked_place"]]
        np.save(self.out, np.clip(truth + abs(request["params"]["a"] - 0.3) * np.where(truth > 3, -1, 1), 1, 5))
        return {"seconds": 1.0, "answering": 1.0, "peak_mb": 1.0}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_settings_are_chosen_on_validation_and_kept(fold, tmp_path, monkeypatch):
    monkeypatch.setattr(ratings, "Worker", Asked)
    monkeypatch.setattr(
        ratings, "SPACES", {"it": {ratings.OWN: {"a": (0.0, 0.3, 0.6, 0.9)}}, "one": {ratings.OWN: {"a": (0.1,)}}}
    )
    path = tmp_path / "tuned" / "ratings.json"
    settings = ratings.Settings(path, 4, 60, again=False, keep=True)
    params, note = settings.of(fold, "it", ratings.OWN, tmp_path)
    assert params == {"a": 0.3}
    assert note == "best of 4 settings on a tenth of the training ratings"
    assert settings.of(fold, "one", ratings.OWN, tmp_path) == ({"a": 0.1}, "one setting")
    assert json.loads(path.read_text())["world"]["one"]["it"][ratings.OWN]["params"] == {"a": 0.3}
    made = Asked.made
    again = ratings.Settings(path, 4, 60, again=False, keep=True)
    assert again.of(fold, "it", ratings.OWN, tmp_path)[0] == {"a": 0.3}
    assert Asked.made == made


def test_folds_are_joined_by_their_mean():
    error = np.array([1.0, 4.0, 1.0, 0.0] * 100)
    cost = {"seconds": 2.0, "peak_mb": 7.0, "params": {}, "note": ""}
    many = [ratings.Judged(f"u{n}", {"rmse": error * n, "mae": error}, cost) for n in (1, 2)]
    value, low, high = ratings._together(many, "rmse")
    assert value == pytest.approx(np.mean([1.5**0.5, 3.0**0.5]))
    widest = max(many[1].of("rmse").high - many[1].of("rmse").value, 0)
    assert value < high < value + widest
    assert low < value
    assert ratings._spent(many) == {"seconds": 4.0, "peak_mb": 7.0, "note": "seconds of all folds"}


def test_a_table_has_a_line_for_each_library():
    told = {"benchmark": "quality"}
    rows = [
        {**vars(Row("svdpp", side, "movielens-100k", split, metric, value, value - 0.01, value + 0.01, 3.0)), **told}
        for side, value in (("shortlist", 0.9), ("peer:surprise", 0.92))
        for split in ("u1", "u2", "folds")
        for metric in ("rmse", "mae")
    ]
    written = tables.ratings(rows).splitlines()
    assert len(written) == 4
    assert "| movielens-100k | svdpp | surprise | folds | 0.9200" in written[3]
