"""Row M12, the feedback loop: what is shown is clicked, what is clicked is learned, what is learned is shown.

The readers of `data.world`, whose tastes are known, are all served by the current release, click by their true taste
and by how likely a place is looked at, and the next release is trained. A round is a month and the window of training
a year: from the thirteenth round on, everything that is learned was caused by what was shown. What somebody clicked
may come back after three months, so that nobody runs out of what they like, which would hide the loop.

Beside the default recipe with an exploring source stands the same loop without exploration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shortlist import ops, release
from shortlist.batch.steps import make_release, open_configured
from shortlist.batch.train import read_window, run
from shortlist.config import Settings, parse
from shortlist.data.frames import load_frames
from shortlist.data.world import World, generate
from shortlist.dataset import DAY
from shortlist.eval.metrics import exposure, places
from shortlist.runtime import Runtime
from shortlist.types import Events, Rows

NOW = 1_750_000_000_000_000  # microseconds: the end of what people did by themselves
MONTH = 30 * DAY
CLICKED = 0.9  # of what is most to somebody's taste, when it is looked at
COVERAGE, GINI = 0.9, 0.05  # the least share of round 1's coverage, the greatest rise

Table = Mapping[str, Any]


@dataclass(frozen=True)
class Size:
    """How large the world is, and how long the loop runs."""

    users: int = 600
    items: int = 1200
    events: int = 30_000
    rounds: int = 20
    places: int = 10


@dataclass(frozen=True)
class Round:
    """How what was shown to everybody is spread over the catalogue, and what came of it."""

    coverage: float
    gini: float
    clicks: int


def explored() -> Table:
    """The default recipe with one more place that goes by lot to anything at all."""
    home = _default()
    steps = [*home["rerank"]["steps"], {"use": "rerank.explore:ExploreSlots", "source": "explore", "slots": 1}]
    sources = {**home["sources"], "explore": {"use": "recall.explore:Explore", "k": 20}}
    return {**home, "sources": sources, "rerank": {"use": "rerank.chain:Chain", "steps": steps}}


def unexplored() -> Table:
    """The default recipe without a place that goes by lot."""
    home = _default()
    steps = [step for step in home["rerank"]["steps"] if step["use"] != "rerank.explore:ExploreSlots"]
    return {**home, "rerank": {"use": "rerank.chain:Chain", "steps": steps}}


def greedy() -> Table:
    """The planted defect: no exploration, and nothing but what everybody likes."""
    home = _default()
    return {"limit": home["limit"], "sources": {"popular": home["sources"]["popular"]}, "filters": home["filters"]}


def _default() -> dict[str, Any]:
    home = asdict(parse({}, home=Path()).pipelines["home"])
    return {**home, "filters": {**home["filters"], "seen": {"use": "filters.seen:Seen", "window": "90d"}}}


def play(folder: Path, size: Size, seed: int, table: Table, later: Table | None = None) -> list[Round]:
    """The rounds of one loop below `folder`; `later` takes the place of `table` after the first."""
    made = [_settings(folder, each) for each in (table, later or table)]
    world = generate(now=NOW, seed=seed, users=size.users, items=size.items, events=size.events)
    with open_configured(made[0]) as stores:
        load_frames(world.frames, stores.catalog, stores.log, kinds=made[0].kinds, now=NOW, rejects=folder / "rejects")
    clock = [NOW]
    rounds = []
    with Runtime.open(made[0], clock=lambda: clock[0]) as runtime:
        people = _People.of(world, runtime, seed)
        for number in range(size.rounds):
            clock[0] += MONTH
            _publish(made[min(number, 1)], runtime, clock[0])
            seeds = people.seeds(number)
            queries = runtime.queries(people.row, seeds)
            shown = places(run(runtime.release.pipelines["home"], queries, size.places), size.users, size.places)
            clicked = people.clicks(shown, seeds, clock[0])
            runtime.ingest(clicked)
            spread = exposure(shown, np.ones(size.items, np.bool_))
            rounds.append(Round(round(spread["coverage"], 4), round(spread["gini"], 4), len(clicked)))
    return rounds


def _settings(home: Path, table: Table) -> Settings:
    return parse({"train": {"window": "360d"}, "pipelines": {"home": table}}, home=home)


def _publish(settings: Settings, runtime: Runtime, now: int) -> None:
    """Train on what the log holds, and serve it."""
    data = read_window(settings, runtime.catalog, runtime.stores.log)
    created = datetime.fromtimestamp(now / 1e6, UTC)
    version, _ = make_release(settings, data, runtime.stores, created=created)
    release.publish(settings.releases_path, version)
    if not runtime.refresh():
        raise RuntimeError(f"{version} is not served: {runtime.refused}")
    release.prune(settings.releases_path, 1)


@dataclass(frozen=True)
class _People:
    """The readers in the rows of an installation, and what is true of them."""

    row: Rows  # (U,)
    appeal: NDArray[np.float64]  # (U, I) 1 = nothing is more to their taste
    seed: int
    click: int  # code of the kind

    @staticmethod
    def of(world: World, runtime: Runtime, seed: int) -> _People:
        row = runtime.catalog.rows("user", world.frames.users["user"].to_list())
        shelf = np.empty(len(world.shelf), np.int64)
        shelf[runtime.catalog.rows("item", world.frames.items["item"].to_list())] = world.shelf
        taste = world.later / world.later.max(axis=1, keepdims=True)
        return _People(row, taste[:, shelf], seed, runtime.kinds.table["click"].code)

    def seeds(self, number: int) -> NDArray[np.uint64]:
        """(U,) of the questions of a round."""
        return ops.mix(self.row.astype(np.uint64) + np.uint64((self.seed << 40) + (number << 20)))

    def clicks(self, shown: Rows, seeds: NDArray[np.uint64], now: int) -> Events:
        """What people click of `shown` (U, k): the lower a place, the fewer look (as NDCG discounts)."""
        user, place = np.nonzero(shown >= 0)
        item = shown[user, place]
        likely = CLICKED * self.appeal[user, item] / np.log2(place + 2)
        did = ops.chance(ops.mix(seeds[user]), item) < likely
        who, what = self.row[user[did]], item[did]
        kind, value = np.full(len(who), self.click, np.uint8), np.ones(len(who), np.float32)
        time = now + np.arange(len(who), dtype=np.int64)
        ids = ops.event_ids(who, what, kind, value, time)
        return Events(who, what, kind, value, time, np.zeros(len(who), np.uint64), ids)


def wrong(rounds: Sequence[Round]) -> list[str]:
    """What breaks the promise, in any round after the first."""
    kept, rise = worst(rounds)
    said = [f"coverage fell to {kept:.1%} of the first round"] if kept < COVERAGE else []
    return said + ([f"the Gini index of what was shown rose by {rise:.3f}"] if rise > GINI else [])


def worst(rounds: Sequence[Round]) -> tuple[float, float]:
    """The least share of round 1's coverage, and the greatest rise of the Gini index since."""
    first, *rest = rounds
    return min(each.coverage for each in rest) / first.coverage, max(each.gini for each in rest) - first.gini


def all_of(folder: Path, seed: int, say: Callable[[str], None], size: Size | None = None) -> dict[str, Any]:
    """Both loops and their figures."""
    size = size or Size()
    found: dict[str, Any] = {}
    for name, table in (("explored", explored()), ("unexplored", unexplored())):
        (folder / name).mkdir()
        rounds = play(folder / name, size, seed, table)
        kept, rise = worst(rounds)
        say(f"{name}: coverage {kept:.1%} of the first round at the least, Gini {rise:+.3f} at the most")
        found[name] = {
            **{each: [getattr(one, each) for one in rounds] for each in Round.__dataclass_fields__},
            "least_coverage_kept": round(kept, 4),
            "greatest_gini_rise": round(rise, 4),
        }
        if name == "explored":
            found["wrong"] = wrong(rounds)
    return {**asdict(size), **found}
