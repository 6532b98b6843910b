"""The directory of the embedded stores: its lock, its SQLite file, its files, and its errors in words.

    LOCK              held by the one writer (flock: the kernel lets go when the process dies), names its pid
    shortlist.db      everything that was acknowledged and is not yet in a file below, and which files count
    events/           Parquet segments, immutable
    state/ index/     arrays that can be rebuilt

A file counts only when a row of the database names it, and that row is committed after the file was synced and renamed
to its final name. A crash at any boundary therefore leaves the old or the new state, and at worst a file that no row
names; the next writer removes it (`sweep`).
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from urllib.parse import quote

from shortlist import failpoints
from shortlist.errors import ConfigError, NotFound, StoreError, StoreLocked

try:
    import fcntl
except ImportError:  # not a POSIX system
    fcntl = None  # type: ignore[assignment]

FORMAT = 2
FILE = "shortlist.db"

SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE held (seq INTEGER PRIMARY KEY, item TEXT NOT NULL, event TEXT NOT NULL, UNIQUE (item, event));

-- catalog: ids by row, and every put in order; compaction rewrites the puts as fewer
CREATE TABLE user_id (row INTEGER PRIMARY KEY, id TEXT NOT NULL);
CREATE TABLE item_id (row INTEGER PRIMARY KEY, id TEXT NOT NULL);
CREATE TABLE fact (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, rows BLOB NOT NULL, columns BLOB NOT NULL
);

-- log: `first` is the position of the first event in order of arrival; the tail comes after all segments
CREATE TABLE segment (first INTEGER PRIMARY KEY, count INTEGER NOT NULL, file TEXT NOT NULL);
CREATE TABLE tail (first INTEGER PRIMARY KEY, count INTEGER NOT NULL, events BLOB NOT NULL, context BLOB);
CREATE TABLE context (name TEXT PRIMARY KEY, dtype TEXT NOT NULL, shape TEXT NOT NULL) WITHOUT ROWID;

-- index: the files of each space, and what changed since they were written (no vectors = removed)
CREATE TABLE space (name TEXT PRIMARY KEY, folder TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE vector (seq INTEGER PRIMARY KEY AUTOINCREMENT, space TEXT NOT NULL, rows BLOB NOT NULL, vectors BLOB);
"""

ERASURE = """
-- people who were erased: by keyed hash of the id, with the row they had. The id itself is kept until it was looked for
-- everywhere, and `done` is set when that is on disk; `gone` are the rows whose events the log does not take
CREATE TABLE erasure (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL UNIQUE, row INTEGER NOT NULL, asked INTEGER NOT NULL,
    id TEXT, done INTEGER, proof TEXT
);
CREATE TABLE gone (user INTEGER PRIMARY KEY);
"""

STEPS = (SCHEMA, ERASURE)
"""What takes a directory from one format to the next, from an empty one on."""


class Database:
    """One SQLite connection under one lock. `read()` and `write()` are transactions; a write is on disk at its end."""

    def __init__(
        self, folder: Path, *, read_only: bool = False, temporary: TemporaryDirectory[str] | None = None
    ) -> None:
        """`temporary` is the owner of `folder` when that is to go on close: then nothing is synced."""
        self.folder = folder
        self.read_only = read_only
        self.durable = temporary is None
        self.lock = threading.RLock()  # hold it around a write and the change of memory that follows it
        held = None if read_only else _hold(folder)
        try:
            with explained(folder):
                self._connection = _connect(folder, read_only, self.durable)
        except BaseException:
            if held is not None:
                os.close(held)
            raise
        self.close = weakref.finalize(self, _close, self._connection, held, temporary)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A consistent view of what is acknowledged."""
        with self.lock, explained(self.folder):
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("COMMIT")

    def changes(self) -> int:
        """A number that is another one once another process has committed since it was last asked."""
        with self.lock, explained(self.folder):
            return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; durable when the block has ended."""
        if self.read_only:
            raise StoreError(
                f"{self.folder} was opened for reading only",
                hint="Open it without read_only, in one process.",
            )
        with self.lock, explained(self.folder):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                failpoints.at("commit.before")
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            failpoints.at("commit.after")

    @contextmanager
    def new(self, name: str) -> Iterator[Path]:
        """A path to write a file or a folder of files to; on disk under `folder / name` when the block has ended."""
        final = self.folder / name
        draft = final.with_name(f".{final.name}.new")
        with explained(final):
            final.parent.mkdir(parents=True, exist_ok=True)
            _remove(draft)
            try:
                yield draft
                failpoints.at("file.written")
                if self.durable:
                    for path in [*draft.iterdir()] if draft.is_dir() else []:
                        _sync(path)
                    _sync(draft)
                failpoints.at("file.synced")
                _remove(final)  # only an orphan can be in the way: a name that a row has is not given again
                failpoints.at("file.cleared")
                draft.rename(final)
                failpoints.at("file.renamed")
                if self.durable:
                    _sync(final.parent)
            except BaseException:
                _remove(draft)
                raise

    def purge(self) -> None:
        """Write the SQLite file anew, so that nothing deleted can be read in it or in its write-ahead log."""
        with self.lock, explained(self.folder):
            self._connection.execute("VACUUM")
            busy, *_ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StoreError(
                f"{self.folder / FILE} is being read by another process, so its log could not be emptied",
                hint="It is tried again in a moment; stop a process that reads for minutes.",
            )

    def sweep(self, name: str, keep: Iterable[str]) -> None:
        """Remove what no row names from the folder `name`: left by a crash, or replaced."""
        if self.read_only or not (self.folder / name).is_dir():
            return
        kept = set(keep)
        with explained(self.folder / name):
            for path in (self.folder / name).iterdir():
                if path.name not in kept:
                    _remove(path)
                    failpoints.at("sweep.removed")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into a StoreError that says where and what to do."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise failure(error, path) from error


