"""`shortlist users`."""

from __future__ import annotations

import json as js
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

import typer

from shortlist.cli.failures import Conflict, Usage
from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen
from shortlist.errors import NotFound, StoreError, StoreLocked

if TYPE_CHECKING:
    from shortlist.config import Settings
    from shortlist.serve.privacy import Privacy

HELP = described(
    """
    shortlist users show 42
    shortlist users export 42 --to 42.json
    shortlist users erase 42 --confirm
    """,
    "One person's data: what there is, all of it as one file, and its erasure with proof.",
)
SHOW = described("shortlist users show 42", "How much is kept about a person, place by place, and their facts.")
EXPORT = described(
    """
    shortlist users export 42 > 42.json
    shortlist users export 42 --to 42.json
    """,
    "Everything that is kept about a person as one JSON object: exactly what an erasure takes away.",
)
ERASE = described(
    """
    shortlist users erase 42 --confirm
    shortlist users erase 42 --confirm --json
    """,
    """
    Erase a person: unknown at once, then gone from every file. Prints what went, place by place. Nothing brings the
    person back before `shortlist users lift`. While a server runs, it does the work and this command waits for it; a
    key that it wants is read from SHORTLIST_KEY.

    Backups keep the person until they are deleted; so do the files that you loaded.
    """,
)
LIFT = described(
    "shortlist users lift 42", "Let the id of an erased person be made again, as somebody new who did nothing yet."
)
RETAIN = described(
    "shortlist users retain",
    "Take events away that are older than [retention] allows their kind. A server does this by itself, every hour.",
)
PATIENCE = 300.0  # seconds that a server may take for an erasure
group = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None)
User = Annotated[str, typer.Argument(metavar="USER", help="The id as it was ingested.")]
Url = Annotated[
    str, typer.Option(metavar="URL", help="The server that runs, if not at the address of the configuration.")
]


@group.command("show", help=SHOW)
def show(user: User, config: Config = HERE, json: Json = False, quiet: Quiet = False) -> None:
    from shortlist.config import load

    screen = Screen(json=json, quiet=quiet)
    with _open(load(config), read_only=True) as privacy:
        counts, facts = privacy.inventory(user), privacy.facts(user)
    screen.table(("what", "how much"), list(counts.items()))
    for name, value in facts.items():
        screen.text(f"{name}: {value}")
    screen.result("users.show", {"user_id": user, "counts": counts, "facts": facts})
    screen.next(f"shortlist users export {user}")


@group.command("export", help=EXPORT)
def export(
    user: User,
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: standard output.")] = None,
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.config import load

    screen = Screen(json=json, quiet=quiet)
    with _open(load(config), read_only=True) as privacy:
        text = js.dumps(privacy.export(user), ensure_ascii=False, allow_nan=False)
    if to is None:
        sys.stdout.write(f"{text}\n")
        return
    try:
        handle = os.open(to, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        raise Conflict("the file is there already", where=str(to), hint="name another one with --to") from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
    screen.result("users.export", {"user_id": user, "file": str(to), "bytes": to.stat().st_size})
    screen.say(f"{to}: {to.stat().st_size:,} bytes, readable for you only")


@group.command("erase", help=ERASE)
def erase(
    user: User,
    confirm: Annotated[bool, typer.Option("--confirm", help="Really.")] = False,
    url: Url = "",
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from msgspec import to_builtins

    from shortlist.config import load
    from shortlist.serve.erasures import told

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    if not confirm:
        raise Usage(
            f"nothing was erased: erasing {user!r} cannot be undone", where="--confirm", hint="add --confirm to do it"
        )
    try:
        with _open(settings) as privacy:
            operation = privacy.erase(user).operation
            privacy.work()
            erasure = privacy.erasures.get(operation)
            assert erasure is not None
            done: dict[str, Any] = to_builtins(told(erasure))
    except StoreLocked as locked:
        done = _through_server(settings, url, f"/v1/users/{quote(user, safe='')}:erase", locked)
        done = _finished(settings, url, done, locked)
    screen.table(("place", "removed"), list(done["removed"].items()))
    screen.result("users.erase", done)
    screen.next("shortlist train, so that nothing learned from this person is left in a release either")


@group.command("lift", help=LIFT)
def lift(user: User, url: Url = "", config: Config = HERE, json: Json = False, quiet: Quiet = False) -> None:
    from shortlist.config import load

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    try:
        with _open(settings) as privacy:
            privacy.lift(user)
    except StoreLocked as locked:
        _through_server(settings, url, f"/v1/users/{quote(user, safe='')}:lift", locked)
    screen.text(f"{user} may come back, as somebody new")
    screen.result("users.lift", {"user_id": user, "lifted": True})


@group.command("retain", help=RETAIN)
def retain(config: Config = HERE, json: Json = False, quiet: Quiet = False) -> None:
    from shortlist.batch.retention import retain as drop
    from shortlist.config import load
    from shortlist.runtime import Runtime

    screen = Screen(json=json, quiet=quiet)
    settings = load(config)
    with Runtime.open(settings) as runtime:
        counts = drop(runtime.stores, settings, runtime.clock(), runtime.settle)
    for limit in settings.retention.items():
        screen.say("{}: {}".format(*limit))
    screen.table(("place", "removed"), list(counts.items()))
    screen.result("users.retain", {"retention": dict(settings.retention), "removed": counts})


@contextmanager
def _open(settings: Settings, *, read_only: bool = False) -> Iterator[Privacy]:
    from shortlist.runtime import Runtime
    from shortlist.serve.metrics import Metrics
    from shortlist.serve.service import Service

    with Runtime.open(settings, read_only=read_only) as runtime:
        yield Service(runtime, Metrics()).privacy


def _finished(settings: Settings, url: str, operation: dict[str, Any], locked: StoreLocked) -> dict[str, Any]:
    """The operation, once the server has done it."""
    until = time.monotonic() + PATIENCE
    while operation["status"] != "done":
        if time.monotonic() > until:
            raise StoreError(
                f"the erasure is not done after {PATIENCE:.0f} s; the person is unknown to every answer already",
                hint=f"the server goes on; see GET /v1/erasures/{operation['operation']}, and its log",
            )
        time.sleep(0.2)
        operation = _through_server(settings, url, f"/v1/erasures/{operation['operation']}", locked, method="GET")
    return operation


def _through_server(
    settings: Settings, url: str, path: str, locked: StoreLocked, method: str = "POST"
) -> dict[str, Any]:
    """What the server that holds the stores answers. Raises `locked` when nobody answers there."""
    base = url.rstrip("/") or f"http://{settings.serve.host}:{settings.serve.port}"
    key = os.environ.get("SHORTLIST_KEY", "")
    request = Request(base + path, method=method, headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = js.load(answer)
            return found
    except HTTPError as error:
        problem = js.loads(error.read() or b"{}")
        kind = NotFound if error.code == 404 else StoreError
        raise kind(problem.get("detail", str(error)), where=base, hint=problem.get("hint", "")) from None
    except (URLError, OSError) as error:
        raise StoreLocked(
            f"{locked.message}, and no server answers at {base} ({error})",
            hint="name the address of the server with --url, or stop the other process",
        ) from None
