"""Stores and a release together: questions, answers, events, swaps, restarts."""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from shortlist import ops, release
from shortlist.budget import Effort
from shortlist.config import Settings
from shortlist.dataset import DEFAULT_KINDS, Kinds
from shortlist.errors import ConfigError, NotFound, ReleaseError, StoreLocked
from shortlist.features.counts import Counts
from shortlist.pipeline import FilterFailed, Pipeline, Recall
from shortlist.recall.fresh import Fresh
from shortlist.release import Release
from shortlist.runtime import Runtime
from shortlist.stores import ROLES, open_stores
from shortlist.testing.world import synthetic
from shortlist.types import Candidates, Events, Mask, Queries, Ragged

NOW = 1_700_000_000_000_000
HIDE, LIKE, RATE = (DEFAULT_KINDS[name].code for name in ("hide", "like", "rate"))


def opened(settings: Settings, *, read_only: bool = False) -> Runtime:
    return Runtime.open(settings, read_only=read_only, clock=lambda: NOW)


@pytest.fixture
def runtime(installation: Settings) -> Iterator[Runtime]:
    with opened(installation) as runtime:
        yield runtime


def one(runtime: Runtime, user: int, **given: object) -> Queries:
    return runtime.queries(np.array([user], np.int32), np.array([7], np.uint64), **given)  # type: ignore[arg-type]


def items(runtime: Runtime, user: int, k: int = 10, **given: object) -> list[int]:
    found: list[int] = runtime.recommend("home", one(runtime, user, **given), k).slate.item.tolist()
    return found


def event(user: int, item: int, kind: int = LIKE, time: int = NOW) -> Events:
    facts = (
        np.array([user], np.int32),
        np.array([item], np.int32),
        np.array([kind], np.uint8),
        np.ones(1, np.float32),
        np.array([time], np.int64),
    )
    return Events(*facts, np.zeros(1, np.uint64), ops.event_ids(*facts))


def session(*rows: tuple[int, int, float, int]) -> Ragged:
    item, kind, value, time = (list(column) for column in zip(*rows, strict=True))
    return Ragged.of(
        [{"item": item, "kind": kind, "value": value, "time": time}],
        {"item": np.int32, "kind": np.uint8, "value": np.float32, "time": np.int64},
    )


# questions


def test_a_question_carries_the_history_with_the_weights_of_training(runtime: Runtime) -> None:
    users = np.arange(60, dtype=np.int32)
    asked = runtime.queries(users, users.astype(np.uint64))
    trained = synthetic().data.histories(users)
    assert asked.history.ptr.tolist() == trained.ptr.tolist()
    for name, column in trained.columns.items():
        assert asked.history[name].tolist() == column.tolist(), name
    assert asked.time.tolist() == [NOW] * 60


def test_a_session_is_joined_in_time_order_and_unknown_items_are_left_out(runtime: Runtime) -> None:
    stored = one(runtime, 3).history
    early = int(stored["time"][0]) - 1
    asked = one(runtime, 3, session=session((5, LIKE, 1, NOW), (6, LIKE, 1, early), (-1, LIKE, 1, NOW)))
    assert asked.history["item"].tolist() == [6, *stored["item"].tolist(), 5]
    assert asked.history["weight"][-1] == Kinds().table["like"].weight
    stranger = one(runtime, -1, session=session((5, HIDE, 1, NOW)))
    assert stranger.history["weight"].tolist() == [-1]


def test_context_speaks_for_itself_and_exclusions_hold(runtime: Runtime) -> None:
    lists = Ragged.of([{"item": [4, -1, 9]}], {"item": np.int32})
    asked = one(runtime, -1, context=lists, exclude=lists)
    assert asked.context["item"].tolist() == [4, 9]
    assert asked.context["weight"].tolist() == [1, 1]
    assert not {4, 9} & set(items(runtime, -1, 90, context=lists))
    best = items(runtime, 3)[0]
    out = Ragged.of([{"item": [best]}], {"item": np.int32})
    assert best not in items(runtime, 3, exclude=out)


