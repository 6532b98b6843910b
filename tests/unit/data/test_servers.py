"""MariaDB and PostgreSQL: private servers on loopback, made for this file and stopped by it."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shortlist.data import sql, sql_lists
from shortlist.errors import DataError, NotFound, StoreError

from .conftest import Shop

MOMENT = 1_714_564_800_000_000
TABLE = """CREATE TABLE ratings (user_id VARCHAR(20) NOT NULL, item_id BIGINT, stars DECIMAL(3,1), at TIMESTAMP NULL)"""
ROWS = """INSERT INTO ratings VALUES ('01', 7, 4.5, '2024-05-01 12:00:00'), ('é', 8, 3, '2024-05-01 12:00:00'),
('1', NULL, 2, '2024-05-01 12:00:00'), ('1', 9, NULL, '2024-05-01 12:00:00')"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(command: list[str], ready: str, env: dict[str, str] | None = None) -> Iterator[None]:
    """The process of `command` once it has written a line with `ready`; ended with the block."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env)
    up, log = threading.Event(), []

    def follow() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            log.append(line)
            if ready in line:
                up.set()
        up.set()

    reader = threading.Thread(target=follow)
    reader.start()
    try:
        assert up.wait(60), "".join(log)
        assert process.poll() is None, "".join(log)
        yield
    finally:
        process.terminate()
        process.wait(30)
        reader.join(30)
        assert process.stderr is not None
        process.stderr.close()


@contextmanager
def _folder(owner: str = "") -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="shortlist-test-"))
    try:
        if owner:
            shutil.chown(path, owner, owner)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def mysql() -> Iterator[str]:
    server = shutil.which("mariadbd", path=f"{os.environ['PATH']}:/usr/sbin")
    if server is None:
        pytest.skip("no mariadbd: apt-get install mariadb-server")
    port = _free_port()
    with _folder() as folder:
        data = f"--datadir={folder / 'data'}"
        install = ["mariadb-install-db", "--no-defaults", data, "--auth-root-authentication-method=normal"]
        subprocess.run([*install, "--skip-test-db", "--user=root"], check=True, capture_output=True, timeout=120)
        command = [server, "--no-defaults", data, f"--socket={folder / 's'}", f"--port={port}", "--user=root"]
        with _running([*command, "--bind-address=127.0.0.1", "--skip-name-resolve"], "ready for connections"):
            asyncio.run(_fill_mysql(port))
            yield f"mysql://reader:s%40cret@127.0.0.1:{port}/shop"


async def _fill_mysql(port: int) -> None:
    import asyncmy

    connection = await asyncmy.connect(host="127.0.0.1", port=port, user="root", charset="utf8mb4", autocommit=True)
    async with connection.cursor() as cursor:
        await cursor.execute("SET time_zone = '+00:00'")
        await cursor.execute("CREATE DATABASE shop CHARACTER SET utf8mb4")
        await cursor.execute("USE shop")
        await cursor.execute(TABLE)
        await cursor.execute(ROWS)
        await cursor.execute("CREATE TABLE many AS SELECT seq AS user_id, seq % 7 AS item_id FROM seq_1_to_2500")
        await cursor.execute("CREATE USER reader IDENTIFIED BY 's@cret'")
        await cursor.execute("GRANT ALL ON shop.* TO reader")
    connection.close()


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server: apt-get install postgresql")
    root = os.geteuid() == 0
    as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if root else []
    port = _free_port()
    with _folder("postgres" if root else "") as folder:
        (folder / "password").write_text("s@cret")
        os.chmod(folder / "password", 0o644)
        options = [f"--pgdata={folder / 'data'}", "--username=owner", f"--pwfile={folder / 'password'}"]
        init = [*as_owner, str(found[-1]), *options, "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]
        env = {**os.environ, "LC_ALL": "C.UTF-8"}
        subprocess.run(init, check=True, capture_output=True, timeout=120, env=env, cwd=folder)
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
        command = [*as_owner, str(found[-1].with_name("postgres")), "-D", str(folder / "data")]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with _running(command, "ready to accept connections", env):
            _fill_postgresql(port)
            yield f"postgresql://owner:s%40cret@127.0.0.1:{port}/postgres"


def _fill_postgresql(port: int) -> None:
    import psycopg

    address: dict[str, Any] = {"host": "127.0.0.1", "port": port, "user": "owner", "password": "s@cret"}
    with psycopg.connect(**address, dbname="postgres", autocommit=True) as connection:
        connection.execute(TABLE)
        connection.execute(ROWS)
        connection.execute("CREATE TABLE many AS SELECT n AS user_id, n % 7 AS item_id FROM generate_series(1, 2500) n")
        connection.execute("CREATE SCHEMA other")
        connection.execute("CREATE TABLE other.people (user_id uuid, tags text[], ok boolean)")
        connection.execute("INSERT INTO other.people VALUES (gen_random_uuid(), '{x,y}', true)")


@pytest.fixture(params=["mysql", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


def test_a_table(shop: Shop, url: str) -> None:
    summary = shop.load(f"{url}#ratings", value="stars", time="at")
    assert shop.events() == [("01", "7", "rate", 4.5, MOMENT), ("é", "8", "rate", 3.0, MOMENT)]
    assert summary.rejected == {"missing-item": 1, "missing-value": 1}
    assert "cret" not in summary.source
    assert shop.load(f"{url}#ratings", value="stars", time="at").duplicate == 2


def test_a_query_in_many_portions(shop: Shop, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("sql", "mysql", "postgres"):
        monkeypatch.setattr(f"shortlist.data.{name}.ROWS", 1000)
    assert shop.load(f"{url}#SELECT user_id, item_id FROM many WHERE user_id > 100").accepted == 2400


def test_a_load_that_stops_leaves_no_connection(shop: Shop, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mysql", "postgres"):
        monkeypatch.setattr(f"shortlist.data.{name}.ROWS", 500)

    def full(*_: object, **__: object) -> None:
        raise StoreError("disk full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shop.stores.log, "append", full)
        with pytest.raises(StoreError, match="disk full"):
            shop.load(f"{url}#many")
    assert shop.load(f"{url}#many").accepted == 2500


@pytest.mark.parametrize(
    ("end", "kind", "hint"),
    [
        ("", Exception, "tables: many"),
        ("#nope", NotFound, "tables: many"),
        ("#SELECT nope FROM ratings", StoreError, "SELECT"),
        ("#WITH x AS (SELECT 1) DELETE FROM ratings", StoreError, "SELECT"),
    ],
)
def test_what_cannot_be_read_is_named(shop: Shop, url: str, end: str, kind: type[Exception], hint: str) -> None:
    with pytest.raises(kind) as error:
        shop.load(url + end)
    assert hint in getattr(error.value, "hint", "")
    assert "cret" not in str(error.value)


def test_a_wrong_password_is_not_repeated(shop: Shop, url: str) -> None:
    with pytest.raises(StoreError, match="cannot read the database") as error:
        shop.load(url.replace("s%40cret", "wr0ng") + "#ratings")
    assert "wr0ng" not in str(error.value)
    assert error.value.exit_code == 6
    assert "password" in error.value.hint


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_nobody_listens(shop: Shop, scheme: str) -> None:
    with pytest.raises(StoreError, match="cannot read the database") as error:
        shop.load(f"{scheme}://me:secret@127.0.0.1:{_free_port()}/shop#t")
    assert "secret" not in str(error.value)


def test_types_of_postgresql(shop: Shop, postgresql: str) -> None:
    assert shop.load(f"{postgresql}#other.people", entity="users").accepted == 1
    id = shop.ids("user")[0]
    assert len(id) == 36
    assert shop.facts("user", id) == {"tags": ("x", "y"), "ok": True}


def test_a_missing_driver_says_what_to_install(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "shortlist.data.mysql", raising=False)
    monkeypatch.setitem(sys.modules, "asyncmy", None)
    with pytest.raises(StoreError, match="a driver that is not installed") as error:
        shop.load("mysql://me:secret@127.0.0.1/shop#t")
    assert error.value.hint == "pip install 'shortlist[mysql]'"


def test_lists_replace_those_that_a_table_held(url: str) -> None:
    table = f"{url}#recommendations"
    many = [(f"u{at // 10:05}", at % 10 + 1, "é" if at % 2 else "É", at / 7) for at in range(20_000)]
    sql_lists.replace(table, many)
    assert _rows(table) == [[*each] for each in many]
    few: sql_lists.Places = [("a", 1, "x", 0.5), ("A", 1, "x", None)]  # two people
    sql_lists.replace(table, few)
    assert sorted(_rows(table)) == sorted([*each] for each in few)
    with pytest.raises(StoreError, match="cannot write the lists"):  # one place twice: nothing is changed
        sql_lists.replace(table, [("b", 1, "x", 0.5), ("b", 1, "y", 0.4)])
    assert sorted(_rows(table)) == sorted([*each] for each in few)
    with pytest.raises(DataError, match="holds something else") as raised:
        sql_lists.replace(f"{url}#many", few)
    assert "cret" not in str(raised.value)
    assert len(_rows(f"{url}#many")) == 2500


def _rows(table: str) -> list[list[Any]]:
    _, batches, close = sql.read(table, ())
    rows = [list(row) for batch in batches for row in batch.frame.rows()]
    close()
    return rows
