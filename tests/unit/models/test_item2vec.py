import threading
from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from shortlist import _kernels
from shortlist.errors import ConfigError
from shortlist.models.item2vec import Item2Vec
from shortlist.recall.similar import Similar
from shortlist.testing.world import checkerboard, synthetic
from shortlist.types import HISTORY, Candidates, Queries, Ragged

WORKED = [[1, 3, 5, 7], [1, 2, 5, 7], [7, 9, 15, 20]]  # of the item2vec system


def listed(lists: list[list[int]]) -> Ragged:
    return Ragged.of([{"item": each} for each in lists], {"item": np.int32})


def dense(graph: Ragged) -> np.ndarray:
    matrix = np.zeros((len(graph), len(graph)))
    matrix[graph.owner, graph["item"]] = graph["weight"]
    return matrix


def random_lists(count: int = 60, width: int = 40, longest: int = 30) -> list[list[int]]:
    chance = np.random.default_rng(5)
    return [chance.choice(width, chance.integers(0, longest), replace=False).tolist() for _ in range(count)]


def test_the_worked_example_of_deepwalk():
    graph = Item2Vec().graph(listed(WORKED), 21, seed=0)
    first = slice(graph.ptr[1], graph.ptr[2])
    assert graph["item"][first].tolist() == [2, 3, 5, 7]
    np.testing.assert_allclose(graph["weight"][first] / graph["weight"][first].sum(), [1 / 6, 1 / 6, 1 / 3, 1 / 3])
    entry = dense(graph).sum(axis=1)
    assert entry[[1, 2, 3, 5, 7, 9, 15, 20]].tolist() == [6, 3, 3, 6, 9, 3, 3, 3]
    assert entry.sum() == 36
    assert entry[7] / entry.sum() == 0.25


def test_walks_follow_the_worked_example():
    recipe = Item2Vec(walks=5000, length=3)
    walks = recipe.walk(listed(WORKED), 21, seed=1)["item"].reshape(-1, 3)
    assert np.mean(walks[:, 0] == 7) == pytest.approx(0.25, abs=0.02)
    after = walks[:, 1][walks[:, 0] == 1]
    share = np.bincount(after, minlength=8)[[2, 3, 5, 7]] / len(after)
    np.testing.assert_allclose(share, [1 / 6, 1 / 6, 1 / 3, 1 / 3], atol=0.03)


def test_the_graph_of_short_lists_is_all_pairs():
    lists = random_lists()
    naive = np.zeros((40, 40))
    for each in lists:
        for one, other in combinations(each, 2):
            naive[one, other] += 1
            naive[other, one] += 1
    assert np.array_equal(dense(Item2Vec(partners=15).graph(listed(lists), 40, seed=3)), naive)


def test_the_graph_of_a_window_joins_neighbours():
    lists = [*random_lists(), [1, 1, 2, 1]]  # nothing is joined to itself
    naive = np.zeros((40, 40))
    for each in lists:
        for place, item in enumerate(each):
            for other in each[place + 1 : place + 4]:
                if other != item:
                    naive[item, other] += 1
                    naive[other, item] += 1
    assert np.array_equal(dense(Item2Vec(pairs="window", partners=3).graph(listed(lists), 40, seed=3)), naive)


def test_long_lists_give_few_pairs_that_stand_for_all():
    size, partners = 400, 10
    every = np.arange(size)
    total = np.zeros((size, size))
    for seed in range(200):
        graph = Item2Vec(partners=partners).graph(listed([every.tolist()]), size, seed)
        assert (graph.length == 2 * partners).all()  # linear in the length of the list
        matrix = dense(graph)
        assert np.array_equal(matrix, matrix.T)
        assert matrix.sum() == pytest.approx(size * (size - 1), rel=1e-5)
        total += matrix
    mean = total[~np.eye(size, dtype=bool)] / 200
    assert mean.mean() == pytest.approx(1, rel=1e-5)
    assert mean.std() < 0.35  # of a draw: sqrt(39.9 / 2 - 1) / sqrt(200) = 0.31


