"""`shortlist doctor`."""

from __future__ import annotations

import os
import platform
import re
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

if TYPE_CHECKING:
    from shortlist.batch.health import Finding
    from shortlist.config import Settings

HELP = described(
    """
    shortlist doctor
    shortlist doctor --config shop/shortlist.toml
    shortlist doctor --json
    """,
    """
    Look at the configuration, the machine, the stores, the data and the release; tell what was measured, what is wrong
    and what to do about it. Changes nothing and works beside a running server. Exit code 0 when nothing is worse than
    a warning (!), else the code that fits the first error (✗).
    """,
)
SIGNS = {"ok": "✓", "warning": "!", "error": "✗"}
ROOM = 1 << 30  # bytes of disk to spare
SCARCE = 100 << 20  # bytes below which nothing can be written reliably
AN_EVENT = 150  # bytes of memory that training needs for one, without the models
SLOW = timedelta(minutes=5)  # a clock may run behind by
SOON = timedelta(days=7)
PATIENCE = 2.0  # seconds that a server may take to say how it is


def doctor(config: Config = HERE, json: Json = False, quiet: Quiet = False) -> None:
    from shortlist.config import load

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    found = []
    for each in _examined(settings):
        found.append(each)
        screen.text(f"{SIGNS[each.level]} {each.check:<16} {each.said}")
        if each.remedy:
            screen.text(f"  {'':<16} {each.remedy}")
    counts = {level: sum(each.level == level for each in found) for level in SIGNS}
    screen.text(f"{len(found)} checks: {counts['ok']} fine, {counts['warning']} warnings, {counts['error']} errors")
    screen.result("doctor", {"checks": [asdict(each) for each in found], "counts": counts})
    code = next((each.exit_code for each in found if each.level == "error"), 0)
    if code:
        raise typer.Exit(code)


def _examined(settings: Settings) -> Iterator[Finding]:
    from shortlist.batch.health import Finding, examine, judged
    from shortlist.batch.steps import open_configured
    from shortlist.errors import ShortlistError

    yield _configuration(settings)
    yield _versions()
    yield _kernels()
    store = _folder(settings)
    yield _clock(settings, store)
    yield _disk(settings, store)
    yield _access(settings)
    held, writer = _writer(store)
    yield writer
    yield _port(settings, held)
    if held:
        yield _server(settings)
    try:
        with open_configured(settings, read_only=True) as stores:
            size = sum(path.stat().st_size for path in _files(store))
            yield judged("stores", f"{_mb(size)} in {store}" if store else "kept elsewhere", False, "")
            yield _memory(int(stores.log.end() or 0) if store else 0)
            yield from examine(settings, stores, int(time() * 1e6))
    except ShortlistError as error:
        remedy = error.hint or "check [stores] in shortlist.toml"
        yield Finding("stores", "error", str(error), remedy, error.exit_code)


def _configuration(settings: Settings) -> Finding:
    from shortlist.batch.health import Finding, ok
    from shortlist.cli.config import problems

    wrong = problems(settings)
    if not wrong:
        return ok("configuration", f"{len(settings.pipelines)} pipelines and {len(settings.train.models)} models fit")
    said = f"{len(wrong)} problems, such as: {wrong[0]}"
    return Finding("configuration", "error", said, "see all with: shortlist config check", wrong[0].exit_code)


def _versions() -> Finding:
    """Python and the libraries against what the package asks for."""
    from importlib import metadata

    from shortlist import __version__
    from shortlist.batch.health import judged

    wrong, count = [], 0
    try:
        required = metadata.requires("shortlist") or []
    except metadata.PackageNotFoundError:  # run from a checkout
        required = []
    for each in required:
        match = re.match(r"([\w-]+)(?:\[[\w,]+\])?\s*(?:>=([\d.]+))?", each)
        if match is None or "extra ==" in each or ("sys_platform" in each and sys.platform == "win32"):
            continue
        count += 1
        try:
            version = metadata.version(match[1])
        except metadata.PackageNotFoundError:
            wrong.append(f"{match[1]} is missing")
            continue
        if match[2] and _numbers(version) < _numbers(match[2]):
            wrong.append(f"{match[1]} {version} is older than {match[2]}")
    said = f"shortlist {__version__}, Python {platform.python_version()}, {count} libraries" + "".join(
        f"; {each}" for each in wrong
    )
    return judged("versions", said, bool(wrong), "install it again: pip install --upgrade shortlist")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _kernels() -> Finding:
    from shortlist import _kernels
    from shortlist.batch.health import judged

    variant = _kernels.use(_kernels.variants()[-1])
    _kernels.use(variant)
    wide = variant != "baseline" or platform.machine() not in ("x86_64", "AMD64")
    remedy = "this processor lacks AVX2: training and search take several times as long"
    return judged("kernels", f"{variant}, {os.cpu_count()} cores", not wide, remedy)


def _folder(settings: Settings) -> Path | None:
    """Where the log is, when that is a folder."""
    url = settings.store_url("log")
    return Path(url[5:]) if url.startswith("file:") else None


def _files(folder: Path | None) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder and folder.is_dir() else []


