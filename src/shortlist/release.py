"""Releases: trained pipelines as a directory of arrays and JSON, published by replacing one line.

    releases/
      2026-11-21T221002-ab12cd34/
        release.json       the tree of dataclasses, a SHA-256 and a size for every file, facts; written last
        0001.npy ...       arrays, one file each, memory-mapped on load
        golden/ ...        parts: trees of their own, see packed.py
      CURRENT              the version being served, replaced atomically
      history.jsonl        every publish, refusal and rollback, one line each

A version ends in the first digits of the SHA-256 of its release.json, which holds those of all else.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import msgspec
import numpy as np

from shortlist import failpoints
from shortlist.dataset import duration
from shortlist.errors import NotFound, ReleaseError
from shortlist.packed import (
    MANIFEST,
    MANIFEST_LIMIT,
    REPUBLISH,
    complete,
    manifest_of,
    pack,
    sha256,
    sync_folder,
    unpack,
    unpack_part,
    verify,
    write_durably,
)
from shortlist.pipeline import Pipeline
from shortlist.protocols import Catalog

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None  # type: ignore[assignment]

Action: TypeAlias = Literal["publish", "force", "rollback", "refuse"]
PROBES = 64  # items by whose ids a release recognises its catalogue
FOREIGN = 0.1  # of the probed ids may have changed since (items renamed or taken away)
_VERSION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}-[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Release:
    """A loaded release: what it serves and what is known about it."""

    version: str
    pipelines: Mapping[str, Pipeline]
    facts: Mapping[str, Any]  # created, data window, sizes, metrics


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history."""

    time: str
    action: Action
    release: str
    before: str | None  # what was current
    by: str
    why: str
    failed: tuple[str, ...]  # checks


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
    failpoints.at("release.swept")
    draft = root / f".draft-{os.getpid()}"
    try:
        pack(dict(pipelines), draft, facts, parts=parts)
        failpoints.at("release.packed")
        version = f"{stamp}-{sha256(draft / MANIFEST)[:8]}"
        if not _VERSION.fullmatch(version):
            raise ReleaseError(f"created {facts['created']!r} is not an ISO 8601 UTC time", where="facts.created")
        if not (root / version).exists():
            os.replace(draft, root / version)
            failpoints.at("release.renamed")
            sync_folder(root)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return version


def publish(
    root: Path,
    version: str,
    *,
    action: Action = "publish",
    by: str = "",
    why: str = "",
    failed: Sequence[str] = (),
) -> None:
    """Make `version` current after checking its files; readers see the old or the new one, never neither.

    It is noted in the history first, with who did it, why, and which checks had failed.
    """
    with _alone(root):
        check(root, version)
        failpoints.at("release.checked")
        _note(root, action, version, by=by, why=why, failed=failed)
        failpoints.at("release.noted")
        draft = root / ".CURRENT"
        write_durably(draft, f"{version}\n".encode())
        failpoints.at("release.drafted")
        os.replace(draft, root / "CURRENT")
        failpoints.at("release.current")
        sync_folder(root)


def roll_back(root: Path, to: str = "", *, by: str = "", why: str = "") -> tuple[str, str | None]:
    """Make what was served before (or the version `to`, if it ever was) current again; (it, the one before).

    Its files are checked; that it can be served, and how good it is, was found out when it was published. So this is
    quick, and needs no store.
    """
    live, version = current(root), to or previous(root)
    if version is None:
        raise NotFound("there is no earlier release to go back to", where=str(root), hint="see: shortlist models list")
    known = {each.release for each in history(root) if each.action != "refuse"}
    if known and version not in known:
        raise ReleaseError(
            f"{version} was never served, so nobody knows how good it is",
            where=str(root),
            hint=f"let it through the gate: shortlist publish {version}",
        )
    publish(root, version, action="rollback", by=by, why=why)
    return version, live


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
        if each.action == "rollback" and each.release in served:
            del served[len(served) - served[::-1].index(each.release) :]
        elif each.action != "refuse" and served[-1:] != [each.release]:
            served.append(each.release)
    if live in served:
        before = served[: len(served) - 1 - served[::-1].index(live)]
    else:  # published by a program that kept no history
        before = [version for version in kept if live is None or version < live]
    return next((version for version in reversed(before) if version in kept and version != live), None)


def versions(root: Path) -> list[str]:
    """All complete releases, oldest first."""
    if not root.is_dir():
        return []
    return sorted(each.name for each in root.iterdir() if _VERSION.fullmatch(each.name) and complete(each))


