"""One person's data: the export shows what the erasure takes, and after it no file knows the person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from shortlist import failpoints
from shortlist.batch.train import read_window
from shortlist.config import Settings
from shortlist.data.load import load
from shortlist.data.mapping import Mapping
from shortlist.errors import NotFound, StoreError
from shortlist.runtime import Runtime
from shortlist.serve import wire
from shortlist.serve.endpoint import Call
from shortlist.serve.entities import Change, Guard, change
from shortlist.serve.keys import Keys
from shortlist.serve.metrics import Metrics
from shortlist.serve.problems import Refusal
from shortlist.serve.routes import ENDPOINTS
from shortlist.serve.service import Service
from shortlist.stores import embedded_log
from shortlist.types import Events

CANARY = "canary-person-7f3a"
TOWN, AGENT, NOTE = "Canaryville-91c2", "canary-agent-55d0", "canary-note-e1b7"
WORDS = (CANARY, TOWN, AGENT, NOTE)
NOW = int(datetime(2026, 6, 1, tzinfo=UTC).timestamp() * 1e6)


class Cut(BaseException):
    """The process ends here."""


class Home:
    """An installation that a test opens as often as it likes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.now = NOW

    def open(self) -> Service:
        return Service(Runtime.open(self.settings, clock=lambda: self.now), Metrics())


def tell(service: Service, *events: dict[str, Any]) -> list[str]:
    return [each.result for each in service.intake.take([wire.EventInput(**each) for each in events])]


def put(service: Service, id: str, **fields: Any) -> None:
    (done,) = change(service, "user", [Change(id, "put", fields)], [Guard()], [""])
    if isinstance(done, Refusal):
        raise done


def fill(home: Home) -> None:
    """The canary is in every place that exists."""
    with home.open().runtime as runtime:
        service = Service(runtime, Metrics())
        put(service, CANARY, town=TOWN, age=41)
        put(service, "u1", town="Elsewhere")
        told = [{"user_id": CANARY, "item_id": f"i{n}", "event_id": f"{CANARY}-{n}"} for n in range(6)]
        assert tell(service, *told, {"user_id": CANARY, "item_id": "never-put"}, {"user_id": "u1", "item_id": "later"})
        row = runtime.catalog.rows("user", [CANARY])
        size = 20
        context = {
            "agent": np.array([AGENT if n % 2 else "other" for n in range(size)], object),
            "note": np.array([NOTE if n % 2 else "other" for n in range(size)], object),
        }
        shown = Events(
            np.where(np.arange(size) % 2, row[0], 1).astype(np.int32),
            np.arange(size, dtype=np.int32),
            np.zeros(size, np.uint8),
            np.ones(size, np.float32),
            np.full(size, NOW - 1),
            np.zeros(size, np.uint64),
            np.arange(2 * size, dtype=np.uint64).reshape(size, 2),
            context,
        )
        runtime.ingest(shown)
        runtime.settle(lambda state: state.write("user", row, {"age": np.array([41.0])}))
        Keys(home.settings.keys_path).create("phone", ["read"], datetime.now(UTC), user=CANARY)
        Keys(home.settings.keys_path).create("shop", ["read"], datetime.now(UTC))
        service.once.answer("k1", "anyone", b"{}", lambda: response({"results": [{"id": CANARY, "status": 201}]}))
        service.once.answer("k2", "anyone", b"{}", lambda: response({"results": [{"id": "u1", "status": 201}]}))
        ingest(service, f"{CANARY},i1,zero\nu1,i1,zero\n{CANARY}\nu2\n")


def response(body: Any) -> Any:
    from starlette.responses import Response

    return Response(json.dumps(body, separators=(",", ":")))


def ingest(service: Service, rows: str, **mapping: Any) -> Any:
    home = service.runtime.settings.home
    source = home.parent / "events.csv"
    source.write_text("user_id,item_id,value\n" + rows)
    return load(
        source,
        Mapping(str(source), value="value", **mapping),
        service.catalog,
        service.runtime.stores.log,
        kinds=service.kinds,
        now=NOW,
        rejects=service.runtime.settings.rejects_path / "events.csv.rejects.jsonl",
        held=service.runtime.held,
    )


