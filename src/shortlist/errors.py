"""Everything Shortlist raises on purpose. A message says what happened, where, what is allowed, what to do."""

import re


class ShortlistError(Exception):
    """Base of every error a caller may want to catch.

    `hint` is the remedy in one sentence; the doors print it on its own line (command line) or send it as `hint` (HTTP).
    `exit_code` is what the command line returns, `code` the stable word of the HTTP error model.
    """

    exit_code = 1
    code = "internal"

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class ConfigError(ShortlistError):
    """A key, value or component name in the configuration is wrong."""

    exit_code = 5
    code = "invalid_config"


class DataError(ShortlistError):
    """Input from outside cannot be read as events, items or users."""

    exit_code = 3
    code = "invalid_argument"


class NotFound(ShortlistError):
    """A named thing (file, user, item, release) does not exist."""

    exit_code = 4
    code = "not_found"


class StoreError(ShortlistError):
    """A store cannot do what was asked: unreachable, full, damaged."""

    exit_code = 6
    code = "dependency_unavailable"


class StoreLocked(StoreError):
    """Another process holds the store."""

    exit_code = 8
    code = "conflict"


class NotOffered(ConfigError):
    """A back end does not offer the role that was asked of it."""


class ReleaseError(ShortlistError):
    """A release is incomplete, damaged, foreign or newer than this program."""

    exit_code = 7
    code = "gate_failed"


class ShapeError(ShortlistError, ValueError):
    """Arrays that belong together do not fit: a programmer's error, never weather, so always raised, never degraded."""


def masked(text: str) -> str:
    """`text` without the passwords of URLs and the secrets of API keys."""
    text = re.sub(r"(\b\w{1,32}://[^\s:/@]*):[^\s/@]+@", r"\1:***@", text)
    return re.sub(r"\b(sl_[0-9a-f]{12})_[\w-]{43}", r"\1_***", text)
