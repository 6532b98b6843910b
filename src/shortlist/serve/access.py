"""Who may ask what, and how often: the key of a request against the scope of an endpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address
from time import monotonic

from starlette.datastructures import Headers

from shortlist.config import Settings
from shortlist.serve.endpoint import Call, Endpoint
from shortlist.serve.keys import PII, Key, Keys
from shortlist.serve.problems import Refusal

BUCKETS = 10_000  # remembered at once; the fullest are forgotten first, which costs nobody anything


@dataclass
class Buckets:
    """One token bucket a caller: `burst` requests at once, `rate` a second after that."""

    burst: float
    clock: Callable[[], float] = monotonic
    levels: dict[str, tuple[float, float]] = field(default_factory=dict)  # tokens left, and when that was

    def take(self, who: str, rate: float) -> float:
        """0 when one more is allowed now, else the seconds until it will be."""
        now = self.clock()
        left, then = self.levels.pop(who, (self.burst, now))
        left = min(self.burst, left + (now - then) * rate)
        wait = 0.0 if left >= 1 else (1 - left) / rate
        if len(self.levels) >= BUCKETS:  # the one that asked longest ago stands first
            del self.levels[next(iter(self.levels))]
        self.levels[who] = (left - 1 if left >= 1 else left, now)
        return wait


class Access:
    """The rules of one server. `clock` gives microseconds since 1970."""

    def __init__(self, settings: Settings, clock: Callable[[], int], buckets: Buckets | None = None) -> None:
        serve = settings.serve
        self.keys = Keys(settings.keys_path)
        self.required = serve.keys == "required" or not is_loopback(serve.host)
        self.rate, self.clock = serve.rate, clock
        self.buckets = buckets or Buckets(serve.burst)

    def admit(self, endpoint: Endpoint, headers: Headers, address: str, *, counted: bool = True) -> Key | None:
        """The key that asks, None = nobody's, where none is needed. Raises unauthenticated, permission_denied, and
        rate_limited, unless the request is not to be counted."""
        key = self._key(headers)
        if key is None and self.required and endpoint.scope != "public":
            raise Refusal("unauthenticated", "no key was sent")
        if key is not None and endpoint.scope != "public":
            self._check(key, endpoint)
        rate = self.rate if key is None or key.rate is None else key.rate
        if counted and rate and (wait := self.buckets.take(address if key is None else key.id, rate)):
            raise Refusal(
                "rate_limited",
                f"more than {rate:g} requests a second of {'one address' if key is None else 'one key'}",
                after=math.ceil(wait),
            )
        return key

    def permit(self, key: Key | None, endpoint: Endpoint, call: Call) -> None:
        """What a key that belongs to one person may ask: about nobody else, of whom it learns nothing."""
        if key is None or key.user is None or endpoint.about is None:
            return
        for id in endpoint.about(call):
            if id is not None and str(id) != key.user:
                raise Refusal("not_found", f"there is no user {str(id)!r}")

    def _key(self, headers: Headers) -> Key | None:
        given = headers.getlist("authorization")
        if not given:
            return None
        scheme, _, secret = given[0].partition(" ")
        key = self.keys.find(secret.strip()) if len(given) == 1 and scheme.lower() == "bearer" else None
        if key is None:
            raise Refusal("unauthenticated", "the header Authorization holds no key of this server")
        state = key.state(datetime.fromtimestamp(self.clock() / 1e6, UTC))
        if state != "valid":
            raise Refusal("unauthenticated", f"the key {key.name!r} is {state}")
        return key

    def _check(self, key: Key, endpoint: Endpoint) -> None:
        if not key.allows(endpoint.scope):
            raise Refusal("permission_denied", f"the key {key.name!r} lacks the scope {endpoint.scope!r}")
        if key.user is not None and endpoint.about is None:
            raise Refusal("permission_denied", f"the key {key.name!r} belongs to one user, this is about everybody")
        if endpoint.pii and key.user is None and not key.pii:
            raise Refusal("permission_denied", f"the key {key.name!r} lacks the scope {PII!r}")


@lru_cache(256)
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`, a name or an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
