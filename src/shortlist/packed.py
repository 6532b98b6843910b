"""A tree of dataclasses as a directory of arrays and JSON, in which not a bit changes unseen.

    release.json       the tree, a SHA-256 and a size for every file, facts; written last
    0001.npy ...       arrays, one file each, memory-mapped when read
    golden/ ...        parts: trees of their own, sealed by the SHA-256 of their release.json

Nothing that is read is ever executed: arrays are loaded with allow_pickle=False, after their header was compared with
the size of their file; classes are looked up by name in this package (or a module the configuration trusts) and must be
dataclasses.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shortlist import failpoints
from shortlist.config import resolve, store_roles, use_path
from shortlist.errors import ReleaseError

FORMAT = 1
MANIFEST = "release.json"
MANIFEST_LIMIT = 16 << 20  # bytes
REPUBLISH = "train again, or restore the release from a backup"
DIVERGED = "a model did not converge: look at its parameters and at extreme values in the data, then train again"
_ARRAY = re.compile(r"[0-9]{4,8}\.npy")
_PART = re.compile(r"[a-z]{1,32}")
_BLOCK = 1 << 22  # numbers looked at once


def pack(
    thing: object, folder: Path, facts: Mapping[str, Any] | None = None, *, parts: Mapping[str, object] | None = None
) -> None:
    """Write a tree of dataclasses, mappings, tuples, numbers, text, bytes and arrays into the empty `folder`.

    `parts` are further trees by name, which `unpack_part` reads. Arrays must be finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sealed = {}
    for name, part in (parts or {}).items():
        pack(part, folder / name)
        sealed[name] = sha256(folder / name / MANIFEST)
        failpoints.at("release.part")
    writer = _Writer(folder)
    tree = writer.encode(thing, "")
    manifest = {"format": FORMAT, "facts": dict(facts or {}), "files": writer.files, "parts": sealed, "tree": tree}
    write_durably(folder / MANIFEST, json.dumps(manifest, allow_nan=False).encode())
    sync_folder(folder)


def unpack(folder: Path, stores: Mapping[str, object], *, trust: Sequence[str] = ()) -> object:
    """The object that `pack` wrote, its arrays memory-mapped, its store fields filled from `stores` by role."""
    manifest = manifest_of(folder)
    _verify_files(folder, manifest)
    return _Reader(folder, stores, trust, manifest["files"]).decode(manifest["tree"], "")


def unpack_part(folder: Path, name: str, stores: Mapping[str, object], *, trust: Sequence[str] = ()) -> object | None:
    """A part that `pack` wrote into the release at `folder`; None when it has no such part."""
    manifest = manifest_of(folder)
    if name not in manifest["parts"]:
        return None
    _verify_seal(folder, name, manifest["parts"][name])
    return unpack(folder / name, stores, trust=trust)


def verify(folder: Path) -> None:
    """Every file of the release and its parts is a plain file of the recorded size and SHA-256 and holds an array of
    finite numbers as large as its header says; otherwise ReleaseError."""
    manifest = manifest_of(folder)
    _verify_files(folder, manifest)
    for name, seal in manifest["parts"].items():
        _verify_seal(folder, name, seal)
        _verify_files(folder / name, manifest_of(folder / name))


def _verify_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    for name, recorded in manifest["files"].items():
        if not _ARRAY.fullmatch(name):
            raise ReleaseError(f"file name {name!r} is not one a release may hold", where=str(folder))
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise ReleaseError(f"{name} is missing or not a plain file", where=str(folder), hint=REPUBLISH)
        if path.stat().st_size != recorded.get("size") or sha256(path) != recorded.get("sha256"):
            raise ReleaseError(f"{name} has another size or SHA-256", where=str(folder), hint=REPUBLISH)
        try:
            array = _array(path)
        except Exception as error:  # whatever a hostile header makes its reader raise
            raise ReleaseError(f"{name} is not a plain array ({error})", where=str(folder), hint=REPUBLISH) from error
        if strange := _not_finite(array):
            raise ReleaseError(f"{strange:,} numbers in {name} are not finite", where=str(folder), hint=DIVERGED)


def _verify_seal(folder: Path, name: str, seal: object) -> None:
    part = folder / name if _PART.fullmatch(name) else folder
    if part is folder or not complete(part) or sha256(part / MANIFEST) != seal:
        raise ReleaseError(f"its part {name!r} is missing or another one", where=str(folder), hint=REPUBLISH)


def _array(path: Path) -> np.ndarray:
    """The array in `path`, memory-mapped; ValueError unless it is what `_Writer` writes, no larger than its file."""
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("another version of the .npy format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
    if dtype.kind not in "biufSU" or any(length < 0 for length in shape):
        raise ValueError(f"it says it holds {dtype} {shape}")
    if start + math.prod(shape) * dtype.itemsize != path.stat().st_size:
        raise ValueError(f"it says it holds {dtype} {shape}, which is not its size")
    # asarray: a plain view, because every slice of a np.memmap pays for being one
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _not_finite(array: np.ndarray) -> int:
    """How many numbers of `array` are NaN or infinite."""
    if array.dtype.kind != "f":
        return 0
    flat = array.ravel(order="K")
    return sum(
        int(np.count_nonzero(~np.isfinite(flat[start : start + _BLOCK]))) for start in range(0, len(flat), _BLOCK)
    )


def complete(folder: Path) -> bool:
    """Is there a tree at all? Its manifest is written last."""
    return not folder.is_symlink() and (folder / MANIFEST).is_file()


def manifest_of(folder: Path) -> dict[str, Any]:
    """What release.json says, its form checked."""
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise ReleaseError("has no release.json, so it is incomplete", where=str(folder), hint=REPUBLISH)
    if path.stat().st_size > MANIFEST_LIMIT:
        raise ReleaseError(f"release.json is larger than {MANIFEST_LIMIT} bytes", where=str(folder), hint=REPUBLISH)
    try:
        manifest = json.loads(path.read_bytes())
        newer = manifest["format"] > FORMAT
        manifest.setdefault("parts", {})
        if "tree" not in manifest or not all(isinstance(manifest[key], dict) for key in ("facts", "files", "parts")):
            raise TypeError("facts, files and parts must be objects, and tree must be there")
        if not all(isinstance(each, dict) for each in manifest["files"].values()):
            raise TypeError("files must be objects")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ReleaseError(f"release.json is damaged ({error})", where=str(folder), hint=REPUBLISH) from error
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
        if strange := _not_finite(array):
            raise ReleaseError(
                f"{strange:,} of {array.size:,} numbers are not finite", where=where.lstrip("."), hint=DIVERGED
            )
        name = f"{number:04d}.npy"
        path = self.folder / name
        with path.open("wb") as file:
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        failpoints.at("release.array")
        self.files[name] = {"sha256": sha256(path), "size": path.stat().st_size}
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
            if "n" in tree:
                self.seen[tree["n"]] = made
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
            raise ReleaseError(
                f"the tree is damaged at {where or 'its root'} ({error})", where=str(self.folder)
            ) from error
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
                return _array(self.folder / tree["file"])
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


def sha256(path: Path) -> str:
    """Of the contents of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_durably(path: Path, data: bytes) -> None:
    """On the disk when it returns."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Names of files made or replaced in `folder` are on the disk when it returns."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
