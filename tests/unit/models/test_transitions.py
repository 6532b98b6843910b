from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from shortlist.errors import ConfigError
from shortlist.eval import metrics, offline, protocol
from shortlist.models.transitions import Transitions
from shortlist.testing.world import World, synthetic
from shortlist.types import Candidates, Ragged

ITEMS = 90


def naive(world: World, recipe: Transitions) -> np.ndarray:
    """(I, I) the scores, counted pair by pair."""
    count: dict[tuple[int, int], float] = defaultdict(float)
    likes = np.zeros(world.data.n_items)
    lists = world.data.sequences
    for user in range(world.data.n_users):
        mine = slice(lists.ptr[user], lists.ptr[user + 1])
        liked = [(i, w) for i, w in zip(lists["item"][mine], lists["weight"][mine], strict=True) if w > 0]
        for place, (item, _) in enumerate(liked):
            likes[item] += 1
            for step, (then, weight) in enumerate(liked[place + 1 : place + 1 + recipe.window]):
                if then != item:
                    count[item, then] += weight * 0.5 ** (step / recipe.fade)
    matrix = np.zeros((world.data.n_items, world.data.n_items))
    for (item, then), value in count.items():
        matrix[item, then] = value
    source = np.maximum(matrix.sum(axis=1, keepdims=True), 1) ** recipe.source_power
    return matrix**recipe.power / source / np.maximum(likes, 1) ** recipe.target_power


def dense(lists: Ragged) -> np.ndarray:
    matrix = np.zeros((len(lists), len(lists)))
    matrix[lists.owner, lists["item"]] = lists["score"]
    return matrix


@pytest.mark.parametrize("recipe", [Transitions(), Transitions(window=3, fade=0.7, power=1, target_power=0.5)])
def test_scores_are_those_of_counting_pair_by_pair(recipe):
    world = synthetic()
    model = recipe.fit(world.data, seed=0)
    np.testing.assert_allclose(dense(model.neighbour), naive(world, recipe), rtol=1e-5)


def test_only_the_best_followers_are_kept():
    world = synthetic()
    whole, cut = (dense(Transitions(neighbours=n).fit(world.data, seed=0).neighbour) for n in (0, 5))
    for all_of_them, kept in zip(whole, cut, strict=True):
        least = np.sort(all_of_them)[-5]
        assert np.array_equal(kept, np.where(all_of_them >= max(least, 1e-9), all_of_them, 0))


def test_the_planted_successor_is_found():
    world = synthetic(users=300, events=12_000)
    model = Transitions().fit(world.data, seed=0)
    leading = dense(model.neighbour).argmax(axis=1)
    planted = world.successor >= 0
    assert np.mean(leading[planted] == world.successor[planted]) > 0.6


def test_recall_scores_and_reasons_agree():
    world = synthetic()
    model = Transitions().fit(world.data, seed=0)
    queries = world.queries()
    found = model.recall(queries, 10)
    np.testing.assert_allclose(model.score(queries, found), found.columns["score"], rtol=1e-5)
    assert (model.because(queries, found) >= 0).all()


def test_what_never_followed_has_no_score():
    world = synthetic()
    model = Transitions().fit(world.data, seed=0)
    new = Candidates(np.zeros(1, np.int32), np.array([ITEMS + 1], np.int32))
    assert np.isnan(model.score(world.queries(), new)).all()


@pytest.mark.parametrize("wrong", [{"window": 0}, {"fade": 0.0}, {"power": -1.0}])
def test_settings_without_meaning_are_refused(wrong):
    with pytest.raises(ConfigError, match="each must be greater than 0") as caught:
        Transitions(**wrong).fit(synthetic().data, seed=0)
    assert caught.value.where == "models.transitions"


def test_real_people_leave_last_out(movielens_100k: Path):
    from shortlist.data.frames import to_dataset
    from shortlist.data.movielens import movielens_100k as read

    split = protocol.leave_last(to_dataset(read(movielens_100k))[0])
    model = Transitions().fit(split.train, seed=0)
    shown = offline.ask(model.recall, split.test, 10)
    hit = metrics.hits(shown, split.test.relevant)
    assert metrics.ranking(hit, split.test.relevant.length, 10)["ndcg"].mean() > 0.108  # a reference study: 0.112
