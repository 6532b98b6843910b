"""Two towers: people by profile alone, items by content alone, and numpy serving what PyTorch learned."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shortlist import ops
from shortlist.dataset import Dataset
from shortlist.descent import Descent
from shortlist.models.fields import Fields
from shortlist.models.twotower import Tower, TwoTower, TwoTowerModel
from shortlist.packed import pack, unpack
from shortlist.protocols import Catalog
from shortlist.stores import open_store
from shortlist.testing.world import START
from shortlist.types import HISTORY, Candidates, Column, Events, Queries, Ragged, Rows, Vectors, empty_history

pytestmark = pytest.mark.torch
USERS, ITEMS = 40, 30
DESCENT = Descent(epochs=30, patience=30, batch=64, rate=0.01, threads=1, held=0)


def texts(values: list[str]) -> Column:
    column = np.empty(len(values), object)
    column[:] = values
    return column


def told(catalog: Catalog) -> tuple[TwoTower, Dataset]:
    """Bakers of 30 like bread, smiths of 50 iron; everybody takes half of what they like."""
    chance = np.random.default_rng(0)
    user, item = np.nonzero(
        (np.arange(USERS)[:, None] % 2 == np.arange(ITEMS) % 2) & (chance.random((USERS, ITEMS)) < 0.5)
    )
    columns = (user.astype(np.int32), item.astype(np.int32), np.full(len(user), 2, np.uint8))
    facts = (*columns, np.full(len(user), 5, np.float32), START + np.arange(len(user), dtype=np.int64))
    events = Events(*facts, np.zeros(len(user), np.uint64), ops.event_ids(*facts))
    people = {
        "job": texts(["baker", "smith"] * (USERS // 2)),
        "age": np.where(np.arange(USERS) % 2 == 0, 30.0, 50.0) + chance.integers(-3, 3, USERS),
    }
    things = {"kind": texts(["bread", "iron"] * (ITEMS // 2)), "name": texts([f"thing {row}" for row in range(ITEMS)])}
    for entity, size, known in (("user", USERS, people), ("item", ITEMS, things)):
        catalog.put(entity, catalog.rows(entity, [f"{entity}{row}" for row in range(size)], create=True), known)
    recipe = TwoTower(catalog, width=8, inner=8, negatives=16, descent=DESCENT)
    return recipe, Dataset.of(events, USERS, ITEMS, users=people, items=things)


def newcomer(catalog: Catalog, name: str, job: str, age: float) -> Queries:
    row = catalog.rows("user", [name], create=True)
    catalog.put("user", row, {"job": texts([job]), "age": np.array([age], np.float64)})
    return Queries.of(row)


def test_strangers_by_profile_and_news_by_content(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shortlist[torch]'")
    catalog = open_store("catalog", "memory:")
    recipe, data = told(catalog)
    model = recipe.fit(data, seed=0)
    baker, smith = newcomer(catalog, "new baker", "baker", 31), newcomer(catalog, "new smith", "smith", 51)
    for queries, parity in ((baker, 0), (smith, 1)):
        assert (model.recall(queries, 10).item % 2 == parity).all()
    assert not len(model.recall(Queries.of([-1]), 10)), "of somebody unknown it knows nothing"
    before = len(model.recall(baker, 1000))
    row = catalog.rows("item", ["a new loaf"], create=True)
    catalog.put("item", row, {"kind": texts(["bread"])})
    after = model.recall(baker, 1000)
    assert len(after) == before + 1
    assert row[0] in after.item[: ITEMS // 2 + 1], "among the bread"
    assert row[0] not in model.recall(smith, ITEMS // 2).item
    pack(model, tmp_path / "release")
    loaded = unpack(tmp_path / "release", {"catalog": catalog})
    assert isinstance(loaded, TwoTowerModel)
    twin = newcomer(catalog, "twin", "baker", 31)
    for other in (loaded.recall(baker, 1000), loaded.recall(twin, 1000)):
        np.testing.assert_array_equal(other.item, after.item)
        np.testing.assert_array_equal(other.columns["score"], after.columns["score"])


def test_numpy_serves_what_pytorch_computes() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shortlist[torch]'")
    catalog = open_store("catalog", "memory:")
    recipe, data = told(catalog)
    recipe = replace(recipe, descent=replace(DESCENT, epochs=0))
    model = recipe.fit(data, seed=3)
    fields = (model.user.fields, model.item.fields)
    arrays = recipe._start(USERS, ITEMS, fields, np.random.default_rng(1))
    model = recipe._model(arrays, fields)
    parameters = {name: torch.from_numpy(each) for name, each in arrays.items()}
    people, things = np.arange(USERS, dtype=np.int32), np.arange(ITEMS, dtype=np.int32)
    for row, history in ((people, data.sequences), (np.full(USERS, -1, np.int32), data.sequences)):
        ours = model.user.vectors(row, fields[0].codes(data.users, USERS), _mean(model.history, history))
        theirs = recipe.tower(torch, parameters, "user", row, fields[0].codes(data.users, USERS), history)
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=0, atol=1e-5)
    theirs = recipe.tower(torch, parameters, "item", things, fields[1].codes(data.items, ITEMS))
    vectors, known = model._items()
    np.testing.assert_allclose(vectors, theirs.numpy(), rtol=0, atol=1e-5)
    assert known.all()
    np.testing.assert_allclose(
        model.people(people, data.sequences)[0],
        model.people(people[:1], data.sequences.take(np.array([0])))[0],
        atol=1e-6,
    )


def _mean(table: np.ndarray, history: Ragged) -> np.ndarray:
    return np.array(
        [table[history.take(np.array([row]))["item"]].mean(axis=0) for row in range(len(history))], np.float32
    )


def untrained(catalog: Catalog) -> TwoTowerModel:
    recipe, data = told(catalog)
    return replace(recipe, descent=replace(DESCENT, epochs=0)).fit(data, seed=0)


def test_a_change_of_the_catalogue_is_worked_out_for_the_items_it_is_about(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = open_store("catalog", "memory:")
    model = untrained(catalog)
    asked: list[list[int]] = []
    worked = Tower.vectors

    def counted(self: Tower, row: Rows, codes: Ragged, more: Vectors | None = None) -> Vectors:
        if self is model.item:
            asked.append(row.tolist())
        return worked(self, row, codes, more)

    monkeypatch.setattr(Tower, "vectors", counted)
    first, _ = model._items()
    catalog.put("item", np.int32([4]), {"kind": texts(["iron"])})  # a PATCH
    new = catalog.rows("item", ["a new loaf"], create=True)
    catalog.put("item", new, {"kind": texts(["bread"])})  # a PUT
    second, known = model._items()
    model._items()
    model.recall(Queries.of([0]), 5)
    assert asked == [list(range(ITEMS)), [4, ITEMS]]
    assert known[ITEMS]
    assert not np.allclose(first[4], second[4])
    np.testing.assert_array_equal(np.delete(first, 4, 0), np.delete(second[:ITEMS], 4, 0))
    afresh, _ = replace(model)._items()
    np.testing.assert_array_equal(second, afresh, "of another process it is the same, bit for bit")


def test_the_reason_is_the_liking_whose_vector_is_nearest() -> None:
    catalog = open_store("catalog", "memory:")
    model = untrained(catalog)
    items = model._items()[0]
    liked = [3, 8, 5, 12]
    lists = {"item": liked, "kind": [2] * 4, "value": [5] * 4, "weight": [1, 1, 1, -1], "time": range(4)}
    queries = Queries.of([-1], history=Ragged.of([{name: list(each) for name, each in lists.items()}], HISTORY))
    found = Candidates(np.zeros(ITEMS, np.int32), np.arange(ITEMS, dtype=np.int32))
    cosine = items @ items[liked[:3]].T  # they have the length 1
    best = np.array(liked)[cosine.argmax(axis=1)]
    assert model.because(queries, found).tolist() == np.where(cosine.max(axis=1) > 0, best, -1).tolist()


def test_codes_of_facts() -> None:
    genres = np.empty(3, object)
    genres[:] = [("a", "b"), ("b",), ()]
    columns = {"genres": genres, "place": texts(["x", "x", ""]), "age": np.array([1.0, np.nan, 3.0])}
    fields = Fields.of(columns, (), least=2)
    assert dict(fields.values) == {"genres": ("b",), "place": ("x",)}
    codes = fields.codes(columns, 3)
    said = [codes.take(np.array([row]))["code"].tolist() for row in range(3)]
    assert said[0][:2] == said[1] == [0, 1]
    assert len(said[0]) == 3
    assert said[2] == [fields.size - 1]
    assert fields.codes({}, 2).length.tolist() == [0, 0]
    assert Fields.of({}, (), 2).size == 0


def test_nobody_is_nobody() -> None:
    catalog = open_store("catalog", "memory:")
    recipe, data = told(catalog)
    model = replace(recipe, descent=replace(DESCENT, epochs=0)).fit(data, seed=0)
    assert not model.people(np.array([-1, 10_000], np.int32), empty_history(2)).any()
