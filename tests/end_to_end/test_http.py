"""The HTTP door over real HTTP: a server on a free loopback port, a client, and the tiny installation."""

from __future__ import annotations

import re
import shutil
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from shortlist import config, release
from shortlist.config import Settings
from shortlist.pipeline import FilterFailed
from shortlist.release import Release
from shortlist.runtime import Reply, Runtime
from shortlist.serve.events import EVENT_STREAM
from shortlist.serve.http import address, application, listen, server
from shortlist.serve.metrics import Metrics
from shortlist.serve.problems import CODES, Problem
from shortlist.serve.routes import ENDPOINTS
from shortlist.serve.service import Service
from shortlist.types import Candidates, Mask, Queries


@dataclass(frozen=True)
class Served:
    """A running server and a client of it."""

    client: httpx.Client
    runtime: Runtime

    def recommend(self, **body: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/recommend", json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ids(self, **body: Any) -> list[str]:
        return [item["id"] for item in self.recommend(**body)["items"]]

    def tell(self, *events: dict[str, Any]) -> list[dict[str, Any]]:
        answer = self.client.post("/v1/events", json={"events": events})
        assert answer.status_code == 202, answer.text
        results: list[dict[str, Any]] = answer.json()["results"]
        return results


@contextmanager
def serving(settings: Settings) -> Iterator[Served]:
    runtime = Runtime.open(settings)
    listening = listen("127.0.0.1", 0)
    running = server(application(Service(runtime, Metrics()), poll=0.02))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        with httpx.Client(base_url=address(listening), timeout=30) as client:
            yield Served(client, runtime)
    finally:
        running.should_exit = True
        thread.join()
        runtime.close()
        listening.close()


@pytest.fixture
def served(installation: Settings) -> Iterator[Served]:
    with serving(installation) as served:
        yield served


def problem(answer: httpx.Response, code: str) -> Problem:
    """The problem of an answer, checked against the error model."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = msgspec.json.decode(answer.content, type=Problem)
    assert answer.json().keys() | {"attached"} == {field.name for field in msgspec.structs.fields(Problem)}
    assert (found.code, found.status, answer.status_code) == (code, CODES[code].status, CODES[code].status), found
    assert found.type == f"/docs#{code}"
    assert found.request_id == answer.headers["x-request-id"]
    assert found.retryable == CODES[code].retryable
    assert found.detail
    assert found.hint
    return found


# lists


def test_a_list_has_everything_that_was_promised(served: Served) -> None:
    answer = served.recommend(user_id="u3", n=7, fields=["title", "genres"])
    assert answer["scenario"] == "home"
    assert answer["versions"]["release"] == served.runtime.release.version
    assert answer["versions"]["data_as_of"].endswith("Z")
    assert answer["versions"]["model_age_s"] > 0
    assert answer["degradation"] == {"level": "none", "stages": [], "reasons": [], "short_by": 0}
    assert [item["rank"] for item in answer["items"]] == [1, 2, 3, 4, 5, 6, 7]
    assert len({item["id"] for item in answer["items"]}) == 7
    for item in answer["items"]:
        assert item["fields"]["title"]
        assert isinstance(item["score"], float)
        assert [why["source"] for why in item["why"]] == item["sources"] != []


def test_reasons_are_true(served: Served) -> None:
    events = served.client.get("/v1/users/u3/history?limit=1000").json()["events"]
    liked = {
        each["item_id"]: each["title"] for each in events if each["type"] == "rate"
    }  # views and hides are no likings
    told = [why for item in served.recommend(user_id="u3", n=20)["items"] for why in item["why"] if "item_id" in why]
    assert told
    for why in told:
        title = liked[why["item_id"]]
        assert why["item_title"] == title
        assert why["text"] == f'because you rated "{title}"'


def test_an_event_changes_the_next_list_and_what_is_hidden_is_gone(served: Served) -> None:
    first = served.ids(user_id="u3", n=10, seed=1)
    assert served.tell({"user_id": "u3", "item_id": first[0], "type": "hide"})[0]["result"] == "accepted"
    second = served.ids(user_id="u3", n=10, seed=1)
    assert first[0] not in second
    served.tell({"user_id": "u3", "item_id": second[3], "type": "like"})
    third = served.recommend(user_id="u3", n=10, seed=1)
    assert [item["id"] for item in third["items"]] != second
    assert any(why.get("item_id") == second[3] for item in third["items"] for why in item["why"])
    assert served.ids(user_id="u3", n=90, seed=1).count(first[0]) == 0


def test_a_stranger_is_no_error_and_becomes_known_by_clicking(served: Served) -> None:
    first = served.recommend(user_id="never seen", n=5)
    assert len(first["items"]) == 5
    assert first["user_id"] == "never seen"
    assert served.client.get("/v1/users/never%20seen").status_code == 404
    served.tell({"user_id": "never seen", "item_id": "i3", "type": "like"})
    texts = [why["text"] for item in served.recommend(user_id="never seen", n=5)["items"] for why in item["why"]]
    assert any(text.startswith('because you liked "Horror story 3') for text in texts)


def test_a_session_counts_for_one_answer_and_is_not_stored(served: Served) -> None:
    events = [{"item_id": "i3", "type": "like"}, {"item_id": "unknown"}]
    with_session = served.recommend(events=events, n=5)
    assert any(why.get("item_id") == "i3" for item in with_session["items"] for why in item["why"])
    assert "i3" not in [item["id"] for item in with_session["items"]]
    assert served.ids(n=5) != [item["id"] for item in with_session["items"]]


def test_exclusions_and_conditions_hold(served: Served) -> None:
    first = served.ids(user_id="u3", n=5)
    assert not set(first) & set(served.ids(user_id="u3", n=90, exclude=first))
    dramas = served.recommend(user_id="u3", n=20, filter="'Drama' in genres", fields=["genres"])["items"]
    assert dramas
    assert all("Drama" in item["fields"]["genres"] for item in dramas)


def test_more_places_than_items_are_told(served: Served) -> None:
    answer = served.recommend(n=200)
    assert len(answer["items"]) + answer["degradation"]["short_by"] == 200
    fallen = [item for item in answer["items"] if item["sources"] == ["fallback"]]
    assert fallen
    assert all(item["score"] is None for item in fallen)
    assert answer["degradation"]["level"] == "fallback_popular"
    assert str(len(fallen)) in answer["degradation"]["reasons"][0]


def test_no_list_is_short_while_the_catalogue_holds_more(served: Served) -> None:
    """Half a hundred items that nobody has met yet are all that fits the condition."""
    for new in range(50):
        served.client.put(f"/v1/items/new{new}", json={"fields": {"title": "New", "year": 2031}})
    for ask in ({"user_id": "u3"}, {"scenario": "similar", "context": ["i3"]}):
        answer = served.recommend(**ask, filter="year = 2031", n=60)
        assert len({item["id"] for item in answer["items"]}) == 50
        assert answer["degradation"]["short_by"] == 10


def test_explanations_come_in_three_lengths(served: Served) -> None:
    none = served.recommend(user_id="u3", n=3, explain="none")
    assert "why" not in none["items"][0]
    assert "trace" not in none
    full = served.recommend(user_id="u3", n=3, explain="full")
    assert {"recall", "merge", "rerank", "because"} <= {step["stage"] for step in full["trace"]}
    assert set(full["items"][0]["scores"]) == set(full["items"][0]["sources"])


def test_a_batch_is_its_singles(served: Served) -> None:
    asks: list[dict[str, Any]] = [
        {"user_id": "u3", "n": 7, "seed": 5},
        {"user_id": "u4", "n": 7, "seed": 6},
        {"n": 7, "seed": 7},
        {"user_id": "u5", "n": 3, "seed": 5, "filter": "year > 1990", "fields": ["year"]},
        {"scenario": "similar", "context": ["i3"], "n": 5, "seed": 5},
    ]
    answer = served.client.post("/v1/recommend:batch", json={"requests": asks}).json()
    assert [result["status"] for result in answer["results"]] == [200] * len(asks)
    for ask, result in zip(asks, answer["results"], strict=True):
        single = served.recommend(**ask)
        assert result["answer"]["items"] == single["items"]
        assert result["answer"]["degradation"] == single["degradation"]


def test_in_a_batch_one_mistake_stops_one_answer(served: Served) -> None:
    asks = [{"user_id": "u3"}, {"scenario": "x"}, {"filter": "yeer > 3"}, {"user_id": ""}, {"fields": ["x"]}]
    results = served.client.post("/v1/recommend:batch", json={"requests": asks}).json()["results"]
    assert [result["status"] for result in results] == [200, 422, 422, 422, 422]
    pointers = [result["problem"]["errors"][0]["pointer"] for result in results[1:]]
    assert pointers == ["/requests/1/scenario", "/requests/2/filter", "/requests/3/user_id", "/requests/4/fields"]


def test_who_asks_meanwhile_is_answered_together_and_as_if_alone(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = [
        {"user_id": "u3", "n": 4, "seed": 1},
        {"user_id": "u5", "n": 4, "seed": 2, "exclude": ["i3"]},
        {"user_id": "u7", "seed": 3},
        {"scenario": "x"},
        {"filter": "yeer > 3"},
    ]
    alone = [served.client.post("/v1/recommend", json=ask) for ask in asks]
    sizes: list[int] = []
    busy, go = threading.Event(), threading.Event()
    recommend = served.runtime.recommend

    def slowly(name: str, queries: Queries, *rest: Any, **others: Any) -> Reply:
        sizes.append(len(queries))
        busy.set()
        assert go.wait(20)
        return recommend(name, queries, *rest, **others)

    monkeypatch.setattr(served.runtime, "recommend", slowly)
    monkeypatch.setattr(Runtime, "at_hand", False)
    with ThreadPoolExecutor(len(asks) + 1) as people:
        first = people.submit(served.ids, user_id="u9")
        assert busy.wait(20)
        together = [people.submit(served.client.post, "/v1/recommend", json=ask) for ask in asks]
        while f"http_server_active_requests {len(asks) + 2}.0" not in served.client.get("/metrics").text:
            pass  # until all of them have arrived
        go.set()
        assert first.result()
        answers = [each.result() for each in together]
    assert sorted(sizes) == [1, 1, 2]
    for before, now in zip(alone, answers, strict=True):
        assert now.status_code == before.status_code
        assert now.json().get("items") == before.json().get("items")
        assert now.json().get("errors") == before.json().get("errors")
    assert [answer.status_code for answer in answers] == [200, 200, 200, 422, 422]


def test_a_question_that_breaks_something_breaks_nobody_elses(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    busy, go = threading.Event(), threading.Event()
    recommend = served.runtime.recommend
    broken = served.runtime.catalog.rows("user", ["u5"])[0]

    def slowly(name: str, queries: Queries, *rest: Any, **others: Any) -> Reply:
        busy.set()
        assert go.wait(20)
        if broken in queries.user:
            raise KeyError("a programmer's error")
        return recommend(name, queries, *rest, **others)

    monkeypatch.setattr(served.runtime, "recommend", slowly)
    monkeypatch.setattr(Runtime, "at_hand", False)
    with ThreadPoolExecutor(4) as people:
        first = people.submit(served.ids, user_id="u9")
        assert busy.wait(20)
        together = [
            people.submit(served.client.post, "/v1/recommend", json={"user_id": id}) for id in ("u3", "u5", "u7")
        ]
        while "http_server_active_requests 5.0" not in served.client.get("/metrics").text:
            pass
        go.set()
        assert first.result()
        assert [each.result().status_code for each in together] == [200, 500, 200]


def test_similar_items(served: Served) -> None:
    answer = served.client.get("/v1/items/i3/similar", params={"n": 4, "fields": "title"}).json()
    assert len(answer["items"]) == 4
    assert "i3" not in [item["id"] for item in answer["items"]]
    assert answer["items"][0]["why"][0]["text"] == 'because you are looking at "Horror story 3"'
    everything = served.client.get("/v1/items/i3/similar?n=200").json()["items"]
    assert "i3" not in [item["id"] for item in everything]
    met = {event["item_id"] for event in served.client.get("/v1/users/u3/history").json()["events"]}
    assert met & {item["id"] for item in everything}
    assert not met & set(served.ids(scenario="similar", context=["i3"], user_id="u3", n=200))
    assert "i3" not in served.ids(scenario="similar", context=["i3"], n=200)
    problem(served.client.get("/v1/items/nobody/similar"), "not_found")


def test_a_seed_makes_a_list_repeatable_and_the_request_id_is_one(served: Served) -> None:
    assert served.ids(user_id="u3", seed=9) == served.ids(user_id="u3", seed=9)
    answer = served.client.post("/v1/recommend", json={}, headers={"X-Request-ID": "mine-1"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine-1"
    odd = served.client.get("/livez", headers={"X-Request-ID": "no spaces"})
    assert re.fullmatch("[0-9a-f]{32}", odd.headers["x-request-id"])


# events


def test_every_event_gets_its_result(served: Served) -> None:
    told = served.tell(
        {"user_id": "u3", "item_id": "i1", "event_id": "a"},
        {"user_id": "u3", "item_id": "i1", "event_id": "a"},
        {"user_id": 3, "item_id": "i1", "time": "2026-01-01T00:00:00Z"},
        {"user_id": "u3", "item_id": "soon"},
        {"user_id": "u3", "item_id": "i1", "type": "clik"},
        {"user_id": "", "item_id": "i1"},
        {"user_id": "u3", "item_id": "i1", "time": "1969-12-31T23:59:59Z"},
        {"user_id": "u3", "item_id": "i2", "time": "2999-01-01T00:00:00Z"},
    )
    words = ["accepted", "duplicate", "accepted", "held", "rejected", "rejected", "rejected", "accepted"]
    assert [each["result"] for each in told] == words
    assert told[0] == {"result": "accepted", "event_id": "a"}
    assert told[2]["event_id_derived"] is True
    assert "click" in told[4]["message"]
    assert told[7]["code"] == "time_ahead"
    again = served.tell({"user_id": "3", "item_id": "i1", "time": "2026-01-01T00:00:00Z"})
    assert again[0] == {"result": "duplicate", "event_id": told[2]["event_id"], "event_id_derived": True}
    newest = served.client.get("/v1/users/u3/history?limit=1").json()["events"][0]
    assert newest["item_id"] in ("i1", "i2")
    assert newest["time"] < "2999"


def test_events_from_many_hands_are_all_there_once(served: Served) -> None:
    def post(hand: int) -> None:
        for item in range(5):
            events = [{"user_id": f"hand {hand}", "item_id": f"i{item}", "event_id": f"{hand} {item}"}] * 2
            answer = served.client.post("/v1/events", json={"events": events})
            assert sorted(each["result"] for each in answer.json()["results"]) == ["accepted", "duplicate"]

    threads = [threading.Thread(target=post, args=(hand,)) for hand in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for hand in range(6):
        events = served.client.get(f"/v1/users/hand%20{hand}/history").json()["events"]
        assert sorted(each["item_id"] for each in events) == [f"i{item}" for item in range(5)]


def test_an_event_names_the_answer_that_led_to_it(served: Served) -> None:
    answer = served.recommend(user_id="u3", n=1)
    event = {"user_id": "u3", "item_id": answer["items"][0]["id"], "request_id": answer["request_id"]}
    served.tell(event)
    *_, (_, last) = served.runtime.stores.log.scan()
    assert last.request[-1] != 0


@pytest.mark.parametrize(("policy", "result"), [("create", "accepted"), ("reject", "rejected")])
def test_unknown_items_follow_the_policy(installation: Settings, policy: Any, result: str) -> None:
    events = replace(installation.events, unknown_items=policy)
    with serving(replace(installation, events=events)) as served:
        assert served.tell({"user_id": "u3", "item_id": "nobody"})[0]["result"] == result


# items and users


def test_a_new_item_is_recommended_at_once_and_its_events_happen(served: Served) -> None:
    assert served.tell({"user_id": "u9", "item_id": "new/one", "type": "like"})[0]["result"] == "held"
    put = served.client.put("/v1/items/new%2Fone", json={"fields": {"title": "New", "genres": ["Drama"]}})
    assert (put.status_code, put.json()["created"]) == (201, True)
    everybody = served.recommend(n=10)
    (item,) = (item for item in everybody["items"] if item["id"] == "new/one")
    assert item["sources"] == ["fresh"]
    assert served.client.get("/v1/users/u9/history?limit=1").json()["events"][0]["item_id"] == "new/one"
    assert "new/one" not in served.ids(user_id="u9", n=90)


def test_an_item_made_while_its_event_is_set_aside_keeps_nobody_waiting(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = served.runtime.held
    assert held is not None
    add = held.add

    def made_meanwhile(*given: Any) -> Any:
        served.client.put("/v1/items/twin", json={"fields": {}})
        return add(*given)

    monkeypatch.setattr(held, "add", made_meanwhile)
    served.tell({"user_id": "u9", "item_id": "twin", "type": "like"})
    assert served.client.get("/v1/users/u9/history?limit=1").json()["events"][0]["item_id"] == "twin"
    assert len(held) == 0


def test_put_replaces_and_get_shows(served: Served) -> None:
    path = "/v1/items/i3"
    before = served.client.get(path).json()["fields"]
    assert before["title"] == "Horror story 3"
    kept = {"title": "<script>alert(1)</script>", "year": 2001, "time": "2026-01-02T03:04:05Z", "adult": True}
    facts = {**kept, "x": None}
    assert served.client.put(path, json={"fields": facts}).json()["created"] is False
    assert served.client.get(path).json()["fields"] == kept
    wrong = problem(served.client.put(path, json={"fields": {"year": "old"}}), "invalid_argument")
    assert wrong.errors[0].pointer == "/fields/year"
    assert served.client.get(path).json()["fields"] == kept
    problem(served.client.put("/v1/items/never", json={"fields": {"year": "old"}}), "invalid_argument")
    problem(served.client.put("/v1/items/never", json={"fields": {"": 1}}), "invalid_argument")
    problem(served.client.get("/v1/items/never"), "not_found")
    assert served.client.put("/v1/users/u3", json={"fields": {"age": 34}}).status_code == 200
    assert served.client.get("/v1/users/u3").json()["fields"] == {"age": 34.0}


def test_an_item_taken_off_is_shown_no_more(served: Served) -> None:
    first = served.ids(user_id="u3", n=1)[0]
    facts = served.client.get(f"/v1/items/{first}").json()["fields"]
    served.client.put(f"/v1/items/{first}", json={"fields": {**facts, "available": "no"}})
    assert first not in served.ids(user_id="u3", n=90)
    assert first not in served.ids(n=200)


@pytest.mark.parametrize(
    "id", ["a/b", "a b", "%2F", "ü", "😀", "..", "x/similar", "?", "#", "7.0", "01", '"', "a" * 256]
)
def test_any_id_goes_in_and_comes_out(served: Served, id: str) -> None:
    path = f"/v1/items/{''.join(f'%{byte:02X}' for byte in id.encode())}"
    assert served.client.put(path, json={"fields": {"title": "T"}}).status_code == 201
    assert served.client.get(path).json()["id"] == id
    assert served.client.get(f"{path}/similar").status_code == 200


def test_people_worth_looking_at(served: Served) -> None:
    people = served.client.get("/v1/people?limit=5").json()["users"]
    counts = [each["events"] for each in people]
    assert len(people) == 5
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] > 0
    for each in people:
        events = served.client.get(f"/v1/users/{each['id']}/history?limit=1000").json()["events"]
        assert len(events) == each["events"]
        assert events[0]["time"] == each["last_event"]


# errors


@pytest.mark.parametrize(
    ("method", "path", "given", "code", "said"),
    [
        ("POST", "/v1/recommend", {"content": b"{"}, "malformed_body", "not one JSON document"),
        (
            "POST",
            "/v1/recommend",
            {"json": {}, "headers": {"Content-Type": "text/plain"}},
            "malformed_body",
            "text/plain",
        ),
        ("POST", "/v1/recommend", {"content": b'{"n": NaN}'}, "malformed_body", "not one JSON"),
        ("POST", "/v1/recommend", {"json": {"user": 1}}, "invalid_argument", "unknown field 'user'"),
        ("POST", "/v1/recommend", {"json": {"user_id": "a\n"}}, "invalid_argument", "1 to 256 bytes"),
        ("POST", "/v1/recommend", {"json": {"scenario": "hom"}}, "invalid_argument", "no scenario 'hom'"),
        ("POST", "/v1/recommend", {"json": {"filter": "year >"}}, "invalid_argument", "year >"),
        ("POST", "/v1/recommend", {"json": {"events": [{"item_id": 1, "type": "x"}]}}, "invalid_argument", "'x'"),
        ("POST", "/v1/recommend", {"json": {"fields": ["titel"]}}, "invalid_argument", "no column 'titel'"),
        ("POST", "/v1/recommend?n=3", {"json": {}}, "invalid_argument", "unknown field 'n'"),
        ("POST", "/v1/recommend", {"content": b" " * 3000}, "too_large", "2,000 bytes"),
        ("POST", "/v1/recommend", {"content": iter([b" " * 1500] * 2)}, "too_large", "2,000 bytes"),
        ("POST", "/v1/recommend:batch", {"content": b" " * 20_001}, "too_large", "20,000 bytes"),
        ("POST", "/v1/recommend:batch", {"json": {"requests": []}}, "invalid_argument", "length >= 1"),
        ("POST", "/v1/recommend:batch", {"json": {"requests": [{}] * 501}}, "invalid_argument", "length <= 500"),
        ("POST", "/v1/events", {"json": {"events": [{"user_id": 1}]}}, "invalid_argument", "item_id"),
        ("GET", "/v1/items/i3/similar?n=0", {}, "invalid_argument", ">= 1"),
        ("GET", "/v1/items/i3/similar?n=1&n=2", {}, "invalid_argument", "given twice"),
        ("GET", "/v1/items/i3/similar?fields=x", {}, "invalid_argument", "no column 'x'"),
        ("GET", "/v1/items/%FF", {}, "invalid_argument", "not UTF-8"),
        ("GET", "/v1/items/%00", {}, "invalid_argument", "control characters"),
        ("GET", "/v1/items/", {}, "not_found", "nothing at /v1/items/"),
        ("GET", "/v1/users/nobody/history", {}, "not_found", "no user 'nobody'"),
        ("GET", "/nothing?x=<b>", {}, "not_found", "nothing at /nothing"),
        ("DELETE", "/v1/info", {}, "method_not_allowed", "DELETE"),
        ("GET", "/livez", {"headers": {"Host": "evil.example"}}, "permission_denied", "evil.example"),
        ("GET", "/livez", {"headers": {"Host": "127.0.0.1.evil.example"}}, "permission_denied", "evil.example"),
    ],
)
def test_errors_follow_the_model(
    small: Served, method: str, path: str, given: dict[str, Any], code: str, said: str
) -> None:
    headers = {"Content-Type": "application/json"} if "content" in given else {}
    answer = small.client.request(method, path, **{"headers": headers, **given})
    assert said in problem(answer, code).detail
    if code == "method_not_allowed":
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.fixture(scope="module")
def small(_published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server for questions that change nothing, with small limits."""
    home = tmp_path_factory.mktemp("small")
    shutil.copytree(_published, home, dirs_exist_ok=True)
    settings = config.parse({"serve": {"max_body": 2000}}, home=home)
    with serving(settings) as served:
        yield served


@dataclass(frozen=True)
class Breaks:
    def narrow(self, queries: Queries) -> Queries:
        raise OSError("weather")

    def keep(self, queries: Queries, found: Candidates) -> Mask:
        raise FilterFailed("never reached")


def test_a_filter_that_fails_and_a_source_that_fails_are_told(served: Served) -> None:
    version, home = served.runtime.release.version, served.runtime.release.pipelines["home"]
    broken = replace(home.sources["ease"], source=Breaks())
    served.runtime.release = Release(version, {"home": replace(home, sources={**home.sources, "ease": broken})}, {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Breaks, "recall", lambda *given: (_ for _ in ()).throw(OSError("weather")), raising=False)
        answer = served.recommend(user_id="u3")
    assert len(answer["items"]) == 10
    assert answer["degradation"]["level"] == "partial"
    assert answer["degradation"]["stages"] == ["recall ease"]
    assert "weather" in answer["degradation"]["reasons"][0]
    served.runtime.release = Release(version, {"home": replace(home, filters={"rights": Breaks()})}, {})
    told = served.recommend()["degradation"]  # to somebody unknown nothing was promised
    assert told["level"].startswith("fallback")
    assert "filter rights" in told["reasons"][0]
    refused = served.client.post("/v1/recommend", json={"user_id": "u4"})
    assert "filter rights" in problem(refused, "dependency_unavailable").detail
    assert refused.headers["retry-after"] == "1"
    batch = served.client.post("/v1/recommend:batch", json={"requests": [{"user_id": "u4"}]}).json()
    assert batch["results"][0]["status"] == 503


def test_a_bug_is_a_500_without_insides(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*given: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(served.runtime, "queries", bug)
    answer = served.client.post("/v1/recommend", json={})
    assert problem(answer, "internal")
    assert "secret" not in answer.text


def test_a_client_that_leaves_in_the_middle_harms_nobody(served: Served) -> None:
    url = httpx.URL(served.client.base_url)
    with socket.create_connection((url.host, url.port or 0)) as leaving:
        leaving.sendall(
            b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
    assert served.client.get("/livez").json() == {"alive": True}


# the server


def test_answers_carry_the_headers_of_safety(served: Served) -> None:
    for path in ("/", "/docs", "/livez", "/nothing", "/v1/people"):
        headers = served.client.get(path).headers
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_every_get_without_a_parameter_answers_what_it_says(served: Served) -> None:
    for endpoint in ENDPOINTS:
        if endpoint.method == "GET" and "{" not in endpoint.path and endpoint.media != EVENT_STREAM:
            answer = served.client.get(endpoint.path)
            assert answer.status_code == 200, endpoint.path
            assert answer.headers["content-type"].partition(";")[0] == endpoint.media.partition(";")[0]
            head = served.client.head(endpoint.path)
            assert head.content == b""
            assert int(head.headers["content-length"]) > 0


def test_figures_are_counted_and_name_nobody(served: Served) -> None:
    served.recommend(user_id="u3", n=3)
    served.tell({"user_id": "u3", "item_id": "i1"}, {"user_id": "u3", "item_id": "i1", "type": "x" * 50})
    for number in range(5):
        served.client.get(f"/v1/items/i{number}")
        served.client.get(f"/wp-admin/{number}")
    text = served.client.get("/metrics").text
    for line in (
        'shortlist_recommendations_total{rung="none",scenario="home"} 1.0',
        'shortlist_events_total{result="accepted",type="click"} 1.0',
        'shortlist_events_total{result="rejected",type="unknown"} 1.0',
        'http_server_request_duration_seconds_count{method="GET",route="/v1/items/{id}",status="200"} 5.0',
        'http_server_request_duration_seconds_count{method="any",route="unknown",status="404"} 5.0',
        'shortlist_stage_duration_seconds_count{stage="recall ease"} 1.0',
        "shortlist_empty_total 0.0",
        "shortlist_event_to_effect_seconds_count 1.0",
    ):
        assert line in text.splitlines(), line
    assert re.search(r"^shortlist_model_age_seconds \d", text, re.M)
    assert "u3" not in text
    assert "wp-admin" not in text


def test_a_published_release_is_taken_over_while_serving(served: Served) -> None:
    root = served.runtime.settings.releases_path
    newer = release.save(root, served.runtime.release.pipelines, {"created": "2026-05-01T00:00:00"})
    release.publish(root, newer)
    swapped = threading.Event()
    for _ in range(500):
        answer = served.recommend(user_id="u3", n=3)
        assert len(answer["items"]) == 3
        if answer["versions"]["release"] == newer:
            break
        swapped.wait(0.02)
    assert served.client.get("/readyz").json() == {"ready": True, "release": newer, "reasons": []}


def test_before_the_first_release_the_page_is_not_empty(untrained: Settings) -> None:
    with serving(untrained) as served:
        answer = served.recommend(user_id="u3", n=5)
        assert len(answer["items"]) == 5
        assert answer["versions"] == {"release": None, "data_as_of": None, "model_age_s": None}
        assert answer["degradation"]["level"] == "fallback_popular"
        assert any("no release" in reason for reason in answer["degradation"]["reasons"])
        assert served.client.get("/readyz").json()["release"] is None


def test_with_nothing_at_all_everything_still_answers(tmp_path: Path) -> None:
    with serving(config.parse({}, home=tmp_path)) as served:
        assert served.recommend(n=5)["items"] == []
        assert served.client.get("/v1/people").json() == {"users": []}
        assert served.client.get("/v1/info").json()["items"] == 0
        assert served.client.get("/").status_code == 200
        assert served.client.put("/v1/items/first", json={"fields": {"title": "First"}}).status_code == 201
        assert served.ids(n=5) == ["first"]


def test_a_restart_keeps_everything(installation: Settings) -> None:
    with serving(installation) as served:
        hidden = served.ids(user_id="u3", n=1)[0]
        served.tell({"user_id": "u3", "item_id": hidden, "type": "hide", "event_id": "once"})
        served.client.put("/v1/items/new", json={"fields": {"title": "New"}})
        before = served.ids(user_id="u3", n=20, seed=1)
    with serving(installation) as served:
        assert served.ids(user_id="u3", n=20, seed=1) == before
        assert served.client.get("/v1/items/new").json()["fields"] == {"title": "New"}
        (told,) = served.tell({"user_id": "u3", "item_id": hidden, "type": "hide", "event_id": "once"})
        assert told["result"] == "duplicate"


def test_a_port_that_is_taken_is_an_error_or_the_next_is_taken() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            listen("127.0.0.1", port)
        with listen("127.0.0.1", port, next_free=True) as other:
            assert other.getsockname()[1] > port
