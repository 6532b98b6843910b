"""Boosted trees: LightGBM's own answers to the last bit, parts that add up, gaps, and an order that is learned."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Literal

import lightgbm
import numpy as np
import pytest

from shortlist import _kernels
from shortlist.errors import ConfigError, ShapeError
from shortlist.rank import boosting, gbdt
from shortlist.rank.gbdt import Gbdt, GbdtModel
from shortlist.types import Candidates, Queries


def rows(count: int, seed: int = 0, each: int = 20) -> tuple[Candidates, np.ndarray]:
    """Candidates of whom the one with the largest a + b, c deciding which way, is taken."""
    chance = np.random.default_rng(seed)
    columns = {name: chance.normal(size=count).astype(np.float32) for name in ("a", "b", "c", "noise")}
    columns["a"][chance.random(count) < 0.1] = np.nan
    columns["pair"] = chance.normal(size=(count, 2)).astype(np.float32)
    columns["code"] = chance.integers(0, 5, count).astype(np.int32)
    query = np.arange(count, dtype=np.int32) // each
    worth = np.nan_to_num(columns["a"]) + columns["b"] * np.sign(columns["c"]) + columns["pair"][:, 1]
    label = worth == np.maximum.reduceat(worth, np.flatnonzero(np.diff(query, prepend=-1)))[query]
    return Candidates(query, np.arange(count, dtype=np.int32), columns), label.astype(np.float32)


def asked(found: Candidates) -> Queries:
    return Queries.of(np.zeros(int(found.query[-1]) + 1 if len(found) else 0, np.int32))


def table(found: Candidates) -> np.ndarray:
    """The columns as the model orders them: by name, codes left out."""
    names = ("a", "b", "c", "noise", "pair")
    return np.column_stack([found.columns[name] for name in names])


@pytest.mark.parametrize("gaps", [True, False])
def test_trees_say_what_lightgbm_says(gaps: bool) -> None:
    found, label = rows(4000)
    value = table(found) if gaps else np.nan_to_num(table(found))
    given = {"objective": "binary", "verbose": -1, "num_leaves": 70, "min_data_in_leaf": 3, "num_threads": 1}
    booster = lightgbm.train(given, lightgbm.Dataset(value, label), 30)
    trees = booster.dump_model()["tree_info"]
    model = gbdt._model(("all",), (value.shape[1],), (), trees, 0.0, False)
    others = table(rows(300, seed=5)[0])
    others[:3], others[3:6], others[6:9] = np.inf, -np.inf, np.nan
    others[10] = model.threshold[: value.shape[1]]
    wide = np.where(np.isinf(others), np.float32(np.nan), others)
    np.testing.assert_allclose(
        model.forest.sums(wide), booster.predict(wide, raw_score=True, num_threads=1), rtol=0, atol=1e-12
    )
    parts = booster.predict(wide[:40], pred_contrib=True, num_threads=1)
    np.testing.assert_allclose(model.forest.parts(wide[:40]), parts, atol=1e-9)


def test_a_threshold_between_two_numbers_of_32_bits_is_cut_below() -> None:
    just = np.float64(np.float32(0.1)) - 1e-12
    assert gbdt._not_above(just) < np.float32(0.1)
    assert gbdt._not_above(float(np.float32(0.1))) == np.float32(0.1)
    assert gbdt._not_above(-0.1) <= -0.1
    assert gbdt._not_above(1e300) == np.finfo(np.float32).max


def test_it_puts_first_what_was_taken_and_stops_by_itself() -> None:
    found, label = rows(8000)
    model = Gbdt(rows_in_leaf=20, patience=10, threads=1).learn(found, label, seed=1)
    others, right = rows(2000, seed=9)
    score = model.score(asked(others), others)
    first = [np.argmax(score[others.query == query]) for query in range(100)]
    hit = np.mean([right[others.query == query][at] for query, at in enumerate(first)])
    assert hit > 0.5  # of 20: chance is 0.05
    assert 10 < len(model.root) < gbdt.MOST
    assert model.gain[3] < model.gain[1]
    assert model.columns == ("a", "b", "c", "noise", "pair")
    assert model.width == (1, 1, 1, 1, 2)


def test_probabilities_are_those_of_the_whole_whatever_was_left_out_of_the_table() -> None:
    found, label = rows(40_000)
    chance = np.random.default_rng(3)
    mask = (label > 0) | (chance.random(len(label)) < 0.25)
    model = Gbdt(objective="binary", trees=60, kept=0.25, threads=1).learn(found.take(mask), label[mask], seed=1)
    assert model.score(asked(found), found).mean() == pytest.approx(label.mean(), rel=0.2)


def test_parts_add_up_to_the_score() -> None:
    found, label = rows(4000)
    for objective in ("lambdarank", "binary"):
        model = Gbdt(objective=objective, trees=20, threads=1).learn(found, label, seed=1)  # type: ignore[arg-type]
        some = found.take(np.arange(60))
        parts = model.parts(asked(some), some)
        assert [each.name for each in parts] == ["base", *model.columns]
        total = np.sum([each.value * each.weight for each in parts], axis=0)
        np.testing.assert_allclose(total, model.score(asked(some), some), atol=1e-5)


def test_a_column_that_failed_is_no_value_and_one_of_another_shape_an_error() -> None:
    found, label = rows(2000)
    model = Gbdt(trees=10, threads=1).learn(found, label, seed=1)
    left = {name: column for name, column in found.columns.items() if name != "b"}
    gaps = {**found.columns, "b": np.full(len(found), np.nan, np.float32)}
    lacking, empty = (Candidates(found.query, found.item, columns) for columns in (left, gaps))
    np.testing.assert_array_equal(model.score(asked(found), lacking), model.score(asked(found), empty))
    wrong = Candidates(found.query, found.item, {**found.columns, "pair": found.columns["b"]})
    with pytest.raises(ShapeError, match=r"column 'pair' is float32 .* learned with 2 numbers a row"):
        model.score(asked(found), wrong)


def test_an_absurd_number_moves_no_other_row() -> None:
    found, label = rows(2000)
    model = Gbdt(trees=10, threads=1).learn(found, label, seed=1)
    before = model.score(asked(found), found)
    b = found.columns["b"].copy()
    b[7] = 1e30
    after = model.score(asked(found), Candidates(found.query, found.item, {**found.columns, "b": b}))
    np.testing.assert_array_equal(np.delete(before, 7), np.delete(after, 7))


def test_what_cannot_be_learned_from_is_refused() -> None:
    found, label = rows(100)
    codes = Candidates(found.query, found.item, {"code": found.columns["code"]})
    with pytest.raises(ConfigError, match="no numbers in column of any name"):
        Gbdt().learn(codes, label, seed=0)
    with pytest.raises(ConfigError, match="no numbers in column 'code'"):
        Gbdt(columns=("a", "code")).learn(found, label, seed=0)
    with pytest.raises(ConfigError, match="leaves must be at least 2"):
        Gbdt(leaves=1)
    with pytest.raises(ConfigError, match=r"shares must be in \(0, 1\]"):
        Gbdt(rate=0.0)
    with pytest.raises(ShapeError, match="labels run from"):
        Gbdt().learn(found, label * 3, seed=0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_almost_nothing_gives_a_score_for_every_row(count: int) -> None:
    found, label = rows(100)
    few = found.take(np.arange(count))
    model = Gbdt(threads=1).learn(few, label[:count], seed=0)
    assert np.isfinite(model.score(asked(found), found)).all()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("column", -1, "reads a column that there is not"),
        ("below", 10**6, "node or leaf that there is not"),
        ("below", 0, "node or leaf that there is not"),
        ("cover", 0, "covers nothing"),
    ],
)
def test_damaged_trees_are_refused_when_they_are_loaded(name: str, value: int, message: str) -> None:
    found, label = rows(2000)
    model = Gbdt(trees=3, threads=1).learn(found, label, seed=1)
    arrays = {each.name: getattr(model, each.name) for each in fields(model)}
    damaged = arrays[name].copy()
    damaged.flat[3] = value
    with pytest.raises(ValueError, match=message):
        GbdtModel(**{**arrays, name: damaged})


def test_rows_with_too_few_columns_are_refused() -> None:
    found, label = rows(2000)
    model = Gbdt(trees=3, threads=1).learn(found, label, seed=1)
    with pytest.raises(ValueError, match="too few columns"):
        model.forest.sums(np.zeros((2, 1), np.float32))
    assert isinstance(model.forest, _kernels.Forest)


# going on


class Interrupted(Exception):
    """Somebody pressed a key."""


def interrupted_after(trees: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Growing ends at so many trees; gives the numbers of the trees that were grown."""
    seen: list[int] = []

    def tell(turn: object) -> None:
        seen.append(turn.iteration + 1)  # type: ignore[attr-defined]
        if len(seen) == trees:
            raise Interrupted

    monkeypatch.setattr(gbdt, "_tell", tell)
    return seen


