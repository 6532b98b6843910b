"""A small language of conditions on columns: `year >= 1990 and 'Drama' in genres and not (type = 'TV')`.

    condition = every { "or" every }
    every     = single { "and" single }
    single    = "not" single | "(" condition ")" | flag | operand sign operand | operand ["not"] "in" members
    sign      = "=" | "!=" | "<" | "<=" | ">" | ">="
    members   = list | "(" value { "," value } ")"
    operand   = column | value
    value     = number | 'text' | "text" | true | false

Words are case-insensitive, columns are not; a column whose name is no plain word is written in `backquotes`; a quote
inside a text is doubled. Times are written as texts: `added >= '2024-01-31'` (UTC unless a zone is given). A missing
value makes every comparison with it false, `!=` and `not in` too. Nothing is ever evaluated as a program.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, NoReturn, TypeAlias

import numpy as np

from shortlist.derived import kind_of
from shortlist.errors import ConfigError
from shortlist.protocols import Catalog
from shortlist.types import Column, Columns, Mask, Rows

MAX_LENGTH, MAX_DEPTH, MAX_NODES = 2_000, 50, 500

COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
SAME = {"==": "=", "<>": "!="}
WORDS = ("and", "or", "not", "in", "true", "false")
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    | (?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    | (?P<quoted>`[^`]+`)
    | (?P<name>[^\W\d]\w*)
    | (?P<sign><=|>=|!=|<>|==|[=<>(),])
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Name:
    """A column."""

    text: str
    at: int


@dataclass(frozen=True, slots=True)
class Value:
    """A constant: number, text or truth."""

    value: float | str | bool
    at: int


@dataclass(frozen=True, slots=True)
class Compare:
    left: Name | Value
    sign: str
    right: Name | Value
    at: int


@dataclass(frozen=True, slots=True)
class Member:
    """A value in a list column, or a column in a list of values."""

    left: Name | Value
    right: Name | tuple[Value, ...]
    outside: bool  # not in
    at: int


@dataclass(frozen=True, slots=True)
class Not:
    inner: Node


@dataclass(frozen=True, slots=True)
class Both:
    """`and` (every) or `or` (any) of two or more conditions."""

    parts: tuple[Node, ...]
    every: bool


Node: TypeAlias = Name | Compare | Member | Not | Both


def parse(text: str) -> Expression:
    """The condition in `text`; ConfigError with the position of the first mistake."""
    if len(text) > MAX_LENGTH:
        raise ConfigError(f"the condition has {len(text):,} characters, allowed are {MAX_LENGTH:,}")
    return Expression(text, _Parser(text).whole())


@dataclass(frozen=True, slots=True)
class Expression:
    """A condition that was understood, still to be checked against the columns there are."""

    text: str
    root: Node

    @property
    def names(self) -> tuple[str, ...]:
        """The columns it reads, sorted."""
        return tuple(sorted({each.text for each in _names(self.root)}))

    def check(self, types: Mapping[str, str]) -> None:
        """ConfigError unless every column is in `types` (name -> text, number, time, flag or list) and fits its use."""
        for name in _names(self.root):
            if name.text not in types:
                near = get_close_matches(name.text, types, 1)
                guess = f" (did you mean {near[0]!r}?)" if near else ""
                hint = f"columns: {', '.join(sorted(types)) or 'none'}"
                _fail(self.text, name.at, f"there is no column {name.text!r}{guess}", hint)
        _Check(self.text, types).condition(self.root)

    def over(self, catalog: Catalog, entity: str, rows: Rows) -> Mask:
        """(R,) the rows of `entity` for which it holds; ConfigError when it does not fit their columns."""
        known = catalog.names(entity)
        columns = catalog.read(entity, rows, [name for name in self.names if name in known])
        self.check({name: kind_of(columns[name]) if name in columns else "" for name in known})
        return self.mask(columns)

    def mask(self, columns: Columns) -> Mask:
        """(R,) true for rows of `columns` that fulfil it; `columns` hold what `check` was told."""
        return _mask(self.root, columns)


def _fail(text: str, at: int, problem: str, hint: str = "") -> NoReturn:
    begin = max(0, at - 20)
    near = ("…" if begin else "") + text[begin : at + 20] + ("…" if at + 20 < len(text) else "")
    raise ConfigError(f"{problem}, near: {near}", where=f"condition, position {at + 1}", hint=hint)


def _names(node: Node | Value | tuple[Value, ...]) -> Iterator[Name]:
    match node:
        case Name():
            yield node
        case Compare(left, _, right) | Member(left, right):
            yield from _names(left)
            yield from _names(right)
        case Not(inner):
            yield from _names(inner)
        case Both(parts):
            for part in parts:
                yield from _names(part)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # number, text, name, sign, word, end
    text: str
    at: int


def _tokens(text: str) -> Iterator[_Token]:
    at, end = 0, len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None:
            start = at + len(text[at:]) - len(text[at:].lstrip())
            what = "this text does not end" if text[start] in "'\"`" else f"{text[start]!r} has no meaning here"
            _fail(text, start, what, "texts stand in quotes, columns are plain words or stand in `backquotes`")
        kind = str(found.lastgroup)
        raw, start, at = found[kind], found.start(kind), found.end()
        match kind:
            case "quoted":
                yield _Token("name", raw[1:-1], start)
            case "text":
                yield _Token(kind, raw[1:-1].replace(raw[0] * 2, raw[0]), start)
            case "name" if raw.lower() in WORDS:
                yield _Token("word", raw.lower(), start)
            case "sign":
                yield _Token(kind, SAME.get(raw, raw), start)
            case _:
                yield _Token(kind, raw, start)
    yield _Token("end", "the end", len(text))


class _Parser:
    """Recursive descent, one method a rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_tokens(text))
        self.place = self.depth = self.nodes = 0

    def whole(self) -> Node:
        node = self.condition()
        if self.token.kind != "end":
            self.fail(f"expected `and`, `or` or the end, found {self.token.text!r}")
        return node

    @property
    def token(self) -> _Token:
        return self.tokens[self.place]

    def fail(self, problem: str, hint: str = "") -> NoReturn:
        _fail(self.text, self.token.at, problem, hint)

    def next(self) -> _Token:
        token = self.token
        self.place += 1
        return token

    def took(self, kind: str, *texts: str) -> bool:
        """Step over the next token if it is one of these."""
        if self.token.kind != kind or self.token.text not in texts:
            return False
        self.place += 1
        return True

    def count(self) -> None:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.fail(f"the condition has more than {MAX_NODES} parts")

    def condition(self) -> Node:
        return self.joined("or", self.every)

    def every(self) -> Node:
        return self.joined("and", self.single)

    def joined(self, word: str, rule: Callable[[], Node]) -> Node:
        parts = [rule()]
        while self.took("word", word):
            parts.append(rule())
        return parts[0] if len(parts) == 1 else Both(tuple(parts), word == "and")

    def single(self) -> Node:
        self.count()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"the condition is nested more than {MAX_DEPTH} deep")
        node = self.nested()
        self.depth -= 1
        return node

    def nested(self) -> Node:
        if self.took("word", "not"):
            return Not(self.single())
        if self.took("sign", "("):
            node = self.condition()
            if not self.took("sign", ")"):
                self.fail(f"expected `)`, found {self.token.text!r}")
            return node
        left = self.operand()
        at = self.token.at
        if self.token.kind == "sign" and self.token.text in COMPARE:
            return Compare(left, self.next().text, self.operand(), at)
        outside = self.took("word", "not")
        if self.took("word", "in"):
            return Member(left, self.members(), outside, at)
        if outside:
            self.fail(f"expected `in` after `not`, found {self.token.text!r}")
        if isinstance(left, Value):
            self.fail(f"expected a comparison, found {self.token.text!r}", "such as: year >= 1990, 'Drama' in genres")
        return left

    def operand(self) -> Name | Value:
        self.count()
        token = self.token
        if token.kind == "name":
            self.place += 1
            return Name(token.text, token.at)
        return self.value()

    def value(self) -> Value:
        token = self.token
        if token.kind not in ("number", "text") and token.text not in ("true", "false"):
            self.fail(f"expected a column or a value, found {token.text!r}")
        self.place += 1
        if token.kind == "number":
            return Value(float(token.text), token.at)
        return Value(token.text if token.kind == "text" else token.text == "true", token.at)

    def members(self) -> Name | tuple[Value, ...]:
        if self.token.kind == "name":
            self.count()
            token = self.next()
            return Name(token.text, token.at)
        if not self.took("sign", "("):
            self.fail(f"expected a column or a list of values in brackets, found {self.token.text!r}")
        values = [self.value()]
        while self.took("sign", ","):
            self.count()
            values.append(self.value())
        if not self.took("sign", ")"):
            self.fail(f"expected `,` or `)`, found {self.token.text!r}")
        return tuple(values)


