"""All four roles in one directory, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from shortlist.errors import ConfigError
from shortlist.stores.database import Database
from shortlist.stores.embedded_catalog import EmbeddedCatalog
from shortlist.stores.embedded_erasures import Erasures
from shortlist.stores.embedded_index import EmbeddedIndex
from shortlist.stores.embedded_log import EmbeddedLog
from shortlist.stores.embedded_notes import Held, Meta
from shortlist.stores.embedded_state import EmbeddedState
from shortlist.stores.kinds import Kind, read


class Embedded:
    """A directory of stores: one writing process, any number of reading ones. Each role is loaded when first asked for.

    Raises StoreLocked when another process writes, ConfigError when the folder cannot be used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.folder = database.folder
        self.close = database.close

    @staticmethod
    def open(folder: Path, *, read_only: bool = False) -> Embedded:
        return Embedded(Database(folder, read_only=read_only))

    @staticmethod
    def memory() -> Embedded:
        """An empty one, gone when it is closed: for tests and replays."""
        temporary = TemporaryDirectory(prefix="shortlist-")
        return Embedded(Database(Path(temporary.name), temporary=temporary))

    @cached_property
    def catalog(self) -> EmbeddedCatalog:
        return EmbeddedCatalog(self._database)

    @cached_property
    def log(self) -> EmbeddedLog:
        return EmbeddedLog(self._database)

    @cached_property
    def state(self) -> EmbeddedState:
        return EmbeddedState(self._database)

    @cached_property
    def index(self) -> EmbeddedIndex:
        return EmbeddedIndex(self._database, Kind())

    def configured(self, role: str, options: Mapping[str, str]) -> EmbeddedIndex:
        """The index as the query of its URL wants it; no other role has options. To be asked before `index` is."""
        if role != "index":
            raise ConfigError(f"{role} takes no options", where=f"stores.{role}", hint="Leave out what follows the ?.")
        self.index = EmbeddedIndex(self._database, read(options))
        return self.index

    @cached_property
    def meta(self) -> Meta:
        return Meta(self._database)

    @cached_property
    def held(self) -> Held:
        return Held(self._database)

    @property
    def erasures(self) -> Erasures:
        return self.catalog.erasures

    def purge(self) -> None:
        """Nothing deleted can be read in the files any more. Raises StoreError while another process reads."""
        self._database.purge()

    def changes(self) -> int:
        """A number that is another one when another process has written since: a few microseconds."""
        return self._database.changes()

    def refresh(self) -> None:
        """When reading beside a writer: see what it has acknowledged.

        The log shows it by itself; the state is this reader's own: fold `log.scan(state.offset)` into it.
        """
        self.catalog.refresh()
        self.index.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_file(path: str, *, read_only: bool) -> Embedded:
    if not path:
        raise ConfigError("file: names no folder", where="stores", hint='Write the path after the colon: "file:data".')
    return Embedded.open(Path(path), read_only=read_only)


def open_memory(rest: str, *, read_only: bool) -> Embedded:
    if rest or read_only:
        raise ConfigError(
            "memory: takes no path and cannot be opened read-only", where="stores", hint='Write "memory:".'
        )
    return Embedded.memory()
