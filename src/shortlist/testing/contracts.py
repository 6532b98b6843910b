"""What every component must keep: inherit a suite, say how to make one, and pytest runs it.

    class TestPopular(SourceContract):
        def make(self, world):
            return Popular().fit(world.data, seed=0)

A component that holds a store takes it from `self.stores(world)`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from shortlist import ops
from shortlist.protocols import (
    Encoder,
    Explainer,
    Feature,
    Filter,
    Probable,
    Ranker,
    Recipe,
    Reranker,
    Scorer,
    Source,
    Telling,
)
from shortlist.testing.checks import (
    TOLERANCE,
    _same,
    candidates,
    check_agree,
    check_found,
    check_leaves,
    check_order,
    check_parity,
    check_same,
    everything,
    labelled,
    leaves,
    lists_of,
    of_one,
    pairs_of,
    permits,
    restricted,
)
from shortlist.testing.world import World, stores, synthetic, tiny
from shortlist.types import Candidates, Queries, Ragged, Rows


class Contract(ABC):
    """Shared by the suites: the world, the stores, and where a component's answers are compared."""

    @abstractmethod
    def make(self, world: World) -> Any:
        """The component to check."""

    def world(self) -> World:
        """The world it is checked in."""
        return synthetic()

    def stores(self, world: World) -> Mapping[str, Any]:
        """The stores by role: `make` gives them to a component that needs some, a release is loaded with them."""
        return stores(world)

    def _released(self, thing: object, world: World, folder: Path) -> Any:
        from shortlist.packed import pack, unpack

        pack(thing, folder)
        return unpack(folder, self.stores(world))