@dataclass(frozen=True, slots=True)
class _Check:
    """Every use of a column against its type."""

    text: str
    types: Mapping[str, str]

    def condition(self, node: Node) -> None:
        match node:
            case Name(text, at):
                if self.types[text] != "flag":
                    self.fail(at, f"column {text!r} is a {self.types[text]}, not a flag", "compare it with something")
            case Not(inner):
                self.condition(inner)
            case Both(parts):
                for part in parts:
                    self.condition(part)
            case Compare(left, sign, right, at):
                self.comparison(left, sign, right, at)
            case Member(left, right, _, at):
                self.membership(left, right, at)

    def comparison(self, left: Name | Value, sign: str, right: Name | Value, at: int) -> None:
        if isinstance(left, Value) and isinstance(right, Value):
            self.fail(at, "two constants are compared", "name a column on one side")
        kind = self.kind(left if isinstance(left, Name) else right)
        if kind == "list":
            self.fail(at, f"a list cannot be compared with {sign}", "write: 'value' in column")
        if kind == "flag" and sign not in ("=", "!="):
            self.fail(at, f"a flag cannot be compared with {sign}", "write: column, or: not column")
        for side in (left, right):
            self.fits(side, kind)

    def membership(self, left: Name | Value, right: Name | tuple[Value, ...], at: int) -> None:
        if isinstance(right, Name):
            if self.kind(right) != "list":
                self.fail(right.at, f"column {right.text!r} is a {self.kind(right)}, not a list", "compare with =")
            self.fits(left, "text")
            return
        if isinstance(left, Value):
            self.fail(at, "a constant is looked up among constants", "write: column in (...), or: 'value' in column")
        if self.kind(left) == "list":
            self.fail(at, f"column {left.text!r} is a list itself", f"write: 'value' in {left.text}")
        for value in right:
            self.fits(value, self.kind(left))

    def kind(self, side: Name | Value) -> str:
        if isinstance(side, Name):
            return self.types[side.text]
        return {float: "number", str: "text", bool: "flag"}[type(side.value)]

    def fits(self, side: Name | Value, kind: str) -> None:
        given = self.kind(side)
        if isinstance(side, Value) and kind == "time" and given == "text":
            if moment(str(side.value)) is None:
                self.fail(side.at, f"{side.value!r} is not a time", "such as '2024-01-31' or '2024-01-31T12:00:00Z'")
        elif given != kind:
            what = f"column {side.text!r}" if isinstance(side, Name) else repr(side.value)
            self.fail(side.at, f"{what} is a {given}, but a {kind} is needed here")

    def fail(self, at: int, problem: str, hint: str = "") -> NoReturn:
        _fail(self.text, at, problem, hint)


