"""Codes and shares: what they are, value by value, and the same in every process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.features.affinity import Affinity
from shortlist.features.codes import ItemCodes, UserCodes
from shortlist.features.ids import Ids
from shortlist.protocols import Catalog
from shortlist.stores import open_store
from shortlist.stores.arrays import objects
from shortlist.types import HISTORY, Candidates, Events, Queries, Ragged

BRANDS = ["acme", "", "acme", "umbra", "rare"]
GENRES = [("Drama",), (), ("Drama", "Crime"), ("Crime",), ("Drama", "Crime", "War")]


@pytest.fixture
def catalog() -> Catalog:
    made: Catalog = open_store("catalog", "memory:")
    rows = made.rows("item", [f"i{row}" for row in range(5)], create=True)
    made.put("item", rows, {"brand": objects(BRANDS), "genres": objects(GENRES), "price": np.arange(5.0)})
    people = made.rows("user", ["a", "b", "c"], create=True)
    made.put("user", people, {"job": objects(["cook", "", "cook"])})
    return made


def data(catalog: Catalog) -> Dataset:
    rows = np.arange(5, dtype=np.int32)
    items = dict(catalog.read("item", rows, catalog.names("item")))
    users = dict(catalog.read("user", rows[:3], catalog.names("user")))
    return Dataset.of(Events.empty(), 3, 5, users=users, items=items)


def asked(*liked: int, user: int = 0, items: tuple[int, ...] = (0, 1, 2, 3, 4)) -> tuple[Queries, Candidates]:
    size = len(liked)
    history = {"item": liked, "kind": [2] * size, "value": [1] * size, "weight": [1] * size, "time": range(size)}
    queries = Queries.of([user], history=Ragged.of([{k: list(v) for k, v in history.items()}], HISTORY))
    return queries, Candidates(np.zeros(len(items), np.int32), np.array(items, np.int32))


def test_a_vocabulary_has_a_code_for_each_frequent_value(catalog: Catalog) -> None:
    made = ItemCodes(catalog, ("brand", "genres"), width=2).fit(data(catalog), seed=0)
    columns = made.columns(*asked(items=(0, 1, 2, 3, 4, 9)))
    assert columns["item.brand"].tolist() == [2, 0, 2, 1, 1, 0]  # umbra and rare are of one item each
    assert columns["item.genres"].tolist() == [[0, 3], [0, 0], [3, 2], [0, 2], [3, 2], [0, 0]]  # War is cut
    catalog.put("item", np.array([1], np.int32), {"brand": objects(["acme"])})
    assert made.columns(*asked())["item.brand"].tolist() == [2, 2, 2, 1, 1]
    catalog.put("item", np.array([1], np.int32), {"brand": objects(["brand-new"])})
    assert made.columns(*asked())["item.brand"].tolist() == [2, 1, 2, 1, 1]


def test_hashed_codes_are_the_same_in_every_process(catalog: Catalog) -> None:
    made = ItemCodes(catalog, ("brand",), buckets=1000).fit(data(catalog), seed=0)
    codes = made.columns(*asked())["item.brand"].tolist()
    assert codes[0] == codes[2] >= 2
    assert codes[1] == 0
    program = "from shortlist.features.codes import _bucket; print(_bucket('acme', 1000) + 2)"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(told) == codes[0]


def test_facts_of_people_are_read_when_they_ask(catalog: Catalog) -> None:
    made = UserCodes(catalog, ("job",)).fit(data(catalog), seed=0)
    assert made.columns(*asked(user=0))["user.job"].tolist() == [2] * 5
    assert made.columns(*asked(user=1))["user.job"].tolist() == [0] * 5
    assert made.columns(*asked(user=-1))["user.job"].tolist() == [0] * 5
    catalog.put("user", np.array([1], np.int32), {"job": objects(["astronaut"])})
    assert made.columns(*asked(user=1))["user.job"].tolist() == [1] * 5


def test_what_cannot_be_coded_is_refused(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match="no column 'colour'"):
        ItemCodes(catalog, ("colour",)).fit(data(catalog), seed=0)
    with pytest.raises(ConfigError, match="column 'price' is a number"):
        ItemCodes(catalog, ("price",)).fit(data(catalog), seed=0)
    with pytest.raises(ConfigError, match="width 0"):
        ItemCodes(catalog, ("brand",), width=0).fit(data(catalog), seed=0)
    with pytest.raises(ConfigError, match="column 'price' of the items is a number"):
        Affinity(catalog, ("price",)).columns(*asked())


def test_affinity_is_the_share_of_the_likings_that_have_the_value(catalog: Catalog) -> None:
    shares = Affinity(catalog, ("genres", "brand")).columns(*asked(0, 2, 3))
    assert shares["affinity.genres"][[0, 2, 3]].tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3])
    assert shares["affinity.genres"][4] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert np.isnan(shares["affinity.genres"][1])  # it has no genre
    assert shares["affinity.brand"][[0, 3]].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert np.isnan(Affinity(catalog, ("genres",)).columns(*asked())["affinity.genres"]).all()
    newest = Affinity(catalog, ("genres",), last=1).columns(*asked(0, 3))
    assert newest["affinity.genres"][[0, 3]].tolist() == [0, 1]


def test_rows_as_codes() -> None:
    columns = Ids(recent=3).columns(*asked(4, 1, user=7))
    assert columns["id.user"].tolist() == [9] * 5
    assert columns["id.item"].tolist() == [2, 3, 4, 5, 6]
    assert columns["id.recent"].tolist() == [[0, 6, 3]] * 5
    assert Ids(recent=1).columns(*asked(4, 1, user=-1))["id.recent"].tolist() == [[3]] * 5
    assert Ids().columns(*asked(user=-1))["id.user"].tolist() == [0] * 5
    with pytest.raises(ConfigError, match="recent is 0"):
        Ids(recent=0)
