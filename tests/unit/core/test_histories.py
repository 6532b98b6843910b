import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shortlist import ops
from shortlist.types import HISTORY, Ragged

LISTS = st.lists(
    st.lists(st.tuples(st.integers(-1, 9), st.sampled_from([-1.0, 0.0, 0.5, 2.0])), max_size=50), max_size=4
)


def histories(lists: list[list[tuple[int, float]]]) -> Ragged:
    return Ragged.of(
        [
            {
                "item": [item for item, _ in rows],
                "kind": [0] * len(rows),
                "value": [1] * len(rows),
                "weight": [weight for _, weight in rows],
                "time": range(len(rows)),
            }
            for rows in lists
        ],
        HISTORY,
    )


@given(LISTS)
def test_strongest_is_the_newest_of_the_largest_positive(lists):
    expected = []
    for rows in lists:
        top = max((weight for _, weight in rows), default=0)
        named = [item for item, weight in rows if weight == top and weight > 0]
        expected.append(named[-1] if named else -1)
    history = histories(lists)
    assert ops.strongest(history, history["weight"]).tolist() == expected


def faded(lists, half_life):
    """What each row says: its weight, halved for every `half_life` liked rows that are newer."""
    out = []
    for rows in lists:
        for at, (_, weight) in enumerate(rows):
            newer = sum(other > 0 for _, other in rows[at + 1 :])
            fades = 0 < half_life < np.inf
            out.append(max(weight, 0) * (0.5 ** (newer / half_life) if fades else 1))
    return np.float32(out)


@given(LISTS, st.sampled_from([0.0, 0.5, 1.0, np.inf]))
def test_liked_leaves_out_what_cannot_be_heard(lists, half_life):
    history = histories(lists)
    weight = faded(lists, half_life)
    liked = ops.liked(history, half_life, 8)
    known = (history["item"] >= 0) & (history["item"] < 8)
    for b in range(len(lists)):
        mine = slice(history.ptr[b], history.ptr[b + 1])
        total = np.bincount(history["item"][mine][known[mine]], weight[mine][known[mine]], 8)
        ours = slice(liked.ptr[b], liked.ptr[b + 1])
        np.testing.assert_allclose(np.bincount(liked["item"][ours], liked["weight"][ours], 8), total, atol=1e-5)
        if half_life == 0.5:
            assert len(liked["item"][ours]) <= 10
