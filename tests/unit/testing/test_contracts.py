"""The suites catch what they are for: each of these components breaks one promise."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from shortlist import ops
from shortlist.dataset import Dataset
from shortlist.recall.popular import Popular
from shortlist.testing import contracts
from shortlist.testing.world import World, synthetic
from shortlist.types import Candidates, Events, Mask, Queries, Scores, empty_items


def complaints(suite: type, make: Callable[[World], Any]) -> set[str]:
    """The tests of `suite` that fail for what `make` makes, those of the release round trip left out."""
    test = type("Test", (suite,), {"make": lambda self, world: make(world)})()
    failed = set()
    for name, method in inspect.getmembers(test, inspect.ismethod):
        if name.startswith("test_") and "release" not in name:
            try:
                method()
            except Exception:
                failed.add(name)
    return failed


def best(scores: np.ndarray, k: int) -> Candidates:
    everything = np.empty(0, np.bool_)
    return ops.top_of_matrix(np.ascontiguousarray(scores, np.float32), k, empty_items(len(scores)), everything)


@dataclass(frozen=True)
class Sourced:
    """A good source whose questions, or whose answers, go through `before` and `after`."""

    items: int
    before: Callable[[Queries], Queries] = lambda queries: queries
    after: Callable[[Candidates], Candidates] = lambda found: found

    def recall(self, queries: Queries, k: int) -> Candidates:
        asked = self.before(queries)
        score = np.tile(np.arange(self.items, dtype=np.float32), (len(queries), 1))
        return self.after(ops.top_of_matrix(score, k, asked.exclude, asked.allowed))


def shuffled(found: Candidates) -> Candidates:
    return found.take(np.arange(len(found))[::-1])


def relative(found: Candidates) -> Candidates:
    return found.with_columns({"score": found.columns["score"] - np.float32(found.query.max(initial=0))})


SOURCES = {
    "recall_never_proposes_excluded_items": {
        "before": lambda queries: replace(queries, exclude=Queries.of(queries.user).exclude)
    },
    "recall_stays_inside_what_is_allowed": {"before": lambda queries: replace(queries, allowed=np.empty(0, np.bool_))},
    "recall_is_a_sorted_table_without_repeats": {"after": shuffled},
    "recall_knows_nothing_of_the_order_of_the_batch": {"after": relative},
    "recall_answers_the_same_question_the_same_way": {
        "after": lambda found: found.with_columns(
            {"score": found.columns["score"] + np.float32(np.random.default_rng().random())}
        )
    },
}


def test_a_good_source_is_not_blamed():
    assert complaints(contracts.SourceContract, lambda world: Sourced(world.data.n_items)) == set()


@pytest.mark.parametrize("promise", SOURCES)
def test_a_source_that_breaks_a_promise_is_caught(promise):
    broken = SOURCES[promise]
    failed = complaints(contracts.SourceContract, lambda world: Sourced(world.data.n_items, **broken))
    assert f"test_{promise}" in failed


def test_a_source_that_takes_unknown_people_for_known_ones_is_caught():
    class Careless:
        def recall(self, queries: Queries, k: int) -> Candidates:
            return best(synthetic().data.matrix.toarray()[queries.user], k)

    assert complaints(contracts.SourceContract, lambda world: Careless())


def test_a_source_that_is_short_is_caught():
    class Suite(contracts.SourceContract):
        def knows(self, world: World) -> np.ndarray:
            return np.arange(world.data.n_items, dtype=np.int32)

        def make(self, world: World) -> Any: ...

    class Short:
        """Forbids after it has taken its best."""

        def recall(self, queries: Queries, k: int) -> Candidates:
            score = np.tile(np.arange(90, dtype=np.float32), (len(queries), 1))
            found = best(score, k)
            return found.take(ops.permitted(found.query, found.item, queries.exclude, queries.allowed))

    failed = complaints(Suite, lambda world: Short())
    assert failed == {
        "test_recall_is_not_short_while_permitted_items_remain",
        "test_a_narrow_filter_acts_inside_retrieval",
    }


@dataclass(frozen=True)
class Odd:
    """A filter against odd rows that does one thing wrong."""

    wrong: str = ""

    def narrow(self, queries: Queries) -> Queries:
        if self.wrong == "forgets":
            return replace(queries, exclude=Queries.of(queries.user).exclude, allowed=np.empty(0, np.bool_))
        if self.wrong == "narrows less than it keeps":
            return queries.with_allowed(np.arange(90) % 3 > 0)
        return queries.with_allowed(np.arange(90) % 2 == 0)

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        mask: Mask = found.item % 2 == 0
        if self.wrong == "batch":
            mask[: len(mask) // 2] = True
        return mask.astype(np.int8) if self.wrong == "type" else mask


def test_a_good_filter_is_not_blamed():
    assert complaints(contracts.FilterContract, lambda world: Odd()) == set()


@pytest.mark.parametrize(
    ("wrong", "promise"),
    [
        ("forgets", "narrow_only_adds"),
        ("narrows less than it keeps", "narrow_takes_out_only_what_keep_takes_out"),
        ("batch", "keep_knows_nothing_of_the_order_of_the_batch"),
        ("type", "keep_is_a_mask"),
    ],
)
def test_a_filter_that_breaks_a_promise_is_caught(wrong, promise):
    assert f"test_{promise}" in complaints(contracts.FilterContract, lambda world: Odd(wrong))


class Relative:
    def score(self, queries: Queries, found: Candidates) -> Scores:
        return found.columns["second"] * np.float32(len(queries))


class Cut:
    def order(self, queries: Queries, found: Candidates, k: int) -> np.ndarray:
        return np.argsort(-found.columns["score"], kind="stable")[:k]


class Plain:
    def order(self, queries: Queries, found: Candidates, k: int) -> np.ndarray:
        return ops.topk(found.query, found.columns["score"], k, len(queries))


class Counts:
    def columns(self, queries: Queries, found: Candidates) -> dict[str, np.ndarray]:
        return {"counts.all": np.full(len(found), len(found), np.float32)}

    def update(self, events: Events) -> None: ...


@dataclass(frozen=True)
class Lucky:
    """Learns something else every time, and nothing from nothing."""

    def fit(self, data: Dataset, *, seed: int) -> Any:
        model = Popular().fit(data, seed=seed)
        return replace(model, scores=model.scores / model.scores[0] + np.float32(np.random.default_rng().random()))


def test_other_components_that_break_a_promise_are_caught():
    assert "test_score_knows_nothing_of_the_order_of_the_batch" in complaints(
        contracts.ScorerContract, lambda world: Relative()
    )
    assert complaints(contracts.RerankerContract, lambda world: Plain()) == set()
    assert "test_order_is_at_most_k_valid_positions_grouped_by_query" in complaints(
        contracts.RerankerContract, lambda world: Cut()
    )
    assert "test_columns_know_nothing_of_the_order_of_the_batch" in complaints(
        contracts.FeatureContract, lambda world: Counts()
    )
    assert complaints(contracts.RecipeContract, lambda world: Lucky()) == {
        "test_fit_depends_on_data_and_seed_alone",
        "test_fit_learns_from_nothing_and_from_almost_nothing",
    }
