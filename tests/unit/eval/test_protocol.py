"""Splits: what is learned, known and asked, checked event by event."""

import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from shortlist import ops
from shortlist.dataset import Dataset
from shortlist.errors import ConfigError, DataError
from shortlist.eval import protocol
from shortlist.types import Events

VIEW, RATE, HIDE = 0, 2, 6
USERS, ITEMS = 5, 9

histories = st.lists(
    st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), st.sampled_from([RATE, RATE, RATE, VIEW, HIDE])),
    min_size=12,
    max_size=60,
)


def dataset(rows, time=None):
    user, item, kind = (np.array(column) for column in zip(*rows, strict=True))
    user, item, kind = user.astype(np.int32), item.astype(np.int32), kind.astype(np.uint8)
    value = np.ones(len(rows), np.float32)
    time = np.arange(len(rows), dtype=np.int64) * 1000 + 5000 if time is None else np.asarray(time, np.int64)
    ids = ops.event_ids(user, item, kind, value, time)
    return Dataset.of(Events(user, item, kind, value, time, np.zeros(len(rows), np.uint64), ids), USERS, ITEMS)


def answers(part):
    """{user: set of right answers}."""
    items = part.relevant["item"].tolist()
    return {
        int(user): set(items[a:b])
        for user, a, b in zip(part.user, part.relevant.ptr[:-1], part.relevant.ptr[1:], strict=True)
    }


def heard(part):
    items = part.history["item"].tolist()
    return {
        int(user): items[a:b] for user, a, b in zip(part.user, part.history.ptr[:-1], part.history.ptr[1:], strict=True)
    }


def events_of(data, user):
    return data.events.item[data.events.user == user].tolist()


def first_likings(mine):
    """Places, in one person's (item, kind) pairs, of the first meetings with what they rated and never hid."""
    first = [p for p, (item, _) in enumerate(mine) if item not in [other for other, _ in mine[:p]]]
    return [p for p in first if mine[p][1] == RATE and (mine[p][0], HIDE) not in mine]


@given(histories)
def test_leave_last_is_the_naive_walk_through_each_person(rows):
    expected = {}
    for user in range(USERS):
        mine = [(item, kind) for who, item, kind in rows if who == user]
        liked = first_likings(mine)
        if len(liked) >= 3:
            expected[user] = (liked[-2], liked[-1], [item for item, _ in mine])
    if not expected:
        with pytest.raises(DataError, match="nobody has three liked items"):
            protocol.leave_last(dataset(rows))
        return
    split = protocol.leave_last(dataset(rows))
    assert answers(split.valid) == {user: {mine[v]} for user, (v, _, mine) in expected.items()}
    assert answers(split.test) == {user: {mine[t]} for user, (_, t, mine) in expected.items()}
    assert heard(split.valid) == {user: mine[:v] for user, (v, _, mine) in expected.items()}
    assert heard(split.test) == {user: mine[:t] for user, (_, t, mine) in expected.items()}
    for user in range(USERS):
        whole = [item for who, item, _ in rows if who == user]
        assert events_of(split.train, user) == (whole[: expected[user][0]] if user in expected else whole)
    assert split.final is split.train


@given(histories)
def test_global_time_keeps_the_future_out_and_asks_for_what_is_new(rows):
    data = dataset(rows)
    try:
        split = protocol.global_time(data, test=0.25, valid=0.25)
    except DataError:
        reject()  # a window may hold nothing new; tested below
    for past, part, stop in ((split.train, split.valid, split.final.now), (split.final, split.test, 1 << 60)):
        assert set(part.time.tolist()) == {past.now}
        assert past.events.time.max() < past.now
        events = data.events
        window = (events.time >= past.now) & (events.time < stop)
        for user, right in answers(part).items():
            rated, hidden = (
                set(events.item[window & (events.user == user) & (events.kind == kind)].tolist())
                for kind in (RATE, HIDE)
            )
            assert right == rated - hidden - set(events_of(past, user))
            assert heard(part)[user] == events_of(past, user)


