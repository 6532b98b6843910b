"""What a stranger's files are: which hold events, items or users, and what each column means. All guesses."""

from __future__ import annotations

from collections.abc import Mapping as Table
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import polars as pl

from shortlist.data import times
from shortlist.data.checks import number, odd_ids, without
from shortlist.data.facts import LIST_WORDS, guess_type
from shortlist.data.mapping import Mapping, Rule, Type
from shortlist.data.movielens import GENRES
from shortlist.data.roles import KIND_WORDS, WORDS, plain
from shortlist.data.sources import Source, open_source
from shortlist.errors import DataError

Entity: TypeAlias = Literal["events", "items", "users"]

PATTERNS = ("%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d/%m/%Y", "%m/%d/%Y", "%d-%b-%Y", "%Y%m%d", "%Y/%m/%d")
RENAMED = {"name": "title", "movietitle": "title", "genre": "genres"}  # to the facts that pipelines look for
FILE_WORDS: Table[Entity, tuple[str, ...]] = {
    "items": ("item", "movie", "film", "product", "book", "article", "song", "track", "catalog", "anime"),
    "users": ("user", "people", "customer", "member", "reader"),
    "events": ("rating", "event", "click", "view", "log", "history", "interaction", "buy", "order", "data"),
}
KNOWN = {  # files without a header that everybody has
    ("u.data", 4): ("user_id", "item_id", "rating", "timestamp"),
    ("u.item", 24): ("item_id", "title", "released", "video", "url", *GENRES),
    ("u.user", 5): ("user_id", "age", "gender", "occupation", "zip"),
    ("ratings.dat", 4): ("user_id", "item_id", "rating", "timestamp"),
    ("movies.dat", 3): ("item_id", "title", "genres"),
    ("users.dat", 5): ("user_id", "gender", "age", "occupation", "zip"),
}


@dataclass(frozen=True, slots=True)
class Column:
    """What one column is taken for. `role` is a key of Mapping, "fact" or "" for a column that is not loaded."""

    name: str
    role: str
    type: Type
    confidence: float
    samples: tuple[str, ...]  # up to three


@dataclass(frozen=True, slots=True)
class Guess:
    """What one source is taken for, ready for the configuration."""

    mapping: Mapping
    columns: tuple[Column, ...]
    rows: int  # looked at
    whole: bool  # True when these were all
    warnings: tuple[str, ...]
    form: str = ""  # encoding and separator in words
    least: float | None = None  # the values are stars: a smaller one is no liking
    ids: pl.Series = field(default_factory=lambda: pl.Series(dtype=pl.String))  # item ids seen, to compare sources with


def guess(sources: Sequence[str | Path], entity: Entity | None = None) -> list[Guess]:
    """A guess for each source, from its first rows; `entity` is what they all hold, None = guess that too.

    Raises DataError, NotFound, StoreError when unreadable.
    """
    guesses = [_guess(str(source), entity) for source in sources]
    items = [each.ids for each in guesses if each.mapping.entity == "items" and each.whole]
    if not items:
        return guesses
    known = pl.concat(items).unique()
    return [_compared(each, known) if each.mapping.entity == "events" else each for each in guesses]


def _compared(events: Guess, known: pl.Series) -> Guess:
    share = 1 - float(events.ids.is_in(known.implode()).mean() or 0)  # type: ignore[arg-type]
    if not share:
        return events
    warning = f"{100 * share:.3g} % of the events refer to items that are in none of the files"
    return replace(events, warnings=(*events.warnings, warning))


def _guess(source: str, entity: Entity | None) -> Guess:
    with closing(open_source(source, Mapping())) as opened:
        batch = next(opened.batches, None)
        whole = next(opened.batches, None) is None
    if batch is None or not len(batch.line):
        raise DataError("there are no rows to guess from", where=opened.where, hint="load a file with some rows in it")
    frame, names = _named(batch.frame, opened, source)
    return _Guesser(source, entity, frame, names, opened, whole).guess()


