"""Item neighbours against similarities computed pair by pair."""

import numpy as np
import pytest

from shortlist import ops
from shortlist.errors import ConfigError
from shortlist.models import sparse
from shortlist.models.itemknn import ItemKnn
from shortlist.models.userknn import UserKnn
from shortlist.models.weighting import weighted
from shortlist.testing.world import World, synthetic
from shortlist.types import Candidates, Queries, Ragged


@pytest.fixture(scope="module")
def world() -> World:
    return synthetic()


def dense(lists: Ragged) -> np.ndarray:
    matrix = np.zeros((len(lists), len(lists)))
    matrix[lists.owner, lists["item"]] = lists["score"]
    return matrix


@pytest.mark.parametrize("weighting", ["cosine", "tfidf", "bm25"])
@pytest.mark.parametrize(("shrink", "asymmetry"), [(0.0, 0.5), (3.0, 0.3)])
def test_similarities_are_those_of_the_formula(world: World, weighting: str, shrink: float, asymmetry: float) -> None:
    recipe = ItemKnn(neighbours=1000, weighting=weighting, shrink=shrink, asymmetry=asymmetry)
    x = weighted(world.data.matrix, weighting).toarray().astype(np.float64)
    length = np.ones(x.shape[1]) if weighting == "bm25" else np.sqrt((x**2).sum(axis=0))
    below = length[:, None] ** (2 * asymmetry) * length ** (2 - 2 * asymmetry) + shrink
    expected = np.divide(x.T @ x, below, out=np.zeros_like(below), where=below > 0)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(dense(recipe.fit(world.data, seed=0).neighbour), expected, rtol=1e-4, atol=1e-6)


def test_bm25_and_tfidf_are_those_of_the_papers(world: World) -> None:
    matrix = world.data.matrix
    x, count = matrix.toarray().astype(np.float64), np.diff(matrix.indptr)
    rarity = np.log(x.shape[1] / (1 + count))[:, None]
    np.testing.assert_allclose(weighted(matrix, "tfidf").toarray(), np.sqrt(x) * np.maximum(rarity, 0), rtol=1e-5)
    norm = 1 - 0.75 + 0.75 * x.sum(axis=0) / x.sum(axis=0).mean()
    expected = np.where(x > 0, x * 2.2 / (1.2 * norm + x), 0) * np.maximum(rarity, 0)
    np.testing.assert_allclose(weighted(matrix, "bm25").toarray(), expected, rtol=1e-5)


@pytest.mark.parametrize("half_life", [0.0, 2.0])
def test_scores_and_reasons_are_sums_and_largest_parts(world: World, half_life: float) -> None:
    model = ItemKnn(neighbours=10, half_life=half_life).fit(world.data, seed=0)
    similarity = dense(model.neighbour)
    users = np.arange(20, dtype=np.int32)
    queries = Queries.of(users, history=world.data.histories(users))
    size = world.data.n_items
    found = Candidates(np.repeat(users, size), np.tile(np.arange(size, dtype=np.int32), 20))
    liked = ops.liked(queries.history, half_life, size)
    score, why = model.score(queries, found).reshape(20, size), model.because(queries, found).reshape(20, size)
    for user in users:
        mine = slice(liked.ptr[user], liked.ptr[user + 1])
        part = liked["weight"][mine, None] * similarity[liked["item"][mine]]
        total = part.sum(axis=0)
        np.testing.assert_allclose(np.nan_to_num(score[user]), total, rtol=1e-4, atol=1e-7)
        assert np.array_equal(np.isnan(score[user]), total == 0)
        for item in np.flatnonzero(total):
            blamed = part[liked["item"][mine] == why[user, item], item]
            assert blamed.max() == pytest.approx(part[:, item].max(), rel=1e-5)


def test_what_is_too_large_to_share_is_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    model = ItemKnn(neighbours=10).fit(world.data, seed=0)
    users = np.arange(20, dtype=np.int32)
    history = world.data.histories(users)
    exclude = Ragged(history.ptr, {"item": history["item"]})
    answers = []
    for shared in (sparse.SHARED, 0):
        monkeypatch.setattr(sparse, "SHARED", shared)
        queries = Queries.of(users, history=history, exclude=exclude, allowed=np.arange(30) % 3 > 0)
        found = model.recall(queries, 7)
        answers.append((found.query, found.item, found.columns["score"], model.score(queries, found)))
    for one, other in zip(*answers, strict=True):
        np.testing.assert_array_equal(one, other)


def test_user_neighbours_are_found_by_cosine_and_oneself_is_none(world: World) -> None:
    model = UserKnn(neighbours=3).fit(world.data, seed=0)
    x = world.data.matrix.toarray().astype(np.float64)
    length = np.sqrt((x**2).sum(axis=1))
    cosine = np.divide(x @ x.T, length, out=np.zeros((len(x), len(x))), where=length > 0)
    np.fill_diagonal(cosine, 0)
    users = np.arange(world.data.n_users, dtype=np.int32)
    found = model.recall(Queries.of(users, history=world.data.histories(users)), world.data.n_items)
    for user in users:
        if not x[user].any():
            continue
        best = np.sort(cosine[user])[-3:]
        if len(np.unique(best.round(5))) < 3 or np.isclose(best[0], np.sort(cosine[user])[-4]):
            continue  # a tie: which three is a matter of rows
        kin = np.argsort(-cosine[user], kind="stable")[:3]
        expected = cosine[user, kin] @ x[kin]
        mine = found.query == user
        np.testing.assert_allclose(found.columns["score"][mine], expected[found.item[mine]], rtol=1e-4)


def test_an_unknown_weighting_is_named_with_those_that_exist(world: World) -> None:
    with pytest.raises(ConfigError, match="weighting is 'idf', but must be one of cosine, tfidf, bm25"):
        ItemKnn(weighting="idf").fit(world.data, seed=0)
