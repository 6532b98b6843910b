"""Logistic regression: the best weights, the same bits off line and on line, parts that add up."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist.errors import ConfigError, ShapeError
from shortlist.rank.logistic import Logistic
from shortlist.types import Candidates, Queries

ADS = ("price", "cms_group", "gender", "age", "shopping", "occupation", "pid", "pvalue", "city")
LEVELS = {"cms_group": 13, "gender": 2, "age": 7, "shopping": 3, "occupation": 2, "pid": 2, "pvalue": 3, "city": 4}


def impressions(rows: int, seed: int = 0) -> tuple[Candidates, np.ndarray]:
    """Impressions in the shape of the ads system, and clicks."""
    chance = np.random.default_rng(seed)
    columns = {name: chance.integers(2, 2 + count, rows).astype(np.int32) for name, count in LEVELS.items()}
    for name, share in (("pvalue", 0.54), ("city", 0.32)):
        columns[name][chance.random(rows) < share] = 0
    columns["price"] = chance.lognormal(5, 1.5, rows).astype(np.float32)
    odds = -2 + 0.8 * (columns["pid"] == 2) - 0.3 * np.log(columns["price"]) + 0.1 * columns["cms_group"]
    clicked = chance.random(rows) < 1 / (1 + np.exp(-odds))
    found = Candidates(np.arange(rows, dtype=np.int32) // 4, np.arange(rows, dtype=np.int32), columns)
    return found, clicked.astype(np.float32)


def asked(found: Candidates) -> Queries:
    return Queries.of(np.zeros(int(found.query[-1]) + 1 if len(found) else 0, np.int32))


def one(found: Candidates, row: int) -> Candidates:
    own = found.take(np.array([row]))
    return Candidates(np.zeros(1, np.int32), own.item, own.columns)


def test_the_layout_of_the_ads_system_has_its_39_columns_in_order() -> None:
    found, clicked = impressions(4000)
    layout = Logistic(ADS).learn(found, clicked, seed=0).layout
    names = ["price"]
    for name in ADS[1:]:
        missing = [f"{name}=0"] if name in ("pvalue", "city") else []
        names += missing + [f"{name}={code}" for code in range(2, 2 + LEVELS[name])]
    assert list(layout.inputs) == names
    assert len(names) == 39


def test_vectors_and_scores_have_the_same_bits_off_line_and_on_line() -> None:
    found, clicked = impressions(4000)
    model = Logistic(ADS).learn(found, clicked, seed=0)
    later, _ = impressions(1000, seed=1)
    later.columns["price"][::50] = 1e8
    later.columns["price"][1::50] = np.nan
    offline = model.layout.one_hot(later.columns, len(later)).toarray()
    score = model.score(asked(later), later)
    for row in range(len(later)):
        mine = one(later, row)
        assert model.layout.one_hot(mine.columns, 1).toarray().tobytes() == offline[row].tobytes()
        assert model.score(asked(mine), mine).tobytes() == score[row].tobytes()
    odds = offline.astype(np.float64) @ weights(model) + model.base
    np.testing.assert_allclose(score, 1 / (1 + np.exp(-odds)), rtol=1e-6)


def weights(model: object) -> np.ndarray:
    """The weight of each column of the one-hot matrix, read through it."""
    layout, out = model.layout, []  # type: ignore[attr-defined]
    for field in layout.fields:
        if field.kind == "number":
            out.append(model.number[field.at : field.at + field.inputs])  # type: ignore[attr-defined]
        else:
            out.append(model.code[layout.levels(field)])  # type: ignore[attr-defined]
    return np.concatenate(out)


def test_an_absurd_price_does_not_change_the_order_of_the_others() -> None:
    found, clicked = impressions(2000)
    model = Logistic(ADS).learn(found, clicked, seed=0)
    before = model.score(asked(found), found)
    for price in (1e8, np.nan):
        changed = found.columns["price"].copy()
        changed[17] = price
        after = model.score(asked(found), found.with_columns({"price": changed}))
        np.testing.assert_array_equal(np.delete(after, 17), np.delete(before, 17))


def test_the_weights_are_where_the_slope_of_the_loss_is_zero() -> None:
    found, clicked = impressions(3000)
    model = Logistic(ADS, l2=3.0).learn(found, clicked, seed=0)
    design = model.layout.one_hot(found.columns, len(found)).toarray().astype(np.float64)
    error = model.score(asked(found), found) - clicked
    np.testing.assert_allclose(design.T @ error, -3.0 * weights(model), atol=0.1)
    assert abs(error.sum()) < 0.1


def test_weighted_and_thinned_rows_still_give_probabilities() -> None:
    found, clicked = impressions(30_000)
    rate = clicked.mean()
    heavier = Logistic(ADS, positive=5.0).learn(found, clicked, seed=0)
    assert heavier.score(asked(found), found).mean() == pytest.approx(rate, rel=0.05)
    kept = (clicked > 0) | (np.random.default_rng(1).random(len(clicked)) < 0.2)
    thinned = Logistic(ADS, kept=0.2).learn(found.take(kept), clicked[kept], seed=0)
    assert thinned.score(asked(found), found).mean() == pytest.approx(rate, rel=0.05)


def test_parts_add_up_and_name_the_columns() -> None:
    found, clicked = impressions(500)
    found.columns["price"][::9] = np.nan
    model = Logistic(("price", "pid", "age")).learn(found, clicked, seed=0)
    parts = model.parts(asked(found), found)
    assert [part.name for part in parts] == ["base", "price", "price missing", "pid", "age"]
    total = np.sum([part.value.astype(np.float64) * part.weight for part in parts], axis=0)
    np.testing.assert_allclose(total, model.score(asked(found), found), atol=1e-6)


def test_lists_speak_by_the_mean_of_their_codes() -> None:
    chance = np.random.default_rng(0)
    genres = chance.integers(0, 5, (2000, 3)).astype(np.int32)
    liked = (genres == 2).any(axis=1).astype(np.float32)
    rows = np.arange(2000, dtype=np.int32)
    found = Candidates(rows, rows, {"genres": genres})
    score = Logistic().learn(found, liked, seed=0).score(asked(found), found)
    assert score[liked > 0].min() > 0.3
    assert score[liked > 0].mean() > score[liked == 0].mean() + 0.4


def test_labels_and_settings_are_checked() -> None:
    found, clicked = impressions(20)
    with pytest.raises(ShapeError, match=r"labels are \(19,\), expected \(20,\)"):
        Logistic().learn(found, clicked[1:], seed=0)
    with pytest.raises(ShapeError, match=r"must be in \[0, 1\]"):
        Logistic().learn(found, clicked * 5, seed=0)
    with pytest.raises(ConfigError, match="kept 0"):
        Logistic(kept=0.0)
