"""The doors against those who should not come in, or ask too much: over real HTTP, in one process."""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import socket
import string
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shortlist import cli, config, release
from shortlist.config import Settings
from shortlist.errors import ConfigError, ShortlistError
from shortlist.runtime import Runtime
from shortlist.serve import connection, door, wire
from shortlist.serve.endpoint import Endpoint
from shortlist.serve.frame import HEADERS
from shortlist.serve.http import guard, serve
from shortlist.serve.keys import Keys
from shortlist.serve.routes import ENDPOINTS
from tests.conftest import TABLES
from tests.end_to_end.test_http import Served, problem, serving

NOW = datetime.now(UTC)
CANARY = "a canary that sings in no log"
STREAM = "text/event-stream"


def locked(installation: Settings, **serve: Any) -> Settings:
    return replace(installation, serve=replace(installation.serve, keys="required", **serve))


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture
def served(installation: Settings) -> Iterator[Served]:
    with serving(installation) as served:
        yield served


@pytest.fixture(scope="module")
def open_house(_published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all tests that ask only for what is refused, or for things of their own."""
    home = tmp_path_factory.mktemp("open")
    shutil.copytree(_published, home, dirs_exist_ok=True)
    with serving(config.parse(TABLES, home=home)) as served:
        yield served


@pytest.fixture
def shut(installation: Settings) -> Iterator[Served]:
    """A server that wants keys."""
    with serving(locked(installation)) as served:
        yield served


def make(served: Served, name: str, *scopes: str, **more: Any) -> dict[str, str]:
    """The header with a new key."""
    return bearer(Keys(served.runtime.settings.keys_path).create(name, scopes, NOW, **more)[0])


def send(client: httpx.Client, endpoint: Endpoint, headers: dict[str, str]) -> httpx.Response:
    """A request to an endpoint: its head only where the answer does not end."""
    body = {} if endpoint.body is None else {"content": json.dumps(endpoint.example)}
    headers = {**headers, **({"Content-Type": "application/json"} if endpoint.body else {})}
    path = endpoint.path.replace("{id}", "nobody-at-all").replace("{name}", "nothing")
    with client.stream(endpoint.method, path, headers=headers, **body) as answer:
        if not answer.headers["content-type" if "content-type" in answer.headers else "date"].startswith(STREAM):
            answer.read()
        return answer


# who may come in


def test_every_address_needs_a_key_that_allows_it(shut: Served) -> None:
    keys = {
        "nobody": {},
        "wrong": bearer("sl_0123456789ab_" + "A" * 43),
        "expired": make(shut, "expired", "admin", "pii:read", expires=NOW - timedelta(days=1)),
        "read": make(shut, "read", "read"),
        "write": make(shut, "write", "write"),
        "admin": make(shut, "admin", "admin"),
        "people": make(shut, "people", "admin", "pii:read"),
    }
    order = ("public", "read", "write", "admin")
    for endpoint in ENDPOINTS:
        for kind, headers in keys.items():
            status = send(shut.client, endpoint, headers).status_code
            said = f"{endpoint.method} {endpoint.path} with {kind}: {status}"
            if kind in ("wrong", "expired") or (kind == "nobody" and endpoint.scope != "public"):
                assert status == 401, said
            elif kind in order and (order.index(kind) < order.index(endpoint.scope) or endpoint.pii):
                assert status == 403, said
            else:
                assert status not in (401, 403), said
                assert status < 500, said


def test_a_key_counts_from_when_it_is_made_until_it_is_revoked(shut: Served) -> None:
    refused = shut.client.get("/v1/info")
    assert problem(refused, "unauthenticated")
    assert refused.headers["www-authenticate"].startswith("Bearer")
    key = make(shut, "shop", "read")
    assert shut.client.get("/v1/info", headers=key).status_code == 200
    Keys(shut.runtime.settings.keys_path).revoke("shop", NOW)
    assert "revoked" in problem(shut.client.get("/v1/info", headers=key), "unauthenticated").detail


def test_a_key_of_one_person_finds_nobody_else(shut: Served) -> None:
    own = make(shut, "phone", "write", user="u3")
    ask = shut.client
    assert ask.get("/v1/users/u3/history", headers=own).json()["events"]
    assert ask.post("/v1/recommend", json={"user_id": "u3"}, headers=own).status_code == 200
    assert ask.post("/v1/recommend", json={}, headers=own).status_code == 200
    event = {"user_id": "u4", "item_id": "i1"}
    for foreign, unknown in (("u4", "u4444"), ("U3", "nobody")):
        for path in (f"/v1/users/{foreign}", f"/v1/users/{foreign}/history", f"/v1/items/i1/similar?user_id={foreign}"):
            told = [
                problem(ask.get(path.replace(foreign, id), headers=own), "not_found").detail.replace(id, "ID")
                for id in (foreign, unknown)
            ]
            assert told[0] == told[1]  # as if there were nobody
        assert problem(ask.post("/v1/recommend", json={"user_id": foreign}, headers=own), "not_found")
        assert problem(
            ask.post("/v1/events", json={"events": [{**event, "user_id": foreign}]}, headers=own), "not_found"
        )
    batch = {"requests": [{"user_id": "u3"}, {"user_id": "u4"}]}
    assert problem(ask.post("/v1/recommend:batch", json=batch, headers=own), "not_found")
    assert problem(ask.get("/v1/people", headers=own), "permission_denied")
    assert problem(ask.get("/metrics", headers=own), "permission_denied")


def test_nobody_else_on_the_network_without_a_key(installation: Settings) -> None:
    for host in ("0.0.0.0", "192.168.1.5", "::", "shop.example"):
        away = replace(installation, serve=replace(installation.serve, host=host))
        with pytest.raises(ConfigError, match="would let others on the network in") as caught:
            serve(away, port=0)
        assert caught.value.exit_code == 5
        assert "shortlist keys create" in caught.value.hint
    keys = Keys(installation.keys_path)
    keys.create("old", ["admin"], NOW, expires=NOW)
    keys.create("gone", ["admin"], NOW)
    keys.revoke("gone", NOW)
    with pytest.raises(ConfigError):  # neither opens anything
        guard(away)
    keys.create("shop", ["read"], NOW)
    guard(away)
    guard(installation)


def test_the_command_line_says_so_with_exit_code_5(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORTLIST__SERVE__HOST", "127.0.0.1")  # which --host changes, and this puts back
    for arguments in (["--host", "0.0.0.0"], ["--host", "::", "--workers", "2"]):
        with pytest.raises(SystemExit) as left:
            cli.main(["serve", "--config", str(tmp_path), *arguments])
        assert left.value.code == 5
        assert "shortlist keys create" in capsys.readouterr().err


def test_keys_are_made_shown_once_and_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> Any:
        with pytest.raises(SystemExit) as left:
            cli.main(["keys", *words, "--config", str(tmp_path), "--json"])
        return json.loads(capsys.readouterr().out) if left.value.code == 0 else left.value.code

    made = run("create", "--name", "shop", "--scope", "read,write,pii:read", "--expires", "30d")
    assert made["scopes"] == ["read", "write", "pii:read"]
    keys = Keys(tmp_path / "shortlist-data" / "keys.json")
    found = keys.find(made["key"])
    assert found
    assert found.expires
    assert timedelta(days=29) < found.expires - datetime.now(UTC) <= timedelta(days=30)
    listed = run("list")["keys"]
    assert [(each["name"], each["state"]) for each in listed] == [("shop", "valid")]
    assert made["key"] not in json.dumps(listed)
    assert found.sha256 not in json.dumps(listed)
    assert run("revoke", "shop")["state"] == "revoked"
    assert run("create", "--name", "a", "--scope", "root") == 5
    assert run("revoke", "nobody") == 4


def test_off_loopback_the_same_server_wants_keys_under_any_name(installation: Settings) -> None:
    away = replace(installation, serve=replace(installation.serve, host="0.0.0.0"))
    with serving(away) as served:
        named = {"Host": "shop.example"}
        for path in ("/v1/info", "/metrics", "/openapi.json"):
            assert problem(served.client.get(path, headers=named), "unauthenticated")
        key = make(served, "shop", "read")
        assert served.client.get("/metrics", headers={**named, **key}).status_code == 200
        assert served.client.get("/livez", headers=named).status_code == 200


def test_too_many_requests_of_one_key_are_told_when_to_come_again(installation: Settings) -> None:
    with serving(locked(installation, rate=0.01, burst=3)) as served:
        key = make(served, "shop", "read")
        answers = [served.client.get("/v1/info", headers=key) for _ in range(4)]
        assert [each.status_code for each in answers[:3]] == [200] * 3
        assert problem(answers[3], "rate_limited")
        assert 90 <= int(answers[3].headers["retry-after"]) <= 100
        assert served.client.get("/v1/info", headers=make(served, "other", "read")).status_code == 200


# what is told


def test_no_secret_is_in_any_output(
    shut: Served, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    header = make(shut, "shop", "admin", "pii:read")
    secret = header["Authorization"].removeprefix("Bearer ")
    wrong = secret[:-4] + "AAAA"
    said = []
    for endpoint in ENDPOINTS:
        for headers in (header, bearer(wrong), {"Authorization": secret}):
            with shut.client.stream(endpoint.method, endpoint.path.replace("{id}", "u3"), headers=headers) as answer:
                if not answer.headers.get("content-type", "").startswith(STREAM):
                    said.append(answer.read().decode())
                said.append(str(answer.headers.raw))
    for path in (f"/{secret}", f"/v1/items/{secret}", f"/v1/info?{secret}=1", f"/v1/people?limit={secret}"):
        said.append(shut.client.get(path, headers=header).text)
    for body in ({secret: 1}, {"scenario": secret}, {"filter": secret}, {"fields": [secret]}, {"n": secret}):
        said.append(shut.client.post("/v1/recommend", json=body, headers=header).text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shut.runtime, "queries", lambda *given, **more: (_ for _ in ()).throw(RuntimeError(secret)))
        said.append(shut.client.post("/v1/recommend", json={}, headers=header).text)
    shut.client.get("/v1/info", headers={**header, "Host": secret})
    said += [shut.client.get("/metrics", headers=header).text, *capsys.readouterr()]
    said += [f"{each.message} {each.exc_text}" for each in caplog.records if not each.name.startswith("http")]
    said += [
        each.read_text("utf-8", "replace") for each in Path(shut.runtime.settings.home).rglob("*") if each.is_file()
    ]
    random = secret.split("_", 2)[2]
    assert len(said) > 3 * len(ENDPOINTS)
    assert not [each for each in said if random in each]
    assert not [each for each in said if wrong.split("_", 2)[2] in each]


def test_every_answer_has_the_headers_of_safety(shut: Served) -> None:
    key = make(shut, "shop", "admin", "pii:read")
    for endpoint in ENDPOINTS:
        for headers in (key, {}):
            answer = send(shut.client, endpoint, headers)
            for name, value in HEADERS.items():
                assert answer.headers[name] == value, f"{endpoint.method} {endpoint.path}: {name}"
            assert "set-cookie" not in answer.headers
            assert "server" not in answer.headers
            assert "access-control-allow-origin" not in answer.headers
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


# paths, queries, conditions

UP = ("..", "%2e%2e", "%2E%2E", "..%00", "....", "..%5c..", "..;", "%c0%ae%c0%ae", "..%252f")
TARGETS = ("etc/passwd", "shortlist.toml", "shortlist-data/keys.json", "page.js")


@pytest.mark.parametrize("begin", ["/static/", "/v1/items/", "/", "/v1/people/"])
def test_no_path_leads_out(open_house: Served, begin: str) -> None:
    Keys(open_house.runtime.settings.keys_path).create(f"shop{len(begin)}", ["read"], NOW)
    (open_house.runtime.settings.home / "shortlist.toml").write_text(f"# {CANARY}\n")
    url = httpx.URL(open_house.client.base_url)
    tried = 0
    for up in UP:
        for slash in ("/", "%2f", "%5c"):
            for target in TARGETS:
                path = f"{begin}{slash.join([up] * 6)}{slash}{target}"
                answer = raw(url, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                status = int(answer.split(b" ", 2)[1])
                assert status in (400, 404, 405, 422), path
                assert b"root:" not in answer
                assert CANARY.encode() not in answer
                assert b"sha256" not in answer
                tried += 1
    assert tried >= 60


@pytest.mark.parametrize(
    "name",
    ["..", "../..", "../../etc/passwd", "/etc/passwd", ".", "", "a/../../b", "..\\..", "CURRENT", "CURRENT/x", "x\0y",
     "~", "$(id)", "-rf", "a" * 5000, "2020-01-01T000000-00000000/../../..", "%2e%2e", "con", "\n", "é"],
)  # fmt: skip
def test_no_name_of_a_release_leads_out(installation: Settings, name: str) -> None:
    root = installation.releases_path
    before = release.current(root)
    for ask in (lambda: release.load(root, name, {}), lambda: release.publish(root, name)):
        with pytest.raises(ShortlistError):
            ask()
    assert release.current(root) == before


INJECTIONS = (
    "' OR '1'='1", "'; DROP TABLE item; --", "\" OR \"\"=\"", "1; SELECT 1", "') UNION SELECT * FROM user --",
    "__import__('os').system('id')", "{{7*7}}", "${7*7}", "#{7*7}", "%s%s%n", "`id`", "$(id)", "|id", "\r\nSET a b\r\n",
    "*", "EVAL 'return 1' 0", "a\tb", "<script>alert(1)</script>", "../../x", "%00", "\\", "'", '"', "--",
    "/*", "a' in b",
)  # fmt: skip


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_stays_text(open_house: Served, text: str) -> None:
    """As an id, a fact and a value it comes back as it went in; as a condition it is refused or harmless."""
    size = open_house.client.get("/v1/info").json()["items"]
    clean = "".join(letter for letter in text if letter >= " ")
    path = "/v1/items/" + "".join(f"%{byte:02X}" for byte in clean.encode())
    stored = open_house.client.put(path, json={"fields": {"title": text, "note": text}})
    assert stored.status_code == 201, stored.text
    assert open_house.client.get(path).json()["fields"] == {"title": text, "note": text}
    quoted = text.replace("'", "''")
    found = open_house.recommend(filter=f"title = '{quoted}'", n=5)
    assert [each["id"] for each in found["items"]] == [clean]
    assert open_house.client.get("/v1/info").json()["items"] == size + 1
    asked = open_house.client.post("/v1/recommend", json={"filter": text})
    assert asked.status_code in (200, 422)
    assert open_house.client.post("/v1/recommend", json={"user_id": clean, "scenario": text}).status_code == 422


IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=90)


@settings(deadline=None)
@given(st.lists(IDS, min_size=1, max_size=4, unique=True))
def test_ids_are_kept_exactly_or_refused(open_house: Served, ids: list[str]) -> None:
    """From the API into the store, into an address and into a list, and back; nothing is merged, nothing is trimmed."""
    for each in ids:
        path = "/v1/items/" + "".join(f"%{byte:02X}" for byte in each.encode())
        stored = open_house.client.put(path, json={"fields": {"title": f"<{each}>"}})
        allowed = len(each.encode()) <= wire.ID_BYTES and not any(letter < " " or letter == "\x7f" for letter in each)
        if not allowed:
            assert problem(stored, "invalid_argument")
            continue
        assert stored.status_code in (200, 201)
        assert open_house.client.get(path).json() == {"id": each, "fields": {"title": f"<{each}>"}} | {
            name: value for name, value in open_house.client.get(path).json().items() if name not in ("id", "fields")
        }
        (told,) = open_house.tell({"user_id": each, "item_id": each, "event_id": each + "é"[: len(each) < 40]})
        assert told["result"] in ("accepted", "duplicate")
        user = "/v1/users/" + path.removeprefix("/v1/items/")
        assert each in {met["item_id"] for met in open_house.client.get(f"{user}/history").json()["events"]}
        assert each not in open_house.ids(user_id=each, exclude=[each], n=200)


def test_what_looks_alike_is_not_the_same(open_house: Served) -> None:
    alike = [
        "1",
        "01",
        "1.0",
        " 1",
        "1 ",
        "\u00e9",
        "e\u0301",
        "\ufb01",
        "fi",
        "A",
        "\u0391",
        "a:b",
        "a%3Ab",
        "../x",
        "null",
        "😀",
    ]
    for each in alike:
        path = "/v1/items/" + "".join(f"%{byte:02X}" for byte in each.encode())
        assert open_house.client.put(path, json={"fields": {"title": each}}).status_code in (200, 201), each
    for each in alike:
        path = "/v1/items/" + "".join(f"%{byte:02X}" for byte in each.encode())
        assert open_house.client.get(path).json()["fields"]["title"] == each
    (told,) = open_house.tell({"user_id": 31_415, "item_id": 1})  # of nobody else's tests
    assert told["result"] == "accepted"
    assert [met["item_id"] for met in open_house.client.get("/v1/users/31415/history").json()["events"]] == ["1"]
    for wrong in (1.0, True, None, [], {}, "", "a" * 257, "\n", "\x7f", "é" * 129):
        answer = open_house.client.post("/v1/events", json={"events": [{"user_id": "u1", "item_id": wrong}]})
        if answer.status_code == 202:
            assert answer.json()["results"][0]["result"] == "rejected"
        else:
            assert problem(answer, "invalid_argument").errors[0].pointer == "/events/0/item_id"


# what costs

BIG = 10**9
COSTLY: list[tuple[str, Any]] = [
    ("/v1/recommend", {"n": BIG}),
    ("/v1/recommend", {"n": 201}),
    ("/v1/recommend", {"n": 10**30}),
    ("/v1/recommend", {"exclude": ["i1"] * 10_001}),
    ("/v1/recommend", {"context": ["i1"] * 1_001}),
    ("/v1/recommend", {"events": [{"item_id": "i1"}] * 1_001}),
    ("/v1/recommend", {"fields": ["title"] * 101}),
    ("/v1/recommend", {"filter": "year > 1 and " * 10_000 + "year > 1"}),
    ("/v1/recommend", {"filter": "(" * 1_000 + "year > 1" + ")" * 1_000}),
    ("/v1/recommend", {"filter": "not " * 400 + "year > 1"}),
    ("/v1/recommend", {"filter": " or ".join(["year=1"] * 200)[:2000]}),
    ("/v1/recommend", {"filter": "title in (" + ",".join(["'a'"] * 600) + ")"}),
    ("/v1/recommend", {"filter": "'" + "a" * 1_990}),
    ("/v1/recommend", {"scenario": "a" * 100_000}),
    ("/v1/recommend", {"user_id": "a" * 257}),
    ("/v1/recommend", {"seed": -1}),
    ("/v1/recommend", {"deadline_ms": 0}),
    ("/v1/recommend", {"deadline_ms": BIG}),
    ("/v1/recommend:batch", {"requests": [{}] * 501}),
    ("/v1/recommend:batch", {"requests": []}),
    ("/v1/events", {"events": [{"user_id": "u", "item_id": "i"}] * 1_001}),
    ("/v1/events", {"events": [{"user_id": "u", "item_id": "i", "value": 3.4e38}]}),
    ("/v1/events", {"events": [{"user_id": "u", "item_id": "i", "value": -1.1e12}]}),
]


@pytest.mark.parametrize(("path", "body"), COSTLY, ids=range(len(COSTLY)))
def test_what_would_cost_much_is_refused_before_it_does(
    open_house: Served, path: str, body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*given: Any, **more: Any) -> None:
        raise AssertionError("the pipeline was asked")

    monkeypatch.setattr(open_house.runtime, "recommend", asked)
    monkeypatch.setattr(open_house.runtime, "ingest", asked)
    answer = open_house.client.post(path, json=body)
    assert problem(answer, "invalid_argument")
    assert len(answer.content) < 5_000


NUMBERS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-1e999",
    "nan",
    "0x10",
    "01",
    "1_000",
    "+1",
    '"1"',
    "true",
    "1" * 400,
)


@pytest.mark.parametrize("number", NUMBERS)
def test_what_is_no_number_is_refused(open_house: Served, number: str) -> None:
    places = (
        ("POST", "/v1/recommend", '{"n": %s}'),
        ("POST", "/v1/recommend", '{"seed": %s}'),
        ("POST", "/v1/recommend", '{"events": [{"item_id": "i1", "value": %s}]}'),
        ("POST", "/v1/events", '{"events": [{"user_id": "u1", "item_id": "i1", "value": %s}]}'),
        ("PUT", "/v1/items/i1", '{"fields": {"year": %s}}'),
    )
    for method, path, body in places:
        answer = open_house.client.request(
            method, path, content=body % number, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (400, 422), (path, number)
        assert answer.json()["code"] in ("invalid_argument", "malformed_body")


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if each.body], ids=lambda e: f"{e.method} {e.path}")
def test_bodies_that_are_bombs(open_house: Served, endpoint: Endpoint) -> None:
    path = endpoint.path.replace("{id}", "i1").replace("{name}", "home")
    limit = open_house.runtime.settings.serve.max_body * (10 if endpoint.larger else 1)

    def post(content: bytes, **headers: str) -> httpx.Response:
        return open_house.client.request(
            endpoint.method, path, content=content, headers={"Content-Type": "application/json", **headers}
        )

    assert problem(post(b" " * (limit + 1)), "too_large")
    assert problem(post(gzip.compress(b" " * 10_000_000), **{"Content-Encoding": "gzip"}), "malformed_body")
    for deep in (
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"fields":{"a":' + b"[" * 100_000,
        b'{"requests":' + b"[" * 200_000,
    ):
        assert post(deep).status_code in (400, 422)
    assert problem(post(b'{"a": 1}', **{"Content-Type": "text/plain"}), "malformed_body")
    assert open_house.client.get("/livez").status_code == 200


def test_a_body_without_an_end_is_cut_at_the_limit(open_house: Served) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(4_000):
            yield b" " * 1_000

    answer = open_house.client.post("/v1/events", content=endless(), headers={"Content-Type": "application/json"})
    assert problem(answer, "too_large")


# time


def test_who_waits_too_long_is_told_and_the_work_is_not_begun(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = replace(installation, serve=replace(installation.serve, timeout_ms=50))
    with serving(patience) as served:
        begun, done = [], threading.Event()

        def slow(*given: Any, **more: Any) -> None:
            begun.append(given)
            done.wait(30)

        monkeypatch.setattr(served.runtime, "recommend", slow)
        monkeypatch.setattr(Runtime, "at_hand", False)  # what may take long is with a worker, never in the event loop
        assert problem(served.client.post("/v1/recommend", json={}), "deadline_exceeded")
        assert len(begun) == 1
        taken = served.client.post("/v1/events", json={"events": [{"user_id": "u1", "item_id": "i1"}]})
        assert taken.status_code == 202  # what changes something is finished
        done.set()


def test_a_deadline_that_is_too_short_gives_a_lesser_list(open_house: Served) -> None:
    seconds = []
    ask = open_house.runtime.recommend
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            open_house.runtime,
            "recommend",
            lambda *given, **more: seconds.append(more["seconds"]) or ask(*given, **{**more, "seconds": 0.0}),
        )
        hurried = open_house.recommend(user_id="u3", n=5, deadline_ms=700)
        patient = open_house.client.post("/v1/recommend:batch", json={"requests": [{"deadline_ms": 900}, {}]})
    assert seconds[0] < 0.7  # what it waited for a worker is over already
    assert seconds[1] < 0.9
    assert seconds[2] - seconds[1] == pytest.approx(0.1)  # the server's own deadline: one second
    assert len(hurried["items"]) == 5
    assert hurried["degradation"]["level"] != "none"
    assert [each["status"] for each in patient.json()["results"]] == [200, 200]


def raw(url: httpx.URL, sent: bytes) -> bytes:
    """The answer to some bytes, until the server closes."""
    with socket.create_connection((url.host, url.port or 0), timeout=20) as line:
        line.sendall(sent)
        answer = b""
        while part := line.recv(65_536):
            answer += part
        return answer


def test_heads_that_never_end_are_cut(open_house: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    url = httpx.URL(open_house.client.base_url)
    begin = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.1)
    assert raw(url, b"") == b""
    assert raw(url, begin) == b""
    assert raw(url, begin + b"X: y\r\n") == b""
    monkeypatch.setattr(connection, "HEAD_SECONDS", 60)
    with suppress(ConnectionError):  # closed before everything was sent
        assert raw(url, begin + b"X: " + b"y" * (connection.HEAD_BYTES + 10)) == b""
    assert raw(url, begin + b"X: " + b"y" * 30_000 + b"\r\nConnection: close\r\n\r\n").startswith(b"HTTP/1.1 200")
    assert open_house.client.get("/livez").status_code == 200


def test_a_client_that_takes_no_more_of_its_answers_is_left(
    open_house: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SEND_SECONDS", 0.1)
    url, asked = httpx.URL(open_house.client.base_url), 500
    one = len(open_house.client.get("/openapi.json").content)
    lost, left = connection.Connection.connection_lost, threading.Event()

    def noticed(self: connection.Connection, error: Exception | None) -> None:
        lost(self, error)
        left.set()

    monkeypatch.setattr(connection.Connection, "connection_lost", noticed)
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect((url.host, url.port))
        lazy.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * asked)
        assert left.wait(20)
        taken = 0
        with suppress(ConnectionError):
            while part := lazy.recv(1 << 20):
                taken += len(part)
    assert 0 < taken < one * asked
    assert open_house.client.get("/livez").status_code == 200


def test_a_body_that_never_arrives_is_given_up(open_house: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "BODY_SECONDS", 0.1)
    head = b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
    answer = raw(httpx.URL(open_house.client.base_url), head + b"Connection: close\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"malformed_body" in answer


def test_when_the_house_is_full_others_are_turned_away_at_once(
    open_house: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "WAITING", 0)
    answer = open_house.client.post("/v1/recommend", json={})
    assert problem(answer, "overloaded")
    assert answer.headers["retry-after"] == "1"
    assert open_house.client.get("/livez").status_code == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"\r\n\r\n\r\n",
        bytes(range(256)),
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /v1/items/%ff%fe HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\nConnection: close\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\nConnection: close\r\n\r\n",
        b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ],
    ids=range(12),
)
def test_what_is_no_request_harms_nobody(open_house: Served, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    answer = raw(httpx.URL(open_house.client.base_url), sent)
    assert not answer.startswith(b"HTTP/1.1 5")
    assert open_house.client.get("/livez").status_code == 200


def test_ids_hold_every_printable_letter(open_house: Served) -> None:
    id = string.printable.strip()
    path = "/v1/items/" + "".join(f"%{byte:02X}" for byte in id.encode())
    assert open_house.client.put(path, json={"fields": {}}).status_code == 201
    assert open_house.client.get(path).json()["id"] == id