def traces(home: Path, words: tuple[str, ...] = WORDS) -> list[str]:
    """Files in which one of the words can be read, as bytes or in Parquet's columns."""
    found = []
    for path in sorted(each for each in home.rglob("*") if each.is_file()):
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += repr(pl.read_parquet(path).rows()).encode()
        found += [f"{path.relative_to(home)}: {word}" for word in words if word.encode() in data]
    return found


@pytest.fixture
def home(installation: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setattr(embedded_log, "BULK", 15)  # the events with context go to a segment of their own
    home = Home(installation)
    fill(home)
    yield home
    failpoints.arm(None)


def test_the_canary_is_found_where_it_is(home: Home) -> None:
    places = {each.split(":")[0].split("/")[1] for each in traces(home.settings.home)}
    assert places == {"store", "rejects", "keys.json"}
    assert {each.split(": ")[1] for each in traces(home.settings.home)} == set(WORDS)


def test_the_export_shows_exactly_what_the_erasure_takes(home: Home) -> None:
    with home.open().runtime as runtime:
        privacy = Service(runtime, Metrics()).privacy
        shown, counted = privacy.export(CANARY), privacy.inventory(CANARY)
        assert shown["facts"] == {"town": TOWN, "age": 41.0}
        assert {each["item_id"] for each in shown["events"]} >= {f"i{n}" for n in range(6)}
        assert sum(each["context"].get("agent") == AGENT for each in shown["events"]) == 10
        assert [each["item"] for each in shown["held"]] == ["never-put"]
        assert {"column": "age", "value": 41.0} in shown["state"]
        assert [each.get("reason") for each in shown["rejects"]] == [None, "value"]
        assert [each["name"] for each in shown["keys"]] == ["phone"]
        assert all(counted.values()), counted
        json.dumps(shown, allow_nan=False)

        begun = privacy.erase(CANARY)
        assert (begun.done, privacy.erase(CANARY)) == (None, begun)
        privacy.work()
        done = privacy.erasures.get(begun.operation)
        assert done is not None
        assert (done.done, done.id, dict(done.proof)) == (NOW, None, counted)
        with pytest.raises(NotFound, match="nothing about a user"):
            privacy.export(CANARY)
        with pytest.raises(NotFound):
            privacy.erase("nobody-at-all")


def test_a_new_place_joins_export_and_erasure_alike(home: Home) -> None:
    with home.open().runtime as runtime:
        privacy = Service(runtime, Metrics()).privacy
        assert set(privacy.export(CANARY)) == {"user_id", "facts", *privacy.places}


def test_after_an_erasure_no_file_knows_the_person(home: Home) -> None:
    with home.open().runtime as runtime:
        service = Service(runtime, Metrics())
        others = {name: service.privacy.export(name) for name in ("u1", "u2", "u3")}
        service.privacy.erase(CANARY)
        service.privacy.work()
        assert traces(home.settings.home) == []
        assert {name: service.privacy.export(name) for name in others} == others
    assert traces(home.settings.home) == []
    with home.open().runtime as runtime:
        runtime.stores.catalog.rows("user", ["fresh"], create=True)
        assert traces(home.settings.home) == []
        assert {name: Service(runtime, Metrics()).privacy.export(name) for name in others} == others


def test_masked_at_once(home: Home) -> None:
    with home.open().runtime as runtime:
        service = Service(runtime, Metrics())
        ask = wire.RecommendRequest(user_id=CANARY, n=5)
        (before,) = service.recommend([ask], ["r1"], [""])
        row = int(runtime.catalog.rows("user", [CANARY])[0])
        assert isinstance(before, wire.Recommendation)
        assert runtime.ladder.last.get("home", row) is not None
        assert service.memory.find("r1", NOW) is not None
        service.privacy.erase(CANARY)
        assert runtime.catalog.rows("user", [CANARY]).tolist() == [-1]
        assert runtime.ladder.last.get("home", row) is None
        assert service.memory.find("r1", NOW) is None
        (after,) = service.recommend([ask, ask], ["r2", "r3"], ["", ""])[:1]
        (nobody,) = service.recommend([wire.RecommendRequest(n=5)], ["r2"], [""])
        assert isinstance(after, wire.Recommendation)
        assert isinstance(nobody, wire.Recommendation)
        assert [each.id for each in after.items] == [each.id for each in nobody.items]
        assert CANARY not in [each.id for each in service.people(500).users]


def test_nothing_brings_the_person_back_until_that_is_lifted(home: Home) -> None:
    with home.open().runtime as runtime:
        service = Service(runtime, Metrics())
        row = int(runtime.catalog.rows("user", [CANARY])[0])
        service.privacy.erase(CANARY)
        for finish in (False, True):
            if finish:
                service.privacy.work()
            again = {"user_id": CANARY, "item_id": "i1"}
            assert tell(service, again, {**again, "item_id": "unheard-of"}, {**again, "user_id": "u3"}) == [
                "rejected",
                "rejected",
                "duplicate" if finish else "accepted",
            ]
            with pytest.raises(Refusal, match="erased"):
                put(service, CANARY, town=TOWN)
            summary = ingest(service, f"{CANARY},i1,3\n{CANARY},i2,zero\nu4,i2,4\n{CANARY},i3,5\n")
            assert (summary.accepted, dict(summary.rejected)) == (0 if finish else 1, {"erased": 3})
            new = runtime.stores.log.append(late(row))  # by somebody who had asked for the row before
            assert new.any() != finish  # what comes before the log is searched goes with the rest
        service.privacy.work()
        assert traces(home.settings.home) == []
        service.privacy.lift(CANARY)
        assert tell(service, {"user_id": CANARY, "item_id": "i1", "event_id": f"{CANARY}-1"}) == ["accepted"]
        assert runtime.catalog.rows("user", [CANARY])[0] > row
        assert len(service.privacy.export(CANARY)["events"]) == 1


def late(row: int) -> Events:
    """An event of a row, as an intake that was overtaken by the erasure appends it."""
    one = Events.empty()
    return replace(
        one,
        **{name: np.ones(1, getattr(one, name).dtype) for name in ("item", "kind", "value", "time", "request")},
        user=np.array([row], np.int32),
        id=np.array([[12345, 678]], np.uint64),
    )


def test_held_events_of_an_erased_person_do_not_happen(home: Home) -> None:
    with home.open().runtime as runtime:
        service = Service(runtime, Metrics())
        service.privacy.erase(CANARY)
        change(service, "item", [Change("never-put", "put", {}), Change("later", "put", {})], [Guard()] * 2, [""] * 2)
        item = runtime.catalog.rows("item", ["never-put", "later"])
        happened = [set(batch.item.tolist()) & set(item.tolist()) for _, batch in runtime.stores.log.scan()]
        assert set().union(*happened) == {int(item[1])}


def test_an_erasure_that_is_cut_off_anywhere_is_finished_by_the_next_start(home: Home, tmp_path: Path) -> None:
    import shutil

    start = tmp_path / "start"
    shutil.copytree(home.settings.home, start)
    boundaries = 0
    while True:
        shutil.rmtree(home.settings.home)
        shutil.copytree(start, home.settings.home)
        service, left = home.open(), boundaries

        def hit(name: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Cut(name)

        failpoints.arm(hit)
        try:
            service.privacy.erase(CANARY)
            service.privacy.work()
            whole = True
        except Cut:
            whole = False
        failpoints.arm(None)
        service.runtime.stores.close()  # as the kernel does it, without a last snapshot
        with home.open().runtime as runtime:
            again = Service(runtime, Metrics()).privacy
            asked = runtime.catalog.erased([CANARY])[0]
            assert asked or len(again.export(CANARY)["events"]) == 16  # nothing, or everything
            if asked:
                assert runtime.catalog.rows("user", [CANARY])[0] < 0
                again.work()
                assert traces(home.settings.home) == []
                assert again.erasures.pending() == []
        if whole:
            break
        boundaries += 1
    assert boundaries > 20


def test_a_failed_erasure_is_tried_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with home.open().runtime as runtime:
        privacy = Service(runtime, Metrics()).privacy
        privacy.erase(CANARY)

        def full(*_: object) -> None:
            raise StoreError("no space left")

        with monkeypatch.context() as patch:
            patch.setattr(embedded_log.EmbeddedLog, "_write_frame", full)
            with pytest.raises(StoreError):
                privacy.work()
        assert len(privacy.erasures.pending()) == 1
        privacy.work()
        assert traces(home.settings.home) == []


def test_an_erasure_beside_training_and_answers(home: Home) -> None:
    with home.open().runtime as runtime:
        service = Service(runtime, Metrics())
        batches = runtime.stores.log.scan()
        next(batches)  # a training that has read half of the log
        service.privacy.erase(CANARY)
        service.privacy.work()
        rest = Events.concat([events for _, events in batches])
        assert not (rest.user == runtime.catalog.size("user") - 1).any()
        data = read_window(runtime.settings, runtime.catalog, runtime.stores.log)
        assert CANARY not in runtime.catalog.ids("user", np.unique(data.events.user))


def test_several_people_at_once(home: Home) -> None:
    with home.open().runtime as runtime:
        privacy = Service(runtime, Metrics()).privacy
        counted = {name: privacy.inventory(name) for name in (CANARY, "u1", "u5")}
        begun = {name: privacy.erase(name).operation for name in counted}
        privacy.work()
        for name, operation in begun.items():
            done = privacy.erasures.get(operation)
            assert done is not None
            assert dict(done.proof) == counted[name]


def test_no_endpoint_about_people_is_open_to_keys_without_the_right(home: Home) -> None:
    mine = {each.path: each for each in ENDPOINTS if "{id}:" in each.path and "/users/" in each.path}
    assert {path: (each.scope, each.pii) for path, each in mine.items()} == {
        "/v1/users/{id}:export": ("read", True),
        "/v1/users/{id}:erase": ("admin", False),
        "/v1/users/{id}:lift": ("admin", False),
    }
    about = mine["/v1/users/{id}:export"].about
    assert about is not None
    assert list(about(Call("r", CANARY, None, None))) == [CANARY]


def test_what_is_too_old_for_its_kind_goes_and_counts_stay(home: Home) -> None:
    day = 86_400_000_000
    settings = replace(home.settings, retention={"view": "30d"})
    with Runtime.open(settings, clock=lambda: home.now) as runtime:
        service = Service(runtime, Metrics())
        kinds = {kind.code: name for name, kind in service.kinds.table.items()}
        runtime.settle(lambda state: state.add("item", "views", np.array([3], np.int32), np.ones(1, np.float32)))
        old, new = NOW + 10 * day, NOW + 50 * day
        at = {"user_id": "u1", "item_id": "i3", "type": "view"}
        home.now = new
        tell(service, {**at, "time": wire.moment(old)}, {**at, "time": wire.moment(new)})
        tell(
            service, {**at, "time": wire.moment(old), "type": "click"}, {**at, "time": wire.moment(old), "item_id": "x"}
        )
        service.privacy.work()
        seen = Events.concat([batch for _, batch in runtime.stores.log.scan()])
        views = np.array([kinds[code] == "view" for code in seen.kind.tolist()])
        assert seen.time[views].min() == new
        assert old in seen.time[~views]
        recent = runtime.state.lists("user", "recent", np.arange(runtime.catalog.size("user"), dtype=np.int32))
        assert recent["time"][recent["kind"] == service.kinds.table["view"].code].min() == new
        assert runtime.state.read("item", np.array([3], np.int32), ["views"])["views"].tolist() == [1.0]
        assert runtime.held is not None
        assert runtime.held.of("u1") == [text for text in runtime.held.of("u1") if '"later"' in text]
        home.now = new + day // 48
        assert service.privacy.work() is None
    with Runtime.open(settings, clock=lambda: home.now) as runtime:
        recent = runtime.state.lists("user", "recent", np.array([1], np.int32))
        assert new in recent["time"]
        assert old not in recent["time"][recent["kind"] == 0]
