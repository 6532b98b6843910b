"""How the columns of one source become events, items or users: an `[ingest.NAME]` table of shortlist.toml."""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from shortlist.errors import ConfigError

Type: TypeAlias = Literal["text", "number", "time", "flag", "list"]


@dataclass(frozen=True, slots=True)
class Rule:
    """Rows with exactly this value are events of another kind, and count 1: in the anime ratings -1 means "seen"."""

    value: float
    kind: str


@dataclass(frozen=True, slots=True)
class Mapping:
    """[ingest.NAME] One source: how its text is cut into columns, and what each column means.

    An empty string means "recognise it" for the form of a file, "there is none" for a column.
    """

    source: str = ""  # file, pattern or SQL URL; relative to the folder of shortlist.toml
    entity: Literal["events", "items", "users"] = "events"

    # the form of a text file
    separator: str = ""  # "," "\t" "|" ";" "::"
    quote: str = '"'  # "" = a quotation mark is a letter like any other
    header: Literal["auto", "yes", "no"] = "auto"
    names: tuple[str, ...] = ()  # of the columns, when the file does not name them
    encoding: str = ""  # "utf-8", "latin-1", "utf-16" ...
    missing: tuple[str, ...] = ("",)  # texts that stand for "no value"

    # the columns of events; items and users need only their own
    user: str = "user_id"
    item: str = "item_id"
    kind: str = ""  # what every row is; "" = "rate" with a value column, "click" without
    kind_column: str = ""
    kinds: Table[str, str] = field(default_factory=dict)  # their word = our kind, such as pv = "view"
    value: str = ""
    rules: tuple[Rule, ...] = ()
    time: str = ""  # "" = rows are taken to be in order, see docs/howto/load-your-data.md
    time_unit: str = "auto"  # auto | s | ms | us | iso, or a pattern such as "%d.%m.%Y %H:%M"
    id: str = ""  # event id; without it, equal rows are one event
    request: str = ""  # id of the answer that led to the event
    context: tuple[str, ...] = ()  # columns of where it happened, such as a place on a page: kept with the event
    unknown_users: Literal["create", "reject"] = "create"
    unknown_items: Literal["create", "hold", "reject"] = "create"

    # the facts of items and users
    columns: Table[str, Type] = field(default_factory=dict)  # fact = its type; {} = every other column, types guessed
    rename: Table[str, str] = field(default_factory=dict)  # their column = our fact
    list_separator: str = "|"  # between the entries of a list: "Action|Drama"
    flags: Table[str, tuple[str, ...]] = field(default_factory=dict)  # list fact = the 0/1 columns that make it up

    def __post_init__(self) -> None:
        if self.entity == "events" and not (self.user and self.item):
            raise ConfigError("events need a user column and an item column", where="ingest")
        if self.kind and self.kind_column:
            raise ConfigError("give either kind (the same for every row) or kind_column, not both", where="ingest")
        if self.time_unit not in ("auto", "s", "ms", "us", "iso") and "%" not in self.time_unit:
            raise ConfigError(
                f"time_unit is {self.time_unit!r}",
                where="ingest",
                hint='choose auto, s, ms, us or iso, or write a pattern such as "%d.%m.%Y %H:%M"',
            )

    @property
    def ids(self) -> tuple[str, ...]:
        """The columns whose texts are names: never read as numbers."""
        own = {"events": (self.user, self.item, self.id), "items": (self.item,), "users": (self.user,)}[self.entity]
        return tuple(name for name in own if name)
