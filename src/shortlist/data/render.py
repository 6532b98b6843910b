"""Guesses as a commented shortlist.toml: only what differs from the defaults, and what each column was taken for."""

from __future__ import annotations

import json
from collections.abc import Mapping as Table
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from shortlist.data.guess import Guess
from shortlist.data.mapping import Mapping

MEANING = {
    "source": "where it is; relative to this file",
    "entity": "events, items or users",
    "separator": "between the fields of a line",
    "quote": "empty: a quotation mark is a letter like any other",
    "header": "does the first line name the columns?",
    "names": "of the columns, which the file does not name",
    "encoding": "of the letters",
    "missing": 'texts that stand for "no value"',
    "user": "column of the person",
    "item": "column of the item",
    "kind_column": "column that says what happened",
    "kinds": "their word = our kind of event",
    "value": "column of the rating or amount",
    "rules": "rows with this value are of another kind",
    "time": "column of the moment",
    "time_unit": "s, ms, us, iso, or a pattern",
    "id": "column of the event id: the same id counts once",
    "columns": "facts and their types: text, number, time, flag, list",
    "rename": "their column = our fact",
    "list_separator": "between the entries of a list",
    "flags": "list = the 0/1 columns that make it up",
}
ORDER = {"items": 0, "users": 1, "events": 2}


def render_toml(guesses: Sequence[Guess], home: Path | None = None) -> str:
    """The text of a shortlist.toml that loads these sources; paths in `home` are written relative to it."""
    lines = [
        "# Written by `shortlist init`. Check what it guessed, then: shortlist ingest",
        "# Every other setting has its default; the annotated list of all is shortlist.toml in the documentation.",
    ]
    taken: set[str] = set()
    for guess in sorted(guesses, key=lambda each: ORDER[each.mapping.entity]):
        lines += ["", *_table(_name(guess.mapping.source, taken), guess, home)]
    stars = {guess.least for guess in guesses if guess.least is not None}
    if len(stars) == 1:
        lines += [
            "",
            "[events.kinds.rate]",
            f"least = {stars.pop():g}  # the values look like stars: fewer count as seen, not as liked",
        ]
    events = [guess.mapping for guess in guesses if guess.mapping.entity == "events"]
    if events and not any(mapping.time for mapping in events):
        hidden = "one of each person's likings by lot: nothing says which came last"
        lines += ["", "[train]", 'validation = "hold-out"', "", "[evaluate]", f'split = "hold-out"  # {hidden}']
    return "\n".join(lines) + "\n"


def _table(name: str, guess: Guess, home: Path | None) -> list[str]:
    plain = asdict(Mapping(entity=guess.mapping.entity))
    given = asdict(guess.mapping)
    lines = [f"[ingest.{name}]"]
    entity = guess.mapping.entity
    shown = {"source", "entity", *(("user", "item") if entity == "events" else (entity.removesuffix("s"),))}
    for key in (each.name for each in fields(Mapping)):
        if given[key] == plain[key] and key not in shown:
            continue
        value = _relative(given[key], home) if key == "source" else given[key]
        lines.append(f"{key} = {as_toml(value)}  # {MEANING[key]}")
    width = max(len(each.name) for each in guess.columns)
    seen = f"{guess.rows:,} rows" + (", all there are" if guess.whole else "")
    lines.append(f"# guessed from {seen}{', ' + guess.form if guess.form else ''}")
    for each in guess.columns:
        role = f"{each.role:10}  {100 * each.confidence:3.0f} %" if each.role else "not loaded       "
        lines.append(f"#   {each.name:{width}}  {role}  {', '.join(map(_short, each.samples))}".rstrip())
    return [*lines, *(f"# warning: {' '.join(warning.split())}" for warning in guess.warnings)]


def _relative(source: str, home: Path | None) -> str:
    if home is None or "://" in source:
        return source
    path, base = Path(source).resolve(), home.resolve()
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else str(path)


def _name(source: str, taken: set[str]) -> str:
    """A bare TOML key for a source, unlike the others."""
    stem = Path(source.partition("#")[2] if "://" in source else source).name.split(".csv")[0]
    name = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in stem).strip("_") or "source"
    unique = next(each for each in (name, *(f"{name}_{n}" for n in range(2, 1000))) if each not in taken)
    taken.add(unique)
    return unique


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 30 else line[:29] + "…"


def as_toml(value: Any) -> str:
    """A value as TOML on one line."""
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case bool():
            return str(value).lower()
        case Table():
            inner = ", ".join(f"{as_key(key)} = {as_toml(each)}" for key, each in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case list() | tuple():
            return f"[{', '.join(map(as_toml, value))}]"
    return str(value)


def as_key(name: str) -> str:
    """A name as a key of TOML, quoted where it must be."""
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else as_toml(name)
