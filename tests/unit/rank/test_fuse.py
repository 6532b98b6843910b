"""Reciprocal-rank fusion against the formula."""

import numpy as np
import pytest

from shortlist.rank.fuse import ReciprocalRank
from shortlist.types import Candidates, Queries

FOUND = Candidates(
    np.zeros(3, np.int32),
    np.arange(3, dtype=np.int32),
    {
        "a": np.float32([3, 1, np.nan]),
        "b": np.float32([np.nan, 5, 7]),
        "item.year": np.float32([1, 2, 3]),
        "score": np.float32([9, 8, 7]),
    },
)


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (ReciprocalRank(), [1 / 61, 1 / 62 + 1 / 62, 1 / 61]),
        (ReciprocalRank({"a": 2.0}), [2 / 61, 2 / 62 + 1 / 62, 1 / 61]),
        (ReciprocalRank({"a": 0.0, "absent": 5.0}, constant=0), [0, 1 / 2, 1]),
        (ReciprocalRank({"item.year": 1.0}), [1 / 61 + 1 / 63, 3 / 62, 2 / 61]),
    ],
)
def test_sources_vote_by_rank_and_features_only_when_named(recipe, expected):
    np.testing.assert_allclose(recipe.score(Queries.of([0]), FOUND), expected, rtol=1e-6)