def _clock(settings: Settings, store: Path | None) -> Finding:
    """A clock that runs behind makes what was written lie in the future."""
    from shortlist.batch.health import Finding, ok

    now = datetime.now(UTC)
    newest = max((path.stat().st_mtime for path in _files(store)), default=0.0)
    behind = datetime.fromtimestamp(newest, UTC) - now
    said = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if behind <= SLOW:
        return ok("clock", said)
    said += f", {behind.total_seconds() / 60:.0f} minutes before something that is written already"
    return Finding("clock", "error", said, "set the clock of this machine, for example with NTP", 5)


def _disk(settings: Settings, store: Path | None) -> Finding:
    from shortlist.batch.health import Finding, judged

    place = next(each for each in (settings.home.absolute(), *settings.home.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    used = sum(path.stat().st_size for path in (*_files(store), *_files(settings.releases_path)))
    said = f"{_mb(free)} free, {_mb(used)} in use"
    remedy = "make room: shortlist models prune --keep 3, or move the folder to a larger disk"
    if free < SCARCE:
        return Finding("disk", "error", said, remedy, 9)
    return judged("disk", said, free < max(ROOM, 2 * used), remedy)


def _memory(events: int) -> Finding:
    from shortlist.batch.health import judged

    free = _available()
    need = events * AN_EVENT
    said = f"{_mb(free)} available, training reads about {_mb(need)}"
    return judged("memory", said, need > 0.8 * free, 'learn from less with [train] window = "180d", or add memory')


def _available() -> int:
    """Bytes of memory that a program may take now."""
    try:
        text = Path("/proc/meminfo").read_text("utf-8")
        return int(re.findall(r"MemAvailable:\s*(\d+) kB", text)[0]) << 10
    except (OSError, IndexError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _writer(store: Path | None) -> tuple[bool, Finding]:
    """Who holds the store, by its lock."""
    from shortlist.batch.health import ok

    lock = store / "LOCK" if store else None
    if lock is None or not lock.is_file():
        return False, ok("writer", "nobody has written here yet")
    try:
        import fcntl

        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid, _, since = lock.read_text("utf-8", "replace").strip().partition(" ")
        return True, ok("writer", f"process {pid} since {since}: others may read, and write when it has stopped")
    except ImportError:
        return False, ok("writer", "cannot be told on this system")
    return False, ok("writer", "nobody: the store is free")


def _port(settings: Settings, held: bool) -> Finding:
    from shortlist.batch.health import judged

    host, port = settings.serve.host, settings.serve.port
    try:
        with socket.create_connection((host, port), 1):
            taken = True
    except OSError:
        taken = False
    said = f"{host}:{port} is {'taken' if taken else 'free'}"
    if taken and held:
        return judged("port", f"{said}, and a server holds the store", False, "")
    return judged("port", said, taken, "another program listens there: choose another [serve] port")


def _server(settings: Settings) -> Finding:
    """What the server says of itself where nobody needs a key, against what is published."""
    from http.client import HTTPConnection, HTTPException

    import msgspec

    from shortlist import release
    from shortlist.batch.health import judged
    from shortlist.serve.wire import Ready

    asked = HTTPConnection(settings.serve.host, settings.serve.port, timeout=PATIENCE)
    try:
        asked.request("GET", "/readyz")
        told = msgspec.json.decode(asked.getresponse().read(), type=Ready)
    except (OSError, HTTPException, msgspec.MsgspecError) as error:
        said = f"whoever holds the store does not answer at {settings.serve.host}:{settings.serve.port}: {error}"
        return judged(
            "server", said, not isinstance(error, ConnectionRefusedError), "look into its log, or start it again"
        )
    finally:
        asked.close()
    published = release.current(settings.releases_path)
    said = f"serves {told.release or 'no release'}" + "".join(f"; {each}" for each in told.reasons)
    if told.release != published:
        remedy = "its log says why it was not taken up; see: shortlist models verify"
        return judged("server", f"{said}; {published or 'none'} is published", True, remedy)
    return judged(
        "server", said, not told.ready or bool(told.reasons), "see /statusz, or train again: shortlist train --publish"
    )


def _access(settings: Settings) -> Finding:
    """Off loopback nobody may ask without a key."""
    from shortlist.batch.health import Finding, judged
    from shortlist.serve.access import is_loopback
    from shortlist.serve.keys import Keys

    now = datetime.now(UTC)
    keys = [each for each in Keys(settings.keys_path).all() if each.state(now) == "valid"]
    serve = settings.serve
    required = serve.keys == "required" or not is_loopback(serve.host)
    said = f"{len(keys)} valid keys, {'required' if required else 'not required'} on {serve.host}"
    if required and not keys:
        remedy = "make one: shortlist keys create --name shop --scope read,write"
        return Finding("access", "error", said, remedy, 5)
    path = settings.keys_path
    if path.is_file() and os.name == "posix" and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return judged("access", f"{said}; others may read {path}", True, f"chmod 600 {path}")
    ending = [each.name for each in keys if each.expires is not None and each.expires - now < SOON]
    if ending:
        remedy = "make a new one in time: shortlist keys create"
        return judged("access", f"{said}; {', '.join(ending)} expires within {SOON.days} days", True, remedy)
    return judged("access", said, False, "")


def _mb(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
