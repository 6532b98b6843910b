"""Rows of MySQL and MariaDB through asyncmy's unbuffered cursor, and lists into a table (extra: mysql)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncmy
from asyncmy.cursors import SSCursor
from asyncmy.errors import Error

from shortlist.data.sql import CONNECT, FETCH, ROWS, Table, statement, unreachable
from shortlist.data.sql_lists import TABLE, Places, check, unwritable

FAILURES = (Error, OSError, TimeoutError)


def table(url: str, fragment: str) -> Table:
    """Column names and rows of a table or query, and what closes the connection."""
    runner = asyncio.Runner()
    opened: list[Any] = []

    async def start() -> Any:
        connection = await _connected(url)
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


def replace_lists(url: str, table: str, places: Places) -> None:
    """See data.sql_lists. Making a table is a transaction of its own here: an empty one may be left behind."""

    async def write() -> None:
        connection = await _connected(url)
        try:
            async with connection.cursor() as cursor:
                binary = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"  # ids are compared exactly
                await cursor.execute(f"CREATE TABLE IF NOT EXISTS `{table}` {TABLE} ENGINE=InnoDB {binary}")
                await cursor.execute(f"SELECT * FROM `{table}` LIMIT 0")
                check(url, table, [each[0] for each in cursor.description])
                await connection.begin()
                await cursor.execute(f"DELETE FROM `{table}`")
                for first in range(0, len(places), ROWS):
                    part = places[first : first + ROWS]
                    written = cursor.executemany(f"INSERT INTO `{table}` VALUES (%s, %s, %s, %s)", part)
                    await asyncio.wait_for(written, FETCH)
                await connection.commit()
        finally:
            connection.close()  # what was not committed is undone

    try:
        asyncio.run(write())
    except FAILURES as error:
        raise unwritable(url, error) from error


async def _connected(url: str) -> Any:
    parts = urlsplit(url)
    connection = asyncmy.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or "") or None,
        password=unquote(parts.password or ""),
        database=unquote(parts.path.lstrip("/")) or None,
        charset="utf8mb4",
    )
    return await asyncio.wait_for(connection, CONNECT)