def test_a_dislike_to_come_takes_nothing_from_the_history_but_is_no_right_answer():
    rows = [(0, item, RATE) for item in (1, 2, 3, 4, 5, 6)] + [(0, 2, HIDE), (0, 5, HIDE)]
    split = protocol.leave_last(dataset(rows))
    assert answers(split.test) == {0: {6}}
    assert answers(split.valid) == {0: {4}}
    assert split.test.history["weight"].tolist() == [1, 1, 1, 1, 1]
    assert split.train.weight.tolist() == [1, 1, 1]


def test_global_time_asks_people_without_a_history():
    rows = [(0, item, RATE) for item in range(8)] + [(1, 8, RATE), (0, 8, RATE), (1, 0, RATE), (2, 3, RATE)]
    split = protocol.global_time(dataset(rows), test=0.1, valid=0.2)
    assert answers(split.test) == {1: {0}, 2: {3}}
    assert heard(split.test) == {1: [8], 2: []}


def test_a_window_with_nothing_new_is_refused():
    with pytest.raises(DataError, match="train, validation or test holds nothing new"):
        protocol.global_time(dataset([(0, item % 3, RATE) for item in range(20)]))


def test_published_asks_the_given_test_after_the_given_train_and_tunes_on_part_of_train():
    train = dataset([(user, item, RATE) for user in range(2) for item in range(6)])
    test = dataset([(0, 7, RATE), (1, 8, RATE), (1, 2, RATE)])
    split = protocol.published(train, test, valid=0.34, seed=3)
    assert answers(split.test) == {0: {7}, 1: {8}}  # 2 was in train already
    assert split.final is train
    assert {user: len(right) for user, right in answers(split.valid).items()} == {0: 2, 1: 2}
    for user, right in answers(split.valid).items():
        assert right.isdisjoint(events_of(split.train, user))
        assert right | set(events_of(split.train, user)) == set(range(6))
    assert split.test.known.tolist() == [True] * 6 + [False, True, True]


@given(histories, st.integers(0, 99))
def test_hold_out_takes_one_and_one_and_keeps_the_rest(rows, seed):
    rows = [(user, item, RATE) for user, item in dict.fromkeys((user, item) for user, item, _ in rows)]
    data = dataset(rows)
    enough = {user for user in range(USERS) if sum(who == user for who, _, _ in rows) >= 3}
    if not enough:
        with pytest.raises(DataError, match="nobody has three liked items"):
            protocol.hold_out(data, seed=seed)
        return
    split = protocol.hold_out(data, seed=seed)
    valid, test = answers(split.valid), answers(split.test)
    assert set(valid) == set(test) == enough
    for user in enough:
        kept = events_of(split.train, user)
        assert len(valid[user]) == len(test[user]) == 1
        assert sorted([*kept, *valid[user], *test[user]]) == sorted(item for who, item, _ in rows if who == user)
        assert set(heard(split.test)[user]) == {*kept, *valid[user]}


@given(histories, histories)
def test_what_is_held_out_of_data_that_has_grown_is_new_or_was_held_out_before(rows, more):
    rows, more = ([(who, item, RATE) for who, item, _ in each] for each in (rows, more))
    enough = {who for who, _, _ in rows if len({item for user, item, _ in rows if user == who}) >= 3}
    if not enough:
        return
    before, after = protocol.hold_out(dataset(rows)), protocol.hold_out(dataset([*rows, *more]))
    test, valid, test_after, valid_after = map(answers, (before.test, before.valid, after.test, after.valid))
    for user in enough:  # an item that somebody met twice is in the past, and not asked for
        new = {item for who, item, _ in more if who == user}
        assert test_after.get(user, set()) <= new | test.get(user, set())
        assert valid_after.get(user, set()) <= new | test.get(user, set()) | valid.get(user, set())


def test_queries_exclude_the_history_and_allow_what_the_split_knows():
    split = protocol.leave_last(dataset([(0, item, RATE) for item in (4, 2, 5, 1)]))
    queries = split.test.queries
    assert queries.history["item"].tolist() == queries.exclude["item"].tolist() == [4, 2, 5]
    assert np.flatnonzero(queries.allowed).tolist() == [1, 2, 4, 5]
    assert queries.time.tolist() == split.test.time.tolist() == [8000]


