"""Trees read codes that they are told to read."""

import numpy as np
import pytest

from shortlist.errors import ConfigError, ShapeError
from shortlist.rank.gbdt import Gbdt
from shortlist.types import Candidates, Queries

TREES = Gbdt(coded=("place",), objective="binary", trees=60, rate=0.2, rows_in_leaf=5, threads=1, column_share=1.0)


def rows(count: int = 2000) -> tuple[Candidates, np.ndarray]:
    chance = np.random.default_rng(0)
    place = chance.integers(0, 4, count).astype(np.int32)
    columns = {"price": chance.normal(size=count).astype(np.float32), "place": place, "other": place[::-1].copy()}
    label = (chance.random(count) < np.array([0.5, 0.1, 0.2, 0.9])[place]).astype(np.float32)
    query = np.arange(count, dtype=np.int32)
    return Candidates(query, query, columns), label


def test_a_code_that_is_named_is_read_and_no_other() -> None:
    found, label = rows()
    model = TREES.learn(found, label, seed=0)
    assert model.columns == ("price", "place")
    people = Queries.of(np.zeros(len(found), np.int32))
    said = model.score(people, found)
    for code in range(4):
        mine = found.columns["place"] == code
        assert said[mine].mean() == pytest.approx(label[mine].mean(), abs=0.05)
    parts = {part.name: part.value * part.weight for part in model.parts(people, found)}
    assert np.abs(parts["place"]).mean() > np.abs(parts["price"]).mean()


def test_code_0_is_no_value_as_is_an_absent_column() -> None:
    found, label = rows()
    model = TREES.learn(found, label, seed=0)
    nothing = found.take(np.flatnonzero(found.columns["place"] == 0))
    absent = Candidates(nothing.query, nothing.item, {"price": nothing.columns["price"]})
    people = Queries.of(np.zeros(len(found), np.int32))
    np.testing.assert_array_equal(model.score(people, nothing), model.score(people, absent))


def test_what_is_no_code_is_said() -> None:
    found, label = rows()
    with pytest.raises(ConfigError, match="no codes in column 'price', 'nothing'"):
        Gbdt(coded=("price", "nothing")).learn(found, label, seed=0)
    model = TREES.learn(found, label, seed=0)
    wrong = found.with_columns({"place": found.columns["price"]})
    with pytest.raises(ShapeError, match="learned with a code a row"):
        model.score(Queries.of(np.zeros(len(found), np.int32)), wrong)
