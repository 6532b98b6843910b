"""A copy of an installation as it was at one moment, made beside a running server, and what is made of it elsewhere.

    backup.json              format, moment, events, a SHA-256 and a size for every file; written last
    home/shortlist.toml ...  the configuration, stores, releases and keys, where they stand below the home folder
    elsewhere/0 ...          stores and releases that the configuration puts outside of it

The moment is that of SQLite's own copy of each database: what it names is complete, what came later is not in it.
Segments, arrays and vectors never change, so on one file system they are linked, not copied.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from shortlist import release
from shortlist.config import Settings
from shortlist.errors import ConfigError, NotFound, ShortlistError, StoreError
from shortlist.stores import ROLES
from shortlist.stores.database import FILE, explained

T = TypeVar("T")
FORMAT = 1
MANIFEST = "backup.json"
MANIFEST_LIMIT = 64 << 20  # bytes
TRIES = 20  # copies of one store begun while its files are replaced
LINKED = (".parquet", ".npy")
BROKEN = "take another backup; this one cannot be relied on"


class Occupied(ShortlistError):
    """What is there would be overwritten."""

    exit_code = 8
    code = "conflict"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. `settings` are what has to be set where it is restored, because it was outside the home."""

    created: str
    events: int  # in the logs, at the moment of the backup
    release: str | None
    files: Mapping[str, Mapping[str, Any]]  # by path in the backup: size, sha256
    settings: Mapping[str, str]

    @property
    def bytes(self) -> int:
        return sum(each["size"] for each in self.files.values())


def backup(settings: Settings, to: Path, *, created: str) -> Manifest:
    """Write a backup into the folder `to`, which must be empty or not there. Raises Occupied, StoreError, ConfigError
    for stores that are no folders."""
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise Occupied("is there and not empty", where=str(to), hint="name a new folder for every backup")
    parts, moved = _parts(settings)
    with explained(to):
        to.mkdir(parents=True, exist_ok=True, mode=0o700)  # people's data, and hashes of keys
        root = settings.releases_path
        current = _again(_releases, root, to / parts[root])
        events = 0
        for folder in _stores(settings):
            events += _again(_store, folder, to / parts[folder])
        for path in (settings.home / "shortlist.toml", settings.keys_path):
            if path.is_file():
                _take(path, to / _place(settings, path, "keys.json"))
        files = {str(path.relative_to(to)): _recorded(path) for path in _files(to)}
        made = Manifest(created, events, current, files, moved)
        _write(to, made)
    return made


def verify(folder: Path) -> Manifest:
    """The manifest of a backup whose every file is there, of the recorded size and SHA-256, and whose databases are
    whole. Raises StoreError for what is not, NotFound when it is no backup."""
    manifest = _read(folder)
    for name, recorded in manifest.files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise StoreError(f"{name} is missing or not a plain file", where=str(folder), hint=BROKEN)
        if _recorded(path) != dict(recorded):
            raise StoreError(f"{name} has another size or SHA-256", where=str(folder), hint=BROKEN)
        if path.name == FILE:
            with explained(path), closing(sqlite3.connect(f"{path.resolve().as_uri()}?immutable=1", uri=True)) as sql:
                (found,) = sql.execute("PRAGMA integrity_check").fetchone()
            if found != "ok":
                raise StoreError(f"{name} is damaged: {found}", where=str(folder), hint=BROKEN)
    return manifest


def restore(folder: Path, to: Path) -> Manifest:
    """Make the installation of a backup anew in the folder `to`. Nothing there is overwritten, and until everything is
    checked and on disk nothing of it is there. Raises Occupied, StoreError, NotFound."""
    manifest = verify(folder)
    tops = {PurePosixPath(name).parts[1 if name.startswith("home/") else 0] for name in manifest.files}
    if taken := sorted(name for name in tops if (to / name).exists()):
        raise Occupied(
            f"{taken[0]} is there already",
            where=str(to),
            hint="restore into another folder: shortlist restore --to DIR",
        )
    draft = to / ".restoring"
    with explained(to):
        shutil.rmtree(draft, ignore_errors=True)
        for name in manifest.files:
            _copy(folder / name, draft / name.removeprefix("home/"))
            if _recorded(draft / name.removeprefix("home/")) != dict(manifest.files[name]):
                raise StoreError(f"{name} changed while it was copied", where=str(folder), hint=BROKEN)
        for name in sorted(tops):
            os.replace(draft / name, to / name)
        draft.rmdir()
        _sync(to)
    return manifest


def _parts(settings: Settings) -> tuple[dict[Path, Path], dict[str, str]]:
    """The place of each folder in the backup, and the settings that lead to those from outside the home folder."""
    places: dict[Path, Path] = {}
    moved: dict[str, str] = {}
    named = [(f"SHORTLIST__STORES__{role.upper()}", "file:", _folder(settings, role)) for role in ROLES]
    for key, prefix, folder in (*named, ("SHORTLIST__RELEASES__PATH", "", settings.releases_path)):
        if folder not in places:
            places[folder] = Path(_place(settings, folder, str(len(places))))
        if places[folder].parts[0] != "home":
            moved[key] = f"{prefix}{places[folder]}"
    return places, moved


def _place(settings: Settings, path: Path, name: str) -> str:
    """Where a file or folder stands in a backup."""
    home = settings.home.resolve()
    inside = path.resolve().is_relative_to(home)
    return f"home/{path.resolve().relative_to(home)}" if inside else f"elsewhere/{name}"


