"""What a server says while it runs: JSON, one object a line, or plain text on a terminal. No secrets, no plain ids."""

from __future__ import annotations

import json
import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from hashlib import blake2b
from typing import TextIO

from shortlist.errors import masked

REQUEST: ContextVar[str] = ContextVar("request", default="")  # id of the request that is being answered
FACTS = "facts"  # attribute of a record: more fields of its line


class Lines(logging.Formatter):
    """Time, level, message, request and facts; `plain` for people."""

    def __init__(self, *, plain: bool) -> None:
        super().__init__()
        self.plain = plain

    def format(self, record: logging.LogRecord) -> str:
        facts = dict(getattr(record, FACTS, {}))
        if request := REQUEST.get():
            facts = {"request_id": request, **facts}
        if record.exc_info and record.exc_info[0] is not None:
            facts["error"] = self.formatException(record.exc_info)
        message = record.getMessage()
        if self.plain:
            error = f"\n{facts.pop('error')}" if "error" in facts else ""
            told = "".join(f"  {name}={value}" for name, value in facts.items())
            return masked(f"{record.levelname.lower()}: {message}{told}{error}")
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said = {"time": time, "level": record.levelname.lower(), "logger": record.name, "message": message, **facts}
        return masked(json.dumps(said, default=str))


def configure(stream: TextIO = sys.stderr) -> None:
    """Send what Shortlist logs to `stream`, once."""
    log = logging.getLogger("shortlist")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [handler := logging.StreamHandler(stream)]
    handler.setFormatter(Lines(plain=stream.isatty()))


class Pseudonyms:
    """Ids as they may stand in a log: a hash that stays the same in one installation, or the id itself."""

    def __init__(self, secret: bytes, *, plain: bool) -> None:
        self._secret, self._plain = secret, plain

    def of(self, id: str) -> str:
        """What to write for `id`."""
        return id if self._plain else blake2b(id.encode(), key=self._secret, digest_size=8).hexdigest()
