"""What a component may be asked: one verb per stage, four store roles. Implement the methods; inherit nothing.

A stage is a frozen dataclass. It takes time and chance from `queries` (never from the clock or a global generator),
logs nothing, measures nothing, and returns only what it may change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

from shortlist.types import (
    Candidates,
    Column,
    Columns,
    Events,
    Mask,
    Part,
    Positions,
    Queries,
    Ragged,
    Reason,
    Rows,
    Scores,
    SpaceFacts,
    Vectors,
)

if TYPE_CHECKING:
    from shortlist.dataset import Dataset

M_co = TypeVar("M_co", covariant=True)


@runtime_checkable
class Source(Protocol):
    """Propose items: at most k rows per query, best first, with a "score" column.

    Never proposes an item in `queries.exclude` or outside `queries.allowed`, nor one twice for a query. Users and items
    beyond what it was trained on are safe: it proposes nothing for them, it never raises.
    """

    def recall(self, queries: Queries, k: int) -> Candidates: ...


@runtime_checkable
class Feature(Protocol):
    """Know something about candidates, and keep it up to date."""

    def columns(self, queries: Queries, found: Candidates) -> Columns: ...  # each (N,) or (N, d)

    def update(self, events: Events) -> None: ...  # fold what happened; may do nothing


@runtime_checkable
class Filter(Protocol):
    """Decide what may be shown. `narrow` says beforehand what it can, so that retrieval never fills a list with items
    that `keep` would take out again; `keep` is the promise, and holds for fallback items too."""

    def narrow(self, queries: Queries) -> Queries: ...  # may only add to exclude and shrink allowed

    def keep(self, queries: Queries, found: Candidates) -> Mask: ...  # (N,) true for rows that may be shown


@runtime_checkable
class Scorer(Protocol):
    """One number per row, larger is better; NaN means "no opinion" and sinks."""

    def score(self, queries: Queries, found: Candidates) -> Scores: ...  # (N,)


@runtime_checkable
class Reranker(Protocol):
    """Positions into found, best first within each query, at most k per query, grouped by query in order."""

    def order(self, queries: Queries, found: Candidates, k: int) -> Positions: ...  # (M,)


@runtime_checkable
class Encoder(Protocol):
    """A model that knows people and items as vectors of one space; zeros = nothing is known."""

    def encode(self, queries: Queries) -> Vectors: ...  # (B, D) what is read of the history

    def vectors(self, item: Rows) -> Vectors: ...  # (N, D)


@runtime_checkable
class Explainer(Protocol):
    """The item of the history (or context) that spoke most for each row: a catalog row, -1 when none did."""

    def because(self, queries: Queries, found: Candidates) -> Rows: ...  # (N,)


@runtime_checkable
class Reasoned(Protocol):
    """A filter that can say why it takes rows out."""

    def reasons(self, queries: Queries, found: Candidates) -> Sequence[Reason]: ...  # (N,) of rows that it takes out


@runtime_checkable
class Additive(Protocol):
    """A scorer whose score is a sum."""

    def parts(self, queries: Queries, found: Candidates) -> Sequence[Part]: ...  # they add up to `score`


@runtime_checkable
class Telling(Protocol):
    """A feature that can say in plain words what a column of its own says of a row: a number (), a code () or a list
    of either (d,)."""

    def words(self, name: str, value: Column) -> Reason | None: ...  # None = no column of its own


@runtime_checkable
class Accountable(Protocol):
    """A reranker that can say what its rule did to one row. `queries` is one query, `row` a position in `found`."""

    def moved(self, queries: Queries, found: Candidates, k: int, row: int) -> Reason | None: ...  # None = nothing


@runtime_checkable
class Sink(Protocol):
    """Told what was shown, after the reply has left."""

    def write(self, queries: Queries, slate: Candidates) -> None: ...


@runtime_checkable
class Recipe(Protocol[M_co]):
    """Hyper-parameters that can learn: a frozen dataclass. The model is another, complete frozen dataclass: its fields
    are arrays, numbers, strings, bytes, tuples or mappings of such, or such dataclasses, so it can be released."""

    def fit(self, data: Dataset, *, seed: int) -> M_co: ...


@runtime_checkable
class Ranker(Protocol):
    """A recipe that learns from labelled candidates instead of events: rows of `found` with the pipeline's columns
    (sources, features), `label` (N,) 1 where the person took the item. Learned on validation data, never on test.

    `weight` (N,) says how many rows each stands for, None = one; what learns an order alone may leave it unread."""

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> Scorer: ...


@runtime_checkable
class Probable(Protocol):
    """A scorer whose scores are probabilities (or an order, which no shift changes)."""

    def shifted(self, by: float) -> Scorer: ...  # with `by` added to the log-odds of every row


@runtime_checkable
class Adjustable(Protocol):
    """A ranker with settings that need no learning, such as the weights of goals: they can be edited while serving."""

    def adjusted(self, before: Ranker, scorer: Scorer) -> Scorer | None: ...  # of `before`; None: it must learn again


class Catalog(Protocol):
    """Names and slow facts. The only place that knows external ids. Rows are append-only and never reused.

    Entities are "user" and "item". Column values: text (object array of str), number (float64), time (int64
    microseconds), flag (int8: 1, 0), list of text (object array of tuples). No value reads as "", NaN, -1, -1, ().
    """

    def rows(self, entity: str, ids: Sequence[str], *, create: bool = False) -> Rows: ...  # -1 = unknown

    def ids(self, entity: str, rows: Rows) -> list[str]: ...

    def size(self, entity: str) -> int: ...  # rows are 0 .. size - 1

    def put(self, entity: str, rows: Rows, columns: Columns) -> None: ...  # durable when it returns

    def remove(self, entity: str, rows: Rows) -> None: ...  # facts go, rows stay; durable; the next put brings it back

    def present(self, entity: str, rows: Rows) -> Mask: ...  # (R,) false for rows that are unknown or were removed

    def read(self, entity: str, rows: Rows, names: Sequence[str]) -> Columns: ...  # unknown name: ConfigError

    def names(self, entity: str) -> Sequence[str]: ...  # the columns that exist, sorted

    def erase(self, user: str, now: int) -> None: ...  # id and facts go, the row stays; not made again until lifted

    def erased(self, users: Sequence[str]) -> Mask: ...  # (N,) true for ids that were erased and not lifted

    def lift(self, user: str) -> bool: ...  # the id may be made again, as a new row

    def version(self, entity: str) -> int: ...  # grows with every change, so that derived arrays can be cached


class EventLog(Protocol):
    """Everything that happened, in order of arrival. An event id that is known already adds nothing. What is erased or
    too old leaves no trace; offsets stay what they are."""

    def append(self, events: Events) -> Mask: ...  # (E,) true = new. Durable when it returns

    def scan(self, start: str = "", stop: str = "") -> Iterator[tuple[str, Events]]: ...  # (offset after it, batch)

    def end(self) -> str: ...  # the offset after the last event

    def erase(self, users: Rows) -> Positions: ...  # (U,) how many events went; later ones of them are not taken

    def retain(self, oldest: Mapping[int, int]) -> int: ...  # what is older than `oldest` of its kind goes; how many


class State(Protocol):
    """What changes while we serve: keyed columns, counters, bounded lists. Can be rebuilt from the log."""

    def read(self, table: str, rows: Rows, names: Sequence[str]) -> Columns: ...  # missing = NaN

    def write(self, table: str, rows: Rows, columns: Columns) -> None: ...

    def add(self, table: str, name: str, rows: Rows, amount: Scores) -> None: ...  # repeated rows add up

    def push(self, table: str, name: str, rows: Rows, columns: Columns, keep: int) -> None: ...  # newest `keep` by time

    def lists(self, table: str, name: str, rows: Rows) -> Ragged: ...  # oldest first by "time"

    def names(self, table: str) -> tuple[Sequence[str], Sequence[str]]: ...  # its columns and its lists, sorted

    def erase(self, table: str, rows: Rows) -> int: ...  # everything of these rows; how many values that were

    def retain(self, table: str, name: str, oldest: Mapping[int, int]) -> int: ...  # as for the log, of one list


class Index(Protocol):
    """Nearest vectors in a named space, by inner product or (`metric` "cosine") by angle. The name carries the release.

    `exclude` (B lists of "item") and `allowed` (by row) mean what they do in Queries and hold inside the search: a list
    is never short while rows that match exist. DataError when a space is asked by another metric than it was built for.
    """

    def build(self, space: str, rows: Rows, vectors: Vectors, *, metric: str = "inner") -> None: ...  # (R,), (R, D)

    def upsert(self, space: str, rows: Rows, vectors: Vectors, *, metric: str = "inner") -> None: ...

    def search(
        self,
        space: str,
        vectors: Vectors,
        k: int,
        *,
        metric: str = "inner",
        exclude: Ragged | None = None,
        allowed: Mask = ...,
    ) -> tuple[Rows, Scores]: ...  # (B, k) each, -1 / NaN padded

    def remove(self, space: str, rows: Rows) -> None: ...

    def drop(self, space: str) -> None: ...

    def spaces(self) -> Sequence[SpaceFacts]: ...  # in the order of their builds


class Executor(Protocol):
    """Apply one function to every batch of a table."""

    def map(self, job: Callable[[Any], Any], source: str, target: str) -> None: ...


__all__ = [
    "Accountable",
    "Additive",
    "Adjustable",
    "Catalog",
    "Encoder",
    "EventLog",
    "Executor",
    "Explainer",
    "Feature",
    "Filter",
    "Index",
    "Probable",
    "Ranker",
    "Reasoned",
    "Recipe",
    "Reranker",
    "Scorer",
    "Sink",
    "Source",
    "State",
    "Telling",
]
