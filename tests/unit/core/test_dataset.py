"""What an event is worth is decided once; windows, matrices and sequences follow from it."""

import numpy as np
import pytest

from shortlist import ConfigError, Events
from shortlist.dataset import DEFAULT_KINDS, Dataset, Kind, Kinds, duration

ADS = Kinds({"pv": Kind(0, 0.2, 20), "fav": Kind(1, 0.4, 20), "cart": Kind(2, 0.6, 20), "buy": Kind(3, 1.0, 20)})


def events(rows):
    """rows of (user, item, kind, value, time)"""
    user, item, kind, value, time = (np.asarray(column) for column in zip(*rows, strict=True))
    return Events(
        user.astype(np.int32), item.astype(np.int32), kind.astype(np.uint8), value.astype(np.float32),
        time.astype(np.int64), np.zeros(len(user), np.uint64), np.arange(2 * len(user), dtype=np.uint64).reshape(-1, 2),
    )  # fmt: skip


def test_behaviour_weights_of_the_ads_system():
    rows = [(0, 0, 0, 1, t) for t in range(2326)] + [(0, 0, 2, 1, 3000 + t) for t in range(53)]
    data = Dataset.of(events(rows), 1, 1, kinds=ADS)
    assert data.matrix[0, 0] == pytest.approx(16)


def test_caps_count_per_user_item_and_kind_and_the_earliest_count():
    data = Dataset.of(events([(0, 0, 1, 1, t) for t in range(7)] + [(0, 1, 1, 1, 9), (1, 0, 1, 1, 10)]), 2, 2)
    assert data.weight.tolist() == [1, 1, 1, 1, 1, 0, 0, 1, 1]


def test_least_makes_a_low_rating_count_as_seen_only():
    kinds = Kinds({"rate": Kind(2, 1.0, 1, least=4)})
    data = Dataset.of(events([(0, 0, 2, 5, 1), (0, 1, 2, 3, 2)]), 1, 2, kinds=kinds)
    assert data.matrix.toarray().tolist() == [[1, 0]]
    assert data.sequences["item"].tolist() == [0, 1]


def test_a_dislike_outweighs_a_click_and_never_goes_below_zero():
    data = Dataset.of(events([(0, 0, 1, 1, 1), (0, 0, 6, 1, 2), (0, 1, 6, 1, 3)]), 1, 2)
    assert data.matrix.nnz == 0


def test_what_was_clicked_often_and_then_hidden_is_not_liked():
    rows = [(0, 0, 1, 1, 1), (0, 0, 1, 1, 2), (0, 0, 6, 1, 3), (0, 0, 3, 1, 4), (0, 1, 1, 1, 5), (1, 0, 1, 1, 6)]
    data = Dataset.of(events(rows), 2, 2)
    assert data.weight.tolist() == [0, 0, -1, 0, 1, 1]
    assert data.matrix.toarray().tolist() == [[0, 1], [1, 0]]


def test_events_are_put_in_time_order_and_unknown_rows_left_out():
    data = Dataset.of(events([(0, 0, 1, 1, 5), (0, 1, 1, 1, 3), (-1, 0, 1, 1, 4), (0, 9, 1, 1, 4)]), 1, 2)
    assert data.events.item.tolist() == [1, 0]
    assert data.now == 5
    assert data.before(5).events.item.tolist() == [1]
    assert data.before(5).now == 5


def test_ratings_keep_the_last_value():
    data = Dataset.of(events([(0, 0, 2, 5, 1), (0, 0, 2, 2, 2), (0, 1, 2, 4, 3)]), 1, 2)
    assert data.ratings.toarray().tolist() == [[2, 4]]


def test_histories_of_strangers_are_empty():
    data = Dataset.of(events([(0, 1, 1, 1, 1), (1, 0, 1, 1, 2)]), 2, 2)
    lists = data.histories(np.int32([1, -1, 7, 0]))
    assert lists.length.tolist() == [1, 0, 0, 1]
    assert lists["item"].tolist() == [0, 1]


def test_an_empty_dataset_has_all_its_shapes():
    data = Dataset.of(Events.empty(), 2, 3)
    assert data.matrix.shape == (2, 3)
    assert data.ratings.shape == (2, 3)
    assert len(data.sequences) == 2
    assert data.now == 0


def test_two_kinds_cannot_share_a_code():
    with pytest.raises(ConfigError, match=r"events\.kinds\.b: code 1 is taken by 'a'"):
        Kinds({"a": Kind(1), "b": Kind(1)})
    with pytest.raises(ConfigError, match="code 300 is out of range"):
        Kinds({"a": Kind(300)})
    assert len({kind.code for kind in DEFAULT_KINDS.values()}) == len(DEFAULT_KINDS)


def test_durations():
    assert duration("2d") == 2 * 86_400_000_000
    with pytest.raises(ConfigError):
        duration("soon")
