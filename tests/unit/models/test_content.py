"""Items found by what they are: against the sums written out, and the moment they are in the catalogue."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.models.content import Content, ContentModel
from shortlist.recall.similar import Similar
from shortlist.stores import ROLES, open_stores
from shortlist.types import HISTORY, Candidates, Events, Queries, Ragged


def listed(values: list[tuple[str, ...]]) -> np.ndarray:
    column = np.empty(len(values), object)
    column[:] = values
    return column


GENRES = [("Space", "War"), ("Space",), ("Love",), ("Love", "War"), ("Space",), ("Love",), ()]
TITLES = ["Star fight", "Star ship", "A kiss", "Kiss and fight", "Ship of stars", "The kiss, the kiss", ""]


@pytest.fixture
def catalog() -> Any:
    opened = open_stores(dict.fromkeys(ROLES, "memory:")).catalog
    rows = opened.rows("item", [f"i{row}" for row in range(len(TITLES))], create=True)
    opened.put("item", rows, {"genres": listed(GENRES), "title": np.array(TITLES, object)})
    return opened


def trained(catalog: Any, **more: Any) -> ContentModel:
    rows = np.arange(catalog.size("item"), dtype=np.int32)
    items = dict(catalog.read("item", rows, ["genres", "title"]))
    data = Dataset.of(Events.empty(), 2, len(rows), items=items)
    return Content(catalog, **more).fit(data, seed=0)


def fond_of(*items: int, weight: float = 1.0) -> Queries:
    size = len(items)
    lists = {"item": items, "kind": [0] * size, "value": [1] * size, "weight": [weight] * size, "time": range(size)}
    return Queries.of([-1], history=Ragged.of([{name: list(each) for name, each in lists.items()}], HISTORY))


def everything(catalog: Any) -> Candidates:
    item = np.arange(catalog.size("item"), dtype=np.int32)
    return Candidates(np.zeros(len(item), np.int32), item)


def naive() -> np.ndarray:
    """(I, I) cosines of TF-IDF with nothing left out of the SVD."""
    columns: list[list[list[str]]] = [
        [[each.casefold() for each in value] for value in GENRES],
        [title.casefold().replace(",", "").split() for title in TITLES],
    ]
    blocks = []
    for lists in columns:
        terms = sorted({term for each in lists for term in each})
        count = np.array([[each.count(term) for term in terms] for each in lists], float)
        having = (count > 0).sum(axis=0)
        value = np.where(count > 0, 1 + np.log(np.maximum(count, 1)), 0) * (np.log((1 + len(lists)) / (1 + having)) + 1)
        value = value[:, having >= 2]
        blocks.append(value / np.maximum(np.linalg.norm(value, axis=1, keepdims=True), 1e-9))
    whole = np.hstack(blocks)
    whole /= np.maximum(np.linalg.norm(whole, axis=1, keepdims=True), 1e-9)
    return whole @ whole.T


def test_scores_are_cosines_of_tf_idf_written_out(catalog: Any) -> None:
    model = trained(catalog)
    for item in range(6):
        said = model.score(fond_of(item), everything(catalog))
        np.testing.assert_allclose(said[:6], naive()[item][:6], atol=1e-5)
        assert np.isnan(said[6])  # an item that says nothing


def test_a_new_item_is_found_by_its_genre_at_once(catalog: Any) -> None:
    model = trained(catalog)
    space, love = fond_of(0, 1), fond_of(2, 5)
    before = model.recall(space, 10)
    new = catalog.rows("item", ["brand new"], create=True)
    assert new[0] not in model.recall(space, 10).item
    catalog.put("item", new, {"genres": listed([("Space", "Never heard of")]), "title": np.array(["Zyx"], object)})
    assert new[0] in model.recall(space, 10).item[:4]  # right behind what also shares the words
    assert new[0] not in model.recall(love, 10).item
    assert len(model.recall(space, 10)) == len(before) + 1
    catalog.put("item", new, {"genres": listed([("Love",)])})
    assert new[0] in model.recall(love, 10).item
    catalog.remove("item", new)
    assert new[0] not in model.recall(love, 10).item


def test_what_changed_is_worked_out_again_as_it_would_be_afresh(catalog: Any) -> None:
    model = trained(catalog)
    first = model._vectors()
    catalog.put("item", np.int32([2]), {"genres": listed([("Space",)])})
    more = catalog.rows("item", ["more"], create=True)
    catalog.put("item", more, {"genres": listed([("War",)]), "title": np.array(["Kiss"], object)})
    second, afresh = model._vectors(), replace(model)._vectors()
    np.testing.assert_array_equal(second, afresh)
    np.testing.assert_array_equal(np.delete(second[:7], 2, 0), np.delete(first, 2, 0))
    assert not np.allclose(second[2], first[2])


def test_new_only_leaves_to_others_what_somebody_liked(catalog: Any) -> None:
    rows = np.arange(7, dtype=np.int32)
    items = dict(catalog.read("item", rows, ["genres", "title"]))
    like = Events.empty()
    one = Events(
        *(np.array([value], getattr(like, name).dtype) for name, value in (("user", 0), ("item", 4), ("kind", 1))),
        np.float32([1]), np.int64([5]), np.uint64([0]), np.zeros((1, 2), np.uint64),
    )  # fmt: skip
    model = Content(catalog, new_only=True).fit(Dataset.of(one, 2, 7, items=items), seed=0)
    found = model.recall(fond_of(0), 10).item
    assert 4 not in found
    assert 1 in found


def test_the_newest_liking_counts_most_and_is_the_reason(catalog: Any) -> None:
    model = trained(catalog, half_life=0.5)
    queries = fond_of(1, 2)
    found = model.recall(queries, 2)
    assert set(found.item.tolist()) == {2, 5}
    assert (model.because(queries, found) == 2).all()


def test_similar_items_are_those_of_the_same_kind(catalog: Any) -> None:
    view = fond_of(2)
    asked = Queries.of([-1], context=view.history)
    assert Similar(trained(catalog)).recall(asked, 1).item.tolist() == [5]


def test_fewer_factors_keep_what_is_alike_together(catalog: Any) -> None:
    model = trained(catalog, factors=2)
    assert model.facets[0].component.shape[1] == 2
    space = model.score(fond_of(1), everything(catalog))
    assert min(space[0], space[4]) > max(space[2], space[5])


def test_dislikes_and_foreign_items_say_nothing(catalog: Any) -> None:
    model = trained(catalog)
    assert not len(model.recall(fond_of(0, weight=-1.0), 5))
    assert not len(model.recall(fond_of(99, 6), 5))
    assert np.isnan(model.score(fond_of(99), everything(catalog))).all()


def test_a_column_that_is_no_text_is_refused_by_name(catalog: Any) -> None:
    data = Dataset.of(Events.empty(), 1, 1, items={"year": np.float64([1990])})
    with pytest.raises(ConfigError, match="'year' of the items is a number"):
        Content(catalog, {"year": 1.0}).fit(data, seed=0)
    with pytest.raises(ConfigError, match="does not exist"):
        Content(catalog, {"plot": 1.0}).fit(data, seed=0)
