"""What travels over HTTP: strict requests, plain answers. One set of structs decodes, encodes and documents itself."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType

from shortlist.derived import kind_of
from shortlist.release import Release, age
from shortlist.rungs import Level
from shortlist.serve.problems import Problem, Refusal, pointer
from shortlist.types import Column

T = TypeVar("T")
ID_BYTES = 256
_CLEAN = re.compile("[^\x00-\x1f\x7f\ud800-\udfff]+").fullmatch
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
VALUE = 1e12  # of an event: a rating, seconds, a price; sums of squares of it stay finite as float32

Id: TypeAlias = Annotated[
    str | int,
    Meta(
        description="opaque text of 1 to 256 bytes, compared exactly; a whole number is taken as its decimal text",
        extra_json_schema={"minLength": 1, "maxLength": ID_BYTES},
    ),
]
Moment: TypeAlias = Annotated[datetime, Meta(tz=True, description="RFC 3339 with a zone")]
Number: TypeAlias = Annotated[float, Meta(ge=-VALUE, le=VALUE)]
Facts: TypeAlias = dict[Annotated[str, Meta(max_length=100)], Annotated[str, Meta(max_length=256)]]
Field: TypeAlias = str | float | bool | list[str]


# requests


class SessionEvent(Struct, forbid_unknown_fields=True):
    """Something that happened in this session and is not stored: it counts for this answer only."""

    item_id: Id
    type: Annotated[str, Meta(description="a kind of event of this installation, such as click, rate, hide")] = "click"
    value: Number = 1.0
    time: Moment | None = None


class Question(Struct, forbid_unknown_fields=True):
    """Who asks, from where, for how many. Everything may be left out: then nobody in particular asks."""

    user_id: Id | None = None
    scenario: Annotated[str, Meta(description="name of a pipeline")] = "home"
    n: Annotated[int, Meta(ge=1, le=200, description="places; the pipeline's limit when left out")] | UnsetType = UNSET
    events: Annotated[list[SessionEvent], Meta(max_length=1000)] = []
    context: Annotated[
        list[Id], Meta(max_length=1000, description="items in view or in the cart: they speak, and are not proposed")
    ] = []
    exclude: Annotated[list[Id], Meta(max_length=10_000, description="items never to be proposed")] = []
    filter: Annotated[
        str, Meta(max_length=2000, description="condition on item columns: year >= 1990 and 'Drama' in genres")
    ] = ""
    facts: Annotated[
        Facts,
        Meta(max_length=20, description="of the moment, such as the place on a page: what features.request reads"),
    ] = {}
    seed: (
        Annotated[int, Meta(ge=0, le=2**63 - 1, description="chance; from the request id when left out")] | UnsetType
    ) = UNSET
    diversity: (
        Annotated[
            float,
            Meta(
                ge=0, le=1, description="0 the best, 1 the most different, where the scenario trades one for the other"
            ),
        ]
        | UnsetType
    ) = UNSET
    exploration: (
        Annotated[int, Meta(ge=0, le=200, description="places by lot; for scenarios that have an exploring source")]
        | UnsetType
    ) = UNSET


class RecommendRequest(Question):
    """A question, and how much is to be told about the answer."""

    explain: Annotated[
        Literal["none", "short", "full"], Meta(description="short: reasons; full: also source scores and every stage")
    ] = "short"
    fields: Annotated[list[str], Meta(max_length=100, description="item columns to send along")] = []
    deadline_ms: (
        Annotated[int, Meta(ge=1, le=60_000, description="milliseconds; what cannot be done by then is left out")]
        | UnsetType
    ) = UNSET


class BatchRequest(Struct, forbid_unknown_fields=True):
    """Many questions at once; each gets its own status."""

    requests: Annotated[list[RecommendRequest], Meta(min_length=1, max_length=500)]


class EventInput(Struct, forbid_unknown_fields=True):
    """What somebody did."""

    user_id: Id
    item_id: Id
    type: str = "click"
    value: Number = 1.0
    time: Annotated[Moment | None, Meta(description="now when left out")] = None
    event_id: Annotated[
        Id | None, Meta(description="events with the same id have one effect; derived when left out")
    ] = None
    request_id: Annotated[str, Meta(max_length=128, description="of the answer that led to it")] = ""
    facts: Annotated[
        Facts,
        Meta(max_length=20, description="of the moment, such as the place on a page; see [events] context"),
    ] = {}


class EventsRequest(Struct, forbid_unknown_fields=True):
    events: Annotated[list[EventInput], Meta(min_length=1, max_length=1000)]


class SimilarQuery(Struct, forbid_unknown_fields=True):
    n: Annotated[int, Meta(ge=1, le=200)] | UnsetType = UNSET
    user_id: Annotated[str, Meta(description="leave out what this person has met")] = ""
    explain: Literal["none", "short", "full"] = "short"
    fields: Annotated[str, Meta(description="item columns to send along, separated by commas")] = ""


class PeopleQuery(Struct, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=200)] = 12


class HistoryQuery(Struct, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class PageQuery(Struct, forbid_unknown_fields=True):
    user: Annotated[str, Meta(description="who is shown first")] = ""


class Nothing(Struct, forbid_unknown_fields=True):
    """No query parameters."""


# answers


class Why(Struct, omit_defaults=True):
    """One reason: the source that proposed the item, and the item of the history that spoke for it; with `explain` =
    full also the feature that gave its score most, and what it says."""

    source: str
    text: str
    item_id: str | None = None
    item_title: str | None = None


class Item(Struct, omit_defaults=True):
    id: str
    rank: int
    score: float | None  # null: from the fallback, or without opinion
    sources: list[str]
    why: list[Why] | UnsetType = UNSET
    fields: dict[str, Field] | UnsetType = UNSET
    scores: dict[str, float] | UnsetType = UNSET


class Versions(Struct):
    release: str | None
    data_as_of: datetime | None
    model_age_s: Annotated[float | None, Meta(description="seconds since the release was made")] = None


class Degradation(Struct, omit_defaults=True):
    """How far the answer is from what was configured, and why: the rung of the ladder that it came from."""

    level: Level
    stages: list[str]
    reasons: list[str]
    short_by: int
    age_s: Annotated[float | None, Meta(description="of a list that is stale: seconds since it was made")] = None


class Stage(Struct):
    stage: str
    name: str
    ms: float
    rows_in: int
    rows_out: int
    error: str


class Recommendation(Struct, omit_defaults=True):
    """A list, best first."""

    request_id: str
    user_id: str | None
    scenario: str
    items: list[Item]
    versions: Versions
    degradation: Degradation
    timing_ms: float
    trace: list[Stage] | UnsetType = UNSET


class BatchResult(Struct, omit_defaults=True):
    status: int
    answer: Recommendation | UnsetType = UNSET
    problem: Problem | UnsetType = UNSET


class BatchAnswer(Struct):
    request_id: str
    results: list[BatchResult]


class EventResult(Struct, omit_defaults=True):
    """What became of one event: `held` waits until its item is known, `code` says why it was not simply accepted."""

    result: Literal["accepted", "duplicate", "held", "rejected"]
    event_id: str
    event_id_derived: bool = False
    code: str = ""
    message: str = ""


class EventsAnswer(Struct):
    """One result an event, in their order."""

    request_id: str
    results: list[EventResult]


class Person(Struct):
    id: str
    events: int
    last_event: datetime | None


class People(Struct):
    """Different people: from the one with the longest history to one with nearly none."""

    users: list[Person]


class Met(Struct):
    """One event of a history."""

    item_id: str
    title: str | None
    type: str
    value: float
    time: datetime


class History(Struct):
    """Newest first."""

    user_id: str
    events: list[Met]


class Alive(Struct):
    alive: bool


class Ready(Struct):
    ready: bool
    release: str | None
    reasons: list[str]


class Info(Struct):
    """What the page at / needs to know."""

    titles: str
    item_columns: list[str]
    scenarios: list[str]
    kinds: list[str]
    items: int
    users: int
    release: str | None


def decode(body: bytes, kind: type[T]) -> T:
    """`body` as `kind`, or a Refusal that points at what is wrong."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _invalid(error, kind) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal("malformed_body", f"the body is not one JSON document in UTF-8: {error}") from None