@pytest.mark.parametrize("objective", ["lambdarank", "binary"])
@pytest.mark.parametrize("trees", [130, 0])
def test_what_was_interrupted_goes_on_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, objective: Literal["lambdarank", "binary"], trees: int
) -> None:
    found, label = rows(6000)
    given = {"objective": objective, "leaves": 7, "rate": 0.1, "patience": 60, "threads": 1, "row_share": 0.5}
    first = Gbdt(trees=trees, checkpoint=str(tmp_path / "one.json"), **given)  # type: ignore[arg-type]
    whole = first.learn(found, label, seed=3)
    assert len(whole.root) == trees or not trees
    assert not list(tmp_path.iterdir())
    again = replace(first, checkpoint=str(tmp_path / "two.json"))
    with monkeypatch.context() as patch:
        interrupted_after(boosting.ROUND + 9, patch)
        with pytest.raises(Interrupted):
            again.learn(found, label, seed=3)
    assert len(list(tmp_path.iterdir())) == 1
    with monkeypatch.context() as patch:
        seen = interrupted_after(10_000, patch)
        resumed = again.learn(found, label, seed=3)
    assert seen[0] == boosting.ROUND + 1  # the first round is not grown again
    for each in fields(GbdtModel):
        np.testing.assert_equal(getattr(resumed, each.name), getattr(whole, each.name))
    assert not list(tmp_path.iterdir())