def test_a_condition_holds_for_the_whole_list(runtime: Runtime) -> None:
    genres = runtime.catalog.read("item", np.arange(90, dtype=np.int32), ["genres"])["genres"]
    listed = items(runtime, 3, 90, where="'Drama' in genres")
    assert listed
    assert all("Drama" in genres[item] for item in listed)
    with pytest.raises(ConfigError, match="no column 'genre'"):
        one(runtime, 3, where="'Drama' in genre")


def test_people_whom_nobody_knows_get_a_full_list(runtime: Runtime) -> None:
    for user in (-1, 10_000):
        reply = runtime.recommend("home", one(runtime, user))
        assert len(reply.slate) == 10
        assert reply.trace.level == "none"


def test_an_unknown_scenario_is_told_with_those_there_are(runtime: Runtime) -> None:
    with pytest.raises(NotFound, match="no scenario 'hom'") as caught:
        runtime.recommend("hom", one(runtime, 3))
    assert caught.value.hint == "choose one of: home, similar"


def test_a_list_is_explained_unless_nobody_wants_it(runtime: Runtime) -> None:
    queries = one(runtime, 3)
    told = runtime.recommend("home", queries)
    assert {"next", "ease"} <= set(told.because)
    named = {int(item) for rows in told.because.values() for item in rows if item >= 0}
    assert named <= set(queries.history["item"].tolist())
    silent = runtime.recommend("home", queries, explain=False)
    assert silent.because == {}
    assert silent.slate.item.tolist() == told.slate.item.tolist()


# events


def test_an_event_changes_the_next_answer_and_a_hidden_item_is_gone(runtime: Runtime) -> None:
    before = items(runtime, 3)
    assert runtime.ingest(event(3, before[0], HIDE)).tolist() == [True]
    after = items(runtime, 3)
    assert before[0] not in after
    assert items(runtime, 4) == items(runtime, 4)
    stranger = items(runtime, 60)
    runtime.ingest(event(60, stranger[1]))
    assert items(runtime, 60) != stranger


def test_an_event_that_comes_again_has_one_effect(runtime: Runtime) -> None:
    assert runtime.ingest(event(3, 5)).tolist() == [True]
    length = one(runtime, 3).history.length.tolist()
    assert runtime.ingest(event(3, 5)).tolist() == [False]
    assert one(runtime, 3).history.length.tolist() == length


