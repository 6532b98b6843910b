"""Index in Milvus (extra: milvus): `milvus:PATH.db` is Milvus Lite in a file, `milvus://HOST:PORT` a server.

Each build is a collection of its own; the row of the space in the collection `shortlist_spaces` names the one that
counts, and is written last: a crash leaves the old space or the new one. Before a collection is built or dropped it is
put into `shortlist_unnamed`, with the time; what is there and named by nobody was left by a crash once it is too old to
be a build that goes on, and is swept at the next opening or build. Nothing is used but what Milvus 2.3 and Lite know.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, time
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
import numpy as np

from shortlist.errors import ConfigError, NotFound, StoreError
from shortlist.stores.vectors import DEPTH, checked, fits, questions, unit
from shortlist.types import Mask, Ragged, Rows, Scores, SpaceFacts, Vectors, empty_items

try:
    from grpc import RpcError
    from pymilvus import DataType, MilvusClient
    from pymilvus.exceptions import ErrorCode, MilvusException
except ImportError as error:
    raise ConfigError(
        "this index needs pymilvus, which is not installed",
        where="stores.index",
        hint='Install it with: pip install "shortlist[milvus]".',
    ) from error

T = TypeVar("T")
BATCH = 2000  # rows of one request
TOGETHER = 100  # questions of one search
MOST = 16_384  # rows that Milvus returns of one search or query
ROWS = 2**31  # rows are below it
EVERYTHING = np.empty(0, np.bool_)
LINKS, BREADTH_OF_BUILD = 32, 128
FOUND_AGAIN = {"grpc.initial_reconnect_backoff_ms": 200, "grpc.max_reconnect_backoff_ms": 1000}
"""How soon a server that was away is asked again: by default gRPC waits up to two minutes."""
SLOW = "Give the URL more `deadline` or less `breadth`, or Milvus more memory and replicas."


@dataclass(frozen=True, slots=True)
class About:
    """The row of a space."""

    collection: str
    width: int
    metric: str
    kind: str
    breadth: int
    recall: float
    made: int  # grows with every build


@dataclass(frozen=True, slots=True)
class Options:
    """What the query of the URL may say."""

    kind: str = "hnsw"  # hnsw | exact
    floor: float = 0.0  # recall@100 against exact that a build must reach; breadth is doubled until it does
    breadth: int = 128  # of one search in the graph
    prefix: str = "shortlist"  # of its collections, where several installations share a server
    token: str = ""  # user:password, or an API key
    timeout: float = 10.0  # seconds of one request that changes something
    deadline: float = 2.0  # seconds of one search of at most TOGETHER questions
    orphaned: float = 86_400.0  # seconds after which what nobody names is of a crash, and no build that goes on


class Milvus:
    """The one role that Milvus offers."""

    def __init__(self, address: str, read_only: bool) -> None:
        self._address, self._read_only = address, read_only
        self._index: MilvusIndex | None = None

    @property
    def index(self) -> MilvusIndex:
        return self._index or self.configured("index", {})

    def configured(self, role: str, options: Mapping[str, str]) -> MilvusIndex:
        """The index with the options of its URL."""
        try:
            given = msgspec.convert(dict(options), Options, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"an option does not fit: {error}", where=f"stores.{role}") from None
        unknown = [name for name in options if name not in Options.__slots__]
        if unknown or given.kind not in ("hnsw", "exact") or not given.prefix.isidentifier():
            wrong = f"{unknown[0]!r} is not an option" if unknown else f"kind {given.kind!r}, prefix {given.prefix!r}"
            hint = f"The options are {', '.join(Options.__slots__)}; kind is hnsw or exact, prefix letters and digits."
            raise ConfigError(wrong, where=f"stores.{role}", hint=hint)
        if not (given.timeout > 0 and given.deadline > 0 and given.orphaned >= 0):
            wrong = f"timeout {given.timeout}, deadline {given.deadline}, orphaned {given.orphaned}"
            raise ConfigError(wrong, where=f"stores.{role}", hint="Seconds; timeout and deadline are above 0.")
        self._index = MilvusIndex(self._address, given, read_only=self._read_only)
        return self._index

    def close(self) -> None:
        if self._index is not None:
            self._index.close()


def open_milvus(place: str, *, read_only: bool) -> Milvus:
    if not place.startswith("//") and not place.endswith(".db"):
        hint = 'Write "milvus:PATH.db" for one file, or "milvus://HOST:PORT" for a server.'
        raise ConfigError(f"milvus:{place} is neither a file nor a server", where="stores.index", hint=hint)
    return Milvus(f"http:{place}" if place.startswith("//") else place, read_only)


class _Gone(StoreError):
    """The collection is not there: another process has built its space anew, or dropped it."""


class MilvusIndex:
    """Spaces as collections. No request is without a deadline; an error of Milvus is a StoreError that names the
    address. The connection comes back by itself, and a space that another process builds anew is found."""

    def __init__(self, address: str, options: Options, *, read_only: bool = False) -> None:
        self._address, self._options, self._read_only = address, options, read_only
        self._names = f"{options.prefix}_spaces"  # one row a space: what it is, and where
        self._unnamed = f"{options.prefix}_unnamed"  # one row a collection: seconds since 1970
        with self._explained():
            if not address.startswith("http:"):
                Path(address).parent.mkdir(parents=True, exist_ok=True)
            self._client = MilvusClient(
                address, token=options.token, timeout=options.timeout, dedicated=True, grpc_options=FOUND_AGAIN
            )
        self._spaces: dict[str, About] = {}
        if not read_only:
            for table in (self._names, self._unnamed):
                self._make_table(table)
        self.refresh()
        if not read_only:
            self._sweep()

    def close(self) -> None:
        self._client.close()

    def refresh(self) -> None:
        """See what another process has built and dropped since."""
        try:
            found = self._table(self._names)
        except _Gone:
            if not self._read_only:
                raise
            found = {}  # no writer was here yet
        self._spaces = {name: msgspec.json.decode(about, type=About) for name, about in found.items()}

    def build(self, space: str, rows: Rows, vectors: Vectors, *, metric: str = "inner") -> None:
        """Put these in the place of the whole space. Of a row that is given twice the last vector holds.

        StoreError when search finds less than the floor; the space stays what it was.
        """
        self._writes()
        rows, vectors = checked(space, rows, vectors, metric)
        self.refresh()
        last = np.sort(len(rows) - 1 - np.unique(rows[::-1], return_index=True)[1])
        rows, vectors = rows[last], vectors[last]
        collection = f"{self._options.prefix}_{re.sub(r'[^0-9A-Za-z]', '_', space)[:80]}_{uuid4().hex[:12]}"
        kind = self._options.kind
        made = 1 + max((each.made for each in self._spaces.values()), default=0)
        about = About(collection, vectors.shape[1], metric, kind, self._options.breadth, 1.0, made)
        self._note(self._unnamed, collection, str(int(time())))
        try:
            schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("row", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=max(2, vectors.shape[1]))
            self._create(collection, schema, "HNSW" if kind == "hnsw" else "FLAT", "IP")
            self._put(collection, rows, vectors)
            self._do(self._client.flush, collection)
            about = self._measured(space, about, rows, vectors)
        except BaseException:
            with suppress(StoreError):  # what is left is swept
                self._discard(collection)
            raise
        old = self._spaces.get(space)
        if old is not None:
            self._note(self._unnamed, old.collection, str(int(time())))
        self._note(self._names, space, msgspec.json.encode(about).decode())
        self._spaces[space] = about
        with suppress(StoreError):  # the space is there, and what is left over is swept another time
            if old is not None:
                self._discard(old.collection)
            self._sweep()

    def upsert(self, space: str, rows: Rows, vectors: Vectors, *, metric: str = "inner") -> None:
        """Add or replace; a space that does not exist is made."""
        self._writes()
        if not self._knows(space):
            self.build(space, rows, vectors, metric=metric)
            return
        rows, vectors = checked(space, rows, vectors, metric)

        def put(about: About) -> None:
            fits(space, about.width, about.metric, vectors, metric)
            self._put(about.collection, rows, vectors)

        self._with(space, put)

    def remove(self, space: str, rows: Rows) -> None:
        """Rows that are not in the space, and a space that does not exist, are nobody's loss."""
        gone = np.asarray(rows).tolist()
        if not gone or not self._knows(space):
            return
        self._writes()

        def delete(about: About) -> None:
            for start in range(0, len(gone), BATCH):
                self._do(self._client.delete, about.collection, filter=f"row in {gone[start : start + BATCH]}")

        with suppress(NotFound):
            self._with(space, delete)

    def drop(self, space: str) -> None:
        self.refresh()
        about = self._spaces.get(space)
        if about is not None:
            self._writes()
            self._note(self._unnamed, about.collection, str(int(time())))
            self._forget(self._names, space)
            self._spaces.pop(space, None)
            self._discard(about.collection)

    def search(
        self,
        space: str,
        vectors: Vectors,
        k: int,
        *,
        metric: str = "inner",
        exclude: Ragged | None = None,
        allowed: Mask = EVERYTHING,
    ) -> tuple[Rows, Scores]:
        """The k best rows of each vector (B, D), best first; a vector with NaN finds nothing."""
        asked = np.ascontiguousarray(vectors, np.float32)
        nobody = empty_items(len(asked)) if exclude is None else exclude

        def search(about: About) -> tuple[Rows, Scores]:
            fits(space, about.width, about.metric, vectors, metric)
            return self._search(about, unit(asked) if metric == "cosine" else asked, max(k, 0), nobody, allowed)

        return self._with(space, search)

    def spaces(self) -> Sequence[SpaceFacts]:
        self.refresh()
        found = []
        for name, about in sorted(self._spaces.items(), key=lambda each: each[1].made):
            rows = self._count(about, "", self._options.timeout)
            kind, floor = about.kind, self._options.floor
            found.append(SpaceFacts(name, rows, about.width, about.metric, kind, about.recall, floor))
        return found

    def _knows(self, space: str) -> bool:
        if space not in self._spaces:
            self.refresh()
        return space in self._spaces

    def _with(self, space: str, work: Callable[[About], T]) -> T:
        """What `work` makes of the space as it is; where another process has built it anew, of the new one."""
        if self._knows(space):
            with suppress(_Gone):
                return work(self._spaces[space])
            self.refresh()
        if space not in self._spaces:
            known = ", ".join(sorted(self._spaces)) or "none"
            raise NotFound(f"the index has no space {space!r}", hint=f"Build it first; there is: {known}.")
        return work(self._spaces[space])

    def _search(self, about: About, asked: Vectors, k: int, exclude: Ragged, allowed: Mask) -> tuple[Rows, Scores]:
        found = np.full((len(asked), k), -1, np.int32)
        scores = np.full((len(asked), k), np.nan, np.float32)
        sound = np.flatnonzero(np.isfinite(asked).all(axis=1))
        if not k or not len(sound):
            return found, scores
        condition = _condition(allowed)
        count = min(k + int(exclude.length.max(initial=0)), MOST)
        for start in range(0, len(sound), TOGETHER):
            part, until = sound[start : start + TOGETHER], monotonic() + self._options.deadline
            short = []
            for b, (row, score) in zip(
                part.tolist(), self._ask(about, asked[part], count, condition, until), strict=True
            ):
                kept = np.flatnonzero(~np.isin(row, exclude["item"][exclude.ptr[b] : exclude.ptr[b + 1]]))[:k]
                found[b, : len(kept)], scores[b, : len(kept)] = row[kept], score[kept]
                if len(kept) < k:
                    short.append(b)
            if short:  # a graph misses what few rows match: look at all of them
                row, held = self._matching(about, condition, until)
                found[short], scores[short] = -1, np.nan
                for b in short:
                    score = held @ asked[b]
                    score[np.isin(row, exclude["item"][exclude.ptr[b] : exclude.ptr[b + 1]])] = -np.inf
                    kept = np.argsort(-score, kind="stable")[:k]
                    kept = kept[score[kept] > -np.inf]
                    found[b, : len(kept)], scores[b, : len(kept)] = row[kept], score[kept]
        return found, scores

    def _ask(
        self, about: About, asked: Vectors, count: int, condition: str, until: float
    ) -> Iterator[tuple[Rows, Scores]]:
        how = {"ef": max(about.breadth, count)} if about.kind == "hnsw" else {}
        answer = self._do(
            self._client.search,
            about.collection,
            data=_wide(asked).tolist(),
            limit=count,
            filter=condition,
            output_fields=["row"],
            search_params={"metric_type": "IP", "params": how},
            consistency_level="Strong",
            seconds=until - monotonic(),
        )
        for hits in answer:
            row = np.array([each["row"] for each in hits], np.int32)
            score = np.array([each["distance"] for each in hits], np.float32)
            order = np.argsort(-score, kind="stable")
            yield row[order], score[order]

    def _matching(
        self, about: About, condition: str, until: float, first: int = 0, stop: int = ROWS
    ) -> tuple[Rows, Vectors]:
        """Every row from `first` to `stop` that matches (R,), and its vector (R, D): by halves that fit one answer."""
        here = f"row >= {first} and row < {stop}" + (f" and ({condition})" if condition else "")
        if self._count(about, here, until - monotonic()) > MOST:
            middle = (first + stop) // 2
            halves = [self._matching(about, condition, until, *each) for each in ((first, middle), (middle, stop))]
            return np.concatenate([rows for rows, _ in halves]), np.concatenate([held for _, held in halves])
        page = self._do(
            self._client.query,
            about.collection,
            filter=here,
            output_fields=["row", "vector"],
            limit=MOST,
            consistency_level="Strong",
            seconds=until - monotonic(),
        )
        rows = np.array([each["row"] for each in page], np.int32)
        held = np.array([each["vector"] for each in page], np.float32).reshape(len(page), max(2, about.width))
        order = np.argsort(rows)
        return rows[order], held[order, : about.width]

    def _count(self, about: About, condition: str, seconds: float) -> int:
        how: dict[str, Any] = {"output_fields": ["count(*)"], "consistency_level": "Strong"}
        return int(
            self._do(self._client.query, about.collection, filter=condition, seconds=seconds, **how)[0]["count(*)"]
        )

    def _measured(self, space: str, about: About, rows: Rows, vectors: Vectors) -> About:
        """With recall at DEPTH against exact, and the breadth that reaches the floor."""
        if about.kind == "exact" or not len(rows):
            return about
        asked, k, floor = questions(vectors), min(DEPTH, len(rows)), self._options.floor
        least = -np.partition(-(asked @ vectors.T), k - 1, axis=1)[:, k - 1 : k]
        while True:
            found = list(self._ask(about, asked, k, "", monotonic() + self._options.timeout))
            met = sum(int(np.sum(score >= bar - 1e-5 * abs(bar))) for (_, score), bar in zip(found, least, strict=True))
            about = replace(about, recall=met / (k * len(asked)))
            if about.recall >= floor:
                return about
            if about.breadth >= min(MOST, len(rows)):
                raise StoreError(
                    f"space {space!r}: {about.recall:.3f} of the true nearest are found, the floor is {floor}",
                    where="stores.index",
                    hint="Choose kind=exact, or lower the floor. The old space stays.",
                )
            about = replace(about, breadth=2 * about.breadth)

    def _create(self, collection: str, schema: Any, kind: str, metric: str) -> None:
        how = {"M": LINKS, "efConstruction": BREADTH_OF_BUILD} if kind == "HNSW" else {}
        index = self._client.prepare_index_params()
        index.add_index("vector", index_type=kind, metric_type=metric, params=how)
        create = self._client.create_collection
        self._do(create, collection, schema=schema, index_params=index, consistency_level="Strong")

    def _put(self, collection: str, rows: Rows, vectors: Vectors) -> None:
        wide = _wide(vectors)
        for start in range(0, len(rows), BATCH):
            part = slice(start, start + BATCH)
            pairs = zip(rows[part].tolist(), wide[part].tolist(), strict=True)
            self._do(self._client.upsert, collection, [{"row": row, "vector": vector} for row, vector in pairs])

    def _make_table(self, table: str) -> None:
        if not self._do(self._client.has_collection, table):
            schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("name", DataType.VARCHAR, is_primary=True, max_length=512)
            schema.add_field("about", DataType.VARCHAR, max_length=4096)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)  # Milvus wants one
            self._create(table, schema, "FLAT", "L2")

    def _table(self, table: str) -> dict[str, str]:
        """What is said of each name."""
        how: dict[str, Any] = {"output_fields": ["name", "about"], "consistency_level": "Strong"}
        found = self._do(self._client.query, table, filter='name != ""', **how)
        return {each["name"]: each["about"] for each in found}

    def _note(self, table: str, name: str, about: str) -> None:
        """As durable as every change that Milvus acknowledges; a flush takes seconds."""
        self._do(self._client.upsert, table, [{"name": name, "about": about, "vector": [0.0, 0.0]}])

    def _forget(self, table: str, name: str) -> None:
        self._do(self._client.delete, table, filter=f"name == {_quoted(name)}")

    def _discard(self, collection: str) -> None:
        """A collection that `unnamed` has goes, and its row after it."""
        if self._do(self._client.has_collection, collection):
            self._do(self._client.drop_collection, collection)
        self._forget(self._unnamed, collection)

    def _sweep(self) -> None:
        """What crashes left goes; a collection that is named only lost the row that said it was not."""
        now = time()
        old = [each for each, since in self._table(self._unnamed).items() if now - int(since) >= self._options.orphaned]
        if old:
            self.refresh()
            named = {about.collection for about in self._spaces.values()}
            for collection in old:
                if collection in named:
                    self._forget(self._unnamed, collection)
                else:
                    self._discard(collection)

    def _writes(self) -> None:
        if self._read_only:
            raise StoreError(f"{self._address} was opened for reading only", hint="Open it without read_only.")

    def _do(self, verb: Callable[..., Any], *given: Any, seconds: float | None = None, **named: Any) -> Any:
        """One request, with its deadline: `seconds`, else the timeout."""
        seconds = self._options.timeout if seconds is None else seconds
        if seconds <= 0:
            raise StoreError(f"Milvus at {self._address} was too slow", where="stores.index", hint=SLOW)
        with self._explained():
            return verb(*given, timeout=seconds, **named)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Milvus's errors in words."""
        try:
            yield
        except (MilvusException, RpcError, OSError) as error:
            gone = isinstance(error, MilvusException) and error.code == ErrorCode.COLLECTION_NOT_FOUND
            raise (_Gone if gone else StoreError)(
                f"Milvus at {self._address} cannot do it: {error}",
                where="stores.index",
                hint="Check that it runs and is reachable; a file is held by one process at a time.",
            ) from error


def _condition(allowed: Mask) -> str:
    """What Milvus has to keep to, in its language: whichever list is shorter; rows at or beyond the mask match."""
    if not len(allowed) or allowed.all():
        return ""
    yes, no = np.flatnonzero(allowed).tolist(), np.flatnonzero(~allowed).tolist()
    return f"row not in {no}" if len(no) <= len(yes) else f"row in {yes} or row >= {len(allowed)}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _wide(vectors: Vectors) -> Vectors:
    """Milvus wants two numbers at least."""
    return np.pad(vectors, ((0, 0), (0, 1))) if vectors.shape[1] == 1 else vectors
