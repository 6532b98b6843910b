"""What every Index must keep."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import DataError, NotFound, ShapeError
from shortlist.protocols import Index
from shortlist.stores import open_store
from shortlist.testing.store_contract import StoreContract, at, closed, quick
from shortlist.types import Ragged


class IndexContract(StoreContract):
    """For every exact Index; an approximate one says how much of the true answer it may miss."""

    recall: ClassVar[float] = 1.0
    filtered: ClassVar[int] = 3000  # vectors that filters are tried on

    def open(self, folder: Path) -> Any:
        return closed(open_store("index", self.url(folder)))

    def finds(
        self, index: Index, space: str, held: dict[int, list[float]], asked: np.ndarray[Any, Any], k: int
    ) -> None:
        """Compare a search with the whole matrix product."""
        rows = np.array(list(held), np.int32)
        score = asked @ np.array([held[row] for row in rows.tolist()], np.float32).reshape(len(rows), asked.shape[1]).T
        found, scores = index.search(space, asked, k)
        assert found.shape == scores.shape == (len(asked), k)
        assert [found.dtype, scores.dtype] == [np.dtype(np.int32), np.dtype(np.float32)]
        filled = min(k, len(rows))
        assert (found[:, filled:] == -1).all()
        assert np.isnan(scores[:, filled:]).all()
        best = -np.sort(-score, axis=1)[:, :filled]
        if self.recall == 1.0:
            np.testing.assert_allclose(scores[:, :filled], best, rtol=1e-4, atol=1e-5)
        place = {row: n for n, row in enumerate(rows.tolist())}
        hits = 0
        for b in range(len(asked)):
            mine = found[b][found[b] >= 0].tolist()
            assert len(set(mine)) == len(mine)
            theirs = scores[b][: len(mine)]
            np.testing.assert_allclose(theirs, score[b, [place[row] for row in mine]], rtol=1e-4, atol=1e-5)
            assert (np.diff(theirs) <= 1e-6).all()
            hits += int(np.sum(theirs >= best[b, -1] - 1e-5)) if filled else 0
        assert hits >= self.recall * filled * len(asked)

    def test_search_is_the_cut_of_the_whole_product(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(3)
        with self.open(tmp_path) as index:
            for n, (size, width, asked, k) in enumerate(
                [(1, 1, 1, 1), (7, 3, 2, 10), (500, 16, 40, 20), (300, 8, 1, 300)]
            ):
                held = dict(
                    zip(rng.permutation(9 * size)[:size].tolist(), rng.normal(size=(size, width)).tolist(), strict=True)
                )
                index.build(f"space {n}", np.array(list(held), np.int32), np.array(list(held.values()), np.float32))
                self.finds(index, f"space {n}", held, rng.normal(size=(asked, width)).astype(np.float32), k)

    def test_changes_show_at_once(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as index:
            self.check_changes(index)

    def check_changes(self, index: Index) -> None:
        held: dict[int, list[float]] = {n: [float(n), 1.0] for n in range(5)}
        index.build("changing", np.arange(5, dtype=np.int32), np.array(list(held.values()), np.float32))
        row, rows = st.integers(0, 30), st.lists(st.integers(0, 30), max_size=6, unique=True)

        @quick
        @given(rows, rows, row, st.integers(0, 2**32))
        def check(changed: list[int], removed: list[int], k: int, seed: int) -> None:
            rng = np.random.default_rng(seed)
            vectors = rng.normal(size=(len(changed), 2)).astype(np.float32)
            index.upsert("changing", np.array(changed, np.int32), vectors)
            held.update(zip(changed, vectors.tolist(), strict=True))
            index.remove("changing", np.array(removed, np.int32))
            for each in removed:
                held.pop(each, None)
            self.finds(index, "changing", held, rng.normal(size=(3, 2)).astype(np.float32), k)

        check()

    def test_a_build_takes_the_place_of_the_space(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as index:
            index.build("a", at(1, 2), np.ones((2, 3), np.float32))
            index.build("b", at(5), np.ones((1, 2), np.float32))
            index.build("a", at(9), np.ones((1, 4), np.float32))
            assert index.search("a", np.ones((1, 4), np.float32), 2)[0].tolist() == [[9, -1]]
            assert index.search("b", np.ones((1, 2), np.float32), 2)[0].tolist() == [[5, -1]]

    def test_a_dropped_space_is_not_there(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as index:
            index.upsert("a", at(1), np.ones((1, 3), np.float32))
            assert index.search("a", np.ones((1, 3), np.float32), 1)[0].tolist() == [[1]]
            for _ in range(2):
                index.drop("a")
            index.remove("a", at(1))
            with pytest.raises(NotFound, match="no space 'a'"):
                index.search("a", np.ones((1, 3), np.float32), 1)

    def test_no_questions_no_places_and_no_vectors(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as index:
            index.build("a", at(1), np.ones((1, 3), np.float32))
            index.build("none", at(), np.ones((0, 3), np.float32))
            assert index.search("a", np.ones((0, 3), np.float32), 2)[0].shape == (0, 2)
            assert index.search("a", np.ones((2, 3), np.float32), 0)[0].shape == (2, 0)
            assert index.search("none", np.ones((2, 3), np.float32), 2)[0].tolist() == [[-1, -1]] * 2

    def test_filters_hold_inside_the_search(self, tmp_path: Path) -> None:
        """A list is the cut of what is allowed and not excluded, and short only when nothing else matches."""
        rng = np.random.default_rng(8)
        size, width, k = self.filtered, 16, 10
        held = rng.normal(size=(size, width)).astype(np.float32)
        with self.open(tmp_path) as index:
            index.build("a", np.arange(size, dtype=np.int32), held)
            asked = held[:3] + 0.1 * rng.normal(size=(3, width)).astype(np.float32)
            score = asked @ held.T
            order = np.argsort(-score, axis=1)
            for share in (1.0, 0.5, 0.05, 5.5 / size):
                allowed = rng.random(size) < share
                allowed[order[:, :5]] = share == 1.0
                exclude = Ragged.of([{"item": order[0, :30]}, {"item": []}, {"item": order[2]}], {"item": np.int32})
                found, scores = index.search("a", asked, k, exclude=exclude, allowed=allowed)
                kept = np.repeat(allowed[None], 3, axis=0)
                kept[0, order[0, :30]] = False
                kept[2] = False
                best = -np.sort(-np.where(kept, score, -np.inf), axis=1)[:, :k]
                hits = 0
                for b in range(3):
                    mine = found[b][found[b] >= 0]
                    assert len(set(mine.tolist())) == len(mine) == min(k, int(kept[b].sum()))
                    assert kept[b, mine].all()
                    np.testing.assert_allclose(scores[b, : len(mine)], score[b, mine], rtol=1e-4, atol=1e-5)
                    hits += int(np.sum(scores[b, : len(mine)] >= best[b, len(mine) - 1] - 1e-4)) if len(mine) else 0
                assert hits >= self.recall * min(2 * k, kept.sum())
            new = np.array([size + 5], np.int32)
            index.upsert("a", new, 9 * asked[:1])
            found, _ = index.search("a", asked[:1], 2, allowed=np.zeros(size, np.bool_))
            assert found.tolist() == [[size + 5, -1]]  # rows beyond the mask are allowed

    def test_the_metric_belongs_to_the_space(self, tmp_path: Path) -> None:
        vectors = np.array([[10, 10], [1, 0], [0, 0]], np.float32)
        asked = np.array([[2, 0]], np.float32)
        with self.open(tmp_path) as index:
            index.build("angle", at(1, 2, 3), vectors, metric="cosine")
            index.upsert("angle", at(4), np.array([[-7, 0]], np.float32), metric="cosine")
            found, score = index.search("angle", asked, 4, metric="cosine")
            assert found.tolist() == [[2, 1, 3, 4]]
            np.testing.assert_allclose(score, [[1, 0.5**0.5, 0, -1]], atol=1e-5)
            with pytest.raises(DataError, match=r"cosine.*inner"):
                index.search("angle", asked, 1)
            with pytest.raises(DataError, match=r"cosine.*inner"):
                index.upsert("angle", at(1), asked)
            with pytest.raises(DataError, match="no metric 'taxi'"):
                index.build("b", at(1), asked, metric="taxi")
            assert [(each.name, each.rows, each.width, each.metric) for each in index.spaces()] == [
                ("angle", 4, 2, "cosine")
            ]
        self.reopens()
        with self.open(tmp_path) as index, pytest.raises(DataError, match=r"cosine.*inner"):
            index.search("angle", asked, 1)

    def test_other_dimensions_are_refused_with_both_numbers(self, tmp_path: Path) -> None:
        with self.open(tmp_path) as index:
            index.build("a", at(1), np.ones((1, 64), np.float32))
            with pytest.raises(ShapeError, match=r"64.*32"):
                index.search("a", np.ones((1, 32), np.float32), 1)
            with pytest.raises(ShapeError, match=r"64.*32"):
                index.upsert("a", at(1), np.ones((1, 32), np.float32))
            with pytest.raises(ShapeError, match="2 rows"):
                index.build("b", at(1, 2), np.ones((1, 32), np.float32))

    def test_nan_neither_gets_in_nor_finds_anything(self, tmp_path: Path) -> None:
        bad = np.array([[1, np.nan]], np.float32)
        with self.open(tmp_path) as index:
            index.build("a", at(1), np.ones((1, 2), np.float32))
            for verb in (index.build, index.upsert):
                with pytest.raises(DataError, match="not finite"):
                    verb("a", at(3), bad)
            found, score = index.search("a", np.concatenate((bad, np.ones((1, 2), np.float32))), 1)
            assert found.tolist() == [[-1], [1]]
            assert np.isnan(score[0, 0])

    def test_what_was_acknowledged_is_there_after_a_restart(self, tmp_path: Path) -> None:
        self.reopens()
        asked = np.ones((1, 2), np.float32)
        with self.open(tmp_path) as index:
            index.build("a@1", at(1, 2, 3), np.array([[1, 0], [2, 0], [3, 0]], np.float32))
            index.build("gone", at(1), asked)
            index.upsert("a@1", at(2, 4), np.array([[9, 0], [4, 0]], np.float32))
            index.remove("a@1", at(3))
            index.drop("gone")
        with self.open(tmp_path) as index:
            assert index.search("a@1", asked, 4)[0].tolist() == [[2, 4, 1, -1]]
            with pytest.raises(NotFound):
                index.search("gone", asked, 1)
            index.build("a@1", at(7), asked)
        with self.open(tmp_path) as index:
            assert index.search("a@1", asked, 4)[0].tolist() == [[7, -1, -1, -1]]
