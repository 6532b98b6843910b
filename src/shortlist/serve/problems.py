"""The error model of the HTTP door: RFC 9457 problem details with stable codes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, Struct, UnsetType

from shortlist.errors import ShortlistError
from shortlist.pipeline import FilterFailed


@dataclass(frozen=True, slots=True)
class Code:
    """What a code of the error model means everywhere."""

    status: int
    title: str
    retryable: bool
    hint: str  # the remedy when the error itself names none


CODES: Mapping[str, Code] = {
    "invalid_argument": Code(422, "A value is not allowed", False, "correct the field that `errors` points at"),
    "malformed_body": Code(
        400, "The request cannot be read", False, "send one JSON document, UTF-8, Content-Type: application/json"
    ),
    "unauthenticated": Code(
        401,
        "A key is needed",
        False,
        "send Authorization: Bearer KEY; make one with: shortlist keys create --name NAME",
    ),
    "permission_denied": Code(403, "Not allowed", False, "use a key with the scope that is named"),
    "not_found": Code(404, "No such thing", False, "look at /docs for the addresses, at /v1/people for people"),
    "method_not_allowed": Code(405, "Not this method", False, "use one of the methods of the header Allow, see /docs"),
    "conflict": Code(409, "Somebody else holds it", True, "try again when the other process has finished"),
    "version_mismatch": Code(412, "It has changed meanwhile", False, "read it again and send its new ETag in If-Match"),
    "idempotency_mismatch": Code(
        422, "The key belongs to another request", False, "give every new request an Idempotency-Key of its own"
    ),
    "gate_failed": Code(409, "The release was refused", False, "train again, or publish another release"),
    "too_large": Code(413, "The body is too large", False, "send it in smaller parts"),
    "rate_limited": Code(429, "Too many requests of one key", True, "wait for the time in the header Retry-After"),
    "internal": Code(
        500, "An unexpected failure", False, "report it with the request id; the log of the server holds more"
    ),
    "dependency_unavailable": Code(503, "A part that is needed does not answer", True, "try again in a moment"),
    "overloaded": Code(503, "Too many requests at once", True, "try again after the time in the header Retry-After"),
    "deadline_exceeded": Code(504, "No answer in time", True, "try again, or allow more time with deadline_ms"),
    "storage_full": Code(507, "No space left", True, "free space on the disk of the server and send it again"),
}


class Fault(Struct):
    """One thing that is wrong, and where (`pointer` is a JSON pointer into the body, or names a query parameter)."""

    pointer: str
    code: str
    message: str


class Problem(Struct):
    """An error: `code` is stable, `detail` is for people, `hint` is what to do, `attached` is evidence as data."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[Fault]
    retryable: bool
    hint: str
    attached: dict[str, Any] | UnsetType = UNSET


LONGEST = 500  # letters of a text in a problem; what was sent may be longer and is part of some


class Refusal(Exception):
    """Ends a request with a problem of `code`. `attached` is evidence as data, such as the table of a gate; `after` is
    how many seconds a client should wait before it tries again, where that helps."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        hint: str = "",
        pointer: str | None = None,
        attached: dict[str, Any] | UnsetType = UNSET,
        after: int = 1,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint or CODES[code].hint
        self.attached = attached
        self.after = after
        self.errors: Sequence[Fault] = () if pointer is None else (Fault(_cut(pointer), code, _cut(detail)),)

    @property
    def status(self) -> int:
        return CODES[self.code].status

    def problem(self, instance: str, request_id: str) -> Problem:
        code = CODES[self.code]
        return Problem(
            f"/docs#{self.code}",
            code.title,
            code.status,
            _cut(self.detail),
            _cut(instance),
            self.code,
            request_id,
            list(self.errors),
            code.retryable,
            _cut(self.hint),
            self.attached,
        )


def refusal(error: Exception) -> Refusal:
    """The refusal that `error` amounts to. What nobody expected is `internal`, without a word of its insides."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, FilterFailed):
        return Refusal("dependency_unavailable", f"{error}; a list without this filter would break a promise")
    if isinstance(error, ShortlistError) and error.code in CODES and error.code != "internal":
        return Refusal(error.code, str(error), hint=error.hint)
    return Refusal("internal", "the server failed to answer; nothing is known to be wrong with the request")


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def pointer(path: str) -> str:
    """A JSON pointer from msgspec's path: `$.requests[0].user_id` -> `/requests/0/user_id`. It stops at a
    mapping, whose keys msgspec does not name."""
    return "".join(f"/{part}" for part in re.findall(r"[^.\[\]$]+", path.partition("[...]")[0]))
