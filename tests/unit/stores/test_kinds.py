"""Kinds of index: what is stored beside the vectors, the floor, changes beside a finder, other kinds on reopening."""

from pathlib import Path

import numpy as np
import pytest

from shortlist.errors import ConfigError, StoreError
from shortlist.stores import ROLES, embedded_index, open_store, open_stores
from shortlist.types import Ragged

SIZE, WIDTH = 6000, 8
ROWS = np.arange(SIZE, dtype=np.int32)
VECTORS = np.random.default_rng(5).normal(size=(SIZE, WIDTH)).astype(np.float32)
ASKED = VECTORS[:5]
TRUE = np.argsort(-(ASKED @ VECTORS.T), axis=1)[:, :10]


def url(folder: Path, query: str = "kind=lsh&least=0&floor=0.9") -> str:
    return f"file:{folder}?{query}"


def test_recall_is_measured_and_kept(tmp_path: Path) -> None:
    for _ in range(2):
        with open_stores({**dict.fromkeys(ROLES, f"file:{tmp_path}"), "index": url(tmp_path)}) as stores:
            if not stores.index.spaces():
                stores.index.build("a", ROWS, VECTORS)
            (facts,) = stores.index.spaces()
            assert (facts.name, facts.kind, facts.rows, facts.width, facts.floor) == ("a", "lsh", SIZE, WIDTH, 0.9)
            assert 0.9 <= facts.recall < 1


def test_a_build_under_the_floor_is_refused_and_the_old_space_stays(tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason='faiss is not installed: pip install "shortlist[ann]"')
    index = open_store("index", url(tmp_path, "kind=pq&cells=1&floor=1&least=1000"))
    index.build("a", ROWS[:10], VECTORS[:10])
    with pytest.raises(StoreError, match=r"pq finds 0\.\d+ .* the floor is 1"):
        index.build("a", ROWS, VECTORS)
    assert index.spaces()[0].rows == 10


def test_another_kind_in_the_configuration_makes_the_space_anew(tmp_path: Path) -> None:
    for query, kind in (("kind=exact", "exact"), ("kind=lsh&least=0", "lsh"), ("kind=exact&floor=1", "exact")):
        with open_stores({**dict.fromkeys(ROLES, f"file:{tmp_path}"), "index": url(tmp_path, query)}) as stores:
            if not stores.index.spaces():
                stores.index.build("a", ROWS, VECTORS)
            assert stores.index.spaces()[0].kind == kind
            found, _ = stores.index.search("a", ASKED, 10)
            assert np.mean([np.isin(mine, true).mean() for mine, true in zip(found, TRUE, strict=True)]) > 0.8


def test_another_breadth_or_floor_keeps_the_finder(tmp_path: Path) -> None:
    recall = []
    for query in ("breadth=50", "breadth=6000", "breadth=50&floor=0.9"):
        with open_stores(
            {**dict.fromkeys(ROLES, f"file:{tmp_path}"), "index": url(tmp_path, f"kind=lsh&least=0&{query}")}
        ) as stores:
            if not stores.index.spaces():
                stores.index.build("a", ROWS, VECTORS)
            (facts,) = stores.index.spaces()
            recall.append(facts.recall)
            assert [path.name for path in (tmp_path / "index").iterdir()] == ["1"]
    assert recall[0] < 0.8 < recall[1] == 1 > recall[2] >= 0.9


@pytest.mark.parametrize("query", ["kind=exact", "kind=lsh&least=0&breadth=100000"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_rows_in_any_order_changed_and_filtered(tmp_path: Path, query: str, shuffled: bool) -> None:
    chance = np.random.default_rng(11)
    rows = chance.permutation(SIZE).astype(np.int32) if shuffled else ROWS
    held = dict(zip(rows.tolist(), VECTORS, strict=True))
    index = open_store("index", url(tmp_path, query))
    index.build("a", rows, VECTORS)
    for _ in range(6):
        changed, removed = chance.integers(0, SIZE + 300, (2, 200)).astype(np.int32)
        vectors = chance.normal(size=(200, WIDTH)).astype(np.float32)
        index.upsert("a", changed, vectors)
        held.update(zip(changed.tolist(), vectors, strict=True))
        index.remove("a", removed)
        for row in removed.tolist():
            held.pop(row, None)
        assert index.spaces()[0].rows == len(held)
        known, score = np.array(list(held)), ASKED @ np.array(list(held.values())).T
        for share in (0.01, 0.5, 1):
            allowed = chance.random(SIZE - 200) < share
            open_ = np.append(allowed, np.ones(500, np.bool_))[known]
            left_out = chance.choice(known[open_], (len(ASKED), 5))
            exclude = Ragged.of([{"item": each} for each in left_out], {"item": np.int32})
            found, scores = index.search("a", ASKED, 10, exclude=exclude, allowed=allowed)
            for b in range(len(ASKED)):
                mine = np.flatnonzero(open_ & ~np.isin(known, left_out[b]))
                best = mine[np.argsort(-score[b, mine], kind="stable")[:10]]
                assert found[b].tolist() == known[best].tolist()
                np.testing.assert_allclose(scores[b], score[b, best], rtol=1e-4)


def test_many_changes_make_the_finder_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_index, "GROWN", 50)
    index = open_store("index", url(tmp_path))
    index.build("a", ROWS, VECTORS)
    folder = next((tmp_path / "index").iterdir()).name
    for n in range(3):  # more than a tenth of all
        rows = np.arange(n * 300, n * 300 + 300, dtype=np.int32)
        index.upsert("a", rows + SIZE, VECTORS[rows] * 3)
        index.remove("a", rows)
    now = np.concatenate((3 * VECTORS[:900], VECTORS[900:]))  # rows 0 .. 899 are now SIZE .. SIZE + 899
    best = np.argmax(ASKED @ now.T, axis=1)
    best[best < 900] += SIZE
    assert next((tmp_path / "index").iterdir()).name != folder
    assert index.spaces()[0].rows == SIZE
    assert index.search("a", ASKED, 1)[0][:, 0].tolist() == best.tolist()
    index.close()  # type: ignore[attr-defined]
    again = open_store("index", url(tmp_path), read_only=True)
    assert again.search("a", ASKED, 1)[0][:, 0].tolist() == best.tolist()


def test_a_reader_builds_in_its_own_memory_only(tmp_path: Path) -> None:
    writer = open_store("index", url(tmp_path))
    reader = open_store("index", url(tmp_path), read_only=True)
    reader.build("a", ROWS, VECTORS)
    reader.refresh()  # type: ignore[attr-defined]
    assert reader.search("a", ASKED, 1)[0].tolist() == TRUE[:, :1].tolist()
    assert writer.spaces() == []
    writer.build("a", ROWS[:3], VECTORS[:3])
    reader.refresh()  # type: ignore[attr-defined]
    assert reader.spaces()[0].rows == 3


def test_options_that_do_not_fit_are_told(tmp_path: Path) -> None:
    for query, said in (
        ("kind=fuzzy", "kind is 'fuzzy'"),
        ("speed=9", "'speed' is not an option"),
        ("bits=many", "bits is 'many'"),
        ("bits=100", "out of range"),
        ("floor=2", "floor is 2"),
    ):
        with pytest.raises(ConfigError, match=said):
            open_store("index", url(tmp_path / query, query))
    with pytest.raises(ConfigError, match="log takes no options"):
        open_store("log", url(tmp_path))
