"""Every key of the configuration: its meaning, its type, its default, its value, and where that comes from."""

from __future__ import annotations

import math
import os
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

from shortlist import config
from shortlist.data.mapping import Mapping as ColumnMapping
from shortlist.dataset import Kind
from shortlist.errors import ShortlistError, masked

GENERAL = {"ingest": "ingest.events", "pipelines": "pipelines.home"}
"""Tables of which the annotated file shows one."""
SECRET = re.compile(r"(^|_)(password|secret|token|key)$")
NAMES: Mapping[Any, str] = {str: "text", int: "whole number", float: "number", bool: "true | false"}


class Note(NamedTuple):
    """One line of the annotated file: a section (without key), or a key of it, with what is said about it."""

    section: str
    key: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Key:
    """One key with all there is to say about it. Values are fit for JSON, secrets masked."""

    key: str
    type: str
    default: Any
    value: Any
    source: str  # "default", "environment NAME", or the file
    meaning: str


def annotated() -> str:
    """The annotated shortlist.toml: part of the package, and at the root of a checkout."""
    shipped = files("shortlist") / "blueprints" / "annotated.toml"
    if shipped.is_file():
        return shipped.read_text("utf-8")
    return (Path(__file__).parents[3] / "shortlist.toml").read_text("utf-8")


def notes(text: str) -> Iterator[Note]:
    """The sections and keys of an annotated file, in order. A comment above a section belongs to it."""
    section, above = "", ""
    for line in text.splitlines():
        heading = re.match(r"#?\[([\w.]+)\](?:\s*#\s*(.*))?", line)
        key = re.match(r"#?([a-z_]+) = (.+?)(?:\s{2,}# (.*))?$", line)
        if heading:
            section = heading[1]
            yield Note(section, "", "", heading[2] or above)
        elif key:
            yield Note(section, key[1], key[2].strip(), key[3] or "")
        above = f"{above} {line[2:]}".strip() if line.startswith("# ") else ""


@lru_cache(1)
def _meanings() -> Mapping[tuple[str, str], str]:
    return {(each.section, each.key): each.meaning for each in notes(annotated())}


def all_keys(path: Path, environment: Mapping[str, str] = os.environ) -> list[Key]:
    """Every key that has a value. Raises what config.load raises."""
    settings, defaults = config.load(path, environment), dict(_leaves(config.parse({})))
    file = path / "shortlist.toml" if path.is_dir() else path
    given = [] if not file.exists() else [key for key, _ in _leaves(tomllib.loads(file.read_text("utf-8")))]
    variables = {
        name.removeprefix("SHORTLIST__").lower().replace("__", "."): name
        for name in environment
        if name.startswith("SHORTLIST__")
    }
    found = []
    for key, value in _leaves(settings):
        source = "default"
        if any(_within(key, each) for each in given):
            source = str(file)
        if variable := next((name for each, name in variables.items() if _within(key, each)), None):
            source = f"environment {variable}"
        default = defaults[key] if key in defaults else _default(key)
        found.append(Key(key, type_name(hint_of(key, settings)), default, _masked(key, value), source, meaning(key)))
    return found


