"""The networks of the rankers: numpy serves what PyTorch learned, a row has the same bits in any batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.descent import Descent
from shortlist.errors import ConfigError, ShapeError
from shortlist.progress import Turn, watched
from shortlist.rank.dcn import Dcn
from shortlist.rank.deepfm import DeepFm
from shortlist.rank.din import Din
from shortlist.rank.fm import Fm
from shortlist.rank.learning import Learning
from shortlist.rank.mlp import Mlp
from shortlist.rank.mmoe import Mmoe, MmoeModel
from shortlist.types import Candidates, Queries

pytestmark = pytest.mark.torch
EACH = 8  # candidates of a query
SHORT = Learning(l2=0.0, descent=Descent(epochs=3, patience=3, batch=64, rate=0.01, threads=1))
LONG = Learning(l2=0.0, held=0.2, descent=Descent(epochs=40, patience=8, batch=128, rate=0.01, threads=1))
SAME = {"recent": "item"}


def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shortlist[torch]'")


def world(queries: int = 150, seed: int = 0) -> tuple[Candidates, np.ndarray]:
    """Queries of people with a history and a group; taken is what their group goes for: a matter of pairs alone."""
    chance = np.random.default_rng(seed)
    group = np.repeat(chance.integers(2, 6, queries), EACH).astype(np.int32)
    recent = np.repeat(chance.integers(0, 30, (queries, 5)).astype(np.int32), EACH, axis=0)
    recent[:EACH] = 0
    rows = queries * EACH
    item = chance.integers(2, 30, rows).astype(np.int32)
    price = chance.lognormal(0, 1, rows).astype(np.float32)
    price[::11] = np.nan
    taken = (item % 4 == group % 4) ^ (chance.random(rows) < 0.05)
    columns = {
        "age": np.repeat(chance.normal(40, 9, queries), EACH).astype(np.float32),
        "group": group,
        "recent": recent,
        "item": item,
        "price": price,
        "genres": chance.integers(0, 7, (rows, 3)).astype(np.int32),
        "vector": chance.normal(size=(rows, 4)).astype(np.float32),
    }
    found = Candidates(np.repeat(np.arange(queries, dtype=np.int32), EACH), item, columns)
    return found, taken.astype(np.float32)


NETWORKS: Mapping[str, Any] = {
    "fm": Fm(same=SAME, width=4, learning=SHORT),
    "mlp": Mlp(same=SAME, width=4, layers=(16, 8), learning=SHORT),
    "deepfm": DeepFm(same=SAME, width=4, layers=(16, 8), learning=SHORT),
    "dcn": Dcn(same=SAME, width=4, crosses=2, layers=(16, 8), learning=SHORT),
    "din": Din(SAME, width=4, layers=(16, 8), learning=SHORT),
    "mmoe": Mmoe(("taken",), same=SAME, width=4, experts=2, expert=32, tower=16, learning=SHORT),
}
every = pytest.mark.parametrize("ranker", NETWORKS.values(), ids=NETWORKS)


def score(model: Any, found: Candidates) -> np.ndarray:
    return model.score(Queries.of(np.zeros(int(found.query.max(initial=-1)) + 1, np.int32)), found)  # type: ignore[no-any-return]


def auc(score: np.ndarray, label: np.ndarray) -> float:
    return float((score[label > 0][:, None] > score[label == 0]).mean())


@every
def test_numpy_serves_what_pytorch_learned(ranker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch_, (found, label) = torch(), world()
    kept: dict[str, Any] = {}
    run = Learning.run

    def spied(self: Learning, recipe: object, layout: Any, *rest: Any, **more: Any) -> Any:
        kept["forward"], kept["layout"] = rest[3], layout
        kept["arrays"] = run(self, recipe, layout, *rest, **more)
        return dict(kept["arrays"])

    monkeypatch.setattr(Learning, "run", spied)
    model = ranker.learn(found, label, seed=1)
    table = kept["layout"].encode(found.columns, len(found))
    batch = type(table)(*({name: torch_.from_numpy(each) for name, each in part.items()} for part in table))
    parameters = {name: torch_.from_numpy(each) for name, each in kept["arrays"].items()}
    theirs = torch_.sigmoid(kept["forward"](torch_, parameters, batch, False))[:, 0].numpy()
    np.testing.assert_allclose(score(model, found), theirs, atol=2e-6)


@every
def test_a_row_has_the_same_bits_in_any_batch(ranker: Any) -> None:
    torch()
    found, label = world()
    model = ranker.learn(found, label, seed=1)
    whole = score(model, found)
    assert len(np.unique(whole)) > 500
    for row in (0, 5, 77, len(found) - 1):
        alone = found.take(np.array([row]))
        assert (
            score(model, Candidates(np.zeros(1, np.int32), alone.item, alone.columns)).tobytes() == whole[row].tobytes()
        )
    mixed = found.with_columns({"age": found.columns["age"] + (np.arange(len(found)) == 3).astype(np.float32)})
    again = score(model, mixed)  # what was the same for a query no longer is
    np.testing.assert_array_equal(np.delete(again, 3), np.delete(whole, 3))


@every
def test_pairs_are_learned_and_chosen_on_held_out_queries(ranker: Any) -> None:
    torch()
    found, label = world(400)
    model = replace(ranker, learning=LONG).learn(found, label, seed=0)
    later, truth = world(100, seed=1)
    assert auc(score(model, later), truth) > 0.85


@every
def test_odd_values_stay_where_they_are(ranker: Any) -> None:
    torch()
    found, label = world(40)
    model = ranker.learn(found, label, seed=1)
    before = score(model, found)
    odd = {name: column.copy() for name, column in found.columns.items()}
    odd["price"][9], odd["vector"][9], odd["item"][9], odd["genres"][9] = 1e8, np.nan, 10**6, 99
    after = score(model, found.with_columns(odd))
    np.testing.assert_array_equal(np.delete(after, 9), np.delete(before, 9))
    assert np.isfinite(after).all()
    gone = Candidates(found.query, found.item, {"item": found.columns["item"]})
    assert np.isfinite(score(model, gone)).all()


@every
def test_probabilities_are_corrected_for_weights_and_thinning(ranker: Any) -> None:
    torch()
    found, label = world(60)
    base = Learning(l2=0.0, descent=Descent(epochs=0))
    plain = replace(ranker, learning=base).learn(found, label, seed=0)
    counted = replace(ranker, learning=replace(base, positive=3.0, kept=0.5)).learn(found, label, seed=0)
    odds = [np.log(p / (1 - p)) for p in (score(each, found).astype(np.float64) for each in (plain, counted))]
    np.testing.assert_allclose(odds[1] - odds[0], np.log(0.5 / 3), atol=1e-4)


def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    torch()
    found, label = world(60)
    descent = Descent(epochs=4, patience=4, batch=64, threads=1)
    whole = Fm(width=4, learning=Learning(descent=descent)).learn(found, label, seed=0)
    kept = replace(descent, checkpoint=str(tmp_path / "at.npz"))
    saved: list[int] = []
    stop = pytest.MonkeyPatch()
    original = Learning._loss

    def failing(self: Learning, torch: Any, odds: Any, target: Any, often: Any) -> Any:
        saved.append(1)
        if len(saved) == 20:
            raise KeyboardInterrupt
        return original(self, torch, odds, target, often)

    stop.setattr(Learning, "_loss", failing)
    recipe = Fm(width=4, learning=Learning(descent=kept))
    with pytest.raises(KeyboardInterrupt):
        recipe.learn(found, label, seed=0)
    stop.undo()
    np.testing.assert_array_equal(score(recipe.learn(found, label, seed=0), found), score(whole, found))


def test_of_several_trainings_each_goes_on_where_it_was(tmp_path: Path) -> None:
    """As `train` learns the same recipe on the past and on all, and is started again after the second was cut."""
    torch()
    descent = Descent(epochs=4, patience=4, batch=64, threads=1, checkpoint=str(tmp_path / "at.npz"))
    recipe = Fm(width=4, learning=Learning(descent=descent))
    past, everything = world(30), world(60)
    whole = replace(recipe, learning=Learning(descent=replace(descent, checkpoint=""))).learn(*everything, seed=0)
    turns: list[int] = []

    def run() -> Any:
        """What comes of the second."""
        return [recipe.learn(*lesson, seed=0) for lesson in (past, everything)][1]

    def cut(turn: Turn) -> None:
        turns.append(turn.done)
        if len(turns) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), watched(cut):
        run()
    assert turns == [1, 2, 3, 4, 1, 2]
    turns.clear()
    with watched(lambda turn: turns.append(turn.done)):
        again = run()
    assert turns == [1, 2, 3, 4, 3, 4]
    np.testing.assert_array_equal(score(again, everything[0]), score(whole, everything[0]))
    assert not list(tmp_path.iterdir())


def test_what_of_the_past_counts_depends_on_the_candidate() -> None:
    """Taken is what is on the list already: means of lists cannot tell, weighing by the candidate can."""
    torch()
    chance = np.random.default_rng(0)
    recent = chance.integers(2, 40, (600, 6)).astype(np.int32)
    item = np.where(chance.random((600, EACH)) < 0.5, recent[:, chance.integers(0, 6, EACH)], 0)
    item = np.where(item, item, chance.integers(2, 40, (600, EACH))).ravel().astype(np.int32)
    columns = {"recent": np.repeat(recent, EACH, axis=0), "item": item}
    label = (columns["recent"] == item[:, None]).any(axis=1).astype(np.float32)
    found = Candidates(np.repeat(np.arange(600, dtype=np.int32), EACH), item, columns)
    learn, test = found.query < 500, found.query >= 500
    model = Din(SAME, width=8, layers=(16,), learning=LONG).learn(found.take(learn), label[learn], seed=0)
    later = found.take(test)
    assert auc(score(model, Candidates(later.query - 500, later.item, later.columns)), label[test]) > 0.9


def two_tasks() -> tuple[MmoeModel, Candidates, np.ndarray]:
    torch()
    found, taken = world(300)
    bought = np.where(taken > 0, found.columns["item"] % 3 == 0, np.nan).astype(np.float32)
    tasks = Mmoe(("taken", "bought"), {"bought": 3.0}, same=SAME, width=4, learning=replace(LONG, held=0.0))
    model = tasks.learn(found, np.stack((taken, bought), axis=1), seed=0)
    return model, found, bought


def test_several_tasks_are_learned_at_once_and_weighed_as_declared() -> None:
    model, found, bought = two_tasks()
    known = ~np.isnan(bought)
    chances = model.chances(found)
    assert auc(chances[known, 1], bought[known]) > 0.95
    np.testing.assert_allclose(score(model, found), chances[:, 0] + 3 * chances[:, 1], rtol=1e-5)
    before = Mmoe(("taken", "bought"), {"bought": 3.0})
    lighter = replace(before, weights={"taken": 0.5}).adjusted(before, model)
    np.testing.assert_allclose(score(lighter, found), 0.5 * chances[:, 0] + chances[:, 1], rtol=1e-5)
    assert replace(before, width=8).adjusted(before, model) is None
    assert before.adjusted(Fm(), model) is None
    with pytest.raises(ConfigError, match="'clicked': 1"):
        Mmoe(("taken",), {"clicked": 1})
    with pytest.raises(ShapeError, match=r"expected \(2400,\) or \(2400, 2\)"):
        Mmoe(("taken", "bought")).learn(found, bought, seed=0)


def test_groups_of_inputs_are_columns_of_any_width() -> None:
    """The anime system: 43 numbers of a person's genres, 43 of an item's, 4 figures of each."""
    torch()
    chance = np.random.default_rng(0)
    shapes = {"user.genres": 43, "item.genres": 43, "user.figures": 4, "item.figures": 4}
    columns = {name: chance.random((800, width)).astype(np.float32) for name, width in shapes.items()}
    near = (columns["user.genres"] * columns["item.genres"]).sum(axis=1) + 4 * columns["item.figures"][:, 0]
    label = (near > np.median(near)).astype(np.float32)
    rows = np.arange(800, dtype=np.int32)
    model = Mlp(tuple(shapes), layers=(64, 16), learning=LONG).learn(Candidates(rows, rows, columns), label, seed=0)
    assert model.deep[0].weight.shape == (94, 64)
    assert auc(score(model, Candidates(rows, rows, columns)), label) > 0.85


def test_settings_and_labels_are_checked() -> None:
    found, label = world(3)
    for wrong in ({"held": 1.0}, {"kept": 0.0}, {"positive": -1.0}, {"dropout": 1.0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Learning(**wrong)
    with pytest.raises(ConfigError, match="crosses is 0"):
        Dcn(crosses=0)
    with pytest.raises(ShapeError, match=r"expected \(24,\)"):
        Fm().learn(found, label[:-1], seed=0)