def moment(text: str) -> int | None:
    """Microseconds since 1970 of an ISO 8601 date or time, UTC unless it names a zone; None when it is neither."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    since = parsed - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _mask(node: Node, columns: Columns) -> Mask:
    match node:
        case Name(text):
            flag: Mask = columns[text] == 1
            return flag
        case Not(inner):
            return ~_mask(inner, columns)
        case Both(parts, every):
            join = np.logical_and if every else np.logical_or
            out: Mask = join.reduce([_mask(part, columns) for part in parts])
            return out
        case Compare(Value() as left, sign, right):
            turned = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
            return _compared(columns, right, turned.get(sign, sign), left)
        case Compare(left, sign, right):
            return _compared(columns, left, sign, right)
        case Member(left, Name() as right, outside):
            return _listed(columns, left, columns[right.text], outside)
        case Member(Name() as left, tuple() as values, outside):
            return _among(columns[left.text], values, outside)
        case _:
            raise TypeError(f"{node!r} was never checked")


def _compared(columns: Columns, left: Name | Value, sign: str, right: Name | Value) -> Mask:
    assert isinstance(left, Name), left
    column = columns[left.text]
    if isinstance(right, Name):
        other: Any = columns[right.text]
        known = _known(column) & _known(other)
    else:
        other, known = _constant(right, column), _known(column)
    out: Mask = np.asarray(COMPARE[sign](column, other), np.bool_) & known
    return out


def _among(column: Column, values: tuple[Value, ...], outside: bool) -> Mask:
    constants = [_constant(value, column) for value in values]
    if column.dtype == np.object_:
        found = np.fromiter((each in constants for each in column), np.bool_, len(column))
    else:
        found = np.isin(column, constants)
    out: Mask = (found != outside) & _known(column)
    return out


def _listed(columns: Columns, left: Name | Value, lists: Column, outside: bool) -> Mask:
    if isinstance(left, Value):
        pairs: Iterator[tuple[Any, Any]] = ((left.value, values) for values in lists)
        known = _known(lists)
    else:
        pairs = zip(columns[left.text], lists, strict=True)
        known = _known(lists) & _known(columns[left.text])
    found = np.fromiter((value in values for value, values in pairs), np.bool_, len(lists))
    out: Mask = (found != outside) & known
    return out


def _constant(value: Value, column: Column) -> Any:
    return moment(value.value) if isinstance(value.value, str) and kind_of(column) == "time" else value.value


def _known(column: Column) -> Mask:
    """(R,) false where the catalog holds no value."""
    match kind_of(column):
        case "number":
            known: Mask = ~np.isnan(column)
        case "time":
            known = column != -1
        case "flag":
            known = column >= 0
        case _:
            known = column.astype(np.bool_)
    return known
