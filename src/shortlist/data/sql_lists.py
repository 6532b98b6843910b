"""Finished lists in a table of a SQL database: `sqlite:///shop.db#recommendations`, `mysql://...`, `postgresql://...`.

The table is made when it is not there. What it held is replaced in one transaction: who reads it sees the old lists or
the new ones. A table with other columns is somebody else's and is never touched.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from shortlist.data.sql import CONNECT, masked, said
from shortlist.errors import DataError, NotFound, StoreError

COLUMNS = ("user_id", "place", "item_id", "score")
TABLE = """(
  user_id VARCHAR(256) NOT NULL, place INTEGER NOT NULL, item_id VARCHAR(256) NOT NULL, score DOUBLE PRECISION,
  PRIMARY KEY (user_id, place)
)"""

Places: TypeAlias = Sequence[tuple[str, int, str, float | None]]
"""A person, the place from 1 on, the item, what it scored."""


def replace(url: str, places: Places) -> None:
    """Put `places` where the table that `url` names had others. DataError, NotFound, StoreError: all is as before."""
    table = unquote(urlsplit(url).fragment)
    if not table.isidentifier():
        raise DataError(
            f"{table!r} is not the name of a table" if table else "the URL names no table",
            where=masked(url),
            hint="append #TABLE: letters, digits and _",
        )
    _writer(url)(url, table, places)


def check(url: str, table: str, columns: Sequence[str]) -> None:
    """DataError unless the table is one of lists."""
    if tuple(columns) != COLUMNS:
        raise DataError(
            f"the table {table!r} holds something else ({', '.join(columns)})",
            where=masked(url),
            hint=f"name another table; one of lists has the columns {', '.join(COLUMNS)}",
        )


def unwritable(url: str, error: BaseException) -> StoreError:
    """What a driver said while writing."""
    return StoreError(
        f"cannot write the lists: {said(url, error)}",
        where=masked(url),
        hint="check that the server is up; the user needs CREATE, SELECT, INSERT and DELETE for the table",
    )


def _writer(url: str) -> Callable[[str, str, Places], None]:
    scheme = url.partition("://")[0]
    try:
        if scheme == "sqlite":
            return _sqlite
        if scheme in ("mysql", "mariadb"):
            from shortlist.data.mysql import replace_lists

            return replace_lists
        if scheme in ("postgresql", "postgres"):
            from shortlist.data.postgres import replace_lists

            return replace_lists
    except ImportError as error:
        raise StoreError(
            f"writing {scheme}:// needs a driver that is not installed ({error.name})",
            where=masked(url),
            hint=f"pip install 'shortlist[{'mysql' if scheme in ('mysql', 'mariadb') else 'postgres'}]'",
        ) from error
    raise DataError(
        f"no writer for {scheme}://", where=masked(url), hint="use sqlite:///FILE, mysql:// or postgresql://"
    )


def _sqlite(url: str, table: str, places: Places) -> None:
    path = Path(unquote(url.removeprefix("sqlite:///").partition("#")[0]))
    if not path.is_file():
        raise NotFound("no such database file", where=str(path), hint="sqlite:///relative.db or sqlite:////absolute.db")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=CONNECT)
        connection.isolation_level = None  # transactions begin where it is written
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(f'CREATE TABLE IF NOT EXISTS "{table}" {TABLE}')
            check(url, table, [each[0] for each in connection.execute(f'SELECT * FROM "{table}" LIMIT 0').description])
            connection.execute(f'DELETE FROM "{table}"')
            connection.executemany(f'INSERT INTO "{table}" VALUES (?, ?, ?, ?)', places)
            connection.execute("COMMIT")
        finally:
            connection.close()  # what was not committed is undone
    except sqlite3.Error as error:
        raise unwritable(url, error) from error
