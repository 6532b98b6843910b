"""The transformer: what numpy serves is what PyTorch learned, order counts, a run goes on where it was cut."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist import ops
from shortlist.dataset import Dataset
from shortlist.descent import Descent, _Run, dropped
from shortlist.errors import ConfigError
from shortlist.models import sasrec
from shortlist.models.learning import Held, hold_out
from shortlist.models.sasrec import Sasrec, SasrecModel
from shortlist.testing.world import START, synthetic
from shortlist.types import HISTORY, Events, Queries, Ragged

pytestmark = pytest.mark.torch
ONE = Descent(epochs=40, patience=40, batch=10, rate=0.01, threads=1, held=0)
SMALL = Sasrec(width=16, length=12, dropout=0.0, descent=ONE)


def torch() -> object:
    return pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shortlist[torch]'")


def ring(items: int = 12, users: int = 40, length: int = 9) -> Dataset:
    """Everybody walks round the ring: after item i comes i + 1, wherever they began."""
    user = np.repeat(np.arange(users), length)
    step = np.tile(np.arange(length), users)
    item = (user * 5 + step) % items
    columns = (user.astype(np.int32), item.astype(np.int32), np.full(len(user), 2, np.uint8))
    facts = (*columns, np.full(len(user), 5, np.float32), START + step.astype(np.int64) * 60_000_000)
    events = Events(*facts, np.zeros(len(user), np.uint64), ops.event_ids(*facts))
    return Dataset.of(events, users, items)


def session(*items: int) -> Queries:
    count = len(items)
    listed = {"item": items, "kind": [2] * count, "value": [5] * count, "weight": [1] * count}
    history = Ragged.of([{**listed, "time": START + np.arange(count) * 60_000_000}], HISTORY)
    return Queries.of([-1], history=history, time=START + count * 60_000_000)


@pytest.mark.parametrize("gaps", [0, 6])
def test_numpy_serves_what_pytorch_computes(gaps: int) -> None:
    torch_ = torch()
    world = synthetic()
    recipe = Sasrec(width=32, heads=4, blocks=3, length=15, gaps=gaps, dropout=0.5, descent=replace(ONE, epochs=0))
    chance = np.random.default_rng(0)
    start = recipe._start(world.data.n_items, chance)
    start = {name: each + chance.normal(0, 0.3, each.shape).astype(np.float32) for name, each in start.items()}
    model = recipe._model(start, np.arange(world.data.n_items), world.data.n_items)
    queries = world.queries()
    ours = model.states(queries.history, queries.time)
    parameters = {name: torch_.from_numpy(each) for name, each in start.items()}  # type: ignore[attr-defined]
    compared = 0
    for b in range(len(queries)):
        liked = queries.history.take(np.array([b]))
        liked = liked.where(liked["weight"] > 0).last(recipe.length)
        if not len(liked["item"]):
            assert not ours[b].any()
            continue
        wait = sasrec.waits(np.diff(liked["time"], append=queries.time[b]), max(1, gaps))
        tensors = [torch_.from_numpy(each)[None] for each in (liked["item"].astype(np.int64), wait)]  # type: ignore[attr-defined]
        length = torch_.tensor([len(wait)])  # type: ignore[attr-defined]
        theirs = recipe.states(torch_, parameters, *tensors, length, learn=False)[0, -1].numpy()
        np.testing.assert_allclose(ours[b], theirs, rtol=0, atol=1e-5)
        compared += 1
    assert compared > 30


@pytest.mark.parametrize(
    "recipe",
    [
        SMALL,
        replace(SMALL, negatives=8),
        replace(SMALL, loss="gbce", negatives=8, descent=replace(ONE, epochs=120)),
        replace(SMALL, gaps=4),
        replace(SMALL, negatives=8, descent=replace(ONE, precision="bfloat16")),
    ],
    ids=["softmax", "sampled", "gbce", "times", "bfloat16"],
)
def test_the_next_item_follows_from_the_order(recipe: Sasrec) -> None:
    torch()
    model = recipe.fit(ring(), seed=1)
    for last in range(2, 11):
        found = model.recall(session(last - 2, last - 1, last), 1)
        assert found.item.tolist() == [last + 1]


def test_a_run_that_was_cut_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    torch()
    whole = replace(SMALL, dropout=0.2, descent=replace(ONE, epochs=4, held=4, average=0.9))
    cut = replace(whole, descent=replace(whole.descent, checkpoint=str(tmp_path / "run.npz")))
    expected = whole.fit(ring(), seed=1)
    scored, original = [], Held.ndcg

    def interrupted(self: Held, model: SasrecModel) -> float:
        scored.append(1)
        if len(scored) == 3:
            raise KeyboardInterrupt
        return original(self, model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Held, "ndcg", interrupted)
        with pytest.raises(KeyboardInterrupt):
            cut.fit(ring(), seed=1)
        assert [each.suffix for each in tmp_path.iterdir()] == [".npz"]
        scored[:] = [1] * 10
        found = cut.fit(ring(), seed=1)
    assert len(scored) == 12, "two epochs were kept, two were left"
    np.testing.assert_array_equal(found.item, expected.item)
    assert not list(tmp_path.iterdir()), "a training that is done leaves no checkpoint"


def test_the_mean_of_the_weights_lies_between_them() -> None:
    torch()
    data, epochs = ring(), range(1, 5)
    plain = [replace(SMALL, descent=replace(ONE, epochs=each)).fit(data, seed=1).item for each in epochs]
    mean = replace(SMALL, descent=replace(ONE, epochs=4, average=0.99)).fit(data, seed=1).item
    assert np.abs(mean - plain[-1]).max() > 0
    assert np.abs(mean - plain[0]).mean() < np.abs(plain[-1] - plain[0]).mean()


def test_a_checkpoint_of_another_training_is_not_used(tmp_path: Path) -> None:
    torch()
    recipe = replace(SMALL, descent=replace(ONE, epochs=2, checkpoint=str(tmp_path / "run.npz")))
    kept: list[Path] = []
    original = _Run.save

    def noted(self: _Run, path: Path, key: str) -> None:
        kept.append(path)
        original(self, path, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Run, "save", noted)
        expected = recipe.fit(ring(), seed=1)
        recipe.fit(ring(), seed=2)
    assert len(set(kept)) == 2, "each training has a file of its own"
    for content in (b"PK\x03\x04 cut short", b""):
        kept[0].write_bytes(content)
        np.testing.assert_array_equal(recipe.fit(ring(), seed=1).item, expected.item)


def test_a_share_of_the_states_is_dropped_and_the_others_make_up_for_it() -> None:
    torch_: Any = torch()
    state = torch_.ones(200, 50)
    torch_.manual_seed(3)
    first = dropped(torch_, state, 0.25).numpy()
    torch_.manual_seed(3)
    np.testing.assert_array_equal(dropped(torch_, state, 0.25).numpy(), first)
    assert set(np.unique(first).tolist()) == {0.0, np.float32(256 / 192)}
    assert abs((first == 0).mean() - 0.25) < 0.02
    assert (dropped(torch_, state, 0.25).numpy() != first).any(), "chance goes on"
    assert dropped(torch_, state, 0.0) is state


def test_what_is_drawn_is_never_the_right_item_counted_as_wrong() -> None:
    """With every item drawn the sampled loss is the whole softmax."""
    torch_: Any = torch()
    data = ring()
    whole, sampled = SMALL, replace(SMALL, negatives=50)
    start = whole._start(data.n_items, np.random.default_rng(0))
    windows = sasrec._Windows.of(data.sequences, np.arange(data.n_items), 12, 0)
    parameters = {name: torch_.from_numpy(each) for name, each in start.items()}
    for batch in windows.batches(10, 50, data.n_items, np.random.default_rng(1)):
        assert len(np.unique(batch[3])) == len(batch[3]) == data.n_items
        found, expected = (float(each._loss(torch_, parameters, *batch)) for each in (sampled, whole))
        assert found == pytest.approx(expected, rel=1e-5)


def test_it_stops_when_the_held_out_people_gain_nothing_more() -> None:
    torch()
    scores = iter([0.1, 0.3, 0.2, 0.2, 0.9])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Held, "ndcg", lambda self, model: next(scores))
        SMALL_PATIENCE = replace(SMALL, descent=replace(ONE, patience=2, held=3))
        SMALL_PATIENCE.fit(ring(), seed=1)
    assert list(scores) == [0.9], "two epochs after the best"


def test_the_last_likings_of_some_are_held_out() -> None:
    data = ring()
    liked = data.sequences
    rest, held = hold_out(liked, 2000, np.random.default_rng(0))
    assert len(held.queries) == data.n_users // 10
    assert len(rest["item"]) == len(liked["item"]) - len(held.queries)
    for row, user in enumerate(held.queries.user):
        whole = liked.take(np.array([user]))["item"]
        assert held.target[row] == whole[-1]
        assert held.queries.history.take(np.array([row]))["item"].tolist() == whole[:-1].tolist()


@pytest.mark.parametrize(("length", "code"), [(-5, 0), (0, 0), (59, 0), (60, 1), (119, 1), (120, 2), (10**9, 7)])
def test_waits_are_told_apart_by_doubling(length: int, code: int) -> None:
    assert sasrec.waits(np.array([length * 1_000_000]), 8).tolist() == [code]


def test_what_cannot_be_learned_is_said_before() -> None:
    with pytest.raises(ConfigError, match="multiple of the heads"):
        Sasrec(width=10, heads=3)
    with pytest.raises(ConfigError, match="gBCE needs negatives"):
        Sasrec(loss="gbce")


def test_without_pytorch_fit_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match="cannot be loaded") as caught:
        SMALL.fit(ring(), seed=0)
    assert "shortlist[torch]" in caught.value.hint


def test_serving_never_imports_pytorch() -> None:
    code = "import sys, shortlist.models.sasrec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