def test_events_of_many_threads_are_all_there_once(runtime: Runtime) -> None:
    def post(user: int) -> None:
        for item in range(10):
            runtime.ingest(event(user, item, time=NOW + item))

    threads = [threading.Thread(target=post, args=(user,)) for user in range(100, 106)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lists = runtime.state.lists("user", "recent", np.arange(100, 106, dtype=np.int32))
    assert lists["item"].tolist() == [*range(10)] * 6


def test_a_fold_that_failed_is_made_up_for(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    push, failed = runtime.state.push, []

    def fails_once(*given: object) -> None:
        if not failed:
            failed.append(1)
            raise OSError("weather")
        push(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(runtime.state, "push", fails_once)
    with pytest.raises(OSError, match="weather"):
        runtime.ingest(event(60, 1))
    runtime.ingest(event(60, 2, time=NOW + 1))
    assert runtime.state.lists("user", "recent", np.array([60], np.int32))["item"].tolist() == [1, 2]


def test_held_events_happen_when_their_item_arrives(runtime: Runtime) -> None:
    assert runtime.held is not None
    note = (
        '{"user": "u3", "item": "new", "kind": "like", "value": 1.0, "time": 1700000000000000, "request": 0, "id": ""}'
    )
    runtime.held.add(["new"], [note])
    (row,) = runtime.catalog.rows("item", ["new"], create=True).tolist()
    assert runtime.arrived(["new"]) == 1
    assert runtime.arrived(["new"]) == 0
    assert one(runtime, 3).history["item"].tolist()[-1] == row


def test_a_new_item_is_proposed_at_once(runtime: Runtime) -> None:
    (row,) = runtime.catalog.rows("item", ["a second ago"], create=True).tolist()
    assert row in items(runtime, 3, 90)


# restarts


def history(settings: Settings, *, read_only: bool = False) -> list[list[int]]:
    with opened(settings, read_only=read_only) as runtime:
        lists = runtime.state.lists("user", "recent", np.arange(61, dtype=np.int32))
        return [lists["item"].tolist(), lists["time"].tolist(), lists.length.tolist()]


def test_after_an_end_and_after_a_crash_everything_is_there_once(installation: Settings, tmp_path: Path) -> None:
    crashed = replace(installation, home=tmp_path / "crashed")
    with opened(installation) as runtime:
        runtime.ingest(event(60, 1))
        runtime.state.snapshot()
        runtime.ingest(event(60, 2, time=NOW + 1))
        shutil.copytree(installation.home, crashed.home)  # what a power cut would leave
        expected = runtime.state.lists("user", "recent", np.array([60], np.int32))["item"].tolist()
    assert expected == [1, 2]
    assert history(crashed) == history(installation) == history(crashed, read_only=True)


def test_readers_may_look_while_somebody_writes_and_a_second_writer_may_not(runtime: Runtime) -> None:
    runtime.ingest(event(60, 4))
    assert history(runtime.settings, read_only=True)[0][-1] == 4
    with pytest.raises(StoreLocked):
        opened(runtime.settings)


def test_the_same_question_has_the_same_answer_after_a_restart(installation: Settings) -> None:
    with opened(installation) as runtime:
        before = items(runtime, 3)
    with opened(installation) as runtime:
        assert items(runtime, 3) == before


# releases


def test_without_a_release_the_newest_items_are_shown_and_promises_kept(untrained: Settings) -> None:
    with opened(untrained) as runtime:
        reply = runtime.recommend("home", one(runtime, 3), 10)
        assert reply.release.version == ""
        assert reply.trace.level == "fallback"
        assert len(reply.slate) == 10
        seen = set(one(runtime, 3).history["item"].tolist())
        assert not seen & set(reply.slate.item.tolist())


def test_a_published_release_is_swapped_in_once(untrained: Settings, publish: Callable[[Settings], str]) -> None:
    version = publish(untrained)
    with opened(untrained) as runtime:
        assert runtime.release.version == version
        before = runtime.release
        assert runtime.refresh() is False
        trained = release.load(untrained.releases_path, version, runtime._by_role())
        newer = release.save(
            untrained.releases_path, trained.pipelines, {"created": "2026-01-02T00:00:00", "last_event": 5}
        )
        release.publish(untrained.releases_path, newer)
        assert runtime.refresh() is True
        assert runtime.release.version == newer
        assert before.pipelines["home"].recommend(one(runtime, 3), 5)[0].item.tolist()  # a request in flight


def test_features_of_a_release_know_what_came_after_its_data_was_read(installation: Settings) -> None:
    root = installation.releases_path

    def likings(runtime: Runtime) -> float:
        slate = runtime.recommend("home", one(runtime, 3), 60).slate
        return float(np.expm1(slate.columns["count.all"][slate.item == item][0]))

    with opened(installation) as runtime:
        item = items(runtime, 3)[0]
        counts = Counts().fit(replace(synthetic().data, now=NOW), seed=0)
        read = runtime.stores.log.end()
        home = replace(runtime.release.pipelines["home"], features={"counts": counts})
        version = release.save(root, {"home": home}, {"created": "2026-03-01T00:00:00", "offset": read})
        runtime.ingest(event(5, item, time=NOW - 10))
        release.publish(root, version)
        assert runtime.refresh() is True
        events = synthetic().data.events
        before = np.count_nonzero((events.item == item) & (events.kind == RATE))  # a kind that counts, and the only one
        assert likings(runtime) == pytest.approx(before + 1)  # between training and swap
        runtime.ingest(event(6, item, time=NOW - 9))
        assert likings(runtime) == pytest.approx(before + 2)  # after the swap
        runtime.state.snapshot()
    with opened(installation) as again:
        assert likings(again) == pytest.approx(before + 2)  # after a restart


def test_features_of_a_release_hear_nothing_twice_when_the_state_lags_behind(untrained: Settings) -> None:
    """Loaded in bulk, trained, served: the state is folded for the first time when the release knows everything."""
    root = untrained.releases_path
    counts = Counts().fit(replace(synthetic().data, now=NOW), seed=0)
    with open_stores({role: untrained.store_url(role) for role in ROLES}) as stores:
        home = Pipeline({"fresh": Recall(Fresh(stores.catalog, ""), 100)}, features={"counts": counts})
        facts = {"created": "2026-03-01T00:00:00", "offset": stores.log.end()}
        version = release.save(root, {"home": home}, facts)
    release.publish(root, version)
    with opened(untrained) as runtime:
        asked = one(runtime, -1)
        slate = runtime.recommend("home", asked, 60).slate
        np.testing.assert_array_equal(slate.columns["count.all"], counts.columns(asked, slate)["count.all"])


@pytest.fixture
def damaged(installation: Settings) -> Settings:
    """A newer release was published and then one of its files changed."""
    root = installation.releases_path
    with opened(installation) as runtime:
        newer = release.save(root, runtime.release.pipelines, {"created": "2026-02-01T00:00:00"})
    release.publish(root, newer)
    array = next((root / newer).glob("*.npy"))
    array.write_bytes(array.read_bytes()[:-1] + b"x")
    return installation


def test_a_damaged_release_is_refused_and_the_old_one_serves_on(damaged: Settings) -> None:
    root = damaged.releases_path
    newer = release.current(root)
    assert newer is not None
    good = next(version for version in release.versions(root) if version != newer)
    release.publish(root, good)
    with opened(damaged) as runtime:
        (root / "CURRENT").write_text(f"{newer}\n")
        assert runtime.refresh() is False
        assert runtime.release.version == good
        assert newer in runtime.refused
        assert items(runtime, 3)
        release.publish(root, good)
        assert runtime.refresh() is False


def test_a_damaged_release_at_the_start_is_an_error_with_a_remedy(damaged: Settings) -> None:
    with pytest.raises(ReleaseError, match="another size or SHA-256") as caught:
        opened(damaged)
    assert "publish another release" in caught.value.hint
    assert release.current(damaged.releases_path) in str(caught.value)


@dataclass(frozen=True)
class Breaks:
    """A filter that cannot be applied."""

    def narrow(self, queries: Queries) -> Queries:
        raise OSError("weather")

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        raise OSError("weather")


@dataclass(frozen=True)
class Wrong:
    """A source whose programmer made a mistake."""

    def recall(self, queries: Queries, k: int) -> Candidates:
        raise TypeError("a mistake")


def test_a_filter_that_fails_fails_the_request(runtime: Runtime) -> None:
    home = replace(runtime.release.pipelines["home"], filters={"rights": Breaks()})
    runtime.release = Release("x", {"home": home}, {})
    with pytest.raises(FilterFailed, match="filter rights"):
        items(runtime, 3)


def test_a_release_that_fails_its_warm_up_is_refused(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    serving, newer = runtime.release, "2026-03-01T000000-00000000"
    monkeypatch.setattr(release, "current", lambda root: newer)
    monkeypatch.setattr(
        release, "load", lambda *given, **named: Release(newer, {"home": Pipeline({"x": Recall(Wrong())})}, {})
    )
    assert runtime.refresh() is False
    assert runtime.release is serving
    assert "a mistake" in runtime.refused


# effort


def test_effort_falls_while_answers_are_slow_and_rises_slowly() -> None:
    effort = Effort(budget=0.1)
    for _ in range(100):
        effort.record(0.2)
    assert effort.share == pytest.approx(0.7)
    for _ in range(1000):
        effort.record(0.2)
    assert effort.share == 0.25
    for _ in range(100):
        effort.record(0.01)
    assert effort.share == pytest.approx(0.3)
    for _ in range(2000):
        effort.record(0.01)
    assert effort.share == 1


def test_one_slow_answer_of_a_hundred_is_within_the_budget() -> None:
    effort = Effort(budget=0.1)
    for seconds in [0.01] * 99 + [5.0]:
        effort.record(seconds)
    assert effort.share == 1


def test_two_threads_that_judge_at_once_harm_nobody() -> None:
    class Emptied(deque[float]):
        """What a thread sees that another has overtaken between its two steps."""

        def __len__(self) -> int:
            return 100

    Effort(0.1, recent=Emptied()).record(0.01)


def test_less_effort_asks_sources_for_less(runtime: Runtime) -> None:
    runtime.effort.share = 0.25
    reply = runtime.recommend("home", one(runtime, -1))
    assert reply.effort == 0.25
    asked = {step.name: step.rows_out for step in reply.trace.steps if step.stage == "recall"}
    assert asked["popular"] == 5
