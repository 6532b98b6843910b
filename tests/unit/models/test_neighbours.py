"""Neighbours where the weighting leaves nothing: items that everybody took, and no items at all."""

import numpy as np
import pytest

from shortlist.dataset import Dataset
from shortlist.models.itemknn import ItemKnn
from shortlist.models.userknn import UserKnn
from shortlist.types import Events, Queries

WEIGHTINGS = ("cosine", "tfidf", "bm25")


def clicks(pairs: list[tuple[int, int]]) -> Events:
    user, item = (np.array(column, np.int32) for column in zip(*pairs, strict=True))
    size = len(pairs)
    ones = np.ones(size, np.float32)
    id = np.arange(2 * size, dtype=np.uint64).reshape(-1, 2)
    return Events(user, item, ones.astype(np.uint8), ones, np.arange(size), np.zeros(size, np.uint64), id)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_person_with_nothing_but_what_everybody_took_is_nobodys_neighbour_by_mistake(weighting: str) -> None:
    data = Dataset.of(clicks([(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0), (3, 3)]), 4, 4)
    model = UserKnn(weighting=weighting).fit(data, seed=0)
    assert np.isfinite(model.fan["score"]).all()
    found = model.recall(Queries.of([1], history=data.histories(np.int32([1]))), 4)
    assert np.isfinite(found.columns["score"]).all()
    assert 2 in found.item


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("recipe", [ItemKnn, UserKnn])
def test_a_catalogue_without_items_has_no_neighbours(recipe: type, weighting: str) -> None:
    model = recipe(weighting=weighting).fit(Dataset.of(Events.empty(), 0, 0), seed=0)
    assert not len(model.recall(Queries.of([-1, 0]), 5))
