"""Releases: trained pipelines as a directory of arrays and JSON, published by replacing one line.

    releases/
      2026-11-21T221002-ab12cd34/
        release.json       the tree of dataclasses, a SHA-256 and a size for every file, facts; written last
        0001.npy ...       arrays, one file each, memory-mapped on load
        golden/ ...        parts: trees of their own that serving does not need, sealed by the SHA-256 of their manifest
      CURRENT              the version being served, replaced atomically
      history.jsonl        every publish, refusal and rollback, one line each

A version ends in the first digits of the SHA-256 of its release.json, which holds those of all else: not a bit can
change unseen. Nothing in a release is ever executed: arrays are loaded with allow_pickle=False, classes are looked up
by name in this package (or a module the configuration trusts) and must be dataclasses.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shortlist import failpoints
from shortlist.config import resolve, store_roles, use_path
from shortlist.errors import NotFound, ReleaseError, ShapeError
from shortlist.pipeline import Pipeline
from shortlist.protocols import Catalog
from shortlist.types import Ragged

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

FORMAT = 1
MANIFEST = "release.json"
MANIFEST_LIMIT = 16 << 20  # bytes
PROBES = 64  # items by whose ids a release recognises its catalogue
FOREIGN = 0.1  # of the probed ids may have changed since (items renamed or taken away)
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}-[0-9a-f]{8}")
_ARRAY = re.compile(r"[0-9]{4,8}\.npy")
_PART = re.compile(r"[a-z]{1,32}")
_BLOCK = 1 << 22  # numbers looked at once


@dataclass(frozen=True, slots=True)
class Release:
    """A loaded release: what it serves and what is known about it."""

    version: str
    pipelines: Mapping[str, Pipeline]
    facts: Mapping[str, Any]  # created, data window, sizes, metrics


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
        sealed[name] = _sha256(folder / name / MANIFEST)
    writer = _Writer(folder)
    tree = writer.encode(thing, "")
    manifest = {"format": FORMAT, "facts": dict(facts or {}), "files": writer.files, "parts": sealed, "tree": tree}
    _write_durably(folder / MANIFEST, json.dumps(manifest, allow_nan=False).encode())
    _sync_folder(folder)


def unpack(folder: Path, stores: Mapping[str, object], *, trust: Sequence[str] = ()) -> object:
    """The object that `pack` wrote, its arrays memory-mapped, its store fields filled from `stores` by role."""
    manifest = _manifest(folder)
    _verify_files(folder, manifest)
    return _Reader(folder, stores, trust, manifest["files"]).decode(manifest["tree"], "")


def unpack_part(folder: Path, name: str, stores: Mapping[str, object], *, trust: Sequence[str] = ()) -> object | None:
    """A part that `pack` wrote into the release at `folder`; None when it has no such part."""
    manifest = _manifest(folder)
    if name not in manifest["parts"]:
        return None
    _verify_seal(folder, name, manifest["parts"][name])
    return unpack(folder / name, stores, trust=trust)


def verify(folder: Path) -> None:
    """Every file of the release and its parts is a plain file of the recorded size and SHA-256 and holds an array of
    finite numbers as large as its header says; otherwise ReleaseError."""
    manifest = _manifest(folder)
    _verify_files(folder, manifest)
    for name, seal in manifest["parts"].items():
        _verify_seal(folder, name, seal)
        _verify_files(folder / name, _manifest(folder / name))


def save(
    root: Path,
    pipelines: Mapping[str, Pipeline],
    facts: Mapping[str, Any],
    *,
    parts: Mapping[str, object] | None = None,
) -> str:
    """Write a new release below `root` and return its version. It is complete, but nothing serves it until `publish`.

    `facts["created"]` is an ISO 8601 UTC time; it begins the version's name. Drafts that a crash left are removed.
    """
    stamp = re.sub(r"[^0-9T-]", "", str(facts["created"]).split(".")[0].split("+")[0])
    _sweep(root)
    draft = root / f".draft-{os.getpid()}"
    try:
        pack(dict(pipelines), draft, facts, parts=parts)
        failpoints.at("release.packed")
        version = f"{stamp}-{_sha256(draft / MANIFEST)[:8]}"
        if not _VERSION.fullmatch(version):
            raise ReleaseError(f"created {facts['created']!r} is not an ISO 8601 UTC time", where="facts.created")
        if not (root / version).exists():
            os.replace(draft, root / version)
            failpoints.at("release.renamed")
            _sync_folder(root)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return version


def publish(
    root: Path,
    version: str,
    *,
    action: Literal["publish", "force", "rollback"] = "publish",
    by: str = "",
    why: str = "",
    failed: Sequence[str] = (),
) -> None:
    """Make `version` current after checking its files; readers see the old or the new one, never neither.

    It is noted in the history first, with who did it, why, and which checks had failed.
    """
    with _alone(root):
        verify(_folder(root, version))
        failpoints.at("release.checked")
        _note(root, action, version, by=by, why=why, failed=failed)
        failpoints.at("release.noted")
        draft = root / ".CURRENT"
        _write_durably(draft, f"{version}\n".encode())
        failpoints.at("release.drafted")
        os.replace(draft, root / "CURRENT")
        failpoints.at("release.current")
        _sync_folder(root)


def refuse(root: Path, version: str, *, by: str = "", failed: Sequence[str]) -> None:
    """Note in the history that `version` was not published because those checks failed."""
    with _alone(root):
        _note(root, "refuse", version, by=by, failed=failed)


def current(root: Path) -> str | None:
    """The published version, None before the first."""
    try:
        with (root / "CURRENT").open("rb") as file:
            version = file.read(100).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return None
    return _checked(root, version)


def previous(root: Path) -> str | None:
    """What was served before the current version and is still there, by the history; None when nothing is."""
    kept, live = versions(root), current(root)
    served: list[str] = []
    for each in history(root):
        version = each["release"]
        if each["action"] == "rollback" and version in served:
            del served[len(served) - served[::-1].index(version) :]
        elif each["action"] != "refuse" and served[-1:] != [version]:
            served.append(version)
    if live in served:
        before = served[: len(served) - 1 - served[::-1].index(live)]
    else:  # published by a program that kept no history
        before = [version for version in kept if live is None or version < live]
    return next((version for version in reversed(before) if version in kept and version != live), None)


def versions(root: Path) -> list[str]:
    """All complete releases, oldest first."""
    if not root.is_dir():
        return []
    return sorted(each.name for each in root.iterdir() if _VERSION.fullmatch(each.name) and _complete(each))


def history(root: Path) -> list[Mapping[str, Any]]:
    """What was published, refused and rolled back, oldest first: time, action, release, before, by, why, failed."""
    try:
        lines = (root / "history.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
            if isinstance(entry["release"], str) and isinstance(entry["action"], str):
                found.append(entry)
        except (ValueError, TypeError, KeyError):  # cut short by a crash: nothing was published after it was begun
            continue
    return found


def prune(root: Path, keep: int) -> list[str]:
    """Remove all releases but the newest `keep`, the current and the previous one; the removed versions."""
    with _alone(root):
        kept = {*versions(root)[-keep:], current(root), previous(root)} if keep > 0 else {current(root), previous(root)}
        removed = [version for version in versions(root) if version not in kept]
        for version in removed:  # renamed first: half a release must not look like one
            draft = root / f".draft-{os.getpid()}-{version}"
            os.replace(root / version, draft)
            shutil.rmtree(draft)
        _sweep(root)
        return removed


def load(root: Path, version: str, stores: Mapping[str, object], *, trust: Sequence[str] = ()) -> Release:
    """The pipelines of `version`, ready to serve, if they belong to the catalogue in `stores`."""
    folder = _folder(root, version)
    known = facts(root, version)
    if isinstance(catalog := stores.get("catalog"), Catalog):
        check_catalog(known, catalog, str(folder))
    pipelines = unpack(folder, stores, trust=trust)
    if not isinstance(pipelines, dict) or not all(isinstance(each, Pipeline) for each in pipelines.values()):
        raise ReleaseError("holds no pipelines", where=str(folder), hint=_REPUBLISH)
    return Release(version, pipelines, known)


def load_part(
    root: Path, version: str, name: str, stores: Mapping[str, object], *, trust: Sequence[str] = ()
) -> object | None:
    """The part `name` of a release, None when it has none."""
    return unpack_part(_folder(root, version), name, stores, trust=trust)


def fingerprint(catalog: Catalog) -> dict[str, Any]:
    """What `check_catalog` recognises a catalogue by: how far it goes, and digests of some of its ids."""
    size = catalog.size("item")
    rows = np.unique(np.linspace(0, max(0, size - 1), min(size, PROBES)).astype(np.int32))
    digests = [_digest(id) for id in catalog.ids("item", rows)]
    return {
        "items": size,
        "users": catalog.size("user"),
        "probe": dict(zip(map(str, rows.tolist()), digests, strict=True)),
    }


def check_catalog(facts: Mapping[str, Any], catalog: Catalog, where: str = "") -> None:
    """ReleaseError when the release was trained on another catalogue: its rows would mean other items here."""
    known = facts.get("catalog")
    if known is None:  # saved by hand, without a catalogue
        return
    try:
        size, items, users = catalog.size("item"), int(known["items"]), int(known["users"])
        probe = {int(row): str(digest) for row, digest in known["probe"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReleaseError(
            f"what it says of its catalogue is damaged ({error})", where=where, hint=_REPUBLISH
        ) from error
    for name, has, knows in (("items", size, items), ("users", catalog.size("user"), users)):
        if knows > has:
            raise ReleaseError(
                f"knows {knows:,} {name}, this catalogue has {has:,}", where=where, hint="it belongs to other stores"
            )
    rows = np.array([row for row in probe if 0 <= row < size], np.int32)
    here = [_digest(id) for id in catalog.ids("item", rows)]
    other = len(probe) - sum(probe[int(row)] == digest for row, digest in zip(rows, here, strict=True))
    if other > FOREIGN * len(probe):
        raise ReleaseError(
            f"{other} of {len(probe)} items that were compared have another id in this catalogue",
            where=where,
            hint="it belongs to other stores: point [stores] at those it was trained on, or train again",
        )


def facts(root: Path, version: str) -> Mapping[str, Any]:
    """What was recorded with a release, without loading its arrays."""
    found: Mapping[str, Any] = _manifest(_folder(root, version))["facts"]
    return found


_REPUBLISH = "train again, or restore the release from a backup"
_DIVERGED = "a model did not converge: look at its parameters and at extreme values in the data, then train again"


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
    if not _complete(folder):
        known = ", ".join(versions(root)[-3:]) or "none"
        raise NotFound(f"no release {version}", where=str(root), hint=f"newest releases there: {known}")
    manifest = folder / MANIFEST
    if manifest.stat().st_size <= MANIFEST_LIMIT and not version.endswith(f"-{_sha256(manifest)[:8]}"):
        raise ReleaseError(
            "release.json is not the one that its version stands for", where=str(folder), hint=_REPUBLISH
        )
    return folder


def _complete(folder: Path) -> bool:
    return not folder.is_symlink() and (folder / MANIFEST).is_file()


def _digest(id: str) -> str:
    return hashlib.sha256(id.encode()).hexdigest()[:12]


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process at a time decides what is current and what is removed."""
    handle = os.open(root, os.O_RDONLY)
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _note(root: Path, action: str, version: str, *, by: str = "", why: str = "", failed: Sequence[str] = ()) -> None:
    """Append one line to the history; durable when it returns."""
    entry = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "action": action,
        "release": version,
        "before": current(root),
        "by": by,
        "why": why,
        "failed": list(failed),
    }
    with (root / "history.jsonl").open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        begin = b"\n" if file.read(1) not in (b"", b"\n") else b""  # a crash cut the last line short
        file.write(begin + json.dumps(entry, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _sweep(root: Path) -> None:
    """Remove drafts of processes that are no more."""
    for draft in root.glob(".draft-*"):
        owner = int(draft.name.split("-")[1])
        if owner == os.getpid() or not Path(f"/proc/{owner}").exists():
            shutil.rmtree(draft, ignore_errors=True)


def _verify_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    for name, recorded in manifest["files"].items():
        if not _ARRAY.fullmatch(name):
            raise ReleaseError(f"file name {name!r} is not one a release may hold", where=str(folder))
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise ReleaseError(f"{name} is missing or not a plain file", where=str(folder), hint=_REPUBLISH)
        if path.stat().st_size != recorded.get("size"):
            raise ReleaseError(f"{name} has another size or SHA-256", where=str(folder), hint=_REPUBLISH)
        try:
            array = _array(path)
        except Exception as error:  # whatever a hostile header makes its reader raise
            raise ReleaseError(f"{name} is not a plain array ({error})", where=str(folder), hint=_REPUBLISH) from error
        if _sha256(path) != recorded.get("sha256"):
            raise ReleaseError(f"{name} has another size or SHA-256", where=str(folder), hint=_REPUBLISH)
        if strange := _not_finite(array):
            raise ReleaseError(f"{strange:,} numbers in {name} are not finite", where=str(folder), hint=_DIVERGED)


def _verify_seal(folder: Path, name: str, seal: object) -> None:
    part = folder / name if _PART.fullmatch(name) else folder
    if part is folder or not _complete(part) or _sha256(part / MANIFEST) != seal:
        raise ReleaseError(f"its part {name!r} is missing or another one", where=str(folder), hint=_REPUBLISH)


def _array(path: Path) -> np.ndarray:
    """The array in `path`, memory-mapped; ValueError unless it is what `_Writer` writes, no larger than its file."""
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):  # type: ignore[no-untyped-call]
            raise ValueError("another version of the .npy format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)  # type: ignore[no-untyped-call]
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


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if path.is_symlink() or not path.is_file():
        raise ReleaseError("has no release.json, so it is incomplete", where=str(folder), hint=_REPUBLISH)
    if path.stat().st_size > MANIFEST_LIMIT:
        raise ReleaseError(f"release.json is larger than {MANIFEST_LIMIT} bytes", where=str(folder), hint=_REPUBLISH)
    try:
        manifest = json.loads(path.read_bytes())
        newer = manifest["format"] > FORMAT
        manifest.setdefault("parts", {})
        if "tree" not in manifest or not all(isinstance(manifest[key], dict) for key in ("facts", "files", "parts")):
            raise TypeError("facts, files and parts must be objects, and tree must be there")
        if not all(isinstance(each, dict) for each in manifest["files"].values()):
            raise TypeError("files must be objects")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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
        if strange := _not_finite(array):
            raise ReleaseError(
                f"{strange:,} of {array.size:,} numbers are not finite", where=where.lstrip("."), hint=_DIVERGED
            )
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
            if isinstance(made, Ragged) and np.any(made.ptr[1:] < made.ptr[:-1]):
                raise ShapeError("Ragged: ptr falls")
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
