"""The layout of a ranker: what it makes of a row depends on that row alone, and odd values stay where they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import ConfigError, ShapeError
from shortlist.rank.layout import CLIP, Encoded, Field, Layout
from shortlist.types import Candidates, Columns


def columns(rows: int = 200, seed: int = 0) -> dict[str, np.ndarray]:
    chance = np.random.default_rng(seed)
    price = chance.lognormal(3, 1, rows).astype(np.float32)
    price[::7] = np.nan
    return {
        "price": price,
        "vector": chance.normal(0, 1, (rows, 3)).astype(np.float32),
        "brand": chance.integers(0, 9, rows).astype(np.int32),
        "recent": chance.integers(0, 9, (rows, 4)).astype(np.int32),
        "new": chance.random(rows) < 0.5,
    }


def table(columns: Columns, each: int = 1) -> Candidates:
    rows = len(next(iter(columns.values())))
    query = (np.arange(rows) // each).astype(np.int32)
    return Candidates(query, np.arange(rows, dtype=np.int32), columns)


def flat(encoded: Encoded) -> dict[str, np.ndarray]:
    return {**encoded.categories, **encoded.lists, **encoded.numbers}


def test_columns_are_told_apart_by_dtype_and_shape() -> None:
    layout = Layout.of(table(columns()), same={"recent": "brand"})
    assert layout.fields == (
        Field("brand", "category", 1, 9, 1, False, False),
        Field("new", "number", 1, 0, 0, False, False),
        Field("price", "number", 1, 0, 1, True, False),
        Field("recent", "list", 4, 9, 1, False, False),
        Field("vector", "number", 3, 0, 3, False, False),
    )
    assert Layout.of(table(columns()), ("vector", "brand")).fields[0].name == "vector"


@given(st.integers(0, 199), st.sampled_from([1e8, -1e30, np.nan, np.inf]), st.integers(-5, 10**7))
def test_an_absurd_row_changes_no_other(row: int, price: float, brand: int) -> None:
    given_, layout = columns(), Layout.of(table(columns()))
    before = flat(layout.encode(given_, 200))
    given_["price"][row], given_["brand"][row], given_["vector"][row] = price, brand, price
    after = flat(layout.encode(given_, 200))
    others = np.arange(200) != row
    for name, made in after.items():
        np.testing.assert_array_equal(made[others], before[name][others])
        assert np.isfinite(made).all()
        if name in ("price", "vector"):
            assert (np.abs(made) <= CLIP).all()


def test_an_absurd_price_in_training_moves_the_others_a_little() -> None:
    odd = columns()
    odd["price"][3] = 1e8
    before, after = (Layout.of(table(each)).encode(columns(), 200).numbers["price"] for each in (columns(), odd))
    np.testing.assert_allclose(after, before, atol=0.05)


@given(st.permutations(list(columns())))
def test_the_order_of_a_mapping_says_nothing(names: list[str]) -> None:
    mixed = {name: columns()[name] for name in names}
    assert Layout.of(table(mixed)).fields == Layout.of(table(columns())).fields


@given(st.lists(st.integers(0, 199), min_size=1, max_size=9))
def test_rows_are_encoded_alike_alone_and_together(rows: list[int]) -> None:
    layout = Layout.of(table(columns()))
    whole = flat(layout.encode(columns(), 200))
    some = flat(layout.encode({name: column[rows] for name, column in columns().items()}, len(rows)))
    for name, made in some.items():
        assert made.tobytes() == whole[name][rows].tobytes()


def test_codes_beyond_the_table_become_unknown_and_negative_ones_no_value() -> None:
    given_ = columns()
    given_["brand"] = np.where(given_["brand"] == 5, 1, given_["brand"]).astype(np.int32)
    layout = Layout.of(table(given_, 1))
    brand = layout.fields[0]
    given_["brand"][:5] = (10**6, 9, 5, -1, 0)
    made = layout.encode(given_, 200).categories["brand"][:5]
    assert made.tolist() == [brand.at + 1] * 3 + [brand.at] * 2


def test_an_unknown_code_reads_nothing_when_none_was_met_while_learning() -> None:
    some = {"brand": np.array([2, 3, 3, 0], np.int32), "recent": np.array([[0, 2]] * 4, np.int32)}
    layout = Layout.of(table(some))
    made = layout.encode({"brand": np.array([1, 9, 2], np.int32), "recent": np.array([[0, 9]] * 3, np.int32)}, 3)
    assert made.categories["brand"].tolist() == [0, 0, layout.fields[0].at + 2]
    assert not made.lists["recent"].any()


def test_rare_codes_count_as_unknown() -> None:
    some = {"brand": np.array([2, 3, 3, 4], np.int32)}
    layout = Layout.of(table(some), least=2)
    at = layout.fields[0].at
    assert layout.encode(some, 4).categories["brand"].tolist() == [at + 1, at + 3, at + 3, at + 1]


def test_an_absent_column_has_no_value() -> None:
    layout = Layout.of(table(columns()))
    made = layout.encode({"brand": columns()["brand"]}, 200)
    assert (made.numbers["price"] == (0, 1)).all()
    assert not made.lists["recent"].any()
    assert layout.absent({"brand": 0}) == ["new", "price", "recent", "vector"]  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("name", "column", "told"),
    [
        ("price", np.zeros(200, np.int32), "a category, but the ranker was learned with 1 numbers a row"),
        ("vector", np.zeros((200, 2), np.float32), "2 numbers a row"),
        ("recent", np.zeros((200, 5), np.int32), "a list of 5 codes"),
        ("brand", np.array(["a"] * 200), "rankers read"),
    ],
)
def test_a_column_of_another_kind_is_named(name: str, column: np.ndarray, told: str) -> None:
    layout = Layout.of(table(columns()))
    with pytest.raises(ShapeError, match=told):
        layout.encode({**columns(), name: column}, 200)


def test_what_cannot_be_learned_from_is_named() -> None:
    with pytest.raises(ConfigError, match="'colour'"):
        Layout.of(table(columns()), ("colour",))
    with pytest.raises(ConfigError, match="no column to rank by"):
        Layout.of(table({"score": np.zeros(3, np.float32)}))
    with pytest.raises(ConfigError, match="'price', which is no category"):
        Layout.of(table(columns()), same={"recent": "price"})
    with pytest.raises(ConfigError, match="codes up to 1,099,511,627,776"):
        Layout.of(table({"brand": np.array([1 << 40])}))


def test_one_hot_is_what_its_names_say() -> None:
    some = {
        "price": np.array([1, 2, 3, np.nan], np.float32),
        "brand": np.array([2, 4, 4, 0], np.int32),
        "recent": np.array([[0, 2], [2, 3], [3, 3], [0, 0]], np.int32),
    }
    layout = Layout.of(table(some), ("price", "brand", "recent"))
    names = ("price", "price missing", "brand=0", "brand=2", "brand=4", "recent=2", "recent=3")
    assert layout.inputs == names
    made = layout.one_hot(some, 4).toarray()
    np.testing.assert_array_equal(made[:, 1:5], [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [1, 1, 0, 0]])
    np.testing.assert_array_equal(made[:, 5:], [[1, 0], [0.5, 0.5], [0, 1], [0, 0]])
    assert made[1, 0] == 0
    assert not layout.one_hot({"brand": np.array([9], np.int32)}, 1).toarray()[:, 2:].any()


def test_what_is_the_same_for_all_candidates_of_a_query_is_known() -> None:
    some = {
        "age": np.repeat(np.array([1, np.nan, 3], np.float32), 4),
        "item": np.arange(12, dtype=np.int32),
        "liked": np.repeat(np.arange(6, dtype=np.int32).reshape(3, 2), 4, axis=0),
    }
    shared = {field.name: field.shared for field in Layout.of(table(some, 4)).fields}
    assert shared == {"age": True, "item": False, "liked": True}
    assert not any(field.shared for field in Layout.of(table(some, 1)).fields)
