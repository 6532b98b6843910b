"""`shortlist init`."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from shortlist.cli.options import Json, Quiet, described
from shortlist.cli.screen import Screen

HELP = described(
    """
    shortlist init events.csv
    shortlist init ratings.dat movies.dat users.dat
    shortlist init clicks.parquet items.jsonl --out shop/shortlist.toml
    shortlist init --blueprint anime
    """,
    """
    Look at the first rows of your files, guess which hold events, items or users and what each column means, show the
    guesses with sample values, and write them down as a commented shortlist.toml, to be read and corrected. Or begin
    with a blueprint: a whole system for files of a known shape, which its first lines name.
    """,
)


def init(
    files: Annotated[list[str] | None, typer.Argument(metavar="FILE", help="Files or SQL URLs.")] = None,
    blueprint: Annotated[
        Literal["ads", "anime", "ecommerce", "item2vec", "movies"] | None,
        typer.Option(help="Write this one instead of guessing."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the configuration goes.")] = Path("shortlist.toml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    from importlib.resources import files as shipped

    from shortlist.cli.failures import Conflict, Usage

    screen = Screen(json=json, quiet=quiet)
    if bool(files) == bool(blueprint):
        told = "files and a blueprint are given" if files else "there is nothing to begin with"
        raise Usage(told, hint="either: shortlist init FILE..., or: shortlist init --blueprint NAME")
    if out.exists() and not force:
        raise Conflict(
            "there is a configuration already",
            where=str(out),
            hint="choose another --out, or write over it with --force",
        )
    found: list[dict[str, Any]] = []
    if blueprint:
        text = (shipped("shortlist") / "blueprints" / f"{blueprint}.toml").read_text("utf-8")
    else:
        text, found = _guessed(screen, files or [], out.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, "utf-8")
    screen.text(f"written: {out}")
    screen.result("init", {"written": str(out), "blueprint": blueprint, "sources": found})
    where = "" if out == Path("shortlist.toml") else f" --config {out}"
    screen.next(f"read {out}, then: shortlist ingest{where}")


def _guessed(screen: Screen, files: list[str], home: Path) -> tuple[str, list[dict[str, Any]]]:
    """The text of a configuration that loads `files`, and every guess as plain data; the guesses are shown."""
    from msgspec import to_builtins

    from shortlist.data.guess import guess
    from shortlist.data.render import render_toml

    guesses = guess(files)
    for each in guesses:
        looked = f"{each.rows:,} rows" if each.whole else f"the first {each.rows:,} rows"
        screen.text(f"{each.mapping.source}: {each.mapping.entity}, by {looked}{', ' + each.form if each.form else ''}")
        screen.table(
            ("column", "taken for", "type", "sure", "samples"),
            [
                (
                    column.name,
                    column.role or "(not loaded)",
                    column.type,
                    f"{column.confidence:.0%}",
                    _few(column.samples),
                )
                for column in each.columns
            ],
        )
        for warning in each.warnings:
            screen.text(f"  ! {warning}")
        screen.text("")
    found = [
        {
            "mapping": to_builtins(each.mapping),
            "columns": to_builtins(each.columns),
            "rows": each.rows,
            "warnings": each.warnings,
        }
        for each in guesses
    ]
    return render_toml(guesses, home), found


def _few(samples: tuple[str, ...]) -> str:
    """Samples that fit on a line."""
    return " · ".join(each if len(each) <= 24 else f"{each[:23]}…" for each in samples)