def test_a_biased_walk_has_the_probabilities_of_node2vec():
    lists, width = listed([[0, 1, 2], [0, 1], [1, 3], [3, 4], [2, 3, 5]]), 6
    for p, q in ((4.0, 0.25), (0.1, 2.0), (0.5, 3.0), (1.0, 0.5)):
        recipe = Item2Vec(walks=30_000, length=3, p=p, q=q)
        weight = dense(recipe.graph(lists, width, seed=0))
        seen = Counter(map(tuple, recipe.walk(lists, width, seed=2)["item"].reshape(-1, 3).tolist()))
        for before in range(width):
            for node in np.flatnonzero(weight[before]):
                bias = np.where(weight[before] > 0, 1.0, 1 / q)
                bias[before] = 1 / p
                expected = weight[node] * bias / (weight[node] * bias).sum()
                count = np.array([seen[before, int(node), last] for last in range(width)])
                np.testing.assert_allclose(count / count.sum(), expected, atol=0.03)


def test_graphs_and_walks_are_the_same_for_any_number_of_threads():
    lists = listed(random_lists(400, 300, 90))
    one, many = (Item2Vec(partners=5, threads=threads, p=2, q=0.5) for threads in (1, 4))
    assert np.array_equal(one.graph(lists, 300, 9)["weight"], many.graph(lists, 300, 9)["weight"])
    walks = one.walk(lists, 300, 9)["item"]
    assert np.array_equal(walks, many.walk(lists, 300, 9)["item"])
    assert not np.array_equal(walks, one.walk(lists, 300, 10)["item"])


@pytest.mark.parametrize("variant", _kernels.variants())
def test_a_step_of_skip_gram_is_that_of_the_paper(variant):
    """One pair, one epoch: the gradient of log s(x.y) + sum over noise of log s(-x.y'), written out."""
    before = _kernels.use(variant)
    try:
        for dim in (16, 32, 48, 64, 128):
            chance = np.random.default_rng(dim)
            near, told = (chance.normal(0, 0.3, (3, dim)).astype(np.float32) for _ in range(2))
            x, y = near.astype(np.float64), told.astype(np.float64)
            # items 0 and 1 stand together; item 2 is all the noise there is to draw, but for those that are met
            noise = np.array([1e-30, 1e-30, 1], np.float32)
            ones = np.ones(3, np.float32)
            lists = (np.array([0, 2]), np.array([0, 1], np.int32))
            _kernels.skip_gram(near, told, *lists, noise, ones, 1, 1, 1, 0.5, 4, threads=1)
            for target, telling in ((0, 1), (1, 0)):
                gain = {
                    each: 0.5 * ((each == target) - 1 / (1 + np.exp(-x[telling] @ y[each]))) for each in (target, 2)
                }
                old = x[telling].copy()
                x[telling] += sum(gain[each] * y[each] for each in gain)
                for each, step in gain.items():
                    y[each] += step * old
            np.testing.assert_allclose(near, x, atol=2e-4)
            np.testing.assert_allclose(told, y, atol=2e-4)
    finally:
        _kernels.use(before)


@pytest.mark.parametrize(
    "recipe", [Item2Vec(), Item2Vec(learn="lists", epochs=20), Item2Vec(p=2, q=0.5, pairs="window")]
)
def test_items_of_one_kind_are_alike(recipe):
    world = synthetic(users=300, events=12_000)
    item = recipe.fit(world.data, seed=0).item
    genre = np.arange(len(item)) % 6
    like = item @ item.T
    same = genre[:, None] == genre
    np.fill_diagonal(same, False)
    assert like[same].mean() > like[genre[:, None] != genre].mean() + 0.1


def test_one_thread_repeats_and_many_keep_the_quality():
    world = synthetic(users=300, events=12_000)
    one, again, many = (Item2Vec(threads=threads).fit(world.data, seed=4).item for threads in (1, 1, 4))
    assert np.array_equal(one, again)
    genre = np.arange(len(one)) % 6
    for item in (one, many):
        np.fill_diagonal(like := item @ item.T, -1)
        assert np.mean(genre[like.argmax(axis=1)] == genre) > 0.8