def test_blocks_are_the_questions_in_order(monkeypatch):
    split = protocol.leave_last(dataset([(user, item, RATE) for user in range(USERS) for item in range(4)]))
    monkeypatch.setattr(protocol, "BLOCK", 2)
    blocks = list(split.test.blocks())
    assert [len(block) for block in blocks] == [2, 2, 1]
    assert np.concatenate([block.user for block in blocks]).tolist() == split.test.user.tolist()
    monkeypatch.setattr(protocol, "CELLS", int(split.test.known.size))
    assert [len(block) for block in split.test.blocks()] == [1] * 5
    part = split.test.take(np.array([3, 1]))
    assert part.user.tolist() == [3, 1]
    assert heard(part) == {user: heard(split.test)[user] for user in (3, 1)}


def test_shares_that_leave_nothing_are_refused():
    with pytest.raises(ConfigError, match=r"test=0.5 and valid=0.5 leave nothing to train on"):
        protocol.global_time(dataset([(0, 0, RATE)]), 0.5, 0.5)


def test_a_window_without_events_says_what_to_do():
    with pytest.raises(DataError, match="there are no events") as caught:
        protocol.global_time(dataset([(0, 0, RATE)]).before(0))
    assert "weight above 0" in caught.value.hint


@given(histories, st.integers(1, 4))
def test_the_newest_likings_are_asked_for_one_by_one(rows, likings):
    data, expected = dataset(rows), {}
    for user in range(USERS):
        mine = [(item, kind) for who, item, kind in rows if who == user]
        liked = first_likings(mine)
        if len(liked) >= 3:
            expected[user] = liked[2:][-likings:]
    if not expected:
        with pytest.raises(DataError, match="nobody has three liked items"):
            protocol.newest(data, likings)
        return
    past, part = protocol.newest(data, likings)
    asked = {user: [] for user in expected}
    for at in range(len(part)):
        user = int(part.user[at])
        whole = [item for who, item, _ in rows if who == user]
        (right,) = part.relevant.take(np.array([at]))["item"].tolist()
        heard_of = part.history.take(np.array([at]))["item"].tolist()
        assert heard_of == whole[: len(heard_of)]
        assert whole[len(heard_of)] == right
        asked[user].append(len(heard_of))
    assert asked == expected
    for user in range(USERS):
        whole = [item for who, item, _ in rows if who == user]
        assert events_of(past, user) == (whole[: expected[user][0]] if user in expected else whole)


@given(histories, st.sampled_from([0.2, 0.5, 0.9]), st.integers(1, 3))
def test_later_asks_of_the_past_about_everything_new_that_follows(rows, share, moments):
    data, expected = dataset(rows), {}
    time, events = data.events.time, data.events
    starts = [int(time[int(len(data) * (1 - share * (1 - at / moments)))]) for at in range(moments)] if rows else []
    for start, stop in zip(starts, [*starts[1:], 1 << 62], strict=True) if rows else ():
        window = data.only((time >= start) & (time < stop))  # what was hidden after it was liked in it
        for user in range(USERS):
            before = events.item[(events.user == user) & (time < start)].tolist()
            after = window.events.item[(window.events.user == user) & (window.weight > 0)].tolist()
            if set(after) - set(before):
                expected[user, start] = before, set(after) - set(before)
    if not rows or not (time < starts[0]).any() or not expected:
        with pytest.raises(DataError, match=r"nothing new|no events"):
            protocol.later(data, share, moments)
        return
    past, part = protocol.later(data, share, moments)
    assert len(past) == (time < starts[0]).sum()
    one_by_one = (part.take(np.array([at])) for at in range(len(part)))
    asked = {
        (int(one.user[0]), int(one.time[0])): (one.history["item"].tolist(), set(one.relevant["item"].tolist()))
        for one in one_by_one
    }
    assert asked == expected
    assert len(asked) == len(part)


def test_questions_about_later_need_a_share_and_a_moment():
    for share, moments in ((0.0, 1), (1.0, 1), (0.5, 0)):
        with pytest.raises(ConfigError, match="leave nothing to learn from or to ask"):
            protocol.later(dataset([(0, 0, RATE)]), share, moments)
