"""`shortlist schema`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from shortlist.cli.options import HERE, Config, Json, Quiet, described
from shortlist.cli.screen import Screen, write_json

if TYPE_CHECKING:
    from shortlist.config import Settings

HELP = described(
    """
    shortlist schema openapi -o openapi.json
    shortlist schema config -o shortlist.schema.json
    shortlist schema events > event.schema.json
    """,
    """
    Contracts for machines, from the code that is running: the HTTP API (OpenAPI 3.1), shortlist.toml and one event
    (JSON Schema 2020-12). An editor checks shortlist.toml with a first line: #:schema ./shortlist.schema.json
    """,
)
What: TypeAlias = Literal["openapi", "config", "events"]


def schema(
    what: Annotated[What, typer.Argument(metavar="openapi|config|events", help="Which contract.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write it there.")] = None,
    config: Config = HERE,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from json import dumps

    from shortlist.config import load

    screen = Screen(json=json, quiet=quiet)
    found = _document(what, load(config))
    if out is None:
        write_json(found) if json else typer.echo(dumps(found, indent=2, ensure_ascii=False))
        return
    out.write_text(dumps(found, indent=2, ensure_ascii=False) + "\n", "utf-8")
    screen.text(f"written: {out}")
    screen.result("schema", {"written": str(out)})


def _document(what: What, settings: Settings) -> dict[str, Any]:
    if what == "config":
        from shortlist.cli.settings import json_schema

        return json_schema()
    if what == "openapi":
        from shortlist.serve.openapi import document
        from shortlist.serve.routes import ENDPOINTS

        return document(ENDPOINTS)
    import msgspec

    from shortlist.serve.wire import EventInput

    found = msgspec.json.schema(EventInput)
    definition = found["$defs"]["EventInput"]
    definition["properties"]["type"]["enum"] = sorted(settings.events.kinds)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}