def failure(error: BaseException, path: Path) -> StoreError:
    """The StoreError for an error of SQLite or of the file system; a full disk has the code `storage_full`."""
    number = getattr(error, "errno", None)
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary == sqlite3.SQLITE_FULL or number in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in str(error):
        full = StoreError(
            f"no space left for {path}: nothing of this write was kept",
            hint="Free space on that disk and send it again; what was acknowledged before is safe.",
        )
        full.code = "storage_full"
        return full
    if primary == sqlite3.SQLITE_READONLY or number in (errno.EACCES, errno.EPERM, errno.EROFS):
        hint = "Give this user write permission there, or choose another folder."
    elif primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        hint = "Restore the folder from a backup, or move it away and ingest again."
    else:
        hint = "Check that the disk is there and healthy, then try again."
    return StoreError(f"{path} cannot be used: {error}", hint=hint)


def _hold(folder: Path) -> int:
    """Make the folder if need be and take its lock; returns the open file, to be closed on release."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(
            f"{folder} cannot be opened for writing: {error.strerror or error}",
            hint="Name a folder that this user may create and write to, for example file:data.",
        ) from error
    if fcntl is not None:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            pid, _, since = os.pread(held, 200, 0).decode(errors="replace").strip().partition(" ")
            os.close(held)
            raise StoreLocked(
                f"{folder} is being written by process {pid or 'unknown'} (since {since or 'just now'}); "
                "one process at a time may write",
                hint=f"Stop process {pid or 'unknown'}, or open the folder read-only.",
            ) from error
    failpoints.at("lock.taken")
    os.truncate(held, 0)
    failpoints.at("lock.cleared")
    os.pwrite(held, f"{os.getpid()} {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n".encode(), 0)
    failpoints.at("lock.named")
    return held


def _connect(folder: Path, read_only: bool, durable: bool) -> sqlite3.Connection:
    path = folder / FILE
    if read_only and not path.is_file():
        raise NotFound(
            f"there is no store in {folder}", hint="Check the path, or make one there with `shortlist ingest`."
        )
    mode = "rwc"
    if read_only:
        # on a read-only medium SQLite cannot share memory with a writer; without a write-ahead log there is none
        alone = not os.access(folder, os.W_OK) and not path.with_name(f"{FILE}-wal").exists()
        mode = "ro&immutable=1" if alone else "ro"
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()))}?mode={mode}", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        _prepare(connection, folder, read_only, durable)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, folder: Path, read_only: bool, durable: bool) -> None:
    connection.execute("PRAGMA busy_timeout = 5000")
    if not read_only:
        connection.execute(f"PRAGMA journal_mode = {'WAL' if durable else 'MEMORY'}")
        connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version < FORMAT and not read_only:
        missing = "".join(STEPS[version:])
        connection.executescript(f"BEGIN IMMEDIATE; {missing} PRAGMA user_version = {FORMAT}; COMMIT;")
    elif version != FORMAT:
        raise StoreError(
            f"{folder} has format {version}; this program reads format {FORMAT}",
            hint="Use the release of Shortlist that wrote it, or a newer one."
            if version > FORMAT
            else "Open it once for writing.",
        )


def _close(connection: sqlite3.Connection, held: int | None, temporary: TemporaryDirectory[str] | None) -> None:
    connection.close()
    if held is not None:
        os.close(held)
    if temporary is not None:
        temporary.cleanup()


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _remove(path: Path) -> None:
    if path.is_dir():
        rmtree(path)
    else:
        path.unlink(missing_ok=True)