def test_a_person_is_the_mean_of_what_they_like_the_newest_counting_most():
    world = synthetic()
    model = replace(Item2Vec().fit(world.data, seed=0), half_life=2.0)
    history = world.data.histories(np.array([3], np.int32))
    liked = history.where(history["weight"] > 0)
    mean = np.zeros(model.item.shape[1])
    for age, (item, weight) in enumerate(zip(liked["item"][::-1], liked["weight"][::-1], strict=True)):
        mean += weight * 0.5 ** (age / 2) * model.item[item]
    mean /= np.linalg.norm(mean)
    found = model.recall(Queries.of([3], history=history), 10)
    expected = np.argsort(-(model.item @ mean), kind="stable")[:10]
    assert found.item.tolist() == expected.tolist()
    np.testing.assert_allclose(found.columns["score"], model.item[expected] @ mean, rtol=1e-4)
    why = model.because(Queries.of([3], history=history), found)
    part = dict.fromkeys(liked["item"], 0.0)
    for age, (item, weight) in enumerate(zip(liked["item"][::-1], liked["weight"][::-1], strict=True)):
        part[item] = max(part[item], weight * 0.5 ** (age / 2) * float(model.item[item] @ model.item[found.item[0]]))
    assert why[0] == max(part, key=lambda item: part[item])


def test_similar_items_are_the_nearest_and_never_the_item_itself():
    model = Item2Vec().fit(synthetic().data, seed=0)
    view = Ragged.of([{**{name: [1] for name in HISTORY}, "item": [7]}], HISTORY)
    found = Similar(model).recall(Queries.of([-1], context=view), 5)
    nearest = np.argsort(-(model.item @ model.item[7]), kind="stable")
    assert found.item.tolist() == [item for item in nearest if item != 7][:5]


def test_an_item_nobody_liked_has_no_vector_and_no_score():
    world = checkerboard()
    data = world.data.only(world.data.events.item != 4)
    model = Item2Vec(factors=5).fit(data, seed=0)
    assert not model.item[4].any()
    queries = world.queries()
    assert 4 not in model.recall(queries, 12).item
    beyond = Candidates(np.zeros(2, np.int32), np.array([4, 99], np.int32))
    assert np.isnan(model.score(queries, beyond)).all()


def test_progress_is_told_from_the_calling_thread_and_can_stop_the_work():
    lists, told = listed(random_lists(2000)), []
    recipe = Item2Vec(threads=3)

    def tell(share: float) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append(share)

    walks = recipe.walk(lists, 40, 0, tell)
    recipe.vectors(walks, 40, 0, tell)
    assert told
    assert all(0 < share <= 1 for share in told)

    def stop(share: float) -> None:
        raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        Item2Vec().graph(lists, 40, 0, stop)
    with pytest.raises(InterruptedError, match="enough"):
        Item2Vec().vectors(walks, 40, 0, stop)


def test_frequent_items_are_passed_over_when_asked():
    lists = listed([[0, 1, 2]] * 50 + [[0, 1]] * 400)
    whole, thinned = (Item2Vec(learn="lists", sample=sample).vectors(lists, 4, 0) for sample in (0.0, 0.01))
    assert not np.array_equal(whole, thinned)
    assert not thinned[3].any()


@pytest.mark.parametrize("wrong", [{"learn": "trees"}, {"pairs": "all"}, {"p": 0.0}, {"window": 0}, {"factors": -1}])
def test_settings_without_meaning_are_refused(wrong):
    with pytest.raises(ConfigError, match="must be") as caught:
        Item2Vec(**wrong)
    assert caught.value.where == "models.item2vec"


def test_kernels_refuse_what_does_not_fit():
    lists = (np.array([0, 2]), np.array([0, 9], np.int32))
    with pytest.raises(ValueError, match="out of range"):
        _kernels.item_graph(*lists, 3, 2, True, 0)
    vectors, ones = np.zeros((3, 16), np.float32), np.ones(3, np.float32)
    with pytest.raises(ValueError, match="out of range"):
        _kernels.skip_gram(vectors, vectors.copy(), *lists, ones, ones, 2, 2, 1, 0.1, 0)
    with pytest.raises(ValueError, match="multiple of 16"):
        _kernels.skip_gram(vectors[:, :5].copy(), vectors[:, :5].copy(), *lists, ones, ones, 2, 2, 1, 0.1, 0)
    edge = (np.array([0, 1, 1]), np.array([1], np.int32), np.ones(1, np.float32))
    with pytest.raises(ValueError, match="no neighbour may be without"):
        _kernels.random_walks(*edge, 5, 3, 1, 1, 0)
