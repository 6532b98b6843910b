"""The options that several commands share, and the form of every help text."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
Config: TypeAlias = Annotated[
    Path, typer.Option("--config", "-c", metavar="PATH", help="shortlist.toml, or the folder that may hold it.")
]
Count: TypeAlias = Annotated[
    int, typer.Option("--count", "-n", metavar="N", min=1, max=200, help="Places on the list.")
]
Facts: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--fact", metavar="NAME=VALUE", help="Of the moment, such as the place on a page; may be repeated."),
]
HERE = Path()


def described(examples: str, text: str) -> str:
    """The help of a command: examples first, one a line, then what it does."""
    lines = "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines())
    paragraphs = "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))
    return f"Examples:\n\n\b\n{lines}\n\n{paragraphs}"
