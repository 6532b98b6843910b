"""Who may ask what: every endpoint against every kind of key, and how often."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from shortlist import config
from shortlist.config import Settings
from shortlist.serve import wire
from shortlist.serve.access import BUCKETS, Access, Buckets, is_loopback
from shortlist.serve.endpoint import Call, Endpoint
from shortlist.serve.keys import SCOPES
from shortlist.serve.problems import Refusal
from shortlist.serve.routes import ENDPOINTS

NOW = datetime(2026, 1, 2, tzinfo=UTC)
MICROS = wire.micros(NOW)
DAY = timedelta(days=1)
PERSONAL = re.compile(r"(GET /v1/(users|people|events|requests)\b|POST /v1/explain|POST .*:preview).*")
"""Endpoints that tell what people did or who they are."""
NAMES = [f"{each.method} {each.path}" for each in ENDPOINTS]


def settings(home: Path, **serve: Any) -> Settings:
    return config.parse({"serve": {"keys": "required", **serve}}, home=home)


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access(settings(tmp_path), lambda: MICROS)


def bearer(secret: str) -> Headers:
    return Headers({"Authorization": f"Bearer {secret}"})


def outcome(access: Access, endpoint: Endpoint, headers: Headers) -> str:
    try:
        access.admit(endpoint, headers, "10.0.0.1")
    except Refusal as refused:
        return refused.code
    return "admitted"


@pytest.fixture
def secrets(access: Access) -> dict[str, str]:
    """One of each kind."""
    made = {scope: access.keys.create(scope, [scope], NOW)[0] for scope in SCOPES}
    made["people"] = access.keys.create("people", ["admin", "pii:read"], NOW)[0]
    made["own"] = access.keys.create("own", ["admin"], NOW, user="u1")[0]
    made["expired"] = access.keys.create("expired", ["admin", "pii:read"], NOW - DAY, expires=NOW)[0]
    made["revoked"] = access.keys.create("revoked", ["admin", "pii:read"], NOW)[0]
    access.keys.revoke("revoked", NOW)
    made["wrong"] = made["admin"][:-1] + ("A" if made["admin"][-1] != "A" else "B")
    return made


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=NAMES)
def test_every_endpoint_against_every_key(endpoint: Endpoint, access: Access, secrets: dict[str, str]) -> None:
    public = endpoint.scope == "public"
    assert outcome(access, endpoint, Headers({})) == ("admitted" if public else "unauthenticated")
    for kind in ("wrong", "expired", "revoked"):
        assert outcome(access, endpoint, bearer(secrets[kind])) == "unauthenticated", kind
    for kind in SCOPES:
        enough = public or (SCOPES.index(kind) >= SCOPES.index(endpoint.scope) and not endpoint.pii)
        assert outcome(access, endpoint, bearer(secrets[kind])) == ("admitted" if enough else "permission_denied"), kind
    assert outcome(access, endpoint, bearer(secrets["people"])) == "admitted"
    own = "admitted" if public or endpoint.about else "permission_denied"
    assert outcome(access, endpoint, bearer(secrets["own"])) == own


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=NAMES)
def test_what_people_did_needs_a_scope_of_its_own(endpoint: Endpoint) -> None:
    assert endpoint.pii == bool(PERSONAL.fullmatch(f"{endpoint.method} {endpoint.path}"))


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=NAMES)
def test_only_pages_and_health_are_public_and_reading_changes_nothing(endpoint: Endpoint) -> None:
    public = endpoint.path in ("/", "/docs", "/livez", "/readyz") or endpoint.path.startswith("/static/")
    assert (endpoint.scope == "public") == public
    if endpoint.method in ("PUT", "PATCH", "DELETE"):
        assert endpoint.scope in ("write", "admin")


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if each.about], ids=lambda e: f"{e.method} {e.path}")
def test_a_key_of_one_person_sees_nobody_else(endpoint: Endpoint, access: Access, secrets: dict[str, str]) -> None:
    assert endpoint.about
    own, people = access.keys.find(secrets["own"]), access.keys.find(secrets["people"])
    for who in ("u1", "u2"):
        given = {"user_id": who} if "user_id" in endpoint.query.__struct_fields__ else {}
        body = None if endpoint.body is None else msgspec.convert(_of(endpoint.example, who), endpoint.body)
        call = Call("r", who, wire.parameters(given, endpoint.query), body)
        for anyone in (None, people):
            access.permit(anyone, endpoint, call)
        if who == "u1" or not (given or "/users/" in endpoint.path or _of(endpoint.example, who) != endpoint.example):
            access.permit(own, endpoint, call)
        else:
            with pytest.raises(Refusal) as caught:
                access.permit(own, endpoint, call)
            assert (caught.value.code, caught.value.detail) == ("not_found", "there is no user 'u2'")


def _of(tree: Any, who: str) -> Any:
    """An example about `who`."""
    if isinstance(tree, dict):
        return {name: who if name == "user_id" else _of(each, who) for name, each in tree.items()}
    return [_of(each, who) for each in tree] if isinstance(tree, list) else tree


def test_without_a_key_everything_is_open_on_loopback_only(tmp_path: Path) -> None:
    for host, keys, required in (
        ("127.0.0.1", "optional", False),
        ("::1", "optional", False),
        ("127.0.0.1", "required", True),
        ("0.0.0.0", "optional", True),
        ("shop.example", "optional", True),
    ):
        access = Access(settings(tmp_path, host=host, keys=keys), lambda: MICROS)
        for endpoint in ENDPOINTS:
            shut = required and endpoint.scope != "public"
            assert outcome(access, endpoint, Headers({})) == ("unauthenticated" if shut else "admitted")


def test_a_wrong_key_is_never_nobody(tmp_path: Path, secrets: dict[str, str]) -> None:
    access = Access(settings(tmp_path, keys="optional"), lambda: MICROS)
    endpoint = next(each for each in ENDPOINTS if each.path == "/v1/recommend")
    good = secrets["read"]
    for given_header in ("", "Bearer", "Bearer ", f"Basic {good}", good, f"Bearer {good} {good}", "Bearer é"):
        assert outcome(access, endpoint, Headers({"Authorization": given_header})) == "unauthenticated", given_header
    twice = Headers(raw=[(b"authorization", f"Bearer {good}".encode())] * 2)
    assert outcome(access, endpoint, twice) == "unauthenticated"
    for given_header in (f"Bearer {good}", f"bearer  {good} "):
        assert outcome(access, endpoint, Headers({"Authorization": given_header})) == "admitted", given_header


def test_addresses_of_this_machine() -> None:
    for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1"):
        assert is_loopback(host)
    for host in ("", "0.0.0.0", "::", "10.0.0.1", "localhost.evil", "2130706433", "127.1"):
        assert not is_loopback(host)


# how often


def test_requests_of_one_key_are_counted(tmp_path: Path) -> None:
    now = [0.0]
    access = Access(settings(tmp_path, rate=2.0, burst=3), lambda: MICROS, Buckets(3, lambda: now[0]))
    endpoint = next(each for each in ENDPOINTS if each.path == "/v1/recommend")
    one, _ = access.keys.create("one", ["read"], NOW)
    slow, _ = access.keys.create("slow", ["read"], NOW, rate=0.1)
    free, _ = access.keys.create("free", ["read"], NOW, rate=0)
    assert [outcome(access, endpoint, bearer(one)) for _ in range(4)] == ["admitted"] * 3 + ["rate_limited"]
    assert [outcome(access, endpoint, bearer(slow)) for _ in range(3)] == ["admitted"] * 3
    assert {outcome(access, endpoint, bearer(free)) for _ in range(100)} == {"admitted"}
    with pytest.raises(Refusal) as caught:
        access.admit(endpoint, bearer(slow), "")
    assert caught.value.after == 10
    now[0] = 0.5
    assert [outcome(access, endpoint, bearer(one)) for _ in range(2)] == ["admitted", "rate_limited"]


@given(st.lists(st.floats(0, 5), min_size=1, max_size=60), st.integers(1, 5), st.floats(0.1, 5))
def test_nobody_gets_more_than_the_burst_and_the_rate(pauses: list[float], burst: int, rate: float) -> None:
    now = [0.0]
    buckets = Buckets(burst, lambda: now[0])
    admitted: list[float] = []
    for pause in pauses:
        now[0] += pause
        wait = buckets.take("a", rate)
        if not wait:
            admitted.append(now[0])
        else:
            assert 0 < wait <= 1 / rate + 1e-9
    for first, begin in enumerate(admitted):
        for last, end in enumerate(admitted[first:], 1):
            assert last <= burst + rate * (end - begin) + 1e-6


def test_who_waits_as_long_as_told_is_let_in() -> None:
    now = [0.0]
    buckets = Buckets(1, lambda: now[0])
    assert buckets.take("a", 4.0) == 0
    now[0] += buckets.take("a", 4.0) + 1e-9
    assert buckets.take("a", 4.0) == 0


def test_a_flood_of_addresses_costs_no_memory() -> None:
    now = [0.0]
    buckets = Buckets(2, lambda: now[0])
    for number in range(BUCKETS + 50):
        buckets.take(str(number), 1.0)
    assert len(buckets.levels) == BUCKETS
    buckets.take(str(BUCKETS + 49), 1.0)
    assert buckets.take(str(BUCKETS + 49), 1.0) > 0


def test_every_endpoint_says_what_a_key_must_allow() -> None:
    with pytest.raises(TypeError, match="scope"):
        Endpoint("GET", "/v1/new", "new", lambda service, call: (200, b""))  # type: ignore[call-arg]
    assert replace(ENDPOINTS[0], scope="admin").scope == "admin"
