"""Rows of MySQL and MariaDB through asyncmy's unbuffered cursor (extra: mysql)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncmy
from asyncmy.cursors import SSCursor
from asyncmy.errors import Error

from shortlist.data.sql import CONNECT, FETCH, ROWS, Table, statement, unreachable

FAILURES = (Error, OSError, TimeoutError)


def table(url: str, fragment: str) -> Table:
    """Column names and rows of a table or query, and what closes the connection."""
    parts = urlsplit(url)
    runner = asyncio.Runner()
    opened: list[Any] = []

    async def start() -> Any:
        connection = await asyncio.wait_for(
            asyncmy.connect(
                host=parts.hostname or "127.0.0.1",
                port=parts.port or 3306,
                user=unquote(parts.username or "") or None,
                password=unquote(parts.password or ""),
                database=unquote(parts.path.lstrip("/")) or None,
                charset="utf8mb4",
            ),
            CONNECT,
        )
        opened.append(connection)
        async with connection.cursor() as cursor:
            await cursor.execute("SET SESSION TRANSACTION READ ONLY")
            await cursor.execute("SET time_zone = '+00:00'")
            await cursor.execute("SHOW TABLES")
            tables = [name for (name,) in await cursor.fetchall()]
        rows = connection.cursor(cursor=SSCursor)
        await asyncio.wait_for(rows.execute(statement(url, fragment, "`", lambda: tables)), FETCH)
        return rows

    def close() -> None:
        for connection in opened:
            connection.close()
        runner.close()

    try:
        cursor = runner.run(start())
    except BaseException as error:
        close()
        if isinstance(error, FAILURES):
            raise unreachable(url, error) from error
        raise
    names = [each[0] for each in cursor.description]

    def portions() -> Iterator[Any]:
        try:
            while rows := runner.run(asyncio.wait_for(cursor.fetchmany(ROWS), FETCH)):
                yield rows
        except FAILURES as error:
            raise unreachable(url, error) from error

    return names, portions(), close