def history(root: Path) -> list[Entry]:
    """What was published, refused and rolled back, oldest first."""
    try:
        lines = (root / "history.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=Entry))
        except msgspec.DecodeError:  # cut short by a crash: what it was about did not happen
            continue
    return found


def superfluous(root: Path, keep: int) -> list[str]:
    """All releases but the newest `keep`, the current and the previous one, oldest first."""
    known = versions(root)
    kept = {*known[len(known) - min(keep, len(known)) :], current(root), previous(root)}
    return [version for version in known if version not in kept]


def prune(root: Path, keep: int) -> list[str]:
    """Remove what is superfluous; the removed versions."""
    if not root.is_dir():
        return []
    with _alone(root):
        removed = superfluous(root, keep)
        for version in removed:  # renamed first: half a release must not look like one
            draft = root / f".draft-{os.getpid()}-{version}"
            os.replace(root / version, draft)
            failpoints.at("release.pruning")
            shutil.rmtree(draft)
            failpoints.at("release.pruned")
        _sweep(root)
        return removed


def load(root: Path, version: str, stores: Mapping[str, object], *, trust: Sequence[str] = ()) -> Release:
    """The pipelines of `version`, ready to serve, if they belong to the catalogue in `stores`."""
    folder = _folder(root, version)
    known = facts(root, version)
    if "catalog" in stores:
        check_catalog(known, cast(Catalog, stores["catalog"]), str(folder))
    pipelines = unpack(folder, stores, trust=trust)
    if not isinstance(pipelines, dict) or not all(isinstance(each, Pipeline) for each in pipelines.values()):
        raise ReleaseError("holds no pipelines", where=str(folder), hint=REPUBLISH)
    return Release(version, pipelines, known)


def check(root: Path, version: str) -> None:
    """ReleaseError unless every file of `version` is as it was written; see `packed.verify`."""
    verify(_folder(root, version))


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
            f"what it says of its catalogue is damaged ({error})", where=where, hint=REPUBLISH
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


def age(facts: Mapping[str, Any], now: int) -> float | None:
    """Seconds from the making of a release to `now` (microseconds), by its facts; None when they do not say."""
    if not isinstance(created := facts.get("created"), str):
        return None
    made = datetime.fromisoformat(created)
    return now / 1e6 - made.replace(tzinfo=made.tzinfo or UTC).timestamp()


def overdue(facts: Mapping[str, Any], now: int, schedule: str) -> str:
    """A sentence when a release is twice as old as the `schedule` ("1d") on which one is made; "" = it is not."""
    seconds = age(facts, now)
    if not schedule or seconds is None or seconds <= 2 * duration(schedule) / 1e6:
        return ""
    return f"the release is {seconds / 86_400:.1f} days old, one is made every {schedule}"


def card(root: Path, version: str) -> dict[str, Any]:
    """The facts that people ask for: without what recognises the catalogue and what pipelines were made of."""
    return {name: value for name, value in facts(root, version).items() if name not in ("catalog", "tables")}


def facts(root: Path, version: str) -> Mapping[str, Any]:
    """What was recorded with a release, without loading its arrays."""
    found: Mapping[str, Any] = manifest_of(_folder(root, version))["facts"]
    return found


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
    if not complete(folder):
        known = ", ".join(versions(root)[-3:]) or "none"
        raise NotFound(f"no release {version}", where=str(root), hint=f"newest releases there: {known}")
    manifest = folder / MANIFEST
    if manifest.stat().st_size <= MANIFEST_LIMIT and not version.endswith(f"-{sha256(manifest)[:8]}"):
        raise ReleaseError("release.json is not the one that its version stands for", where=str(folder), hint=REPUBLISH)
    return folder


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


def _note(root: Path, action: Action, version: str, *, by: str = "", why: str = "", failed: Sequence[str] = ()) -> None:
    """Append one line to the history; durable when it returns."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    entry = Entry(now, action, version, current(root), by, why, tuple(failed))
    with (root / "history.jsonl").open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        begin = b"\n" if file.read(1) not in (b"", b"\n") else b""  # a crash cut the last line short
        file.write(begin + msgspec.json.encode(entry) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _sweep(root: Path) -> None:
    """Remove drafts of processes that are no more."""
    for draft in root.glob(".draft-*"):
        owner = int(draft.name.split("-")[1])
        if owner == os.getpid() or not Path(f"/proc/{owner}").exists():
            shutil.rmtree(draft, ignore_errors=True)
            failpoints.at("release.swept")
