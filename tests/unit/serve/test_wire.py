"""Strict at the edge: what is refused, where it points, what it advises; what is taken comes out as it went in."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.serve import wire
from shortlist.serve.entities import PutRequest
from shortlist.serve.problems import CODES, Refusal, pointer, refusal
from shortlist.serve.wire import BatchRequest, EventsRequest, RecommendRequest, SimilarQuery

EVENT = b'{"events": [{"user_id": "u", "item_id": "i", %s}]}'

REFUSED: list[tuple[bytes, Any, str, str, str]] = [
    (b"", RecommendRequest, "malformed_body", "", "not one JSON document"),
    (b"{", RecommendRequest, "malformed_body", "", "not one JSON document"),
    (b"{} {}", RecommendRequest, "malformed_body", "", "trailing"),
    (b'{"user_id": "\xff"}', RecommendRequest, "malformed_body", "", "not one JSON document"),
    (b'{"user_id": "\\ud800 alone"}', RecommendRequest, "malformed_body", "", "not one JSON document"),
    (b"[" * 100_000, RecommendRequest, "invalid_argument", "", "Expected `object`, got `array`"),
    (b'{"x":' * 100_000, RecommendRequest, "invalid_argument", "/x", "unknown field 'x'"),
    (b"null", RecommendRequest, "invalid_argument", "", "Expected `object`, got `null`"),
    (b'{"user": "u"}', RecommendRequest, "invalid_argument", "/user", "unknown field 'user'"),
    (b'{"user_id": 1.0}', RecommendRequest, "invalid_argument", "/user_id", "got `float`"),
    (b'{"user_id": true}', RecommendRequest, "invalid_argument", "/user_id", "got `bool`"),
    (b'{"n": 0}', RecommendRequest, "invalid_argument", "/n", ">= 1"),
    (b'{"n": 201}', RecommendRequest, "invalid_argument", "/n", "<= 200"),
    (b'{"n": "5"}', RecommendRequest, "invalid_argument", "/n", "got `str`"),
    (b'{"n": 1e1}', RecommendRequest, "invalid_argument", "/n", "got `float`"),
    (b'{"seed": -1}', RecommendRequest, "invalid_argument", "/seed", ">= 0"),
    (b'{"explain": "long"}', RecommendRequest, "invalid_argument", "/explain", "'long'"),
    (b'{"context": [null]}', RecommendRequest, "invalid_argument", "/context/0", "got `null`"),
    (b'{"events": [{"item_id": "i", "valu": 1}]}', RecommendRequest, "invalid_argument", "/events/0/valu", "'valu'"),
    (b'{"requests": []}', BatchRequest, "invalid_argument", "/requests", "length >= 1"),
    (b'{"requests": [{}, {"nn": 1}]}', BatchRequest, "invalid_argument", "/requests/1/nn", "unknown field 'nn'"),
    (b'{"events": []}', EventsRequest, "invalid_argument", "/events", "length >= 1"),
    (b'{"events": [{"user_id": "u"}]}', EventsRequest, "invalid_argument", "/events/0", "item_id"),
    (EVENT % b'"value": NaN', EventsRequest, "malformed_body", "", "invalid character"),
    (EVENT % b'"value": Infinity', EventsRequest, "malformed_body", "", "invalid character"),
    (EVENT % b'"value": 1e999', EventsRequest, "invalid_argument", "/events/0/value", "out of range"),
    (EVENT % b'"value": 1e39', EventsRequest, "invalid_argument", "/events/0/value", "<= 1000000000000.0"),
    (EVENT % b'"value": true', EventsRequest, "invalid_argument", "/events/0/value", "got `bool`"),
    (EVENT % b'"time": "2026-01-01T00:00:00"', EventsRequest, "invalid_argument", "/events/0/time", "timezone"),
    (EVENT % b'"time": 1700000000', EventsRequest, "invalid_argument", "/events/0/time", "got `int`"),
    (b'{"fields": {"a": {}}}', PutRequest, "invalid_argument", "/fields", "got `object`"),
    (b'{"fields": {"a": [1]}}', PutRequest, "invalid_argument", "/fields", "got `int`"),
    (b'{"title": "x"}', PutRequest, "invalid_argument", "/title", "unknown field 'title'"),
]


@pytest.mark.parametrize(
    ("body", "kind", "code", "where", "said"), REFUSED, ids=[f"{body[:40]!r}" for body, *_ in REFUSED]
)
def test_what_is_not_allowed_is_refused_and_pointed_at(
    body: bytes, kind: Any, code: str, where: str, said: str
) -> None:
    with pytest.raises(Refusal) as caught:
        wire.decode(body, kind)
    refused = caught.value
    assert refused.code == code
    assert said in refused.detail
    assert refused.hint
    assert [fault.pointer for fault in refused.errors] == ([where] if code == "invalid_argument" else [])


@pytest.mark.parametrize(
    ("body", "kind", "hint"),
    [
        (b'{"user": "u"}', RecommendRequest, "did you mean 'user_id'?"),
        (b'{"events": [{"itemid": "u"}]}', EventsRequest, "did you mean 'item_id'?"),
        (b'{"requests": [{"events": [{"kind": "u"}]}]}', BatchRequest, "it has: item_id, type, value, time"),
    ],
)
def test_an_unknown_field_is_answered_with_the_nearest(body: bytes, kind: Any, hint: str) -> None:
    with pytest.raises(Refusal) as caught:
        wire.decode(body, kind)
    assert caught.value.hint == hint


def test_query_parameters_are_as_strict() -> None:
    assert wire.parameters({"n": "5"}, SimilarQuery).n == 5
    for asked, where in (({"n": "five"}, "/n"), ({"n": "0"}, "/n"), ({"m": "5"}, "/m"), ({"explain": "x"}, "/explain")):
        with pytest.raises(Refusal) as caught:
            wire.parameters(asked, SimilarQuery)
        assert [fault.pointer for fault in caught.value.errors] == [where]


def test_pointers() -> None:
    assert pointer("$") == ""
    assert pointer("$.requests[12].user_id") == "/requests/12/user_id"
    assert pointer("$.fields[...][0]") == "/fields"


# ids


@pytest.mark.parametrize("id", ["1", "01", "1.0", " x", "ü", "😀", "../x", "a:b", "a/b", "-1", "0", "x" * 256, "NULL"])
def test_ids_are_taken_exactly_as_they_are(id: str) -> None:
    assert wire.identifier(id, "/user_id") == id


def test_whole_numbers_are_their_decimal_text() -> None:
    body = wire.decode(b'{"user_id": 123456789012345678901234567890}', RecommendRequest)
    assert wire.identifier(body.user_id or "", "") == "123456789012345678901234567890"
    assert wire.identifier(-7, "") == "-7"


@pytest.mark.parametrize("id", ["", "x" * 257, "ü" * 129, "a\nb", "a\x00", "\x7f"])
def test_what_is_no_id_is_refused(id: str) -> None:
    with pytest.raises(Refusal, match="1 to 256 bytes") as caught:
        wire.identifier(id, "/user_id")
    assert [fault.pointer for fault in caught.value.errors] == ["/user_id"]


# values


@given(st.integers(0, 4_000_000_000_000_000))
def test_times_survive(micros: int) -> None:
    assert wire.micros(wire.moment(micros)) == micros


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))])))
def test_zones_do_not_move_a_moment(time: datetime) -> None:
    assert wire.micros(time) == (time - wire.EPOCH) // timedelta(microseconds=1)


values = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.lists(st.text(st.characters(codec="utf-8")), min_size=1),
)


@given(values)
def test_a_fact_comes_out_of_a_column_as_it_went_in(value: Any) -> None:
    body = msgspec.json.encode({"fields": {"x": value}})
    (column,) = [wire.column(each, None, "/fields/x") for each in wire.decode(body, PutRequest).fields.values()]
    assert len(column) == 1
    assert wire.field(column[0]) == value


def test_columns_keep_the_type_they_have() -> None:
    time = np.array([-1], np.int64)
    (written,) = wire.column("2026-01-02T03:04:05+02:00", time, "/fields/added")
    assert wire.field(written) == "2026-01-02T01:04:05Z"
    assert wire.column(None, time, "").tolist() == [-1]
    assert math.isnan(wire.column(None, np.array([1.0]), "")[0])
    assert wire.column(None, np.array([("a",)], object)[:, 0], "").tolist() == [""]
    lists = np.empty(1, object)
    lists[0] = ()
    assert wire.column(None, lists, "").tolist() == [()]
    for value, like in (("x", np.array([1.0])), (1.0, np.array([True])), (True, np.array([1.0])), ("x", lists)):
        with pytest.raises(Refusal, match="this column holds a"):
            wire.column(value, like, "/fields/x")
    with pytest.raises(Refusal, match="RFC 3339"):
        wire.column("yesterday", time, "/fields/x")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", None),
        ((), None),
        (("a", "b"), ["a", "b"]),
        (np.float64("nan"), None),
        (np.float64(2), 2.0),
        (np.int64(-1), None),
        (np.int64(0), "1970-01-01T00:00:00Z"),
        (np.bool_(False), False),
        (True, True),
    ],
)
def test_no_value_is_shown_as_none(value: Any, shown: Any) -> None:
    assert wire.field(value) == shown


# problems


def test_every_code_has_a_remedy_and_an_error_status() -> None:
    for name, code in CODES.items():
        assert code.hint, name
        assert 400 <= code.status < 600, name
        problem = Refusal(name, "what happened").problem("/v1/x", "r1")
        assert (problem.status, problem.code, problem.type) == (code.status, name, f"/docs#{name}")


def test_what_nobody_expected_tells_nothing_of_the_insides() -> None:
    refused = refusal(ZeroDivisionError("secret"))
    assert refused.code == "internal"
    assert "secret" not in refused.detail + refused.hint


@pytest.mark.parametrize(
    "name", ["x` - at `$.zzz", " - at `$.user_id", "x` - at `$.events[0].y", "`", "$", "x` - at `$[...]"]
)
def test_a_name_that_looks_like_a_message_is_a_name(name: str) -> None:
    with pytest.raises(Refusal) as caught:
        wire.decode(json.dumps({name: 1}).encode(), wire.RecommendRequest)
    assert caught.value.code == "invalid_argument"
    with pytest.raises(Refusal) as caught:
        wire.decode(json.dumps({"events": [{"item_id": "i", name: 1}]}).encode(), wire.RecommendRequest)
    assert caught.value.code == "invalid_argument"


def test_a_long_name_is_refused_without_looking_for_one_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = []
    monkeypatch.setattr(wire.difflib, "get_close_matches", lambda name, known, size: looked.append(name) or [])
    with pytest.raises(Refusal):
        wire.decode(json.dumps({"x" * 900_000: 1}).encode(), wire.RecommendRequest)
    assert len(looked[0]) == wire.LIKE