def parameters(given: Mapping[str, str], kind: type[T]) -> T:
    """Query parameters as `kind`."""
    try:
        asked = msgspec.convert(dict(given), kind, strict=False)
    except msgspec.ValidationError as error:
        raise _invalid(error, kind) from None
    for name, text in given.items():
        if isinstance(getattr(asked, name, None), datetime) and _is_number(text):  # seconds since 1970 to msgspec
            raise Refusal(
                "invalid_argument",
                f"{text!r} is a number, not a time",
                hint="write a time as RFC 3339 has it, with a zone, such as 2026-01-31T12:00:00Z",
                pointer=f"/{name}",
            )
    return asked


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def identifier(value: str | int, where: str) -> str:
    """An id as the text that the catalog knows."""
    text = value if isinstance(value, str) else str(value)
    if not _CLEAN(text) or (len(text) * 4 > ID_BYTES and len(text.encode()) > ID_BYTES):
        raise Refusal(
            "invalid_argument",
            f"an id is text of 1 to {ID_BYTES} bytes without control characters",
            hint="send the id exactly as it was loaded",
            pointer=where,
        )
    return text


def versions(serving: Release, now: int) -> Versions:
    """What answers, and how old it is at `now` (microseconds)."""
    as_of, seconds = serving.facts.get("last_event"), age(serving.facts, now)
    return Versions(
        serving.version or None,
        None if as_of is None else moment(as_of),
        None if seconds is None else round(seconds, 3),
    )


