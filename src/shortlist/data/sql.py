"""Rows of a SQL database by URL: `sqlite:///shop.db#ratings`, `mysql://reader:secret@host/shop#SELECT ...`.

What follows # is a table or a query. Databases are opened for reading only, rows come through a server-side cursor,
and every wait has a deadline. A password never appears in a message.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import numpy as np

from shortlist.data.rows import Batch, named_rows
from shortlist.errors import DataError, NotFound, StoreError

ROWS = 50_000  # fetched at a time
CONNECT = 10  # seconds
FETCH = 120  # seconds for one fetch, so also for a query's first row

Table: TypeAlias = tuple[Sequence[str], Iterator[Sequence[Sequence[Any]]], Callable[[], None]]
"""Column names, rows in portions, and what closes the connection."""


def masked(url: str) -> str:
    """The URL as it may be shown: without password and without query."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    fragment = unquote(parts.fragment)
    table = f"#{fragment}" if fragment and not _is_query(fragment) else ""
    if parts.netloc == host and ":" in host and "@" in f"{parts.path}{parts.query}{table}":
        return f"{parts.scheme}://..."  # what looks like host and port is the beginning of a password with / ? or #
    return f"{parts.scheme}://{user + '@' if user else ''}{host}{parts.path}{table}"


def located(url: str, home: Path) -> str:
    """A sqlite URL whose relative path starts at `home`."""
    head, mark, fragment = url.removeprefix("sqlite:///").partition("#")
    return f"sqlite:///{home / head}{mark}{fragment}"


def read(url: str, ids: Sequence[str]) -> tuple[tuple[str, ...], Iterator[Batch], Callable[[], None]]:
    """Column names and rows of the table or query that `url` names, and what closes the connection."""
    opener = _opener(url)
    try:
        urlsplit(url).port  # noqa: B018 it is read here so that a wrong one has words
    except ValueError:
        raise DataError(
            "the port is not a number from 0 to 65535",
            where=masked(url),
            hint="in a password write / ? # @ : as %2F %3F %23 %40 %3A",
        ) from None
    names, portions, close = opener(url, unquote(urlsplit(url).fragment))
    if len(set(names)) < len(names):
        close()
        raise DataError(
            "two columns have the same name", where=masked(url), hint="name them apart in the query: AS ..."
        )

    def batches() -> Iterator[Batch]:
        start = 1
        for rows in portions:
            line = np.arange(start, start + len(rows), dtype=np.int64)
            start += len(rows)
            yield named_rows(names, rows, line, ids, None)

    return tuple(names), batches(), close


def _opener(url: str) -> Callable[[str, str], Table]:
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        return _sqlite
    package = {"mysql": "mysql", "mariadb": "mysql", "postgresql": "postgres", "postgres": "postgres"}.get(scheme)
    if package is None:
        raise DataError(
            f"no reader for {scheme}://", where=masked(url), hint="use sqlite:///FILE, mysql:// or postgresql://"
        )
    try:
        if package == "mysql":
            from shortlist.data.mysql import table
        else:
            from shortlist.data.postgres import table
    except ImportError as error:
        raise StoreError(
            f"reading {scheme}:// needs a driver that is not installed ({error.name})",
            where=masked(url),
            hint=f"pip install 'shortlist[{package}]'",
        ) from error
    return table


def _is_query(fragment: str) -> bool:
    return fragment.lstrip().split(None, 1)[0].lower() in ("select", "with") if fragment.strip() else False


def statement(url: str, fragment: str, quote: str, tables: Callable[[], Sequence[str]]) -> str:
    """The query that `fragment` means: itself, or everything of the table it names."""
    if _is_query(fragment):
        return fragment
    if not fragment:
        raise DataError(
            "the URL names no table",
            where=masked(url),
            hint=f"append #TABLE or '#SELECT ...'; tables: {', '.join(tables()) or 'none'}",
        )
    known = tables()
    if fragment not in known and "." not in fragment:
        raise NotFound(f"no table {fragment!r}", where=masked(url), hint=f"tables: {', '.join(known) or 'none'}")
    quoted = ".".join(quote + part.replace(quote, quote * 2) + quote for part in fragment.split("."))
    return f"SELECT * FROM {quoted}"


def unreachable(url: str, error: BaseException) -> StoreError:
    """What a driver said while reading."""
    return StoreError(
        f"cannot read the database: {said(url, error)}",
        where=masked(url),
        hint="check host, port, user, password and that the server is up; the user needs no more than SELECT",
    )


def said(url: str, error: BaseException) -> str:
    """The first line of what a driver said, without the password."""
    password = unquote(urlsplit(url).password or "")
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return line.replace(password, "***") if password else line


def _sqlite(url: str, fragment: str) -> Table:
    path = Path(unquote(url.removeprefix("sqlite:///").partition("#")[0]))
    if not path.is_file():
        raise NotFound("no such database file", where=str(path), hint="sqlite:///relative.db or sqlite:////absolute.db")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=CONNECT)
        tables = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name"
        query = statement(url, fragment, '"', lambda: [name for (name,) in connection.execute(tables)])
        connection.execute("PRAGMA query_only = 1")
        cursor = connection.execute(query)
    except sqlite3.Error as error:
        raise unreachable(url, error) from error
    names = [each[0] for each in cursor.description]

    def portions() -> Iterator[list[Any]]:
        try:
            while rows := cursor.fetchmany(ROWS):
                yield rows
        except sqlite3.Error as error:
            raise unreachable(url, error) from error

    return names, portions(), connection.close