class SourceContract(Contract):
    """For everything with `recall`."""

    @abstractmethod
    def make(self, world: World) -> Source: ...

    def knows(self, world: World) -> Rows:
        """Items it can propose to anyone with a history: a list is not short while permitted ones remain."""
        return np.empty(0, np.int32)

    def test_recall_is_a_sorted_table_without_repeats(self) -> None:
        world = self.world()
        source = self.make(world)
        for queries in (world.queries(), world.odd_queries()):
            for k in (1, 10, 10_000):
                check_found(source.recall(queries, k), queries, k)

    def test_recall_of_no_queries_or_no_places_is_empty(self) -> None:
        world = self.world()
        source = self.make(world)
        assert len(source.recall(world.queries(np.empty(0, np.int32)), 5)) == 0
        assert len(source.recall(world.queries(), 0)) == 0

    def test_recall_never_proposes_excluded_items(self) -> None:
        world = self.world()
        source = self.make(world)
        for queries in (world.queries(), world.odd_queries()):
            free = source.recall(queries, 8)
            again = source.recall(queries.with_exclude(lists_of(free, len(queries))), 8)
            pairs = set(zip(free.query.tolist(), free.item.tolist(), strict=True))
            assert not pairs & set(zip(again.query.tolist(), again.item.tolist(), strict=True))

    def test_recall_ignores_exclusions_it_cannot_know(self) -> None:
        world = self.world()
        source, queries = self.make(world), world.queries()
        foreign = np.tile(np.array([-1, world.data.n_items + 1], np.int32), len(queries))
        excluded = queries.with_exclude(Ragged(np.arange(len(queries) + 1) * 2, {"item": foreign}))
        check_same(source.recall(queries, 8), source.recall(excluded, 8))

    def test_recall_stays_inside_what_is_allowed(self) -> None:
        world = self.world()
        source, queries, size = self.make(world), world.queries(), world.data.n_items
        for mask in (np.arange(size) % 2 == 0, np.arange(size // 2) % 2 == 0, np.arange(size + 9) % 3 == 0):
            found = source.recall(queries.with_allowed(mask), 10)
            assert ops.gather(mask, found.item, True).all()
        assert not (source.recall(queries.with_allowed(np.zeros(size, np.bool_)), 10).item < size).any()

    def test_a_narrow_filter_acts_inside_retrieval(self) -> None:
        """What is allowed is ranked as if there were nothing else: a list is short only when the catalogue is."""
        world = self.world()
        source, queries, size = self.make(world), world.queries(), world.data.n_items
        whole = source.recall(queries, 10_000)
        for seed, few in ((0, 3), (1, 15), (2, size // 2)):
            mask = np.zeros(size, np.bool_)
            mask[np.random.default_rng(seed).choice(size, few, replace=False)] = True
            inside = whole.take(ops.gather(mask, whole.item, True))
            for k in (2, few):
                place = np.arange(len(inside)) - ops.pointers(inside.query, len(queries))[:-1][inside.query]
                expected, found = inside.take(place < k), source.recall(queries.with_allowed(mask), k)
                np.testing.assert_array_equal(found.query, expected.query)
                np.testing.assert_array_equal(found.item, expected.item)

    def test_recall_is_not_short_while_permitted_items_remain(self) -> None:
        world = self.world()
        source, known = self.make(world), self.knows(world)
        queries = world.queries(np.flatnonzero(world.data.sequences.length > 0))
        queries = queries.with_allowed(np.arange(world.data.n_items) % 3 > 0)
        queries = queries.with_exclude(lists_of(source.recall(queries, 8), len(queries)))
        for k in (5, 10_000):
            found = source.recall(queries, k)
            for b in range(len(queries)):
                one = np.full(len(known), b, np.int32)
                possible = int(ops.permitted(one, known, queries.exclude, queries.allowed).sum())
                assert np.count_nonzero(found.query == b) >= min(k, possible)

    def test_recall_knows_nothing_of_the_order_of_the_batch(self) -> None:
        world = self.world()
        source = self.make(world)
        for queries in (world.queries(), world.odd_queries()):
            together = source.recall(queries, 10)
            for b in range(len(queries)):
                check_agree(of_one(together, b), source.recall(queries.take(np.array([b])), 10))

    def test_recall_answers_the_same_question_the_same_way(self) -> None:
        world = self.world()
        source = self.make(world)
        for queries in (world.queries(), world.odd_queries()):
            check_same(source.recall(queries, 10), source.recall(queries, 10))

    def test_recall_survives_a_release(self, tmp_path: Path) -> None:
        world = self.world()
        source = self.make(world)
        loaded = self._released(source, world, tmp_path / "release")
        for queries in (world.queries(), world.odd_queries()):
            check_same(source.recall(queries, 10), loaded.recall(queries, 10))


class ExplainerContract(Contract):
    """For sources that also have `because`."""

    @abstractmethod
    def make(self, world: World) -> Any: ...  # a Source and an Explainer

    def test_because_names_an_item_of_the_history_or_context(self) -> None:
        world = self.world()
        thing = self.make(world)
        assert isinstance(thing, Source)
        assert isinstance(thing, Explainer)
        named = 0
        for queries in (world.queries(), world.odd_queries()):
            for found in (thing.recall(queries, 10), candidates(world, queries)):
                why = thing.because(queries, found)
                assert why.dtype == np.int32
                assert why.shape == (len(found),)
                ours = ops.contains(queries.history, found.query, why) | ops.contains(queries.context, found.query, why)
                assert (ours | (why == -1)).all()
                named += int(np.count_nonzero(why >= 0))
        assert named, "because never named an item"

    def test_because_survives_a_release(self, tmp_path: Path) -> None:
        world = self.world()
        thing, queries = self.make(world), world.queries()
        found = thing.recall(queries, 10)
        loaded = self._released(thing, world, tmp_path / "release")
        assert np.array_equal(thing.because(queries, found), loaded.because(queries, found))


class FilterContract(Contract):
    """For everything with `narrow` and `keep`."""

    @abstractmethod
    def make(self, world: World) -> Filter: ...

    def test_narrow_only_adds(self) -> None:
        world = self.world()
        filter = self.make(world)
        for queries in (world.queries(), world.odd_queries(), restricted(world.queries())):
            narrowed = filter.narrow(queries)
            assert len(narrowed) == len(queries)
            before, after = pairs_of(queries.exclude), pairs_of(narrowed.exclude)
            assert before <= after
            wide = np.arange(max(len(queries.allowed), len(narrowed.allowed)), dtype=np.int32)
            assert not (permits(narrowed, wide) & ~permits(queries, wide)).any()
            untouched = ("user", "time", "seed", "columns")
            for name in untouched:
                assert np.array_equal(getattr(queries, name), getattr(narrowed, name))
            for name in ("history", "context"):
                assert np.array_equal(getattr(queries, name).ptr, getattr(narrowed, name).ptr)

    def test_narrow_takes_out_only_what_keep_takes_out(self) -> None:
        world = self.world()
        filter = self.make(world)
        for queries in (world.queries(), world.odd_queries()):
            found = everything(world, queries)
            narrowed = filter.narrow(queries)
            kept = filter.keep(narrowed, found)
            open_to = ops.permitted(found.query, found.item, narrowed.exclude, narrowed.allowed)
            assert not (kept & ~open_to).any()

    def test_keep_is_a_mask(self) -> None:
        world = self.world()
        filter = self.make(world)
        for queries in (world.queries(), world.odd_queries()):
            narrowed = filter.narrow(queries)
            for found in (everything(world, queries), candidates(world, queries), Candidates.empty()):
                mask = filter.keep(narrowed, found)
                assert mask.dtype == np.bool_
                assert mask.shape == (len(found),)

    def test_keep_knows_nothing_of_the_order_of_the_batch(self) -> None:
        world = self.world()
        filter = self.make(world)
        for queries in (world.queries(), world.odd_queries()):
            found = candidates(world, queries)
            together = filter.keep(filter.narrow(queries), found)
            for b in range(len(queries)):
                one = queries.take(np.array([b]))
                alone = filter.keep(filter.narrow(one), of_one(found, b))
                assert np.array_equal(together[found.query == b], alone)

    def test_keep_survives_a_release(self, tmp_path: Path) -> None:
        world = self.world()
        filter, queries = self.make(world), world.queries()
        loaded = self._released(filter, world, tmp_path / "release")
        found = everything(world, queries)
        assert np.array_equal(filter.keep(filter.narrow(queries), found), loaded.keep(loaded.narrow(queries), found))


class FeatureContract(Contract):
    """For everything with `columns` and `update`."""

    @abstractmethod
    def make(self, world: World) -> Feature: ...

    def test_columns_have_one_row_a_candidate_and_always_the_same_names(self) -> None:
        world = self.world()
        feature = self.make(world)
        feature.update(world.data.events)
        names: set[tuple[str, ...]] = set()
        for queries in (world.queries(), world.odd_queries()):
            for found in (candidates(world, queries), everything(world, queries), Candidates.empty()):
                columns = feature.columns(queries, found)
                names.add(tuple(sorted(columns)))
                for column in columns.values():
                    assert len(column) == len(found)
                    assert np.issubdtype(column.dtype, np.number) or column.dtype == np.bool_
        assert len(names) == 1
        assert names != {()}

    def test_columns_know_nothing_of_the_order_of_the_batch(self) -> None:
        world = self.world()
        feature = self.make(world)
        feature.update(world.data.events)
        for queries in (world.queries(), world.odd_queries()):
            found = candidates(world, queries)
            together = feature.columns(queries, found)
            for b in range(len(queries)):
                alone = feature.columns(queries.take(np.array([b])), of_one(found, b))
                for name, column in alone.items():
                    check_parity(together[name][found.query == b], column, name)

    def test_every_column_can_be_said_in_words(self) -> None:
        """For features that tell (protocols.Telling)."""
        world = self.world()
        feature = self.make(world)
        if not isinstance(feature, Telling):
            return
        feature.update(world.data.events)
        for queries in (world.queries(np.arange(4)), world.odd_queries()):
            for name, column in feature.columns(queries, candidates(world, queries, 8)).items():
                for value in column:
                    told = feature.words(name, value)
                    assert told is not None, name
                    assert told.text.strip() == told.text != ""
                    gaps = set(re.findall(r"\{([^{}]+)\}", told.text))
                    assert gaps <= set(told.facts), f"{told.text!r} has no fact for {gaps - set(told.facts)}"
                    assert feature.words(f"another.{name}", value) is None

    def test_update_takes_nothing_and_the_unknown(self) -> None:
        world = self.world()
        feature, events = self.make(world), world.data.events
        feature.update(events.take(np.empty(0, np.intp)))
        foreign = events.take(np.arange(3))
        user, item = np.array([world.data.n_users + 2, 0, 1]), np.array([0, world.data.n_items + 2, 1])
        feature.update(replace(foreign, user=user.astype(np.int32), item=item.astype(np.int32)))
        feature.columns(world.queries(), candidates(world, world.queries()))

    def test_columns_survive_a_release(self, tmp_path: Path) -> None:
        world = self.world()
        feature, queries = self.make(world), world.queries()
        loaded = self._released(feature, world, tmp_path / "release")
        found = candidates(world, queries)
        ours, theirs = feature.columns(queries, found), loaded.columns(queries, found)
        assert sorted(ours) == sorted(theirs)
        for name, column in ours.items():
            assert _same(column, theirs[name]), name


class EncoderContract(Contract):
    """For everything with `encode` and `vectors`."""

    @abstractmethod
    def make(self, world: World) -> Encoder: ...

    def test_people_and_items_are_finite_vectors_of_one_space(self) -> None:
        world = self.world()
        encoder = self.make(world)
        rows = np.append(np.arange(world.data.n_items), [-1, world.data.n_items + 4]).astype(np.int32)
        items = encoder.vectors(rows)
        assert items.shape[0] == len(rows)
        assert items[:-2].any()
        assert not items[-2:].any()
        for queries in (world.queries(), world.odd_queries()):
            people = encoder.encode(queries)
            assert people.shape == (len(queries), items.shape[1])
            assert people.any()
            assert np.isfinite(people).all()
        assert np.isfinite(items).all()

    def test_encode_knows_nothing_of_the_order_of_the_batch(self) -> None:
        world = self.world()
        encoder, queries = self.make(world), world.queries()
        together = encoder.encode(queries)
        for b in range(len(queries)):
            alone = encoder.encode(queries.take(np.array([b])))
            np.testing.assert_allclose(together[b : b + 1], alone, rtol=TOLERANCE, atol=TOLERANCE)


class ScorerContract(Contract):
    """For everything with `score`."""

    @abstractmethod
    def make(self, world: World) -> Scorer: ...

    def found(self, world: World, queries: Queries) -> Candidates:
        """The candidates it is asked about, with the columns it reads."""
        return candidates(world, queries)

    def test_score_is_one_finite_number_or_no_opinion_a_row(self) -> None:
        world = self.world()
        scorer = self.make(world)
        opinions = 0
        for queries in (world.queries(), world.odd_queries()):
            found = self.found(world, queries)
            for some in (found, found.take(np.empty(0, np.intp))):
                score = scorer.score(queries, some)
                assert score.shape == (len(some),)
                assert np.issubdtype(score.dtype, np.floating)
                assert not np.isinf(score).any()
                opinions += int(np.count_nonzero(~np.isnan(score)))
        assert opinions, "score had no opinion at all"

    def test_score_knows_nothing_of_the_order_of_the_batch(self) -> None:
        world = self.world()
        scorer = self.make(world)
        for queries in (world.queries(), world.odd_queries()):
            found = self.found(world, queries)
            together = scorer.score(queries, found)
            for b in range(len(queries)):
                alone = scorer.score(queries.take(np.array([b])), of_one(found, b))
                np.testing.assert_allclose(together[found.query == b], alone, rtol=TOLERANCE, atol=TOLERANCE)

    def test_score_survives_a_release(self, tmp_path: Path) -> None:
        world = self.world()
        scorer, queries = self.make(world), world.queries()
        loaded = self._released(scorer, world, tmp_path / "release")
        found = self.found(world, queries)
        assert _same(scorer.score(queries, found), loaded.score(queries, found))


class RerankerContract(Contract):
    """For everything with `order`."""

    @abstractmethod
    def make(self, world: World) -> Reranker: ...

    def found(self, world: World, queries: Queries) -> Candidates:
        """The scored candidates it is asked to order, with the columns it reads."""
        return candidates(world, queries)

    def test_order_is_at_most_k_valid_positions_grouped_by_query(self) -> None:
        world = self.world()
        reranker = self.make(world)
        for queries in (world.queries(), world.odd_queries()):
            found = self.found(world, queries)
            for some in (found, found.take(np.empty(0, np.intp)), found.take(found.query % 2 == 0)):
                for k in (1, 7, 10_000):
                    order = reranker.order(queries, some, k)
                    check_order(order, some, queries, k)

    def test_order_sinks_rows_without_a_score(self) -> None:
        world = self.world()
        reranker, queries = self.make(world), world.queries()
        found = self.found(world, queries)
        score = found.columns["score"].astype(np.float32)
        score[::2] = np.nan
        order = reranker.order(queries, found.with_columns({"score": score}), 5)
        for b in range(len(queries)):
            unscored = np.isnan(score[order[found.query[order] == b]])
            assert not (unscored[:-1] & ~unscored[1:]).any()

    def test_order_keeps_exactly_the_same_rows_for_one_and_for_many(self) -> None:
        world = self.world()
        reranker = self.make(world)
        for queries in (world.queries(), world.odd_queries()):
            found = self.found(world, queries)
            together = reranker.order(queries, found, 7)
            for b in range(len(queries)):
                rows = np.flatnonzero(found.query == b)
                alone = reranker.order(queries.take(np.array([b])), of_one(found, b), 7)
                assert np.array_equal(together[found.query[together] == b], rows[alone])

    def test_order_survives_a_release(self, tmp_path: Path) -> None:
        world = self.world()
        reranker, queries = self.make(world), world.queries()
        loaded = self._released(reranker, world, tmp_path / "release")
        found = self.found(world, queries)
        assert np.array_equal(reranker.order(queries, found, 7), loaded.order(queries, found, 7))


class RecipeContract(Contract):
    """For everything with `fit`."""

    @abstractmethod
    def make(self, world: World) -> Recipe[Any]: ...

    def test_fit_gives_another_complete_thing(self) -> None:
        world = self.world()
        recipe = self.make(world)
        before = dict(leaves(recipe))
        model = recipe.fit(world.data, seed=3)
        assert is_dataclass(model)
        assert not isinstance(model, type(recipe))
        check_leaves(before, dict(leaves(recipe)))

    def test_fit_depends_on_data_and_seed_alone(self) -> None:
        world = self.world()
        recipe = self.make(world)
        first, second = recipe.fit(world.data, seed=3), recipe.fit(world.data, seed=3)
        check_leaves(dict(leaves(first)), dict(leaves(second)))

    def test_fit_learns_from_nothing_and_from_almost_nothing(self) -> None:
        recipe = self.make(self.world())
        for events in (0, 1, 2):
            world = tiny(events)
            model = recipe.fit(world.data, seed=3)
            if isinstance(model, Source):
                for queries in (world.queries(), world.odd_queries()):
                    check_found(model.recall(queries, 10), queries, 10)

    def test_recipe_and_model_survive_a_release(self, tmp_path: Path) -> None:
        world = self.world()
        recipe = self.make(world)
        model = recipe.fit(world.data, seed=3)
        for name, thing in (("recipe", recipe), ("model", model)):
            loaded = self._released(thing, world, tmp_path / name)
            assert type(loaded) is type(thing)
            check_leaves(dict(leaves(thing)), dict(leaves(loaded)))


class RankerContract(Contract):
    """For everything with `learn`."""

    @abstractmethod
    def make(self, world: World) -> Ranker: ...

    def found(self, world: World, queries: Queries) -> Candidates:
        """The candidates it learns from, with the columns it reads."""
        return candidates(world, queries)

    def test_learn_prefers_what_people_took(self) -> None:
        world = self.world()
        queries = world.queries()
        found, label = labelled(world, self.found(world, queries))
        scorer = self.make(world).learn(found, label, seed=3)
        score = scorer.score(queries, found)
        assert np.nanmean(score[label > 0]) > np.nanmean(score[label == 0])
        if isinstance(scorer, Probable):
            assert np.nanmean(scorer.shifted(1.0).score(queries, found)) > np.nanmean(score)

    def test_learn_depends_on_rows_and_seed_alone(self) -> None:
        world = self.world()
        found, label = labelled(world, self.found(world, world.queries()))
        ranker = self.make(world)
        alike = np.full(len(found), 0.5, np.float32)
        first, second = ranker.learn(found, label, seed=3), ranker.learn(found, label, seed=3, weight=alike)
        check_leaves(dict(leaves(first)), dict(leaves(second)))

    def test_learned_scorer_survives_a_release(self, tmp_path: Path) -> None:
        world = self.world()
        queries = world.queries()
        found, label = labelled(world, self.found(world, queries))
        scorer = self.make(world).learn(found, label, seed=3)
        loaded = self._released(scorer, world, tmp_path / "release")
        assert _same(scorer.score(queries, found), loaded.score(queries, found))
