"""API keys: 256 random bits each, shown once, kept as SHA-256 in one file that a running server watches."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from shortlist.errors import ConfigError, NotFound, StoreError, masked

try:
    import fcntl
except ImportError:  # Windows: two commands at the same moment are not kept apart
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger("shortlist.serve")


def _without_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = masked(record.getMessage()), ()
    if record.exc_info:
        record.exc_text = masked(_FORM.formatException(record.exc_info))
    return True


_FORM = logging.Formatter()
log.addFilter(_without_secrets)

SCOPES = ("read", "write", "admin")
"""Each contains the ones before it."""
PII = "pii:read"
"""Beside a scope: other people's events and facts."""
SECRET = re.compile(r"sl_(?P<id>[0-9a-f]{12})_[A-Za-z0-9_-]{43}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NO_HASH = "0" * 64


class Key(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One key. The secret itself is nowhere but with its owner."""

    id: str
    name: str
    scopes: tuple[Literal["read", "write", "admin", "pii:read"], ...]
    sha256: str
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    user: str | None = None  # the only person that it may ask about
    rate: float | None = None  # requests a second; None = [serve] rate

    def allows(self, scope: str) -> bool:
        """Whether `scope` is one of its own or contained in one of them."""
        return any(SCOPES.index(each) >= SCOPES.index(scope) for each in self.scopes if each in SCOPES)

    @property
    def pii(self) -> bool:
        return PII in self.scopes

    def state(self, now: datetime) -> Literal["valid", "expired", "revoked"]:
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"


class _File(Struct, forbid_unknown_fields=True):
    format: Literal[1]
    keys: list[Key]


class Keys:
    """The keys of one installation. Any number of processes may read the file while one changes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] | None = None
        self._known: Mapping[str, Key] = {}

    def all(self) -> Sequence[Key]:
        """In the order of their making. StoreError when the file cannot be understood."""
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return []
        try:
            return msgspec.json.decode(text, type=_File).keys
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreError(
                f"the file of the keys is damaged: {error}",
                where=str(self.path),
                hint="restore it from a backup, or delete it and make new keys",
            ) from None

    def find(self, secret: str) -> Key | None:
        """The key with this secret, whatever its state; what another process has changed counts at once. A file that
        cannot be read holds no key."""
        self._look()
        match = SECRET.fullmatch(secret)
        key = None if match is None else self._known.get(match["id"])
        same = hmac.compare_digest(_hash(secret), _NO_HASH if key is None else key.sha256)
        return key if same else None

    def create(
        self,
        name: str,
        scopes: Sequence[str],
        now: datetime,
        *,
        expires: datetime | None = None,
        user: str | None = None,
        rate: float | None = None,
    ) -> tuple[str, Key]:
        """A new secret and its key. ConfigError for a name or scope that is not allowed or a name that is in use."""
        unknown = set(scopes).difference((*SCOPES, PII))
        if unknown or not set(scopes).intersection(SCOPES):
            raise ConfigError(
                f"there is no scope {min(unknown)!r}" if unknown else "a key needs a scope",
                where="--scope",
                hint=f"choose from: {', '.join(SCOPES)}, and {PII} beside one of them",
            )
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"{name[:80]!r} cannot be the name of a key",
                where="--name",
                hint="use 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first",
            )
        id = secrets.token_hex(6)
        secret = f"sl_{id}_{secrets.token_urlsafe(32)}"
        ordered = tuple(each for each in (*SCOPES, PII) if each in scopes)
        made = msgspec.convert(
            {
                "id": id,
                "name": name,
                "scopes": ordered,
                "sha256": _hash(secret),
                "created": now,
                "expires": expires,
                "user": user,
                "rate": rate,
            },
            Key,
        )
        with self._changing() as keys:
            if any(each.name == name and each.state(now) == "valid" for each in keys):
                raise ConfigError(
                    f"a key with the name {name!r} exists",
                    where=str(self.path),
                    hint=f"choose another name, or first: shortlist keys revoke {name}",
                )
            keys.append(made)
        return secret, made

    def revoke(self, name: str, now: datetime) -> Key:
        """End the valid key of this name, or the one of this id. NotFound when there is none."""
        with self._changing() as keys:
            for at, each in enumerate(keys):
                if name in (each.id, each.name) and each.revoked is None:
                    keys[at] = msgspec.structs.replace(each, revoked=now)
                    return keys[at]
            raise NotFound(
                f"there is no key {name[:80]!r} to revoke", where=str(self.path), hint="see: shortlist keys list"
            )

    def forget(self, user: str) -> int:
        """Remove the keys of a person from the file; how many that were."""
        if all(each.user != user for each in self.all()):
            return 0
        with self._changing() as keys:
            count = len(keys)
            keys[:] = [each for each in keys if each.user != user]
            return count - len(keys)

    def _look(self) -> None:
        """Read the file again if it is another one than last time."""
        try:
            found = os.stat(self.path)
            seen: tuple[int, ...] = (found.st_ino, found.st_mtime_ns, found.st_size)
        except OSError:
            seen = ()
        if seen == self._seen:
            return
        try:
            self._known = {each.id: each for each in self.all()}
        except (StoreError, OSError) as error:
            log.error("no key is accepted: %s", error)
            self._known = {}
        self._seen = seen

    @contextmanager
    def _changing(self) -> Iterator[list[Key]]:
        """The keys, alone; what the caller leaves in the list is durable afterwards."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        held = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(held, fcntl.LOCK_EX)
            keys = list(self.all())
            yield keys
            draft = self.path.with_suffix(".draft")
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(_File(1, keys)), indent=1))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self.path)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        finally:
            os.close(held)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
