"""The phone book of stores: a URL picks the back end of each role.

| URL | what | roles |
|---|---|---|
| `file:PATH` | one directory, no server | catalog, log, state, index |
| `memory:` | the same classes over a directory that vanishes on close | catalog, log, state, index |
| `file:PATH?kind=hnsw` | the same directory, vectors searched by another kind, see `stores.kinds` | index |
| `milvus:PATH.db`, `milvus://HOST:PORT` | Milvus Lite in one file, or a Milvus server | index |
| `package.module:Class?host=...` | somebody else's class, called with the query as keywords | the one it is named for |
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Any, Literal, Protocol, Self, overload, runtime_checkable
from urllib.parse import parse_qsl

from shortlist.errors import ConfigError, NotOffered
from shortlist.protocols import Catalog, EventLog, Index, State

ROLES = ("catalog", "log", "state", "index")

SCHEMES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "file": ("shortlist.stores.embedded:open_file", ROLES),
    "memory": ("shortlist.stores.embedded:open_memory", ROLES),
    "milvus": ("shortlist.stores.milvus:open_milvus", ("index",)),
}
"""Scheme -> (opener, roles it offers). An opener takes the text between colon and question mark and `read_only`, and
returns an object with one attribute per role, `configured(role, options)` for what follows a ?, and `close()`."""


@runtime_checkable
class Closable(Protocol):
    """A store that holds something to let go of."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Stores:
    """The four roles, open. One that several roles share (a directory) is opened once."""

    catalog: Catalog
    log: EventLog
    state: State
    index: Index
    backends: Mapping[str, Any]  # what was opened, by URL

    def close(self) -> None:
        _close_all(self.backends)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_stores(urls: Mapping[str, str], *, read_only: bool = False) -> Stores:
    """Open all four roles; `urls` names each role's URL, and equal URLs are one store."""
    missing = [role for role in ROLES if role not in urls]
    if missing:
        raise ConfigError("has no URL", where=f"stores.{missing[0]}", hint=f'Set {missing[0]} = "file:data".')
    opened: dict[str, Any] = {}
    try:
        catalog, log, state, index = (_role(role, urls[role], read_only, opened) for role in ROLES)
    except BaseException:
        _close_all(opened)
        raise
    return Stores(catalog, log, state, index, opened)


def _close_all(backends: Mapping[str, Any]) -> None:
    with ExitStack() as stack:  # each is closed even if another one cannot be
        for each in backends.values():
            if isinstance(each, Closable):
                stack.callback(each.close)


@overload
def open_store(role: Literal["catalog"], url: str, *, read_only: bool = False) -> Catalog: ...
@overload
def open_store(role: Literal["log"], url: str, *, read_only: bool = False) -> EventLog: ...
@overload
def open_store(role: Literal["state"], url: str, *, read_only: bool = False) -> State: ...
@overload
def open_store(role: Literal["index"], url: str, *, read_only: bool = False) -> Index: ...
def open_store(role: str, url: str, *, read_only: bool = False) -> Any:
    """Open one role. A directory is held by one writer, so for several roles of one URL use `open_stores`."""
    return _role(role, url, read_only, {})


def _role(role: str, url: str, read_only: bool, opened: dict[str, Any]) -> Any:
    if role not in ROLES:
        raise ConfigError(f"there is no role {role!r}", hint=f"The roles are {', '.join(ROLES)}.")
    scheme, colon, rest = url.partition(":")
    if scheme not in SCHEMES:
        return _foreign(role, url, scheme, colon, rest, opened)
    opener, offered = SCHEMES[scheme]
    if role not in offered:
        raise NotOffered(
            f"{scheme} offers {' and '.join(offered)}, not {role}",
            where=f"stores.{role}",
            hint=f"Choose one of {', '.join(name for name, (_, roles) in SCHEMES.items() if role in roles)}.",
        )
    place, _, query = rest.partition("?")
    address = f"{scheme}:{place}"
    if address not in opened:
        module, name = opener.split(":")
        opened[address] = getattr(import_module(module), name)(place, read_only=read_only)
    store = opened[address]
    return store.configured(role, dict(parse_qsl(query, keep_blank_values=True))) if query else getattr(store, role)


def _foreign(role: str, url: str, module: str, colon: str, rest: str, opened: dict[str, Any]) -> Any:
    where, known = f"stores.{role}", ", ".join(f"{scheme}:" for scheme in SCHEMES)
    name, _, query = rest.partition("?")
    if not colon or not name.isidentifier():
        raise ConfigError(
            f"{url!r} is not the URL of a store",
            where=where,
            hint=f'The schemes are {known}; a class of your own is "package.module:Class?key=value".',
        )
    try:
        make = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"{url!r} cannot be opened: {error}",
            where=where,
            hint=f"Check the name and that the package is installed; the built-in schemes are {known}.",
        ) from error
    opened[f"{role} {url}"] = store = make(**dict(parse_qsl(query, keep_blank_values=True)))
    return store


__all__ = ["ROLES", "SCHEMES", "Stores", "open_store", "open_stores"]