def plain(value: Any) -> Any:
    """A value of the configuration as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value) if each.name != "home"}
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    value = plain(value)
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, f"{key}.{name}".lstrip("."))
    elif key:
        yield key, value


def _within(key: str, table: str) -> bool:
    return key == table or key.startswith(f"{table}.")


def _masked(key: str, value: Any) -> Any:
    if isinstance(value, str):
        return "***" if value and SECRET.search(key.rpartition(".")[2]) else masked(value)
    return [_masked(key, each) for each in value] if isinstance(value, list) else value


def hint_of(key: str, settings: config.Settings) -> Any:
    """The type that is declared for a key; Any where it is a parameter of a class that cannot be loaded."""
    hint: Any = config.Settings
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name, None) if is_dataclass(value) else (value or {}).get(name)
        hint = _inner(hint, name, value)
        if get_origin(hint) is None and hint is Any:
            return _parameter(key, settings)
    return hint


def _inner(hint: Any, name: str, value: Any) -> Any:
    if is_dataclass(hint):
        return config.hints_of(hint).get(name, Any)
    if isinstance(get_origin(hint), type) and issubclass(get_origin(hint), Mapping):
        return get_args(hint)[1]
    return Any


def _component(key: str, settings: config.Settings) -> tuple[type[Any], str] | None:
    """The class whose parameter a key is, and which."""
    *tables, name = key.split(".")
    table: Any = settings
    for each in tables:
        table = getattr(table, each, None) if is_dataclass(table) else table.get(each)
        if not (is_dataclass(table) or isinstance(table, Mapping)):
            return None
    if not isinstance(table, Mapping) or not isinstance(table.get("use"), str):
        return None
    try:
        return config.resolve(table["use"], trust=settings.releases.trust), name
    except ShortlistError:
        return None


def _parameter(key: str, settings: config.Settings) -> Any:
    if key.endswith((".use", ".model")):
        return str
    if re.fullmatch(r"pipelines\.[^.]+\.sources\.[^.]+\.k", key):
        return int
    found = _component(key, settings)
    return Any if found is None else config.hints_of(found[0]).get(found[1], Any)


def _default(key: str) -> Any:
    """The default of a key below a table that the user named."""
    *tables, name = key.split(".")
    owner = {
        ("ingest",): ColumnMapping,
        ("pipelines",): config.PipelineTable,
        ("events", "kinds"): Kind,
    }.get(tuple(tables[:-1]))
    if owner is None:
        return None
    return plain(default_of(next(each for each in fields(owner) if each.name == name)))


def default_of(each: Field[Any]) -> Any:
    """The default of a field; None when it must be given."""
    if each.default is not MISSING:
        return each.default
    return each.default_factory() if each.default_factory is not MISSING else None


def type_name(hint: Any) -> str:
    """A type in words."""
    if hint in NAMES:
        return NAMES[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin is tuple:
        return f"list of {type_name(inner[0])}"
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_name(each) for each in inner if each is not type(None))
    return "any" if hint is Any else "table"


def meaning(key: str) -> str:
    """What the annotated file says about a key, or about the table that it is in."""
    parts = key.split(".")
    if parts[0] in GENERAL and len(parts) > 1:
        parts[1] = GENERAL[parts[0]].partition(".")[2]
    known = _meanings()
    for end in range(len(parts), 0, -1):
        said = known.get((".".join(parts[: end - 1]), parts[end - 1])) or known.get((".".join(parts[:end]), ""))
        if said:
            return said
    return ""


# JSON Schema


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of shortlist.toml, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "shortlist.toml",
        **_object(config.Settings, ""),
    }


COMPONENT = {
    "type": "object",
    "description": "names a class with `use` or a trained model with `model`; other keys are its parameters",
    "properties": {"use": {"type": "string"}, "model": {"type": "string"}},
}


def _object(cls: type[Any], section: str) -> dict[str, Any]:
    hints = config.hints_of(cls)
    shape: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    for each in fields(cls):
        if each.name == "home":
            continue
        key = f"{section}.{each.name}".lstrip(".")
        property_ = _schema(hints[each.name], key)
        default = plain(default_of(each))
        if default is not None and "properties" not in property_ and not (isinstance(default, dict) and default):
            property_["default"] = default
        said = meaning(key)
        if said:
            property_["description"] = said
        shape["properties"][each.name] = property_
    required = [each.name for each in fields(cls) if each.default is MISSING and each.default_factory is MISSING]
    return {**shape, **({"required": required} if required else {})}


def _schema(hint: Any, key: str) -> dict[str, Any]:
    if is_dataclass(hint) and isinstance(hint, type):
        return _object(hint, key)
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is tuple:
        return {"type": "array", "items": _schema(inner[0], f"{key}.*")}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if inner[1] is Any:
            return dict(COMPONENT)
        return {"type": "object", "additionalProperties": _schema(inner[1], f"{key}.*")}
    simple = {str: "string", int: "integer", float: "number", bool: "boolean"}
    return {"type": simple[hint]} if hint in simple else {}
