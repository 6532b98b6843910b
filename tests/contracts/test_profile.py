"""Popularity by profile keeps the contracts of recipes, sources and scorers."""

from dataclasses import replace
from typing import Any

import numpy as np

from shortlist.models.profile import Profile
from shortlist.stores import open_store
from shortlist.testing.contracts import RecipeContract, ScorerContract, SourceContract
from shortlist.testing.world import World, stores, synthetic
from shortlist.types import Queries, Rows


class TestProfile(RecipeContract):
    def make(self, world: World) -> Profile:
        return Profile(stores(world)["catalog"], least=2)


class TestProfileModel(SourceContract, ScorerContract):
    def make(self, world: World) -> Any:
        return Profile(stores(world)["catalog"], least=2).fit(world.data, seed=0)

    def knows(self, world: World) -> Rows:
        return np.unique(world.data.events.item[world.data.weight > 0])


def test_a_newcomer_gets_what_their_like_like() -> None:
    data, catalog = synthetic().data, open_store("catalog", "memory:")
    side = np.arange(data.n_users) % 2
    job = np.fromiter(["smith", "baker"], object, 2)[side]
    kept = data.only(data.events.item % 2 == side[data.events.user])  # each likes one half of the items
    catalog.put("user", catalog.rows("user", [str(row) for row in range(data.n_users)], create=True), {"job": job})
    catalog.rows("item", [str(row) for row in range(data.n_items)], create=True)
    new = catalog.rows("user", ["a smith", "a baker", "nobody"], create=True)
    catalog.put("user", new[:2], {"job": np.fromiter(["smith", "baker"], object, 2)})
    model = Profile(catalog, least=2, shrink=1, weight=1).fit(replace(kept, users={"job": job}), seed=0)
    for row, parity in ((0, 0), (1, 1)):
        assert (model.recall(Queries.of(new[row : row + 1]), 5).item % 2 == parity).all()
    count = np.bincount(kept.matrix.indices, minlength=data.n_items)
    best = model.recall(Queries.of([new[2]]), 5).item
    assert count[best].tolist() == sorted(count.tolist(), reverse=True)[:5]
