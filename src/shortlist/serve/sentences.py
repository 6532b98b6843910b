"""Reasons as sentences, and their facts as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from shortlist.serve import wire
from shortlist.types import Reason

Fact = tuple[str, wire.Field | None]  # in a sentence, and as JSON


def plain(value: Any) -> Fact:
    """A fact that is text, a number, a truth, a time, or texts."""
    if isinstance(value, bool | int):
        return str(value), value
    said = wire.field(value)
    if isinstance(said, float):
        return f"{said:.3g}", said
    if isinstance(said, list):
        return ", ".join(said), said
    if isinstance(value, np.int64):
        return str(said)[:10], said
    return "nothing" if said is None else str(said), said


def say(reason: Reason, fact: Callable[[Any], Fact] = plain) -> tuple[str, dict[str, wire.Field]]:
    """The sentence with its gaps filled, and the facts as JSON; those without a value are left out."""
    read = {name: fact(value) for name, value in reason.facts.items()}
    text = re.sub(r"\{([^{}]+)\}", lambda gap: read[gap[1]][0] if gap[1] in read else gap[0], reason.text)
    return text, {name: value for name, (_, value) in read.items() if value is not None}
