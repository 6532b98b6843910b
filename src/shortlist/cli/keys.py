"""`shortlist keys`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen

if TYPE_CHECKING:
    from datetime import datetime

    from shortlist.serve.keys import Key

HELP = described(
    """
    shortlist keys create --name shop --scope read,write
    shortlist keys create --name phone --scope read --user 42 --expires 30d
    shortlist keys list
    shortlist keys revoke shop
    """,
    """
    API keys, sent as Authorization: Bearer KEY. A server that listens beyond loopback needs one to start. A running
    server knows a new or revoked key with the next request.
    """,
)
CREATE = described(
    """
    shortlist keys create --name shop --scope read,write
    shortlist keys create --name grafana --scope read --rate 2
    shortlist keys create --name phone --scope read --user 42 --expires 30d
    """,
    """
    Make a key and show it once; only its hash is kept. Scopes: read (lists, items), write (and events, items, users),
    admin (and releases, erasure), and beside one of them pii:read (other people's events and facts).
    """,
)
LIST = described("shortlist keys list\nshortlist keys list --json", "Every key with its scopes and state, no secret.")
REVOKE = described(
    "shortlist keys revoke shop", "End a key, by name or id: from the next request on nobody gets in with it."
)

group = typer.Typer(help=HELP, no_args_is_help=True, rich_markup_mode=None)


@group.command("create", help=CREATE)
def create(
    name: Annotated[str, typer.Option(metavar="NAME", help="Who will use it.")],
    scope: Annotated[str, typer.Option(metavar="SCOPES", help="read, write, admin, pii:read; several with commas.")],
    expires: Annotated[str, typer.Option(metavar="TIME", help="Such as 30d, 12h; default: never.")] = "",
    user: Annotated[str | None, typer.Option(metavar="ID", help="The only person it may ask about.")] = None,
    rate: Annotated[
        float | None, typer.Option(metavar="N", min=0, help="Requests a second, 0 = any; default: [serve] rate.")
    ] = None,
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from datetime import timedelta

    from shortlist.config import load
    from shortlist.dataset import duration
    from shortlist.serve.keys import Keys

    screen = Screen(json=json, quiet=quiet)
    keys, now = Keys(load(config).keys_path), _now()
    ends = now + timedelta(microseconds=duration(expires)) if expires else None
    scopes = [each.strip() for each in scope.split(",")]
    secret, made = keys.create(name, scopes, now, expires=ends, user=user, rate=rate)
    screen.text(secret)
    screen.result("keys.create", {"key": secret, **_told(made)})
    screen.say(f"This is the only time that it is shown. Its hash is in {keys.path}")
    screen.next(f"curl -H 'Authorization: Bearer {secret[:15]}…' http://127.0.0.1:8000/v1/info")


@group.command("list", help=LIST)
def show(config: Config = HERE, json: Json = False, quiet: Quiet = False) -> None:
    from shortlist.config import load
    from shortlist.serve.keys import Keys

    screen = Screen(json=json, quiet=quiet)
    told = [_told(each) for each in Keys(load(config).keys_path).all()]
    columns = ("name", "id", "scopes", "state", "user", "rate", "created", "expires")
    screen.table(columns, [[_cell(each[name]) for name in columns] for each in told])
    screen.result("keys.list", {"keys": told})


@group.command("revoke", help=REVOKE)
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name or the id of a key.")],
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from shortlist.config import load
    from shortlist.serve.keys import Keys

    screen = Screen(json=json, quiet=quiet)
    ended = Keys(load(config).keys_path).revoke(name, _now())
    screen.text(f"revoked {ended.name} ({ended.id})")
    screen.result("keys.revoke", _told(ended))


def _now() -> datetime:
    from datetime import UTC, datetime

    return datetime.now(UTC).replace(microsecond=0)


def _told(key: Key) -> dict[str, Any]:
    """What may be known about a key: everything but its hash."""
    told = {"name": key.name, "id": key.id, "scopes": list(key.scopes), "state": key.state(_now())}
    times = {"created": key.created, "expires": key.expires, "revoked": key.revoked}
    return {
        **told,
        "user": key.user,
        "rate": key.rate,
        **{name: None if time is None else time.isoformat().replace("+00:00", "Z") for name, time in times.items()},
    }


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(value)
    return "" if value is None else str(value)
