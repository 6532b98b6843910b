"""Scenarios edited while serving: shown, tried, served at once, kept over restarts and swaps, taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import pytest

from shortlist.config import Settings
from tests.end_to_end.test_http import Served, problem, serving

FILTERS = {"seen": {"use": "filters.seen:Seen"}, "available": {"use": "filters.available:Available"}}
EASE = {"use": "models.ease:Ease"}
POPULAR = {"use": "recall.popular:Popular"}
FRESH = {"use": "recall.fresh:Fresh"}
TABLE: dict[str, Any] = {"limit": 5, "sources": {"popular": POPULAR}, "filters": FILTERS, "fallback": POPULAR}


@pytest.fixture
def served(installation: Settings) -> Iterator[Served]:
    with serving(installation) as served:
        yield served


def put(served: Served, name: str, table: dict[str, Any], status: int = 200) -> dict[str, Any]:
    answer = served.client.put(f"/v1/scenarios/{name}", json={"table": table})
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    assert found["etag"] == answer.headers["etag"]
    return found


def test_what_is_configured_is_shown(served: Served) -> None:
    listed = served.client.get("/v1/scenarios").json()["scenarios"]
    assert [(each["name"], each["version"], each["edited"]) for each in listed] == [
        ("home", 0, False),
        ("similar", 0, False),
    ]
    one = served.client.get("/v1/scenarios/home")
    assert one.json() == listed[0]
    assert one.headers["etag"] == listed[0]["etag"]
    assert listed[0]["table"]["sources"]["ease"] == {**EASE, "k": 40}
    problem(served.client.get("/v1/scenarios/homme"), "not_found")


def test_an_edit_is_served_at_once_and_undone_at_once(served: Served) -> None:
    before = served.ids(user_id="u3", seed=1)
    edited = put(served, "home", TABLE)
    assert (edited["version"], edited["edited"], edited["table"]) == (1, True, TABLE)
    after = served.recommend(user_id="u3", seed=1)["items"]
    assert len(after) == 5
    assert {source for item in after for source in item["sources"]} == {"popular"}
    assert served.client.delete("/v1/scenarios/home").status_code == 204
    assert served.ids(user_id="u3", seed=1) == before
    problem(served.client.delete("/v1/scenarios/home"), "not_found")
    told = served.client.get("/v1/scenarios/home:history").json()["versions"]
    assert [(each["version"], each["table"]) for each in told] == [(2, None), (1, TABLE)]


def test_a_new_scenario_uses_what_the_release_holds(served: Served) -> None:
    table = {
        "limit": 7,
        "sources": {"ease": {**EASE, "k": 30}, "fresh": {**FRESH, "k": 3}},
        "filters": {**FILTERS, "films": {"use": "filters.attribute:Attribute", "where": "year >= 1990"}},
        "rerank": {
            "use": "rerank.chain:Chain",
            "steps": [{"use": "rerank.mmr:Mmr", "trade": 0.5}, {"use": "rerank.caps:Caps", "column": "genres"}],
        },
        "fallback": FRESH,
    }
    assert put(served, "mine", table, 201)["table"] == table
    items = served.recommend(user_id="u3", scenario="mine", fields=["year"])["items"]
    assert len(items) == 7
    assert all(item["fields"]["year"] >= 1990 for item in items)
    release = served.runtime.trained.pipelines["home"].sources["ease"].source
    assert served.runtime.release.pipelines["mine"].sources["ease"].source is release
    assert "mine" in served.client.get("/v1/info").json()["scenarios"]


def test_a_preview_serves_nobody(served: Served) -> None:
    before = served.ids(user_id="u3", seed=1)
    body = {"table": TABLE, "request": {"user_id": "u3", "n": 4, "explain": "full", "filter": "year >= 1990"}}
    shown = served.client.post("/v1/scenarios/home:preview", json=body)
    assert shown.status_code == 200, shown.text
    assert len(shown.json()["items"]) == 4
    assert {source for item in shown.json()["items"] for source in item["sources"]} <= {"popular", "fallback"}
    assert shown.json()["scenario"] == "home"
    assert served.client.post("/v1/scenarios/new:preview", json=body).status_code == 200
    assert served.ids(user_id="u3", seed=1) == before
    assert [each["name"] for each in served.client.get("/v1/scenarios").json()["scenarios"]] == ["home", "similar"]


@pytest.mark.parametrize(
    ("change", "pointer", "detail"),
    [
        ({"sources": {}}, "/table/sources", "0 sources"),
        ({"sorces": {}}, "/table", "sorces"),
        ({"limit": "ten"}, "/table/limit", "'ten'"),
        ({"limit": 0}, "/table/limit", "expected 1 to 200"),
        ({"sources": {"p": {**POPULAR, "k": 10**9}}}, "/table/sources/p/k", "expected 1 to 10000"),
        ({"sources": {"p": {**POPULAR, "k": 0}}}, "/table/sources/p/k", "at least 1"),
        ({"sources": {"m": {"model": "als"}}}, "/table/sources/m", "no model 'als'"),
        ({"sources": {"m": {"use": "models.als:Als"}}}, "/table/sources/m", "has to be trained"),
        ({"sources": {"p": {**POPULAR, "half_life": "3d"}}}, "/table/sources/p", "has to be trained"),
        ({"sources": {"o": {"use": "os:system"}}}, "/table/sources/o", "trusted module"),
        ({"sources": {"f": {"use": "filters.seen:Seen"}}}, "/table/sources/f", "is not a Source"),
        ({"filters": {"a": {"use": "filters.attribute:Attribute", "where": "year >"}}}, "", "expected"),
        ({"filters": {"a": {"use": "filters.attribute:Attribute", "where": "yaer > 1"}}}, "/table", "yaer"),
        ({"features": {"r": {"use": "features.recency:Recency"}}}, "/table/features/r", "has to be trained"),
        ({"rank": {"use": "rank.weighted:ZBlend"}}, "/table/rank", "has to be trained"),
        ({"rerank": {"use": "rerank.mmr:Mmr", "trade": 2.0}}, "", "between 0 and 1"),
        ({"rerank": {"use": "rerank.mmr:Mmr", "trad": 0.2}}, "/table/rerank", "trad"),
    ],
)
def test_a_table_that_cannot_be_served_is_refused_and_nothing_changes(
    served: Served, change: dict[str, Any], pointer: str, detail: str
) -> None:
    before = served.ids(user_id="u3", seed=1)
    body = {"table": {**TABLE, **change}}
    for answer in (
        served.client.put("/v1/scenarios/home", json=body),
        served.client.post("/v1/scenarios/home:preview", json=body),
    ):
        found = problem(answer, "invalid_argument")
        assert detail in found.detail
        assert len(found.errors) == 1
        assert found.errors[0].pointer.startswith(pointer)
    assert served.ids(user_id="u3", seed=1) == before
    assert not served.client.get("/v1/scenarios/home").json()["edited"]


@pytest.mark.parametrize("name", ["Home", "ho me", "1st", "x" * 65, "../x", "a:b"])
def test_names_are_plain(served: Served, name: str) -> None:
    path = name.replace("/", "%2F").replace(" ", "%20")
    problem(served.client.put(f"/v1/scenarios/{path}", json={"table": TABLE}), "invalid_argument")


def test_who_edits_an_older_version_is_told(served: Served) -> None:
    old = served.client.get("/v1/scenarios/home").headers["etag"]
    first = served.client.put("/v1/scenarios/home", json={"table": TABLE}, headers={"If-Match": old})
    assert first.status_code == 200
    body = {"table": {**TABLE, "limit": 6}}
    problem(served.client.put("/v1/scenarios/home", json=body, headers={"If-Match": old}), "version_mismatch")
    problem(served.client.delete("/v1/scenarios/home", headers={"If-Match": old}), "version_mismatch")
    problem(served.client.put("/v1/scenarios/home", json=body, headers={"If-None-Match": "*"}), "version_mismatch")
    assert served.client.get("/v1/scenarios/home").json()["table"] == TABLE


def test_edits_survive_a_restart_and_a_swap(installation: Settings, publish: Callable[..., str]) -> None:
    with serving(installation) as served:
        put(served, "home", TABLE)
        put(served, "mine", {**TABLE, "limit": 3}, 201)
    publish(installation, created="2026-02-02T00:00:00")
    with serving(installation) as served:
        assert served.runtime.release.version.startswith("2026-02-02")
        for name, limit in (("home", 5), ("mine", 3)):
            items = served.recommend(user_id="u3", scenario=name)["items"]
            assert len(items) == limit
            assert {source for item in items for source in item["sources"]} == {"popular"}
        again = served.runtime.trained.pipelines["home"].sources["popular"].source
        assert served.runtime.release.pipelines["mine"].sources["popular"].source is again


def test_an_edit_that_a_new_release_cannot_serve_is_told_and_stops_nobody(
    installation: Settings, publish: Callable[..., str]
) -> None:
    from dataclasses import replace

    with serving(installation) as served:
        put(served, "home", TABLE)
        put(served, "mine", TABLE, 201)
    poorer = {
        name: replace(table, sources={"ease": {**EASE, "k": 40}}, fallback=FRESH)
        for name, table in installation.pipelines.items()
        if name == "home"
    }
    changed = replace(installation, pipelines=poorer)
    publish(changed, created="2026-02-02T00:00:00")
    with serving(changed) as served:
        told = {each["name"]: each for each in served.client.get("/v1/scenarios").json()["scenarios"]}
        assert "has to be trained" in told["home"]["refused"]
        items = served.recommend(user_id="u3")["items"]
        assert {source for item in items for source in item["sources"]} <= {"ease", "fallback"}
        found = problem(
            served.client.post("/v1/recommend", json={"user_id": "u3", "scenario": "mine"}), "invalid_argument"
        )
        assert found.errors[0].pointer == "/scenario"


MIX = {
    "limit": 8,
    "sources": {"popular": {**POPULAR, "k": 20}, "explore": {"use": "recall.explore:Explore", "k": 40}},
    "rerank": {
        "use": "rerank.chain:Chain",
        "steps": [
            {"use": "rerank.mmr:Mmr", "trade": 0.0, "column": "genres"},
            {"use": "rerank.explore:ExploreSlots", "slots": 1},
        ],
    },
}


def test_a_request_turns_diversity_and_exploration(served: Served) -> None:
    put(served, "mix", MIX, 201)

    def tried(items: list[dict[str, Any]]) -> int:
        return sum(item["sources"] == ["explore"] for item in items)

    def alike(items: list[dict[str, Any]]) -> int:
        genres = [set(item["fields"]["genres"]) for item in items]
        return sum(bool(one & other) for one, other in combinations(genres, 2))

    def asked(**more: Any) -> list[dict[str, Any]]:
        body: dict[str, Any] = {"scenario": "mix", "seed": 5, "fields": ["genres"], **more}
        items: list[dict[str, Any]] = served.recommend(**body)["items"]
        assert len(items) == 8
        return items

    assert [tried(asked(exploration=slots)) for slots in (0, 1, 4)] == [0, 1, 4]
    assert tried(asked()) == 1
    assert asked(diversity=0) == asked()
    seeds = range(8)
    same, most = ([asked(diversity=trade, exploration=0, seed=seed) for seed in seeds] for trade in (0, 1))
    assert sum(map(alike, most)) < sum(map(alike, same))
    wishes: list[dict[str, Any]] = [{}, {"diversity": 1}, {"exploration": 3}, {"diversity": 0.3, "exploration": 0}]
    bodies = [{"scenario": "mix", "seed": 5, "fields": ["genres"], **wish} for wish in wishes]
    answers = served.client.post("/v1/recommend:batch", json={"requests": bodies}).json()["results"]
    assert [each["answer"]["items"] for each in answers] == [asked(**wish) for wish in wishes]


@pytest.mark.parametrize("wish", [{"diversity": 1.5}, {"diversity": -0.1}, {"exploration": -1}, {"exploration": 0.5}])
def test_wishes_have_limits(served: Served, wish: dict[str, Any]) -> None:
    found = problem(served.client.post("/v1/recommend", json=wish), "invalid_argument")
    assert found.errors[0].pointer == f"/{next(iter(wish))}"
