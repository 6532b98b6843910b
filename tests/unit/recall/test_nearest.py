"""Nearest: what the index is asked, and which spaces it keeps."""

from dataclasses import dataclass

import numpy as np

from shortlist.recall.nearest import KEPT, Nearest
from shortlist.stores import open_store
from shortlist.types import HISTORY, Queries, Ragged, Vectors

ITEM = np.array([[4, 0], [3, 1], [0, 2], [0, 0], [-1, 0]], np.float32)


@dataclass(frozen=True)
class Mean:
    """A person is the mean of the vectors of the history."""

    item: Vectors

    def fold_in(self, history: Ragged) -> Vectors:
        user = np.zeros((len(history), self.item.shape[1]), np.float32)
        np.add.at(user, history.owner, self.item[history["item"]])
        return user / np.maximum(history.length, 1)[:, None].astype(np.float32)


def lists(*items: list[int]) -> Ragged:
    rows = [{name: np.ones(len(each)) for name in HISTORY} | {"item": each} for each in items]
    return Ragged.of(rows, HISTORY)


def test_a_person_gets_what_is_nearest_and_nobody_an_item_without_a_vector() -> None:
    source = Nearest(Mean(ITEM), open_store("index", "memory:"))
    found = source.recall(Queries.of([0, 1, 2], history=lists([0], [], [3])), 9)
    assert found.query.tolist() == [0, 0, 0, 0]  # no history, and one that says nothing: no opinion
    assert found.item.tolist() == [0, 1, 2, 4]
    np.testing.assert_allclose(found.columns["score"], [16, 12, 0, -4])


def test_what_is_in_view_is_asked_by_its_mean_and_not_proposed() -> None:
    source = Nearest(Mean(ITEM), open_store("index", "memory:"), metric="cosine", about="context")
    found = source.recall(Queries.of([0, 1], history=lists([4], [4]), context=lists([0, 2], [])), 2)
    assert found.item.tolist() == [1, 4]
    np.testing.assert_allclose(found.columns["score"], [7 / 50**0.5, -2 / 5**0.5], rtol=1e-5)


def test_each_training_has_a_space_and_old_ones_go() -> None:
    index = open_store("index", "memory:")
    asked = Queries.of([0], history=lists([0]))
    sources = [Nearest(Mean(ITEM * (n + 1)), index, space="als") for n in range(KEPT + 2)]
    index.build("other@1", np.array([1], np.int32), np.ones((1, 2), np.float32))
    for n, source in enumerate(sources):
        assert source.recall(asked, 1).columns["score"].tolist() == [16 * (n + 1) ** 2]
    kept = [each.name for each in index.spaces()]
    assert kept == ["other@1", *(source.full_name for source in sources[-KEPT:])]
    assert sources[0].recall(asked, 1).columns["score"].tolist() == [16]  # gone, so it is made again
