"""Features in plain words: what an explanation says of a column."""

from __future__ import annotations

import numpy as np
import pytest

from shortlist.dataset import DAY
from shortlist.features.counts import Counts
from shortlist.features.moment import Moment
from shortlist.features.tallies import Tallies
from shortlist.pipeline import Pipeline, Recall
from shortlist.rank.fuse import ReciprocalRank
from shortlist.recall.fresh import Fresh
from shortlist.serve.sentences import say
from shortlist.testing.world import stores, synthetic
from shortlist.types import Candidates, Part, Queries, Scores
from shortlist.why import reasons, worded

WORLD = synthetic()
CATALOG = stores(WORLD)["catalog"]


def sentence(feature: object, name: str, value: float) -> str:
    told = feature.words(name, np.float32(value))  # type: ignore[attr-defined]
    assert told is not None
    return say(told)[0]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("count.1d", np.log1p(3), "rated 3 times in the last day"),
        ("count.7d", np.log1p(1), "rated once in the last 7 days"),
        ("count.all", 0, "not rated"),
        ("count.all", np.log1p(12_345), "rated 12345 times"),
        ("count.since", np.log1p(5), "rated last 5 hours ago"),
        ("count.since", np.nan, "not rated yet"),
        ("count.since", np.log1p(1_999), "rated last 1999 hours ago"),
        ("count.beside", np.log(2), "rated 2 times as often as what you like"),
    ],
)
def test_counts_are_told(name: str, value: float, said: str) -> None:
    made = Counts(("1d", "7d"), kinds=("rate",)).fit(WORLD.data, seed=0)
    assert sentence(made, name, value) == said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("tally.item.all", np.log1p(3), "liked 3 times"),
        (
            "tally.user*item.genres.7d",
            np.log1p(2.5),
            "what has this genres: liked 2.5 times by you, each counting half after 7 days",
        ),
        ("tally.rate.item.1d", 0.25, "liked 25 % of the times it was viewed, each counting half after a day"),
        (
            "tally.user*item.genres.all",
            np.nan,
            "what has this genres: nothing is known of how often it is liked by you",
        ),
    ],
)
def test_tallies_are_told(name: str, value: float, said: str) -> None:
    made = Tallies(CATALOG, ("item", "user * item.genres"), ("1d", "7d"), of=("view",)).fit(WORLD.data, seed=0)
    assert sentence(made, name, value) == said
    assert made.words(name.replace("tally", "count"), np.float32(1)) is None


class Sum:
    """A scorer whose parts are columns."""

    def score(self, queries: Queries, found: Candidates) -> Scores:
        return found.columns["count.all"] + found.columns["moment.hour"].astype(np.float32)

    def parts(self, queries: Queries, found: Candidates) -> list[Part]:
        one = np.ones(len(found), np.float32)
        names = ("count.all", "moment.hour")
        return [Part(name, found.columns[name].astype(np.float32), one) for name in names]


def test_the_features_that_gave_a_score_most_are_told_in_order() -> None:
    features = {"often": Counts(()).fit(WORLD.data, seed=0), "when": Moment()}
    pipeline = Pipeline({"new": Recall(Fresh(CATALOG), 20)}, features=features, scorer=Sum())
    queries = Queries.of([3], time=20_000 * DAY)
    slate, _ = pipeline.recommend(queries, 5)
    told = reasons(pipeline, queries, slate)
    for row, count in zip(told, slate.columns["count.all"], strict=True):
        assert [name for name, _ in row] == (["often", "when"] if count > 2 else ["when", "often"])
    best = round(float(np.expm1(slate.columns["count.all"][0])))
    assert {say(reason)[0] for _, reason in told[0]} == {"asked at 0 o'clock", f"liked {best} times"}
    assert [len(row) for row in reasons(pipeline, queries, slate, most=1)] == [1] * 5
    other = slate.with_columns({"score": slate.columns["score"] + 1})
    assert reasons(pipeline, queries, other) == [[]] * 5  # the parts are not those of these scores


def test_a_part_that_is_no_feature_is_told_too() -> None:
    pipeline = Pipeline({"new": Recall(Fresh(CATALOG), 20)}, scorer=ReciprocalRank())
    columns = {"new": np.array([1, np.nan], np.float32), "price": np.ones(2)}
    assert say(worded(pipeline, "new", columns, 0))[0] == "found by new"
    assert say(worded(pipeline, "new", columns, 1))[0] == "not found by new"
    assert say(worded(pipeline, "new, high", columns, 0))[0] == "among the best of new"
    assert worded(pipeline, "base", columns, 0).text == "what every candidate begins with"
    assert worded(pipeline, "price missing", columns, 0).text == "price"
    assert worded(pipeline, "buy", columns, 0).text == "how likely buy is"
