"""A request that starts work is worked on once: who sends it again under the same key gets the first answer."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable

import msgspec
from msgspec import Struct
from starlette.responses import Response

from shortlist.runtime import Runtime
from shortlist.serve.problems import Refusal

KEPT = 24 * 3600 * 1_000_000  # microseconds
PREFIX = "idempotency."
_KEY = re.compile(r"[\x21-\x7e]{1,255}")


class _Answer(Struct):
    at: int  # microseconds since 1970
    request: str  # SHA-256 of what was asked
    status: int
    headers: dict[str, str]
    body: bytes


class Once:
    """Answers by key, durable before they are sent, for 24 hours.

    Should the process die after the work and before its answer is kept, the work is done again: what starts work here
    has the same effect the second time.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.meta, self.clock = runtime.meta, runtime.clock
        self.running: set[str] = set()
        self.lock = threading.Lock()
        self.swept = 0  # when old answers were last forgotten

    def answer(self, key: str, who: str, request: bytes, work: Callable[[], Response]) -> Response:
        """The answer of `work`, or the one that was kept for `key` of `who` (a caller and what they call).

        Raises idempotency_mismatch when the key came with another request, conflict while that is being worked on. A
        refusal is no answer: the request may be sent again.
        """
        if not _KEY.fullmatch(key):
            raise Refusal("invalid_argument", "an Idempotency-Key is 1 to 255 letters, digits and signs")
        if self.meta is None:
            raise Refusal("dependency_unavailable", "no store of this installation can keep answers")
        name = PREFIX + hashlib.sha256(f"{who} {key}".encode()).hexdigest()
        asked = hashlib.sha256(request).hexdigest()
        with self.lock:
            if name in self.running:
                raise Refusal("conflict", "the request with this Idempotency-Key is still being worked on")
            self.running.add(name)
        try:
            if kept := self._kept(self.meta.get(name)):
                if kept.request != asked:
                    raise Refusal("idempotency_mismatch", "this Idempotency-Key came with another request before")
                return Response(kept.body, kept.status, {**kept.headers, "Idempotent-Replayed": "true"})
            done = work()
            headers = {name: value for name, value in done.headers.items() if name != "content-length"}
            saved = _Answer(self.clock(), asked, done.status_code, headers, bytes(done.body))
            self.meta.set(name, msgspec.json.encode(saved).decode())
            self._sweep()
            return done
        finally:
            self.running.discard(name)

    def naming(self, id: str) -> list[str]:
        """The keys of kept answers in which this id stands."""
        if self.meta is None:
            return []
        kept = self.meta.items(PREFIX).items()
        word = msgspec.json.encode(id)
        return [PREFIX + name for name, text in kept if word in msgspec.json.decode(text, type=_Answer).body]

    def forget(self, id: str) -> int:
        """Drop the answers in which this id stands; how many that were."""
        names = self.naming(id)
        if self.meta is not None and names:
            self.meta.drop(names)
        return len(names)

    def _kept(self, text: str) -> _Answer | None:
        """What was kept, if that is not too long ago."""
        if not text:
            return None
        kept = msgspec.json.decode(text, type=_Answer)
        return kept if self.clock() - kept.at < KEPT else None

    def _sweep(self) -> None:
        """Once an hour, forget what is older than a day."""
        assert self.meta is not None
        if self.clock() - self.swept < KEPT // 24:
            return
        self.swept = self.clock()
        old = [PREFIX + name for name, text in self.meta.items(PREFIX).items() if self._kept(text) is None]
        self.meta.drop(old)