def test_rounds_learn_as_well_as_one_training(tmp_path: Path) -> None:
    found, label = rows(6000)
    others, truth = rows(2000, seed=8)

    def shown_first(checkpoint: str) -> float:
        model = Gbdt(leaves=7, rate=0.1, threads=1, checkpoint=checkpoint).learn(found, label, seed=3)
        score = model.score(asked(others), others).reshape(-1, 20)
        return float(np.mean(truth.reshape(-1, 20)[np.arange(len(score)), score.argmax(axis=1)]))

    assert shown_first(str(tmp_path / "trees.json")) > shown_first("") - 0.05 > 0.4


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "of another", "held": [], "trees": ""}'])
def test_a_checkpoint_that_says_nothing_is_as_if_there_were_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    found, label = rows(1000)
    ranker = Gbdt(trees=60, leaves=4, threads=1, checkpoint=str(tmp_path / "trees.json"))
    with monkeypatch.context() as patch:
        interrupted_after(55, patch)
        with pytest.raises(Interrupted):
            ranker.learn(found, label, seed=0)
    (path,) = tmp_path.iterdir()
    path.write_text(text)
    with monkeypatch.context() as patch:
        seen = interrupted_after(10_000, patch)
        ranker.learn(found, label, seed=0)
    assert seen[0] == 1


def test_other_rows_have_a_checkpoint_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranker = Gbdt(trees=60, leaves=4, threads=1, checkpoint=str(tmp_path / "trees.json"))
    for seed in (0, 1):
        with monkeypatch.context() as patch:
            interrupted_after(55, patch)
            with pytest.raises(Interrupted):
                ranker.learn(*rows(1000, seed=seed), seed=0)
    assert len(list(tmp_path.iterdir())) == 2
