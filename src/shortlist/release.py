"""Releases: trained pipelines as a directory of arrays and JSON, published by replacing one line.

    releases/
      2026-11-21T221002-ab12cd34/
        release.json       the tree of dataclasses, a SHA-256 and a size for every file, facts; written last
        0001.npy ...       arrays, one file each, memory-mapped on load
      CURRENT              the version being served, replaced atomically

Nothing in a release is ever executed: arrays are loaded with allow_pickle=False, classes are looked up by name in this
package (or a module the configuration trusts) and must be dataclasses.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shortlist.config import resolve, store_roles, use_path
from shortlist.errors import NotFound, ReleaseError
from shortlist.pipeline import Pipeline

FORMAT = 1
MANIFEST = "release.json"
MANIFEST_LIMIT = 16 << 20  # bytes
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}-[0-9a-f]{8}")
_ARRAY = re.compile(r"[0-9]{4,8}\.npy")


@dataclass(frozen=True, slots=True)
class Release:
    """A loaded release: what it serves and what is known about it."""

    version: str
    pipelines: Mapping[str, Pipeline]
    facts: Mapping[str, Any]  # created, data window, sizes, metrics


def pack(thing: object, folder: Path, facts: Mapping[str, Any] | None = None) -> None:
    """Write a tree of dataclasses, mappings, tuples, numbers, text, bytes and arrays into the empty `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = _Writer(folder)
    tree = writer.encode(thing, "")
    manifest = {"format": FORMAT, "facts": dict(facts or {}), "files": writer.files, "tree": tree}
    _write_durably(folder / MANIFEST, json.dumps(manifest, allow_nan=False).encode())
    _sync_folder(folder)


def unpack(folder: Path, stores: Mapping[str, object], *, trust: Sequence[str] = ()) -> object:
    """The object that `pack` wrote, its arrays memory-mapped, its store fields filled from `stores` by role."""
    manifest = _manifest(folder)
    verify(folder, manifest)
    return _Reader(folder, stores, trust, manifest["files"]).decode(manifest["tree"], "")


def verify(folder: Path, manifest: Mapping[str, Any] | None = None) -> None:
    """Every file present, a plain file, of the recorded size and SHA-256; otherwise ReleaseError."""
    manifest = manifest or _manifest(folder)
    for name, recorded in manifest["files"].items():
        if not _ARRAY.fullmatch(name):
            raise ReleaseError(f"file name {name!r} is not one a release may hold", where=str(folder))
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise ReleaseError(f"{name} is missing or not a plain file", where=str(folder), hint=_REPUBLISH)
        if path.stat().st_size != recorded["size"] or _sha256(path) != recorded["sha256"]:
            raise ReleaseError(f"{name} has another size or SHA-256", where=str(folder), hint=_REPUBLISH)


def save(root: Path, pipelines: Mapping[str, Pipeline], facts: Mapping[str, Any]) -> str:
    """Write a new release below `root` and return its version. It is complete, but nothing serves it until `publish`.

    `facts["created"]` is an ISO 8601 UTC time; it begins the version's name.
    """
    stamp = re.sub(r"[^0-9T-]", "", str(facts["created"]).split(".")[0].split("+")[0])
    draft = root / f".draft-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    pack(dict(pipelines), draft, facts)
    version = f"{stamp}-{_sha256(draft / MANIFEST)[:8]}"
    if not _VERSION.fullmatch(version):
        raise ReleaseError(f"created {facts['created']!r} is not an ISO 8601 UTC time", where="facts.created")
    if (root / version).exists():
        shutil.rmtree(draft)
        return version
    os.replace(draft, root / version)
    _sync_folder(root)
    return version


def publish(root: Path, version: str) -> None:
    """Make `version` current after checking it; readers see the old or the new one, never neither."""
    folder = _folder(root, version)
    verify(folder)
    draft = root / ".CURRENT"
    _write_durably(draft, f"{version}\n".encode())
    os.replace(draft, root / "CURRENT")
    _sync_folder(root)


def current(root: Path) -> str | None:
    """The published version, None before the first."""
    try:
        version = (root / "CURRENT").read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    return _checked(root, version)


def versions(root: Path) -> list[str]:
    """All complete releases, oldest first."""
    if not root.is_dir():
        return []
    return sorted(each.name for each in root.iterdir() if _VERSION.fullmatch(each.name) and (each / MANIFEST).is_file())


def load(root: Path, version: str, stores: Mapping[str, object], *, trust: Sequence[str] = ()) -> Release:
    """The pipelines of `version`, ready to serve."""
    folder = _folder(root, version)
    pipelines = unpack(folder, stores, trust=trust)
    if not isinstance(pipelines, dict) or not all(isinstance(each, Pipeline) for each in pipelines.values()):
        raise ReleaseError("holds no pipelines", where=str(folder), hint=_REPUBLISH)
    return Release(version, pipelines, _manifest(folder)["facts"])


def facts(root: Path, version: str) -> Mapping[str, Any]:
    """What was recorded with a release, without loading its arrays."""
    found: Mapping[str, Any] = _manifest(_folder(root, version))["facts"]
    return found


_REPUBLISH = "train again, or restore the release from a backup"


def _checked(root: Path, version: str) -> str:
    if not _VERSION.fullmatch(version):
        raise NotFound(
            f"{version!r} is not a release version",
            where=str(root),
            hint="versions look like 2026-11-21T221002-ab12cd34",
        )
    return version


def _folder(root: Path, version: str) -> Path:
    folder = root / _checked(root, version)
    if not (folder / MANIFEST).is_file():
        known = ", ".join(versions(root)[-3:]) or "none"
        raise NotFound(f"no release {version}", where=str(root), hint=f"newest releases there: {known}")
    return folder


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise ReleaseError("has no release.json, so it is incomplete", where=str(folder), hint=_REPUBLISH)
    if path.stat().st_size > MANIFEST_LIMIT:
        raise ReleaseError(f"release.json is larger than {MANIFEST_LIMIT} bytes", where=str(folder), hint=_REPUBLISH)
    try:
        manifest = json.loads(path.read_bytes())
        newer = manifest["format"] > FORMAT
        if "tree" not in manifest or not all(isinstance(manifest[key], dict) for key in ("facts", "files")):
            raise TypeError("facts and files must be objects, and tree must be there")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ReleaseError(f"release.json is damaged ({error})", where=str(folder), hint=_REPUBLISH) from error
    if newer:
        raise ReleaseError(
            f"has format {manifest['format']}, this program reads up to {FORMAT}",
            where=str(folder),
            hint="upgrade shortlist, or train again with this version",
        )
    return dict(manifest)


class _Writer:
    """Walks a tree; an object met twice is written once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, dict[str, Any]] = {}
        self.seen: dict[int, tuple[int, object]] = {}  # the object is kept, so its id stays its own

    def encode(self, thing: Any, where: str) -> Any:
        if thing is None or isinstance(thing, bool | int | str):
            return thing
        if isinstance(thing, float):
            return {"$": "float", "value": repr(thing)}
        if isinstance(thing, np.generic):
            return self.encode(thing.item(), where)
        if isinstance(thing, bytes):
            return {"$": "bytes", "value": thing.hex()}
        if isinstance(thing, tuple | list):
            return {"$": "tuple", "items": [self.encode(each, f"{where}[{i}]") for i, each in enumerate(thing)]}
        if id(thing) in self.seen:
            return {"$": "ref", "n": self.seen[id(thing)][0]}
        number = len(self.seen)
        self.seen[id(thing)] = (number, thing)
        if isinstance(thing, np.ndarray):
            return {"$": "array", "n": number, "file": self._array(thing, number, where)}
        if isinstance(thing, Mapping):
            items = [[str(key), self.encode(each, f"{where}.{key}")] for key, each in thing.items()]
            return {"$": "map", "n": number, "items": items}
        if is_dataclass(thing) and not isinstance(thing, type):
            return {"$": "object", "n": number, "use": use_path(type(thing)), "fields": self._fields(thing, where)}
        raise ReleaseError(
            f"a {type(thing).__name__} cannot be released",
            where=where.lstrip("."),
            hint="use arrays, numbers, text, bytes, tuples, mappings or dataclasses of them",
        )

    def _fields(self, thing: Any, where: str) -> dict[str, Any]:
        roles = store_roles(type(thing))
        return {
            each.name: {"$": "store", "role": roles[each.name]}
            if each.name in roles
            else self.encode(getattr(thing, each.name), f"{where}.{each.name}")
            for each in fields(thing)
            if each.init
        }

    def _array(self, array: np.ndarray, number: int, where: str) -> str:
        if array.dtype.hasobject:
            raise ReleaseError("an array of objects cannot be released", where=where.lstrip("."), hint="use codes")
        name = f"{number:04d}.npy"
        path = self.folder / name
        with path.open("wb") as file:
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        self.files[name] = {"sha256": _sha256(path), "size": path.stat().st_size}
        return name


class _Reader:
    def __init__(
        self, folder: Path, stores: Mapping[str, object], trust: Sequence[str], files: Mapping[str, Any]
    ) -> None:
        self.folder, self.stores, self.trust, self.files = folder, stores, trust, files
        self.seen: dict[int, Any] = {}

    def decode(self, tree: Any, where: str) -> Any:
        if not isinstance(tree, dict):
            return tree
        try:
            made = self._decode(tree, where)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ReleaseError(
                f"the tree is damaged at {where or 'its root'} ({error})", where=str(self.folder)
            ) from error
        if "n" in tree:
            self.seen[tree["n"]] = made
        return made

    def _decode(self, tree: dict[str, Any], where: str) -> Any:
        match tree["$"]:
            case "float":
                return float(tree["value"])
            case "bytes":
                return bytes.fromhex(tree["value"])
            case "tuple":
                return tuple(self.decode(each, f"{where}[{i}]") for i, each in enumerate(tree["items"]))
            case "ref":
                return self.seen[tree["n"]]
            case "array":
                if tree["file"] not in self.files:
                    raise KeyError(tree["file"])
                # asarray: a plain view, because every slice of a np.memmap pays for being one
                return np.asarray(np.load(self.folder / tree["file"], mmap_mode="r", allow_pickle=False))
            case "map":
                return {key: self.decode(each, f"{where}.{key}") for key, each in tree["items"]}
            case "store":
                if tree["role"] not in self.stores:
                    raise ReleaseError(f"{where} needs the {tree['role']} store", where=str(self.folder))
                return self.stores[tree["role"]]
            case "object":
                made = {name: self.decode(each, f"{where}.{name}") for name, each in tree["fields"].items()}
                return resolve(tree["use"], where=where, trust=self.trust)(**made)
            case other:
                raise ValueError(f"unknown node {other!r}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
