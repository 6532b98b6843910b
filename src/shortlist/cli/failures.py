"""What a failure looks like: four lines (what, where, why, what to do) and an exit code. Never a traceback.

| exit | meaning |
|---|---|
| 0 | done |
| 1 | unexpected failure, with the path of a report |
| 2 | usage |
| 3 | data invalid |
| 4 | not found |
| 5 | configuration or permission |
| 6 | dependency unreachable |
| 7 | quality or publish gate failed |
| 8 | locked or conflict |
| 9 | cancelled by a limit (memory, disk) |
| 130, 143 | interrupted, terminated; state consistent |
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import tempfile
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shortlist.cli.screen import VERSION, write_json
from shortlist.errors import ShortlistError, masked

WHY: Mapping[str, tuple[str, str]] = {
    "usage": ("nothing was changed", "see: shortlist COMMAND --help"),
    "invalid_config": (
        "the configuration is checked before anything starts; nothing was changed",
        "compare with the annotated shortlist.toml, or run: shortlist COMMAND --help",
    ),
    "invalid_argument": (
        "data that is read wrongly becomes wrong lists, so it is refused",
        "see what was understood with: shortlist init FILE",
    ),
    "not_found": ("there is nothing to answer from", "check the name, or run the step that makes it"),
    "dependency_unavailable": (
        "what cannot be kept safely is not accepted",
        "check that the store in [stores] is running and has room",
    ),
    "conflict": ("what is there stays as it is; nothing was changed", "stop the other process, or wait for it"),
    "gate_failed": ("what is served stays as it is", "train again with: shortlist train"),
    "internal": ("this should not have happened", "run it again; if it repeats, report it"),
}
"""By the code of an error: why it matters, and the remedy when the error itself names none."""

OPTIONS = {"/scenario": "--pipeline", "/filter": "--where", "/user_id": "USER"}
"""What the service points at, as the command line calls it."""


class Usage(ShortlistError):
    """An argument or option that is not understood."""

    exit_code = 2
    code = "usage"


class Conflict(ShortlistError):
    """What was asked for would destroy something."""

    exit_code = 8
    code = "conflict"


@dataclass(frozen=True, slots=True)
class Failure:
    """The four parts, and what the process returns."""

    what: str
    where: str
    why: str
    remedy: str
    code: str
    exit_code: int

    def write(self, *, json: bool) -> None:
        if json:
            write_json(
                {
                    "schema": f"shortlist.error/{VERSION}",
                    "code": self.code,
                    "exit_code": self.exit_code,
                    "message": self.what,
                    "where": self.where,
                    "why": self.why,
                    "hint": self.remedy,
                },
                sys.stderr,
            )
            return
        parts = (("error", self.what), ("where", self.where), ("why", self.why), ("do", self.remedy))
        print("\n".join(f"{name + ':':<6} {text}" for name, text in parts if text), file=sys.stderr)  # noqa: T201


def explain(error: BaseException) -> Failure:
    """What to tell a person about `error`; the unexpected is written to a report file."""
    if isinstance(error, ShortlistError):
        why, remedy = WHY[error.code]
        return Failure(
            masked(error.message), masked(error.where), why, error.hint or remedy, error.code, error.exit_code
        )
    refused = _refused(error) or _misused(error)
    if refused:
        return refused
    if isinstance(error, MemoryError):
        return Failure("out of memory", "", "nothing was published", "use a shorter [train] window", "limit", 9)
    if isinstance(error, PermissionError):
        where = str(error.filename or "")
        return Failure("permission denied", where, "it must be readable and writable", "check who owns it", "denied", 5)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = str(error.filename or "")
        return Failure("the disk is full", where, "nothing was published", "make room, then run it again", "limit", 9)
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return Failure("the port is taken", "", "another program listens there", "choose another --port", "conflict", 8)
    why, remedy = WHY["internal"]
    return Failure(masked(f"{type(error).__name__}: {error}"), report(error), why, remedy, "internal", 1)


def _refused(error: BaseException) -> Failure | None:
    """What the service in this process refused, as the HTTP door would have."""
    from shortlist.serve.problems import Refusal

    if not isinstance(error, Refusal):
        return None
    exit_code = {"not_found": 4, "dependency_unavailable": 6, "invalid_argument": 2}.get(error.code, 1)
    where = ", ".join(OPTIONS.get(each.pointer, each.pointer) for each in error.errors)
    why, _ = WHY["usage" if exit_code == 2 else error.code]
    return Failure(error.detail, where, why, error.hint, error.code, exit_code)


def _misused(error: Any) -> Failure | None:
    """What the parser of arguments did not understand, whichever package its errors are of."""
    if not hasattr(error, "format_message"):
        return None
    where = error.ctx.command_path if getattr(error, "ctx", None) else "shortlist"
    why, _ = WHY["usage"]
    return Failure(error.format_message().rstrip("."), where, why, f"see: {where} --help", "usage", 2)


def report(error: BaseException) -> str:
    """Write what is needed to understand `error` into a file and return its path."""
    from shortlist import __version__

    text = "\n".join(
        (
            f"shortlist {__version__}, Python {platform.python_version()}, {platform.platform()}",
            f"arguments: {sys.argv[1:]}",
            "".join(traceback.format_exception(error)),
        )
    )
    handle, path = tempfile.mkstemp(prefix="shortlist-report-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(masked(text))
    return path
