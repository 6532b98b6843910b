"""What rankers learn from: stages that learn apart, rows that stand for others, and probabilities that stay theirs."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist import config, ops, release
from shortlist.batch.golden import golden, replay
from shortlist.batch.lessons import DRAWN, Lessons, Negatives, learn, lessons, taught
from shortlist.batch.targets import Ground, OfPipeline
from shortlist.batch.train import rankers_of, train
from shortlist.config import Builder, PipelineTable
from shortlist.errors import ConfigError
from shortlist.eval.protocol import Part
from shortlist.pipeline import Coarse, Pipeline, Recall, Trace
from shortlist.protocols import Probable, Scorer
from shortlist.rank import labels
from shortlist.rank.gbdt import Gbdt
from shortlist.rank.logistic import Logistic, LogisticModel
from shortlist.scenarios import Scenarios
from shortlist.testing.world import stores, synthetic
from shortlist.types import Candidates, Columns, Events, Queries, Ragged, Scores, empty_history, empty_items

ITEMS, PEOPLE, EACH = 300, 400, 40


@dataclass(frozen=True)
class Lottery:
    """Proposes items by lot, and what it says of them by another."""

    def recall(self, queries: Queries, k: int) -> Candidates:
        query = np.repeat(np.arange(len(queries), dtype=np.int32), ITEMS)
        item = np.tile(np.arange(ITEMS, dtype=np.int32), len(queries))
        lot = ops.chance(queries.seed[query], item)
        first = ops.topk(query, lot.astype(np.float32), EACH, len(queries))
        first = first[ops.permitted(query[first], item[first], queries.exclude, queries.allowed)]
        score = ops.chance(queries.seed[query] + np.uint64(1 << 40), item).astype(np.float32)[first]
        found = Candidates(query[first], item[first], {"score": 4 * score})
        return found.take(ops.topk(found.query, found.columns["score"], k, len(queries)))


@dataclass(frozen=True)
class Among:
    """Says how many are asked about together, and something of each that no source says."""

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        many = np.bincount(found.query, minlength=len(queries))[found.query]
        return {"among.many": many.astype(np.float32), "among.third": (found.item % 3).astype(np.float32)}

    def update(self, events: Events) -> None:
        pass


PIPELINE = Pipeline({"lottery": Recall(Lottery(), EACH)}, features={"among": Among()})


def asked(taken: int = 3, people: int = PEOPLE) -> Part:
    """People who each took items that grow likelier with what the source says of them, half of what it proposed."""
    user, time = np.arange(people, dtype=np.int32), np.arange(people, dtype=np.int64)
    nothing, everything = empty_history(people), np.ones(ITEMS, np.bool_)
    part = Part(user, time, nothing, empty_items(people), everything)
    found = Lottery().recall(part.queries, EACH)
    luck = np.random.default_rng(0).gumbel(size=len(found)) + found.columns["score"] + (found.item % 3)
    best = ops.topk(found.query, luck.astype(np.float32), taken, people)
    relevant = Ragged(ops.pointers(found.query[best], people), {"item": found.item[best]})
    return replace(part, relevant=relevant)


def read(part: Part, negatives: Negatives, pipeline: Pipeline = PIPELINE) -> Lessons:
    return lessons(pipeline, part.queries, part.relevant.owner, part.relevant["item"], negatives)


def test_kept_rows_stand_for_all_of_their_question() -> None:
    part = asked()
    every, some = read(part, Negatives()), read(part, Negatives(others=5))
    assert (every.weight == 1).all()
    assert np.bincount(some.found.query[some.label == 0]).max() == 5
    for label in (0, 1):
        total = [np.bincount(each.found.query, each.weight * (each.label == label)) for each in (every, some)]
        np.testing.assert_allclose(total[0], total[1], rtol=1e-5)


def test_uniform_negatives_are_no_candidates_and_change_nothing_of_the_candidates() -> None:
    part = asked()
    plain, more = read(part, Negatives(others=5)), read(part, Negatives(others=5, uniform=8))
    inside = more.of(~more.outside)
    assert inside.found.item.tolist() == plain.found.item.tolist()
    for name, column in plain.found.columns.items():
        np.testing.assert_array_equal(inside.found.columns[name], column, err_msg=name)
    outside = more.of(more.outside)
    assert DRAWN not in more.found.columns
    assert np.isnan(outside.found.columns["lottery"]).all()
    assert not np.isnan(outside.found.columns["among.third"]).any()
    assert not outside.label.any()
    pairs = [
        set(zip(each.found.query.tolist(), each.found.item.tolist(), strict=True))
        for each in (outside, read(part, Negatives()))
    ]
    assert not pairs[0] & pairs[1]
    assert 4 < len(outside.found) / PEOPLE <= 8
    assert np.bincount(outside.found.item, minlength=ITEMS).min() > 0, "of the whole catalogue"
    np.testing.assert_allclose(outside.weight, (EACH - 3) / 5, rtol=1e-5)


def test_what_may_not_be_proposed_is_not_drawn_and_lots_repeat() -> None:
    part = replace(asked(), known=np.arange(ITEMS) % 2 == 0)
    one, again, other = (read(part, Negatives(others=5, uniform=8, seed=seed)) for seed in (1, 1, 2))
    assert (one.found.item[one.outside] % 2 == 0).all()
    np.testing.assert_array_equal(one.found.item, again.found.item)
    assert one.found.item[one.outside].tolist() != other.found.item[other.outside].tolist()


@settings(max_examples=6)
@given(others=st.sampled_from((0, 3, 10)), uniform=st.sampled_from((1, 10, 40)), taken=st.integers(1, 6))
def test_probabilities_are_those_of_the_candidates_however_negatives_were_drawn(
    others: int, uniform: int, taken: int
) -> None:
    part = asked(taken)
    every, drawn = read(part, Negatives()), read(part, Negatives(others, uniform))
    scorer = taught(Logistic(("lottery", "among.third")), drawn, 0)
    assert isinstance(scorer, LogisticModel)
    people = Queries.of(np.arange(PEOPLE))
    expected = float(scorer.score(people, every.found).mean())
    rate = float(every.label.mean())
    assert expected == pytest.approx(rate, rel=0.08)
    inside = drawn.of(~drawn.outside)
    said = scorer.score(people, inside.found)
    assert float(said @ inside.weight) == pytest.approx(float(inside.label @ inside.weight), rel=1e-4)
    naive = Logistic(("lottery", "among.third")).learn(drawn.found, drawn.label, seed=0)
    if others and uniform <= 10:
        assert float(naive.score(people, every.found).mean()) > 1.3 * rate, "without weights it is far off"


def test_agreement_is_the_shift_that_makes_the_sums_equal() -> None:
    chance = np.random.default_rng(0)
    odds = chance.normal(-2, 1, 5000)
    score, weight = labels.sigmoid(odds), chance.random(5000).astype(np.float32)
    label = (chance.random(5000) < labels.sigmoid(odds + 1.5)).astype(np.float32)
    by = labels.agreement(score, label, weight)
    assert by == pytest.approx(1.5, abs=0.1)
    assert weight @ labels.sigmoid(odds + by) == pytest.approx(float(weight @ label), rel=1e-4)
    assert labels.agreement(score, np.zeros_like(label), weight) == 0


# stages


@dataclass(frozen=True)
class Noting:
    """A ranker that notes what it was given, and prefers what the source does."""

    seen: list[Candidates] = field(default_factory=list)

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> Noted:
        self.seen.append(found)
        return Noted(set(found.query.tolist()))


@dataclass
class Noted:
    questions: set[int]
    asked: list[int] = field(default_factory=list)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        self.asked += queries.user.tolist()
        return found.columns["lottery"]


def test_the_fine_ranker_learns_from_what_strangers_to_the_question_let_through() -> None:
    part, coarse, fine = asked(), Noting(), Noting()
    made: list[Noted] = []

    @dataclass(frozen=True)
    class Remembering:
        def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> Noted:
            made.append(coarse.learn(found, label, seed=seed, weight=weight))
            return made[-1]

    pipeline = replace(PIPELINE, coarse=Coarse(None, 10))
    stages = {
        each.stage: each.scorer for each in learn(pipeline, part, Negatives(), {"coarse": Remembering(), "fine": fine})
    }
    whole, *apart = made
    assert stages["coarse"] is whole
    assert isinstance(stages["fine"], Noted)
    assert whole.questions == set(range(PEOPLE))
    assert not whole.asked, "the one that learned from everything cuts nothing here"
    for each in apart:
        assert each.asked
        assert not each.questions & set(each.asked)
    assert {name.partition(".")[0] for name in coarse.seen[0].columns} == {"lottery"}, "features are of the fine ranker"
    (found,) = fine.seen
    assert np.bincount(found.query).max() == 10
    assert (np.diff(found.query) >= 0).all()
    assert {"lottery", "coarse.score", "among.many", "among.third"} == set(found.columns)
    np.testing.assert_array_equal(found.columns["among.many"], 10)


def test_uniform_negatives_reach_the_fine_ranker_past_the_coarse_one() -> None:
    part, pipeline = asked(), replace(PIPELINE, coarse=Coarse(None, 10))
    drawn = read(part, Negatives(uniform=5), pipeline)
    assert drawn.outside.any()
    inside = drawn.of(~drawn.outside)
    assert inside.found.item.tolist() == read(part, Negatives(), pipeline).found.item.tolist()


PAGE = Path(__file__).parents[3] / "docs" / "howto" / "two-rankers.md"


def test_the_page_is_a_configuration() -> None:
    (table,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    home = config.parse(tomllib.loads(table)).pipelines["home"]
    assert (home.coarse.keep, home.coarse.always) == (100, ("new",))
    rankers = rankers_of(Builder({}, {}, lambda component, where: component), home, "pipelines.home")
    assert rankers == {"coarse": Logistic(), "fine": Gbdt()}


TABLE: dict[str, Any] = {
    "train": {"likings": 3, "others": 20, "uniform": 5},
    "pipelines": {
        "home": {
            "limit": 10,
            "sources": {
                "knn": {"use": "models.itemknn:ItemKnn", "k": 40},
                "popular": {"use": "recall.popular:Popular", "k": 40},
            },
            "filters": {"seen": {"use": "filters.seen:Seen"}},
            "coarse": {
                "keep": 15,
                "rank": {"use": "rank.logistic:Logistic"},
                "features": {"counts": {"use": "features.counts:Counts", "windows": ["7d"]}},
                "always": ["popular"],
            },
            "features": {"pace": {"use": "features.pace:Pace"}},
            "rank": {"use": "rank.logistic:Logistic"},
        }
    },
}


GIVEN = config.parse(TABLE, home=Path("nowhere"))


@pytest.fixture(scope="module")
def trained() -> tuple[Pipeline, list[str]]:
    """What is made of the table, and what is told on the way."""
    world, told = synthetic(), list[str]()
    made = train(GIVEN, world.data, stores(world), progress=lambda what, seconds: told.append(what))
    return made.pipelines["home"], told


def test_from_the_configuration_to_a_release_that_answers_the_same(
    trained: tuple[Pipeline, list[str]], tmp_path: Path
) -> None:
    world, (home, told) = synthetic(), trained
    known = stores(world)
    first, fine = home.coarse and home.coarse.scorer, home.scorer
    assert isinstance(first, LogisticModel)
    assert isinstance(fine, LogisticModel)
    columns = [{each.name.partition(".")[0] for each in scorer.layout.fields} for scorer in (first, fine)]
    assert columns == [{"knn", "popular", "count"}, {"knn", "popular", "count", "coarse", "pace"}]
    sentences = [each for each in told if "ranker of home" in each]
    assert [each.partition(":")[0] for each in sentences] == ["coarse ranker of home", "fine ranker of home"]
    assert all("held-out items found among" in each and "other items" in each for each in sentences)
    queries = world.queries(np.arange(20))
    ours, trace = home.recommend(queries, 10)
    assert not trace.errors
    version = release.save(tmp_path, {"home": home}, {"created": "2026-01-01T00:00:00"})
    loaded = release.load(tmp_path, version, known).pipelines["home"]
    theirs, _ = loaded.recommend(queries, 10)
    np.testing.assert_array_equal(ours.item, theirs.item)
    np.testing.assert_array_equal(ours.columns["score"], theirs.columns["score"])
    assert loaded.coarse is not None
    assert loaded.coarse.always == ("popular",)
    _, found = loaded.candidates(queries, Trace())
    assert np.isnan(found.columns["popular"]).sum() <= 15 * len(queries)


def test_a_scorer_that_says_probabilities_can_be_shifted() -> None:
    part = asked(people=50)
    scorer: Scorer | None = taught(Logistic(), read(part, Negatives()), 0)
    assert isinstance(scorer, Probable)
    found = read(part, Negatives()).found
    people = Queries.of(np.arange(50))
    odds = [np.log(p / (1 - p)) for p in (scorer.score(people, found), scorer.shifted(0.5).score(people, found))]
    np.testing.assert_allclose(odds[1] - odds[0], 0.5, atol=1e-4)


def test_what_is_edited_while_serving_is_how_many_go_on_and_nothing_that_was_learned(
    trained: tuple[Pipeline, list[str]],
) -> None:
    home, table = trained[0], TABLE["pipelines"]["home"]
    known = stores(synthetic())
    served = release.Release("1", {"home": home}, {"tables": {"home": table}})
    edits = Scenarios(None, GIVEN, known["catalog"], known)

    def built(**change: Any) -> Pipeline:
        changed = {**table, "coarse": {**table["coarse"], **change}}
        return edits.build(served, "home", config.convert(PipelineTable, changed, "home"))

    edited = built(keep=12, always=[])
    assert edited.coarse is not None
    assert home.coarse is not None
    assert (edited.coarse.keep, edited.coarse.always) == (12, ())
    assert edited.coarse.scorer is home.coarse.scorer
    assert edited.coarse.features["counts"] is home.coarse.features["counts"]
    assert edited.scorer is home.scorer
    other: tuple[dict[str, Any], ...] = (
        {"rank": {"use": "rank.logistic:Logistic", "l2": 9.0}},
        {"features": {"pace": {"use": "features.pace:Pace", "x": 1}}},
    )
    for change in other:
        with pytest.raises(ConfigError, match="has to be trained"):
            built(**change)
    with pytest.raises(ConfigError, match="at least as many"):
        built(keep=3)


def test_golden_lists_go_through_the_coarse_ranker(trained: tuple[Pipeline, list[str]]) -> None:
    home, data = trained[0], synthetic().data
    part = golden({"home": home}, data, seed=0)
    assert not replay({"home": home}, part)
    assert home.coarse is not None
    assert replay({"home": replace(home, coarse=replace(home.coarse, keep=3, always=()))}, part)


def test_the_coarse_ranker_is_searched_with_its_pipeline() -> None:
    world = synthetic()
    target = OfPipeline(GIVEN, stores(world), "home")
    assert {"coarse.keep", "coarse.rank.l2", "rank.l2", "sources.knn.k"} <= target.knobs.keys()
    pasted = tomllib.loads(target.paste({"coarse.keep": 30, "coarse.rank.l2": 4.0}))["pipelines"]["home"]
    made = config.parse({"pipelines": {"home": pasted}}).pipelines["home"]
    assert (made.coarse.keep, made.coarse.rank["l2"], made.coarse.always) == (30, 4.0, ("popular",))
    with pytest.raises(ConfigError, match="at least as many"):
        target.check({"coarse.keep": 3})
    ground = Ground.of(GIVEN, world.data, how="", metric="ndcg@10")
    *_, (share, values) = target.on(ground)({"coarse.keep": 12})
    assert share == 9
    assert len(values) == len(ground.asked)
    assert values.mean() > 0


def test_a_list_for_everyone_is_no_ranker() -> None:
    """It proposes with scores, but has no opinion of what others propose: the door says so, not every request."""
    table = {
        "train": {"models": {"popular": {"use": "recall.popular:Popular"}}},
        "pipelines": {"home": {"sources": {"popular": {"model": "popular"}}, "rank": {"model": "popular"}}},
    }
    with pytest.raises(ConfigError, match="neither a Scorer nor a Ranker"):
        train(config.parse(table), synthetic().data, {})
