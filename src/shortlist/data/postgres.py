"""Rows of PostgreSQL through psycopg's server-side cursor, and lists into a table (extra: postgres)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg

from shortlist.data.sql import CONNECT, FETCH, ROWS, Table, statement, unreachable
from shortlist.data.sql_lists import COLUMNS, TABLE, Places, check, unwritable

TABLES = """SELECT CASE schemaname WHEN 'public' THEN tablename ELSE schemaname || '.' || tablename END FROM pg_tables
WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"""


def table(url: str, fragment: str) -> Table:
    """Column names and rows of a table or query, and what closes the connection."""
    try:
        connection = _connected(url, "-c default_transaction_read_only=on")
    except psycopg.Error as error:
        raise unreachable(url, error) from error
    stack = ExitStack()
    stack.callback(connection.close)
    try:
        query = statement(url, fragment, '"', lambda: [name for (name,) in connection.execute(TABLES)])
        cursor = stack.enter_context(closing(connection.cursor(name="shortlist")))
        cursor.execute(query.encode())
    except BaseException as error:
        stack.close()
        if isinstance(error, psycopg.Error):
            raise unreachable(url, error) from error
        raise
    names = [each.name for each in cursor.description or ()]

    def portions() -> Iterator[Any]:
        try:
            while rows := cursor.fetchmany(ROWS):
                yield rows
        except psycopg.Error as error:
            raise unreachable(url, error) from error

    return names, portions(), stack.close


def replace_lists(url: str, table: str, places: Places) -> None:
    """See data.sql_lists."""
    try:
        with _connected(url, "") as connection, connection.cursor() as cursor:  # one transaction, undone by an error
            cursor.execute(f'CREATE TABLE IF NOT EXISTS "{table}" {TABLE}'.encode())
            cursor.execute(f'SELECT * FROM "{table}" LIMIT 0'.encode())
            check(url, table, [each.name for each in cursor.description or ()])
            cursor.execute(f'DELETE FROM "{table}"'.encode())
            with cursor.copy(f'COPY "{table}" ({", ".join(COLUMNS)}) FROM STDIN'.encode()) as copy:
                for row in places:
                    copy.write_row(row)
    except psycopg.Error as error:
        raise unwritable(url, error) from error


def _connected(url: str, options: str) -> psycopg.Connection:
    parts = urlsplit(url)
    return psycopg.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 5432,
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        dbname=unquote(parts.path.lstrip("/")) or None,
        connect_timeout=CONNECT,
        options=f"-c statement_timeout={FETCH}s -c timezone=UTC {options}",
        keepalives_idle=30,
        tcp_user_timeout=FETCH * 1000,
    )
