"""Numbers of features in plain words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from shortlist.types import Column, Reason

DONE = {
    "view": "viewed",
    "click": "clicked",
    "rate": "rated",
    "like": "liked",
    "cart": "put into a cart",
    "buy": "bought",
    "hide": "hidden",
    "shown": "shown",
}
EXACT = 1e-4  # what a count may be beside a whole number after its way through a logarithm
UNITS = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}


def verb(kinds: Sequence[str]) -> str:
    """What was done, of the names of kinds of events; all likings when none is named."""
    return " or ".join(DONE.get(name, f"given a {name}") for name in kinds) or "liked"


def span(length: str) -> str:
    """ "7d" -> "7 days", "1h" -> "hour"."""
    number, unit = length.strip()[:-1].strip(), UNITS[length.strip()[-1]]
    return unit if number == "1" else f"{number} {unit}s"


def times(count: float, done: str, rest: str = "") -> Reason:
    """ "clicked 3 times in the last day"."""
    near = round(count)
    often = {0: f"not {done}", 1: f"{done} once"}.get(near, f"{done} {{times}} times")
    if abs(count - near) > EXACT * max(1, near):
        return Reason(f"{done} {{times}} times {rest}".rstrip(), {"times": round(count, 2)})
    return Reason(f"{often} {rest}".rstrip(), {"times": near})


def number(value: Column, some: str, none: str) -> Reason:
    """`some`, in which {value} stands for the number, or `none` where there is none."""
    told = float(value)
    if not np.isfinite(told):
        return Reason(none)
    return Reason(some, {"value": int(told) if told.is_integer() else told})
