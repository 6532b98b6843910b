"""What was shown, what answers it, and that nothing of later is read."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist import config
from shortlist.batch import impressions
from shortlist.batch.impressions import Shown, cut, labelled, replay
from shortlist.batch.train import learn_rankers
from shortlist.dataset import DEFAULT_KINDS, Dataset
from shortlist.errors import DataError
from shortlist.features.counts import Counts
from shortlist.features.request import RequestCodes
from shortlist.pipeline import Pipeline
from shortlist.rank.logistic import LogisticModel
from shortlist.types import Events

SECOND = 1_000_000
CLICK, SHOWN, VIEW = (DEFAULT_KINDS[name].code for name in ("click", "shown", "view"))


def events(rows: list[tuple[int, int, int, int]], request: list[int] | None = None) -> Dataset:
    """Of (user, item, kind, second)."""
    user, item, kind, time = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    number = np.arange(len(rows), dtype=np.uint64)
    asked = np.array(request if request else [0] * len(rows), np.uint64)
    made = Events(
        user.astype(np.int32),
        item.astype(np.int32),
        kind.astype(np.uint8),
        np.ones(len(rows), np.float32),
        time * SECOND,
        asked,
        np.stack([number, number], axis=1),
    )
    return Dataset.of(made, int(user.max()) + 1, int(item.max()) + 1)


def told(data: Dataset) -> list[tuple[int, int, int]]:
    """(item, second, label) of each impression."""
    shown = Shown.of(data)
    item, time = data.events.item[shown.event], data.events.time[shown.event] // SECOND
    return list(zip(item.tolist(), time.tolist(), shown.label.astype(int).tolist(), strict=True))


def test_a_click_answers_the_last_showing_before_it_within_the_hour() -> None:
    rows = [(0, 1, SHOWN, 10), (0, 1, SHOWN, 20), (0, 1, CLICK, 30), (0, 2, SHOWN, 40), (0, 2, CLICK, 40 + 3601)]
    assert told(events(rows)) == [(1, 10, 0), (1, 20, 1), (2, 40, 0), (2, 3641, 1)]


def test_a_click_of_somebody_else_answers_nothing() -> None:
    assert told(events([(0, 1, SHOWN, 10), (1, 1, CLICK, 20)])) == [(1, 10, 0), (1, 20, 1)]


def test_requests_say_what_belongs_together() -> None:
    rows = [(0, 1, SHOWN, 10), (0, 1, SHOWN, 20), (0, 1, CLICK, 9000)]
    assert told(events(rows, [5, 6, 6])) == [(1, 10, 0), (1, 20, 1)]
    assert told(events(rows, [5, 6, 7])) == [(1, 10, 0), (1, 20, 0), (1, 9000, 1)]


def test_a_click_answers_its_own_request_though_the_item_was_shown_in_another_since() -> None:
    rows = [(0, 1, SHOWN, 1), (0, 1, SHOWN, 2), (0, 1, CLICK, 3)]
    assert told(events(rows, [11, 22, 11])) == [(1, 1, 1), (1, 2, 0)]


def test_views_are_neither_shown_nor_taken() -> None:
    assert told(events([(0, 1, VIEW, 10), (0, 1, SHOWN, 20)])) == [(1, 20, 0)]


def test_what_is_shown_together_is_one_question() -> None:
    data = events([(0, 1, SHOWN, 10), (0, 2, SHOWN, 10), (1, 1, SHOWN, 10), (0, 1, SHOWN, 11)])
    assert Shown.of(data).question.tolist() == [0, 0, 1, 2]
    there = replace(data, events=replace(data.events, columns={"pid": np.array([1, 2, 1, 1])}))
    assert len(set(Shown.of(there).question.tolist())) == 4


def test_of_the_impressions_the_newest_are_learned_from() -> None:
    data = events([(0, n % 7, CLICK if n % 3 == 0 else SHOWN, 10 * n * 400) for n in range(100)])
    past, shown = cut(data)
    assert len(shown) == 90
    assert past.now == data.events.time[shown.event[0]]
    assert len(past) == 10
    assert len(cut(data, 20)[1]) == 20
    with pytest.raises(DataError, match="of 5 impressions 0 were taken"):
        cut(events([(0, n, SHOWN, n) for n in range(5)]))


def world(seed: int, count: int = 300) -> Dataset:
    chance = np.random.default_rng(seed)
    time = np.sort(chance.integers(0, 200_000, count))
    kinds = chance.choice([CLICK, SHOWN], count, p=(0.3, 0.7))
    rows = zip(chance.integers(0, 5, count), chance.integers(0, 6, count), kinds, time, strict=True)
    data = events([tuple(map(int, row)) for row in rows])
    return replace(data, events=replace(data.events, columns={"pid": chance.integers(1, 3, count)}))


FROM = 20_000 * SECOND


def columns(data: Dataset) -> tuple[Shown, np.ndarray, np.ndarray]:
    """What features say of each impression from `FROM` on, and the length of its history."""
    shown = Shown.of(data)
    shown = shown.take(np.flatnonzero(data.events.time[shown.event] >= FROM))
    counts = Counts(windows=("1d",)).fit(data.before(FROM), seed=0)
    reads = list(replay(Pipeline({}, features={"counts": counts, "place": RequestCodes(("pid",))}), data, shown))
    said = [np.stack([each.found.columns[name] for name in sorted(each.found.columns)], axis=1) for each in reads]
    length = [each.queries.history.length[each.found.query] for each in reads]
    return shown, np.concatenate(said), np.concatenate(length)


@given(seed=st.integers(0, 50), at=st.integers(60, 290))
def test_nothing_of_later_changes_what_is_read(seed: int, at: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(impressions, "BLOCK", 16)
        data = world(seed)
        item, kind = data.events.item.copy(), data.events.kind.copy()
        item[at:], kind[at:] = (item[at:] + 1) % 6, CLICK
        changed = replace(data, events=replace(data.events, item=item, kind=kind))
        (one, before, length), (other, after, longer) = columns(data), columns(changed)
        early, same = (each.event < at for each in (one, other))
        kept = data.events.time[one.event] < data.events.time[at]
        np.testing.assert_array_equal(
            one.event[early & kept], other.event[same & (data.events.time[other.event] < data.events.time[at])]
        )
        count = int((early & kept).sum())
        np.testing.assert_array_equal(before[:count], after[:count])
        np.testing.assert_array_equal(length[:count], longer[:count])


def test_histories_end_before_the_moment() -> None:
    data = world(3)
    _, shown = cut(data)
    at = 0
    for read in replay(Pipeline({}), data, shown):
        for row, query in enumerate(read.found.query.tolist()):
            event = shown.event[at + row]
            user, time = data.events.user[event], data.events.time[event]
            mine = np.flatnonzero((data.events.user == user) & (data.events.time < time))
            history = read.queries.history.take(np.array([query]))
            assert history["item"].tolist() == data.events.item[mine].tolist()
            assert read.queries.columns["fact.pid"][query] == data.events.columns["pid"][event]
        at += len(read.found)
    assert at == len(shown)


def test_a_ranker_learns_what_the_place_does() -> None:
    chance = np.random.default_rng(0)
    data = world(0, 4000)
    place = data.events.columns["pid"]
    kind = np.where(chance.random(4000) < np.where(place == 1, 0.5, 0.1), CLICK, SHOWN).astype(np.uint8)
    data = replace(data, events=replace(data.events, kind=kind, time=np.arange(4000) * 7200 * SECOND))
    settings = config.parse(
        {
            "train": {"validation": "impressions"},
            "pipelines": {
                "home": {
                    "sources": {"popular": {"use": "recall.popular:Popular"}},
                    "features": {"place": {"use": "features.request:RequestCodes", "names": ["pid"]}},
                    "rank": {"use": "rank.logistic:Logistic"},
                },
                "similar": {"sources": {"popular": {"use": "recall.popular:Popular"}}},
            },
        }
    )
    scorer = learn_rankers(settings, data, {})["home"]
    assert isinstance(scorer, LogisticModel)
    past, shown = cut(data)
    found, label = labelled(Pipeline({}, features={"place": RequestCodes(("pid",))}), data, shown)
    first = next(iter(replay(Pipeline({}), data, shown)))
    said = scorer.score(first.queries, found)
    for number in (1, 2):
        mine = found.columns["request.pid"] == number + 2
        assert said[mine].mean() == pytest.approx(label[mine].mean(), abs=0.02)
    assert len(past)


def test_places_count_within_a_request_and_weigh_what_was_not_taken() -> None:
    rows = [
        (0, 7, SHOWN, 10),
        (0, 3, SHOWN, 10),
        (0, 5, SHOWN, 12),
        (0, 5, CLICK, 20),
        (1, 3, SHOWN, 10),
        (0, 4, SHOWN, 30),
    ]
    data = events(rows, [5, 5, 5, 5, 5, 0])
    shown = Shown.of(data)
    by_item = {
        (int(data.events.user[event]), int(data.events.item[event])): (int(place), float(weight))
        for event, place, weight in zip(shown.event, shown.places(data), shown.weights(data, 0.5), strict=True)
    }
    half = 2**-0.5
    assert by_item == {
        (0, 7): (1, 1.0), (0, 3): (2, pytest.approx(half)), (0, 5): (3, 1.0), (1, 3): (1, 1.0), (0, 4): (1, 1.0),
    }  # fmt: skip
    assert (shown.weights(data, 0.0) == 1).all()


def test_both_stages_learn_from_impressions_each_from_its_features_and_by_place() -> None:
    chance = np.random.default_rng(0)
    rows: list[tuple[int, int, int, int]] = []
    for request in range(300):
        person, first = request % 20, int(chance.integers(0, 30))
        rows += [(person, (first + place) % 30, SHOWN, 100 * request) for place in range(4)]
        if (taken := int(chance.integers(0, 8))) < 4:
            rows.append((person, (first + taken) % 30, CLICK, 100 * request + 10))
    data = events(rows)
    table = {
        "train": {"validation": "impressions"},
        "pipelines": {
            "home": {
                "sources": {"popular": {"use": "recall.popular:Popular"}},
                "coarse": {
                    "keep": 50,
                    "rank": {"use": "rank.logistic:Logistic"},
                    "features": {"counts": {"use": "features.counts:Counts", "windows": ["7d"]}},
                },
                "features": {"pace": {"use": "features.pace:Pace"}},
                "rank": {"use": "rank.logistic:Logistic"},
            }
        },
    }
    learned = learn_rankers(config.parse(table), data, {})
    home = table["pipelines"]["home"]
    table["train"]["models"] = {"counts": home["coarse"]["features"]["counts"]}
    shared = copy.deepcopy(table)
    shared["pipelines"]["home"]["coarse"]["features"] = {"counts": {"model": "counts"}}
    shared["pipelines"]["home"]["features"] |= {"more": {"model": "counts"}}
    once = copy.deepcopy(table)
    once["pipelines"]["home"]["features"] |= {"more": home["coarse"]["features"]["counts"]}
    for both in zip(*(learn_rankers(config.parse(each), data, {}).values() for each in (shared, once)), strict=True):
        assert isinstance(both[0], LogisticModel)
        assert isinstance(both[1], LogisticModel)
        np.testing.assert_array_equal(both[0].number, both[1].number)  # what one stage was told the other does not know
    columns = {
        name: {each.name.partition(".")[0] for each in scorer.layout.fields}
        for name, scorer in learned.items()
        if isinstance(scorer, LogisticModel)
    }
    assert columns == {"home": {"count", "pace"}, "home.coarse": {"count"}}
    table["train"]["position"] = 1.0
    weighed = learn_rankers(config.parse(table), data, {})
    assert isinstance(weighed["home"], LogisticModel)
    assert weighed["home"].base > learned["home"].base  # type: ignore[attr-defined]  # fewer were looked at