def _stores(settings: Settings) -> list[Path]:
    return list(dict.fromkeys(_folder(settings, role) for role in ROLES))


def _folder(settings: Settings, role: str) -> Path:
    url = settings.store_url(role)
    if not url.startswith("file:"):
        raise ConfigError(
            f"{url.partition(':')[0]}: is no folder, so it is not a part of a backup",
            where=f"stores.{role}",
            hint="back it up with its own tools, at a moment when nothing is written",
        )
    return Path(url[5:])


def _again(work: Callable[[Path, Path], T], source: Path, target: Path) -> T:
    """`work`, begun anew while files that it was to take are replaced."""
    for _ in range(TRIES):
        try:
            return work(source, target)
        except FileNotFoundError as error:
            missing = error
            shutil.rmtree(target, ignore_errors=True)
    raise missing


def _store(folder: Path, to: Path) -> int:
    """One folder of embedded stores as of one moment; how many positions its log has."""
    if not (folder / FILE).is_file():
        raise NotFound(f"there is no store in {folder}", hint="check [stores] in shortlist.toml")
    to.mkdir(parents=True)
    source = sqlite3.connect(f"{(folder / FILE).resolve().as_uri()}?mode=ro", uri=True)
    with closing(source), closing(sqlite3.connect(to / FILE)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
        names = [f"events/{file}" for (file,) in copy.execute("SELECT file FROM segment")]
        folders = _named(copy)
        (events,) = copy.execute(
            "SELECT coalesce((SELECT sum(count) FROM segment), 0) + coalesce((SELECT sum(count) FROM tail), 0)"
        ).fetchone()
    for name in folders:
        names += [f"{name}/{each}" for each in os.listdir(folder / name)]
    for name in names:
        _take(folder / name, to / name)
    with closing(sqlite3.connect(f"{(folder / FILE).resolve().as_uri()}?mode=ro", uri=True)) as now:
        gone = set(folders) - set(_named(now))
    if gone:  # what is no longer named may have been half removed when it was listed
        raise FileNotFoundError(2, "replaced while it was copied", str(folder / min(gone)))
    return int(events)


def _named(sql: sqlite3.Connection) -> list[str]:
    """The folders of state and vectors that a database names."""
    folders = [f"state/{name}" for (name,) in sql.execute("SELECT value FROM meta WHERE key = 'state.folder'")]
    return folders + [f"index/{name}" for (name,) in sql.execute("SELECT folder FROM space")]


def _releases(root: Path, to: Path) -> str | None:
    """Every complete release and which one is current; one that is pruned meanwhile is left out."""
    current = release.current(root)
    for version in release.versions(root):
        try:
            for path in sorted((root / version).rglob("*")):
                if path.is_file():
                    _take(path, to / path.relative_to(root))
        except FileNotFoundError:
            if version == current:
                raise
            shutil.rmtree(to / version, ignore_errors=True)
    for path in root.iterdir() if root.is_dir() else ():
        if path.is_file() and not path.name.startswith(".") and path.name != "CURRENT":
            _take(path, to / path.name)
    if current is not None:
        (to / "CURRENT").write_text(f"{current}\n")
    return current


def _take(path: Path, to: Path) -> None:
    """Link what never changes, copy the rest."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in LINKED:
        try:
            os.link(path, to)
            return
        except FileNotFoundError:
            raise
        except OSError:  # another file system, or one without links
            pass
    shutil.copy2(path, to)


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, to)
    with to.open("rb") as file:
        os.fsync(file.fileno())


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _recorded(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        return {"size": file.tell(), "sha256": digest}


def _write(folder: Path, manifest: Manifest) -> None:
    said = {
        "format": FORMAT,
        "created": manifest.created,
        "events": manifest.events,
        "release": manifest.release,
        "settings": manifest.settings,
        "files": manifest.files,
    }
    draft = folder / f".{MANIFEST}"
    with draft.open("w", encoding="utf-8") as file:
        json.dump(said, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / MANIFEST)
    for each in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        _sync(each)


def _read(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise NotFound(
            f"{folder} holds no complete backup: there is no {MANIFEST}", hint="name a folder made by shortlist backup"
        )
    if path.stat().st_size > MANIFEST_LIMIT:
        raise StoreError(f"{MANIFEST} is larger than {MANIFEST_LIMIT} bytes", where=str(folder), hint=BROKEN)
    try:
        said = json.loads(path.read_bytes())
        if said["format"] > FORMAT:
            raise StoreError(
                f"has format {said['format']}, this program reads up to {FORMAT}",
                where=str(folder),
                hint="use the version of Shortlist that made it, or a newer one",
            )
        files = {
            str(name): {"size": int(each["size"]), "sha256": str(each["sha256"])}
            for name, each in said["files"].items()
        }
        manifest = Manifest(said["created"], int(said["events"]), said["release"], files, dict(said["settings"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StoreError(f"{MANIFEST} is damaged ({error})", where=str(folder), hint=BROKEN) from error
    for name in manifest.files:
        parts = PurePosixPath(name).parts
        if (
            PurePosixPath(name).is_absolute()
            or ".." in parts
            or len(parts) < 2
            or parts[0] not in ("home", "elsewhere")
        ):
            raise StoreError(f"the file name {name!r} leads out of the backup", where=str(folder), hint=BROKEN)
    return manifest


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
