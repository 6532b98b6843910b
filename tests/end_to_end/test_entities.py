"""Items and users over HTTP: versions, merge patches, batches, pages, and deletion that holds everywhere at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.responses import Response

from shortlist.config import Settings
from shortlist.runtime import Runtime
from shortlist.serve import entities
from shortlist.serve.cursors import Cursors
from shortlist.serve.entities import Guard, etag
from shortlist.serve.idempotency import PREFIX, Once
from shortlist.serve.problems import Refusal
from tests.end_to_end.test_http import Served, problem, serving


@pytest.fixture
def served(installation: Settings) -> Iterator[Served]:
    with serving(installation) as served:
        yield served


def put(served: Served, id: str, fields: dict[str, Any], **headers: str) -> httpx.Response:
    return served.client.put(f"/v1/items/{id}", json={"fields": fields}, headers=headers)


def patch(served: Served, id: str, fields: dict[str, Any], **headers: str) -> httpx.Response:
    return served.client.patch(f"/v1/items/{id}", json={"fields": fields}, headers=headers)


def facts(served: Served, id: str) -> dict[str, Any]:
    answer = served.client.get(f"/v1/items/{id}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == answer.json()["etag"]
    found: dict[str, Any] = answer.json()["fields"]
    return found


# versions


def test_every_answer_about_an_entity_names_its_version(served: Served) -> None:
    made = put(served, "new", {"title": "A", "year": 1999})
    assert (made.status_code, made.json()) == (201, {"id": "new", "created": True, "etag": made.headers["etag"]})
    read = served.client.get("/v1/items/new")
    assert read.headers["etag"] == made.headers["etag"]
    patched = patch(served, "new", {"year": 2000})
    assert patched.headers["etag"] not in ("", made.headers["etag"])
    assert put(served, "new", {"year": 1999, "title": "A"}).headers["etag"] == made.headers["etag"]  # the same facts


def test_conditions_guard_every_change(served: Served) -> None:
    old = put(served, "new", {"title": "A"}).headers["etag"]
    problem(put(served, "new", {"title": "B"}, **{"If-None-Match": "*"}), "version_mismatch")
    assert put(served, "new", {"title": "B"}, **{"If-Match": f'"other", {old}'}).status_code == 200
    for answer in (
        put(served, "new", {"title": "C"}, **{"If-Match": old}),
        patch(served, "new", {"title": "C"}, **{"If-Match": old}),
        served.client.delete("/v1/items/new", headers={"If-Match": old}),
        put(served, "never", {"title": "C"}, **{"If-Match": "*"}),
        put(served, "new", {"title": "C"}, **{"If-Match": "W/" + served.client.get("/v1/items/new").headers["etag"]}),
    ):
        problem(answer, "version_mismatch")
    assert facts(served, "new") == {"title": "B"}
    problem(served.client.get("/v1/items/never"), "not_found")
    problem(put(served, "new", {"title": "C"}, **{"If-Match": "nonsense"}), "invalid_argument")
    assert patch(served, "new", {"title": "D"}, **{"If-Match": "*"}).status_code == 200
    assert put(served, "first", {"title": "E"}, **{"If-None-Match": "*"}).status_code == 201


def test_what_is_known_is_not_sent_again(served: Served) -> None:
    first = served.client.get("/v1/items/i3")
    tag = first.headers["etag"]
    for known in (tag, f'"x", W/{tag}', "*"):
        again = served.client.get("/v1/items/i3", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert served.client.get("/v1/items/i3", headers={"If-None-Match": '"x"'}).json() == first.json()


def test_of_many_who_change_one_version_one_wins(served: Served) -> None:
    """A counter that many clients raise under If-Match counts every success once."""
    put(served, "counter", {"year": 0})
    gate = threading.Barrier(6)

    def raise_it(_: int) -> int:
        won = 0
        with httpx.Client(base_url=served.client.base_url, timeout=30) as client:
            gate.wait()
            for _ in range(10):
                read = client.get("/v1/items/counter")
                body = {"fields": {"year": read.json()["fields"]["year"] + 1}}
                answer = client.patch("/v1/items/counter", json=body, headers={"If-Match": read.headers["etag"]})
                if answer.status_code != 200:
                    problem(answer, "version_mismatch")
                else:
                    won += 1
        return won

    with ThreadPoolExecutor(6) as pool:
        won = sum(pool.map(raise_it, range(6)))
    assert won >= 1
    assert facts(served, "counter") == {"year": won}


def test_two_puts_do_not_mix(served: Served) -> None:
    wholes = [{"title": f"T{n}", "year": n, f"own{n}": n} for n in range(4)]

    def write(n: int) -> None:
        with httpx.Client(base_url=served.client.base_url, timeout=30) as client:
            for _ in range(8):
                assert client.put("/v1/items/one", json={"fields": wholes[n]}).status_code in (200, 201)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
        assert facts(served, "one") in wholes


# patches


def test_a_patch_merges(served: Served) -> None:
    before = facts(served, "i3")
    answer = served.client.patch(
        "/v1/items/i3",
        content=b'{"fields": {"year": 2001, "genres": null, "seats": 40, "never": null}}',
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert answer.status_code == 200, answer.text
    expected = {**before, "year": 2001.0, "seats": 40.0}
    del expected["genres"]
    assert facts(served, "i3") == expected
    assert patch(served, "i3", {}).headers["etag"] == answer.headers["etag"]
    problem(patch(served, "never", {"year": 1}), "not_found")
    found = problem(patch(served, "i3", {"year": "soon"}), "invalid_argument")
    assert found.errors[0].pointer == "/fields/year"
    assert facts(served, "i3") == expected


def test_a_merge_patch_is_no_put(served: Served) -> None:
    answer = served.client.put(
        "/v1/items/i3", content=b'{"fields": {}}', headers={"Content-Type": "application/merge-patch+json"}
    )
    problem(answer, "malformed_body")


# deletion


def test_a_deleted_item_is_on_no_list_from_the_next_answer_on(served: Served) -> None:
    runtime = served.runtime
    top = served.ids(user_id="u3", n=200)
    gone = top[:30]
    for id in gone:
        assert served.client.delete(f"/v1/items/{id}").status_code == 204
    for scenario in ("home", "similar"):
        for user in ("u3", "u7", "nobody"):
            ids = served.ids(user_id=user, n=200, scenario=scenario, context=["i1"])
            assert not set(gone) & set(ids)
    assert set(served.ids(user_id="u3", n=200)) == set(top) - set(gone)  # all rungs, down to the last
    for id in gone:
        problem(served.client.get(f"/v1/items/{id}"), "not_found")
        problem(served.client.get(f"/v1/items/{id}/similar"), "not_found")
        problem(served.client.delete(f"/v1/items/{id}"), "not_found")
    assert not set(gone) & {each["id"] for each in every(served, "items")}
    row = int(runtime.catalog.rows("item", gone[:1])[0])
    assert put(served, gone[0], {"title": "Back"}).status_code == 201
    assert int(runtime.catalog.rows("item", gone[:1])[0]) == row
    assert facts(served, gone[0]) == {"title": "Back"}
    assert gone[0] in served.ids(user_id="u3", n=200)


def test_a_deleted_item_is_on_no_list_without_filters_and_when_everything_fails(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    runtime = served.runtime
    first = served.ids(user_id="u3", n=50)  # remembered as the last good list
    bare = {name: replace(each, filters={}) for name, each in runtime.release.pipelines.items()}
    monkeypatch.setattr(runtime, "release", replace(runtime.release, pipelines=bare))
    assert served.client.delete(f"/v1/items/{first[0]}").status_code == 204
    assert first[0] not in served.ids(user_id="u3", n=200)

    class Broken:
        def recall(self, queries: Any, k: int) -> Any:
            raise OSError("no disk")

    broken = {
        name: replace(each, sources={key: replace(recall, source=Broken()) for key, recall in each.sources.items()})
        for name, each in bare.items()
    }
    monkeypatch.setattr(runtime, "release", replace(runtime.release, pipelines=broken))
    answer = served.recommend(user_id="u3", n=50)
    assert answer["degradation"]["level"] != "none"
    assert len(answer["items"]) == 50
    assert first[0] not in {item["id"] for item in answer["items"]}


def test_deletion_survives_a_restart_and_an_event_does_not_undo_it(installation: Settings) -> None:
    with serving(installation) as served:
        assert served.client.delete("/v1/items/i5").status_code == 204
        (result,) = served.tell({"user_id": "u3", "item_id": "i5"})
        assert result["result"] == "accepted"  # it happened all the same
        assert "i5" not in served.ids(user_id="nobody", n=200)
    with serving(installation) as served:
        problem(served.client.get("/v1/items/i5"), "not_found")
        assert "i5" not in served.ids(user_id="nobody", n=200)


def test_before_the_first_release_a_deleted_item_is_gone_too(untrained: Settings) -> None:
    with serving(untrained) as served:
        first = served.ids(n=5)
        assert served.client.delete(f"/v1/items/{first[0]}").status_code == 204
        assert first[0] not in served.ids(n=200)


def test_a_deleted_user_has_no_facts_and_keeps_their_history(served: Served) -> None:
    served.client.put("/v1/users/u3", json={"fields": {"age": 34}})
    before = served.client.get("/v1/users/u3/history").json()
    assert served.client.delete("/v1/users/u3").status_code == 204
    problem(served.client.get("/v1/users/u3"), "not_found")
    assert "u3" not in {each["id"] for each in every(served, "users")}
    assert served.client.get("/v1/users/u3/history").json() == before
    assert served.client.put("/v1/users/u3", json={"fields": {}}).status_code == 201
    assert served.client.get("/v1/users/u3").json()["fields"] == {}


# batches


def batch(served: Served, *changes: dict[str, Any], **headers: str) -> list[dict[str, Any]]:
    answer = served.client.post("/v1/items:batch", json={"changes": changes}, headers=headers)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def test_a_batch_is_its_changes_one_after_another(served: Served) -> None:
    old = served.client.get("/v1/items/i3").headers["etag"]
    results = batch(
        served,
        {"id": "a", "fields": {"title": "A", "year": 1}},
        {"id": "a", "op": "patch", "fields": {"year": None}},
        {"id": "b", "op": "patch", "fields": {"year": 1}},
        {"id": "i3", "op": "delete", "if_match": '"other"'},
        {"id": "i3", "op": "delete", "if_match": old},
        {"id": "i3", "op": "delete"},
        {"id": "c", "fields": {"year": "soon"}},
        {"id": "x" * 300, "fields": {}},
        {"id": "d", "fields": {"brand~new/column": True}},
        {"id": "e", "fields": {"brand~new/column": "text"}},
        {"id": 7, "fields": {"title": "Seven"}},
        {"id": "i4", "op": "delete"},
        {"id": "i4", "fields": {"title": "Again"}},
    )
    told = [(each["status"], each.get("problem", {}).get("code")) for each in results]
    assert told == [
        (201, None),
        (200, None),
        (404, "not_found"),
        (412, "version_mismatch"),
        (204, None),
        (404, "not_found"),
        (422, "invalid_argument"),
        (422, "invalid_argument"),
        (201, None),
        (422, "invalid_argument"),
        (201, None),
        (204, None),
        (201, None),
    ]
    pointers = {at: each["problem"]["errors"][0]["pointer"] for at, each in enumerate(results) if each["status"] == 422}
    assert pointers == {6: "/changes/6/fields/year", 7: "/changes/7/id", 9: "/changes/9/fields/brand~0new~1column"}
    assert facts(served, "a") == {"title": "A"}
    assert results[1]["etag"] == served.client.get("/v1/items/a").headers["etag"]
    assert facts(served, "d") == {"brand~new/column": True}
    assert facts(served, "7") == {"title": "Seven"}
    assert facts(served, "i4") == {"title": "Again"}
    for id in ("b", "c", "e", "i3"):
        problem(served.client.get(f"/v1/items/{id}"), "not_found")


def test_a_thousand_items_in_one_batch_are_recommended_and_their_events_happen(served: Served) -> None:
    served.tell({"user_id": "u3", "item_id": "n7"})
    results = batch(served, *({"id": f"n{n}", "fields": {"title": f"N{n}", "year": n}} for n in range(1000)))
    assert [each["status"] for each in results] == [201] * 1000
    assert served.client.get("/v1/users/u3/history?limit=1").json()["events"][0]["item_id"] == "n7"
    assert len(served.ids(n=200, filter="year < 1000")) == 200
    too_many = [{"id": f"n{n}"} for n in range(1001)]
    problem(served.client.post("/v1/items:batch", json={"changes": too_many}), "invalid_argument")


# idempotency


def test_the_same_key_gets_the_same_answer_and_works_once(installation: Settings) -> None:
    body = {"changes": [{"id": "a", "fields": {"title": "A"}}]}
    headers = {"Idempotency-Key": "k1"}
    with serving(installation) as served:
        first = served.client.post("/v1/items:batch", json=body, headers=headers)
        assert first.json()["results"][0]["status"] == 201
        served.client.delete("/v1/items/a")
        again = served.client.post("/v1/items:batch", json=body, headers=headers)
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        problem(served.client.get("/v1/items/a"), "not_found")  # nothing was done
        other = {"changes": [{"id": "a", "fields": {"title": "B"}}]}
        problem(served.client.post("/v1/items:batch", json=other, headers=headers), "idempotency_mismatch")
        assert served.client.post("/v1/users:batch", json=body, headers=headers).json()["results"][0]["status"] == 201
        problem(
            served.client.post("/v1/items:batch", json=body, headers={"Idempotency-Key": "x" * 256}),
            "invalid_argument",
        )
        refused = {"Idempotency-Key": "k2"}
        problem(served.client.post("/v1/items:batch", json={"changes": []}, headers=refused), "invalid_argument")
        assert served.client.post("/v1/items:batch", json=other, headers=refused).status_code == 200
    with serving(installation) as served:  # a key outlives the process
        assert served.client.post("/v1/items:batch", json=body, headers=headers).content == first.content
    runtime = Runtime.open(installation)
    with runtime:
        assert runtime.meta is not None
        assert len(runtime.meta.items(PREFIX)) == 3
        day, real = 24 * 3600 * 1_000_000, runtime.clock
        runtime.clock = lambda: real() + day
        answer = Once(runtime).answer("k1", "anybody", b"", lambda: Response(b"{}"))
        assert answer.status_code == 200
        assert len(runtime.meta.items(PREFIX)) == 1  # what is older than a day was forgotten


def test_a_key_that_is_being_worked_on_is_a_conflict(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, finish = threading.Event(), threading.Event()
    change = entities.change

    def slow(*given: Any) -> Any:
        begun.set()
        assert finish.wait(20)
        return change(*given)

    monkeypatch.setattr(entities, "change", slow)
    body = {"changes": [{"id": "a", "fields": {"title": "A"}}]}

    def send() -> httpx.Response:
        return httpx.post(
            f"{served.client.base_url}/v1/items:batch", json=body, headers={"Idempotency-Key": "k"}, timeout=30
        )

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(send)
        assert begun.wait(20)
        problem(send(), "conflict")
        finish.set()
        assert first.result().status_code == 200
    assert send().content == first.result().content


# pages


def every(served: Served, what: str, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        answer = served.client.get(f"/v1/{what}", params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["entities"]) <= query.get("page_size", 100)
        found += page["entities"]
        if "next_cursor" not in page:
            return found
        query["cursor"] = page["next_cursor"]


def test_pages_hold_everything_once_in_order_of_arrival(served: Served) -> None:
    whole = every(served, "items", page_size=1000)
    assert [each["id"] for each in whole] == [f"i{row}" for row in range(served.runtime.catalog.size("item"))]
    for size in (1, 7, 89, 90, 91):
        assert every(served, "items", page_size=size) == whole
    assert whole[3] == served.client.get("/v1/items/i3").json()
    assert len(every(served, "users")) == served.runtime.catalog.size("user")


def test_the_last_page_has_no_cursor(served: Served) -> None:
    count = served.runtime.catalog.size("item")
    for size, pages in ((count, 1), (count - 1, 2), (count // 2, 2)):
        first = served.client.get("/v1/items", params={"page_size": size}).json()
        assert ("next_cursor" in first) == (pages > 1)
    drama = [each for each in every(served, "items", page_size=1000) if "Drama" in each["fields"].get("genres", [])]
    assert drama
    page = served.client.get("/v1/items", params={"page_size": len(drama), "filter": "'Drama' in genres"}).json()
    assert page == {"entities": drama}  # nothing that fits is left, though other rows are


def test_what_is_put_or_deleted_between_pages_neither_shifts_nor_repeats(served: Served) -> None:
    first = served.client.get("/v1/items", params={"page_size": 10}).json()
    for id in ("i2", "i9", "i12"):
        served.client.delete(f"/v1/items/{id}")
    put(served, "late", {"title": "Late"})
    rest = every(served, "items", page_size=10, cursor=first["next_cursor"])
    size = served.runtime.catalog.size("item") - 1
    assert [each["id"] for each in rest] == [f"i{row}" for row in range(10, size) if row != 12] + ["late"]


def test_conditions_narrow_the_pages(served: Served) -> None:
    whole = every(served, "items", page_size=1000)
    for condition, fits in (
        ("year >= 1990", lambda fields: fields.get("year", 0) >= 1990),
        ("'Drama' in genres", lambda fields: "Drama" in fields.get("genres", [])),
    ):
        expected = [each for each in whole if fits(each["fields"])]
        assert every(served, "items", page_size=3, filter=condition) == expected != []
    found = problem(served.client.get("/v1/items", params={"filter": "yaer > 1"}), "invalid_argument")
    assert found.errors[0].pointer == "/filter"
    assert "did you mean" in found.detail
    assert problem(served.client.get("/v1/users", params={"filter": "age >"}), "invalid_argument")


def test_a_page_that_looked_long_enough_is_short_and_goes_on(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = every(served, "items", filter="year >= 1990")
    monkeypatch.setattr(entities, "CHUNK", 7)
    monkeypatch.setattr(entities, "LOOKED_AT", 20)
    first = served.client.get("/v1/items", params={"filter": "year >= 1990"}).json()
    assert len(first["entities"]) < len(expected)
    assert every(served, "items", filter="year >= 1990") == expected


def test_cursors_are_good_for_their_listing_only(installation: Settings) -> None:
    with serving(installation) as served:
        cursor = served.client.get("/v1/items?page_size=2&filter=year>0").json()["next_cursor"]
    with serving(installation) as served:  # and for the next process too
        assert served.client.get(f"/v1/items?page_size=5&filter=year>0&cursor={cursor}").status_code == 200
        for path in (f"items?cursor={cursor}", f"users?filter=year>0&cursor={cursor}", "items?cursor=AAAA"):
            found = problem(served.client.get(f"/v1/{path}"), "invalid_argument")
            assert found.errors[0].pointer == "/cursor"
    for size in (0, 1001, "x"):
        with serving(installation) as served:
            problem(served.client.get(f"/v1/items?page_size={size}"), "invalid_argument")


@given(st.text(max_size=40), st.one_of(st.integers(), st.lists(st.text(max_size=5))), st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_cursor_that_was_changed_is_refused(listing: str, place: Any, data: st.DataObject) -> None:
    cursors = Cursors(b"k" * 32)
    cursor = cursors.write(listing, place)
    assert cursors.read(listing, cursor) == place
    at = data.draw(st.integers(0, len(cursor)))
    letter = data.draw(st.sampled_from("Aa0-_é= "))
    changed = data.draw(st.sampled_from([cursor[:at] + letter + cursor[at + 1 :], cursor[:at], letter + cursor]))
    try:
        same = cursors.read(listing, changed) == place
    except Refusal:
        return
    assert same or changed == cursor  # the last letter may carry bits that mean nothing
    with pytest.raises(Refusal):
        Cursors(b"l" * 32).read(listing, cursor)


def test_the_version_is_that_of_the_facts() -> None:
    assert etag({"a": 1.0, "b": ["x"]}) == etag({"b": ["x"], "a": 1.0})
    assert len({etag(each) for each in ({}, {"a": 1.0}, {"a": "1"}, {"a": True}, {"a": ["1"]}, {"b": 1.0})}) == 6
    Guard().check(None, "it")
    Guard(none_match='"x"').check('"y"', "it")
    with pytest.raises(Refusal, match="not there"):
        Guard(match="*").check(None, "it")