def moment(micros: int) -> datetime:
    """Microseconds since 1970 as a time in UTC."""
    return EPOCH + timedelta(microseconds=int(micros))


def micros(time: datetime) -> int:
    return (time - EPOCH) // timedelta(microseconds=1)


def finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def field(value: Any) -> Field | None:
    """A value of a catalog column as JSON; None when there is none."""
    if isinstance(value, str | tuple):
        return (value if isinstance(value, str) else list(value)) or None
    if isinstance(value, np.int8):  # a flag
        return bool(value) if value >= 0 else None
    if isinstance(value, np.int64):
        return moment(int(value)).isoformat().replace("+00:00", "Z") if value >= 0 else None
    return finite(value)


def fields(facts: Mapping[str, Any]) -> dict[str, Field]:
    """Facts as JSON, without those that have no value."""
    read = {name: field(value) for name, value in facts.items()}
    return {name: value for name, value in read.items() if value is not None}


def escaped(name: str) -> str:
    """A key as a part of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def column(value: Field | None, like: Column | None, where: str) -> Column:
    """One JSON value as a catalog column of length 1, of the type of the existing column `like`; None = no value."""
    expected = _guessed(value) if like is None else kind_of(like)
    out: Column
    match expected, value:
        case "flag", bool() | None:
            return np.array([-1 if value is None else value], np.int8)
        case "number", int() | float() | None if not isinstance(value, bool):
            return np.array([math.nan if value is None else float(value)], np.float64)
        case "time", str() | None:
            return np.array([-1 if value is None else _parsed(value, where)], np.int64)
        case "text", str() | None:
            out = np.empty(1, object)
            out[0] = value or ""
            return out
        case "list", list() | None:
            out = np.empty(1, object)
            out[0] = tuple(value or ())
            return out
    raise Refusal(
        "invalid_argument",
        f"this column holds a {expected}, not {value!r}",
        hint="send a value of that type, or use another column",
        pointer=where,
    )


def _guessed(value: Field | None) -> str:
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int | float):
        return "number"
    return "list" if isinstance(value, list) else "text"


def _parsed(value: str, where: str) -> int:
    try:
        return micros(msgspec.convert(value, Annotated[datetime, Meta(tz=True)]))
    except msgspec.ValidationError:
        raise Refusal("invalid_argument", "this column holds times in RFC 3339 with a zone", pointer=where) from None


LIKE = 100  # letters of a name for which a known one is looked for that is like it
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)


def _invalid(error: msgspec.ValidationError, kind: Any) -> Refusal:
    said, at, where = str(error).rpartition(" - at `")
    if not at:
        said, where = where, ""
    path = pointer(where.removesuffix("`"))
    unknown = _UNKNOWN.fullmatch(said)
    if unknown is None:
        return Refusal("invalid_argument", said, pointer=path)
    known = _fields_at(kind, path.split("/")[1:])
    near = difflib.get_close_matches(unknown["name"][:LIKE], known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(known) or 'no fields'}"
    return Refusal(
        "invalid_argument", f"unknown field {unknown['name']!r}", hint=hint, pointer=f"{path}/{unknown['name']}"
    )


def _fields_at(kind: Any, path: list[str]) -> list[str]:
    """Names of the fields of the struct that `path` leads to inside `kind`; none when it leads nowhere, as a name that
    was sent may look like the end of msgspec's message."""
    for part in path:
        inside = get_type_hints(kind).get(part) if isinstance(kind, type) and issubclass(kind, Struct) else None
        kind = inside or next(iter(get_args(kind)), None)
        while get_origin(kind) in (Union, UnionType):
            kind = get_args(kind)[0]
    return list(kind.__struct_encode_fields__) if isinstance(kind, type) and issubclass(kind, Struct) else []