def _named(frame: pl.DataFrame, opened: Source, source: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The sample with the names of a known layout, and those names; () when the columns keep theirs."""
    if opened.form is None or opened.form.header:
        return frame, ()
    names = KNOWN.get((Path(source).name.removesuffix(".gz"), frame.width), ())
    if names:
        frame = frame.rename(dict(zip(frame.columns, names, strict=True)))
    return frame, names


@dataclass
class _Guesser:
    source: str
    entity: Entity | None  # what it is said to hold, None when nobody says
    frame: pl.DataFrame
    known: tuple[str, ...]  # names of a known layout
    opened: Source
    whole: bool

    def __post_init__(self) -> None:
        self.roles: dict[str, tuple[str, float]] = {}  # role -> column, confidence
        self.warnings = list(self.opened.notes)
        self.named = bool(self.known) or self.opened.form is None or self.opened.form.header
        self.missing = [""]
        self.single = [name for name in self.frame.columns if self.frame[name].dtype != pl.List]  # no list is a role
        if not self.single:
            raise DataError(
                "every column holds lists, so none can be an id",
                where=self.opened.where,
                hint="write the id of each row as text or a whole number, in a column of its own",
            )

    def guess(self) -> Guess:
        entity, sure = self._entity() if self.entity is None else (self.entity, 1.0)
        mapping = self._form(Mapping(source=self.source, entity=entity))
        mapping = self._events(mapping) if entity == "events" else self._facts(mapping)
        if sure < 0.6:
            self.warnings.append(f"taken for {entity} by the look of the columns: check `entity`")
        parts = {name for columns in mapping.flags.values() for name in columns}
        columns = tuple(self._column(name, mapping) for name in self.frame.columns if name not in parts)
        form = self.opened.form
        words = f"{form.encoding}, separated by {form.separator!r}" if form else ""
        ids = self.frame[mapping.item].cast(pl.String) if entity != "users" else pl.Series(dtype=pl.String)
        least = self._least(mapping.value) if mapping.value and not mapping.kind_column else None
        return Guess(mapping, columns, len(self.frame), self.whole, tuple(self.warnings), words, least, ids)

    def _column(self, name: str, mapping: Mapping) -> Column:
        fact = mapping.columns.get(mapping.rename.get(name, name))
        role, sure = "fact" if fact else "", 0.8 if fact else 0.0
        for each, (column, confidence) in self.roles.items():
            if column == name:
                role, sure = each, confidence
        kind = fact or ("time" if role == "time" else "text" if role else guess_type(name, self.frame[name], mapping))
        samples = tuple(str(each) for each in without(self.frame[name], self.missing).drop_nulls().head(3).to_list())
        return Column(name, role, "number" if role == "value" else kind, sure, samples)

    # which of the three

    def _entity(self) -> tuple[Entity, float]:
        user, item = self._by_name("user"), self._by_name("item")
        if user and item:
            return "events", 0.95
        if user or item:
            return ("users" if user else "items"), 0.9
        stem = Path(self.source.partition("#")[2] or self.source).name.lower()
        said = [entity for entity, words in FILE_WORDS.items() if any(word in stem for word in words)]
        first = self.frame[self.single[0]]
        unique = first.n_unique() == len(first) and len(first) > 1
        if said and (unique == (said[0] != "events") or len(self.frame) < 3):
            return said[0], 0.8
        if not unique and self.frame.width >= 2:
            return "events", 0.6
        texts = [column for column in self.frame.get_columns()[1:] if column.dtype == pl.String]
        longest = max((float(text.str.len_chars().mean() or 0) for text in texts), default=0)  # type: ignore[arg-type]
        return ("items" if longest > 12 else "users"), 0.5

    def _by_name(self, role: str) -> str:
        """The column that is called like the role; "" when none is."""
        if not self.named:
            return ""
        words = WORDS[role]
        names = {name: plain(name) for name in self.single}
        found = [name for name, each in names.items() if each in words]
        if role in ("user", "item"):
            found += [name for name, each in names.items() if each.endswith("id") and any(w in each for w in words)]
        if not found:
            return ""
        self.roles[role] = (found[0], 0.95)
        return found[0]

    def _form(self, mapping: Mapping) -> Mapping:
        form = self.opened.form
        if form is None:
            return mapping
        encoding = "" if form.encoding == "utf-8" else form.encoding
        quote = "" if form.separator in ("|", "::") else mapping.quote
        names = () if form.header else tuple(self.frame.columns)
        header: Literal["yes", "no"] = "yes" if form.header else "no"
        return replace(mapping, separator=form.separator, encoding=encoding, quote=quote, header=header, names=names)

    # events

    def _events(self, mapping: Mapping) -> Mapping:
        taken = {self._by_name("user"), self._by_name("item")}
        time, unit = self._time(taken)
        kind = self._kind(taken | {time})
        value = self._value(taken | {time, kind})
        self._by_place([name for name in self.single if name not in taken | {time, kind, value}])
        id = self._by_name("id")
        if id and self.frame[id].n_unique() < len(self.frame):
            del self.roles["id"]
            id = ""
        mapping = replace(mapping, time_unit=unit, id=id, kind_column=kind, value=value, time=time)
        mapping = replace(mapping, user=self.roles["user"][0], item=self.roles["item"][0])
        if kind:
            mapping = replace(mapping, kinds=self._kinds(kind))
        if value:
            mapping = replace(mapping, rules=self._rules(value))
        self._look_at(mapping)
        return self._renamed(mapping)

    def _by_place(self, rest: list[str]) -> None:
        """People come first, then what they took, when no name says otherwise."""
        for role in ("user", "item"):
            if role in self.roles:
                continue
            if not rest:
                raise DataError(
                    f"events need a user column and an item column, and none is left for the {role}",
                    where=self.opened.where,
                    hint="write the table [ingest.NAME] by hand, see docs/howto/load-your-data.md",
                )
            self.roles[role] = (rest.pop(0), 0.5)
            place = self.frame.columns.index(self.roles[role][0]) + 1
            self.warnings.append(f"column {place} is taken for the {role} by its place: check it")

    def _look_at(self, mapping: Mapping) -> None:
        for role, name in (("user", mapping.user), ("item", mapping.item)):
            ids = self.frame[name]
            self.warnings += [f"{role} ids {what} ({n:,})" for what, n in odd_ids(ids.cast(pl.String, strict=False))]
            if ids.dtype.is_float():
                self.warnings.append(f"{role} ids are fractional numbers: write them as text or whole numbers first")
        for name in filter(None, (mapping.value, mapping.time)):
            gaps = without(self.frame[name], self.missing).is_null().sum() / len(self.frame)
            if gaps:
                self.warnings.append(f"{100 * gaps:.3g} % of {name!r} are missing: those rows will be rejected")
        if not mapping.time:
            self.warnings.append("no column holds times: the rows are taken to be in order")

    def _time(self, taken: set[str]) -> tuple[str, str]:
        by_name = self._by_name("time")
        for name in [by_name] if by_name else [name for name in self.single if name not in taken]:
            unit, doubt = self._unit(self.frame[name])
            if unit:
                self.roles["time"] = (name, 0.99 if by_name else 0.7)
                self.warnings += [doubt] if doubt else []
                return name, "auto" if unit == "stamp" else unit
        if by_name:
            del self.roles["time"]
            self.warnings.append(f"column {by_name!r} looks like a time of unknown unit: set time and time_unit")
        return "", "auto"

    def _unit(self, column: pl.Series) -> tuple[str, str]:
        """The unit or pattern that fits a column of times, "" when it holds none; and what is doubtful about it."""
        if column.dtype in (pl.Boolean, pl.List):
            return "", ""
        text = without(column, self.missing)
        try:
            return times.unit_of(text, "auto", ""), ""
        except DataError:
            pass
        if text.dtype != pl.String or text.null_count() == len(text):
            return "", ""
        fits = [each for each in PATTERNS if times.micros(text, each)[0].null_count() == text.null_count()]
        both = {"%d/%m/%Y", "%m/%d/%Y"} <= set(fits)
        return next(iter(fits), ""), "day and month of the times could be swapped: check time_unit" if both else ""

    def _kind(self, taken: set[str]) -> str:
        texts = [name for name in self.frame.columns if self.frame[name].dtype == pl.String and name not in taken]
        kind = self._by_name("kind")
        if kind in texts and self.frame[kind].n_unique() <= 30:
            return kind
        self.roles.pop("kind", None)
        for name in texts:
            words = self.frame[name].unique().drop_nulls().head(30).to_list()
            if words and all(plain(word) in KIND_WORDS for word in words):
                self.roles["kind"] = (name, 0.8)
                return name
        return ""

    def _kinds(self, column: str) -> dict[str, str]:
        words = sorted(self.frame[column].drop_nulls().unique().to_list())
        unknown = [word for word in words if plain(word) not in KIND_WORDS]
        if unknown:
            self.warnings.append(f"kinds of events to map or declare: {', '.join(map(repr, unknown))}")
        ours = {word: KIND_WORDS[plain(word)] for word in words if word not in unknown}
        return {word: kind for word, kind in ours.items() if word != kind}

    def _value(self, taken: set[str]) -> str:
        value = self._by_name("value")
        if value and value not in taken and number(self.frame[value]).is_finite().any():
            return value
        self.roles.pop("value", None)
        if self.named:
            return ""
        for name in [name for name in self.frame.columns if name not in taken][2:]:  # after user and item
            values = number(self.frame[name])
            if values.null_count() == 0 and values.n_unique() <= 25:
                self.roles["value"] = (name, 0.6)
                return name
        return ""

    def _least(self, column: str) -> float | None:
        """Three of five stars, or six of ten: what counts as liked. None when the values are no stars."""
        values = number(self.frame[column]).drop_nulls()
        values = values.filter(values != -1)  # see _rules
        most = max(values.to_list(), default=0.0)
        halves = bool((values * 2 == (values * 2).round()).all())  # stars come whole or half
        if most not in (5, 10) or min(values.to_list()) < 0 or not halves:
            return None
        self.warnings.append(
            f"values up to {most:g} look like stars: below {0.6 * most:g} they count as seen, not liked"
        )
        return 0.6 * most

    def _rules(self, column: str) -> tuple[Rule, ...]:
        values = number(self.frame[column])
        share = (values == -1).sum() / len(values)
        if not 0 < share < 0.95 or (values < -1).any():
            return ()
        self.warnings.append(f"{100 * share:.3g} % of the values are -1: taken as seen, not rated")
        return (Rule(-1.0, "view"),)

    def _renamed(self, mapping: Mapping) -> Mapping:
        """Good names for the columns of a file that gives none."""
        if self.named:
            return mapping
        words = {"user": "user_id", "item": "item_id", "value": "rating", "time": "timestamp", "kind": "kind"}
        new = {column: words[role] for role, (column, _) in self.roles.items()}
        self.frame = self.frame.rename(new)
        self.roles = {role: (new[column], sure) for role, (column, sure) in self.roles.items()}
        user, item, value, time, kind = (self.roles.get(role, ("", 0))[0] for role in words)
        names = tuple(self.frame.columns)
        return replace(mapping, names=names, user=user, item=item, value=value, time=time, kind_column=kind)

    # items and users

    def _facts(self, mapping: Mapping) -> Mapping:
        role = mapping.entity.removesuffix("s")
        id = self._by_name(role)
        if not id:
            called_id = [name for name in self.single if plain(name) == "id"]
            id = (called_id or self.single)[0]
            self.roles[role] = (id, 0.8 if called_id else 0.5)
        self.roles = {role: self.roles[role]}
        if self.frame[id].n_unique() < len(self.frame):
            self.warnings.append(f"column {id!r} repeats values: of rows with one id the last one holds")
        ids = self.frame[id].cast(pl.String, strict=False)
        self.warnings += [f"{role} ids {what} ({n:,})" for what, n in odd_ids(ids)]
        mapping = replace(mapping, item=id) if role == "item" else replace(mapping, user=id)
        facts = [name for name in self.frame.columns if name != id]
        for name in facts:
            self._words_for_nothing(name)
        facts = [name for name in facts if without(self.frame[name], self.missing).is_not_null().any()]
        mapping = replace(mapping, missing=tuple(self.missing), list_separator=self._list_separator(facts))
        words = {name: self.frame[name] for name in facts if self.frame[name].dtype != pl.List}
        flags = [name for name, each in words.items() if each.cast(pl.String, strict=False).is_in(["0", "1"]).all()]
        if len(flags) >= 5:
            mapping = replace(mapping, flags={"genres" if self.known else "flags": tuple(flags)})
            facts = [name for name in facts if name not in flags]
        return self._typed(mapping, facts)

    def _typed(self, mapping: Mapping, facts: list[str]) -> Mapping:
        types: dict[str, Type] = {}
        for name in facts:
            types[name] = guess_type(name, self.frame[name], mapping)
            if types[name] == "text" and mapping.time_unit == "auto":
                unit, _ = self._unit(self.frame[name])
                if "%" in unit:
                    types[name], mapping = "time", replace(mapping, time_unit=unit)
        taken = {*map(plain, facts), *mapping.flags}
        rename = {name: RENAMED[plain(name)] for name in facts if RENAMED.get(plain(name), "") not in {"", *taken}}
        return replace(mapping, rename=rename, columns={rename.get(name, name): types[name] for name in facts})

    def _list_separator(self, facts: list[str]) -> str:
        """What separates genres and tags: the first of | , ; that occurs in them."""
        named = (self.frame[name] for name in facts if any(word in name.lower() for word in LIST_WORDS))
        texts = [column for column in named if column.dtype == pl.String]
        return next((s for s in "|,;" if any(text.str.contains(s, literal=True).any() for text in texts)), "|")

    def _words_for_nothing(self, name: str) -> None:
        """A column of numbers with one or two words among them: those words stand for no value."""
        if self.frame[name].dtype != pl.String:
            return
        text = without(self.frame[name], self.missing).drop_nulls()
        words = text.filter(number(text).is_null())
        if len(words) < len(text) / 5 and words.n_unique() <= 2:
            self.missing += [word for word in words.unique(maintain_order=True).to_list() if word not in self.missing]
