"""Index in Milvus (extra: milvus): `milvus:PATH.db` is Milvus Lite in a file, `milvus://HOST:PORT` a server.

Each build is a collection of its own; the row of the space in the collection `shortlist_spaces` names the one that
counts, and is written last. A crash leaves the old space or the new one, and at worst a collection that nobody names.
Only what Milvus 2.3 and Milvus Lite both know is used.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
from numpy.typing import NDArray

from shortlist.errors import ConfigError, NotFound, StoreError
from shortlist.stores.vectors import DEPTH, checked, fits, questions, unit
from shortlist.types import Mask, Ragged, Rows, Scores, SpaceFacts, Vectors, empty_items

try:
    from pymilvus import DataType, MilvusClient
    from pymilvus.exceptions import MilvusException
except ImportError as error:
    raise ConfigError(
        "this index needs pymilvus, which is not installed",
        where="stores.index",
        hint='Install it with: pip install "shortlist[milvus]".',
    ) from error

BATCH = 2000  # rows of one request
MOST = 16_384  # rows that Milvus returns of one search
EVERYTHING = np.empty(0, np.bool_)
LINKS, BREADTH_OF_BUILD = 32, 128


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
    timeout: float = 10.0  # seconds of one request


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


class MilvusIndex:
    """Spaces as collections. Every request has a timeout; an error of Milvus is a StoreError that names the address."""

    def __init__(self, address: str, options: Options, *, read_only: bool = False) -> None:
        self._address, self._options, self._read_only = address, options, read_only
        self._names = f"{options.prefix}_spaces"  # one row a space: what it is, and where
        with self._explained():
            if not address.startswith("http:"):
                Path(address).parent.mkdir(parents=True, exist_ok=True)
            self._client = MilvusClient(address, token=options.token, timeout=options.timeout)
            if not self._client.has_collection(self._names) and not read_only:
                schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
                schema.add_field("name", DataType.VARCHAR, is_primary=True, max_length=512)
                schema.add_field("about", DataType.VARCHAR, max_length=4096)
                schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)  # Milvus wants one
                self._create(self._names, schema, "FLAT", "L2")
        self._spaces: dict[str, About] = {}
        self.refresh()

    def close(self) -> None:
        self._client.close()

    def refresh(self) -> None:
        """See what another process has built and dropped since."""
        with self._explained():
            found = self._client.query(
                self._names, filter='name != ""', output_fields=["name", "about"], consistency_level="Strong"
            )
        self._spaces = {each["name"]: msgspec.json.decode(each["about"], type=About) for each in found}

    def build(self, space: str, rows: Rows, vectors: Vectors, *, metric: str = "inner") -> None:
        """Put these in the place of the whole space. Of a row that is given twice the last vector holds.

        StoreError when search finds less than the floor; the space stays what it was.
        """
        self._writes()
        rows, vectors = checked(space, rows, vectors, metric)
        last = np.sort(len(rows) - 1 - np.unique(rows[::-1], return_index=True)[1])
        rows, vectors = rows[last], vectors[last]
        collection = f"{self._options.prefix}_{re.sub(r'[^0-9A-Za-z]', '_', space)[:80]}_{uuid4().hex[:12]}"
        kind = self._options.kind
        made = 1 + max((each.made for each in self._spaces.values()), default=0)
        about = About(collection, vectors.shape[1], metric, kind, self._options.breadth, 1.0, made)
        with self._explained():
            schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("row", DataType.INT64, is_primary=True)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=max(2, vectors.shape[1]))
            self._create(collection, schema, "HNSW" if kind == "hnsw" else "FLAT", "IP")
            self._put(collection, rows, vectors)
            self._client.flush(collection)
        old = self._spaces.get(space)
        try:
            about = self._measured(space, about, rows, vectors)
        except BaseException:
            with self._explained():
                self._client.drop_collection(collection)
            raise
        self._name(space, about)
        if old is not None:
            with self._explained():
                self._client.drop_collection(old.collection)

    def upsert(self, space: str, rows: Rows, vectors: Vectors, *, metric: str = "inner") -> None:
        """Add or replace; a space that does not exist is made."""
        about = self._spaces.get(space)
        if about is None:
            self.build(space, rows, vectors, metric=metric)
            return
        self._writes()
        rows, vectors = checked(space, rows, vectors, metric)
        fits(space, about.width, about.metric, vectors, metric)
        with self._explained():
            self._put(about.collection, rows, vectors)

    def remove(self, space: str, rows: Rows) -> None:
        """Rows that are not in the space, and a space that does not exist, are nobody's loss."""
        about, gone = self._spaces.get(space), np.asarray(rows).tolist()
        if about is not None and gone:
            self._writes()
            with self._explained():
                for start in range(0, len(gone), BATCH):
                    self._client.delete(about.collection, filter=f"row in {gone[start : start + BATCH]}")

    def drop(self, space: str) -> None:
        about = self._spaces.pop(space, None)
        if about is not None:
            self._writes()
            with self._explained():
                self._client.delete(self._names, filter=f"name == {_quoted(space)}")
                self._client.drop_collection(about.collection)

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
        about = self._spaces.get(space)
        if about is None:
            self.refresh()
            about = self._spaces.get(space)
        if about is None:
            known = ", ".join(sorted(self._spaces)) or "none"
            raise NotFound(f"the index has no space {space!r}", hint=f"Build it first; there is: {known}.")
        fits(space, about.width, about.metric, vectors, metric)
        asked = np.ascontiguousarray(vectors, np.float32)
        nobody = empty_items(len(asked)) if exclude is None else exclude
        return self._search(about, unit(asked) if metric == "cosine" else asked, max(k, 0), nobody, allowed)

    def spaces(self) -> Sequence[SpaceFacts]:
        self.refresh()
        found = []
        for name, about in sorted(self._spaces.items(), key=lambda each: each[1].made):
            with self._explained():
                count = self._client.query(about.collection, output_fields=["count(*)"], consistency_level="Strong")
            rows = int(count[0]["count(*)"])
            kind, floor = about.kind, self._options.floor
            found.append(SpaceFacts(name, rows, about.width, about.metric, kind, about.recall, floor))
        return found

    def _search(self, about: About, asked: Vectors, k: int, exclude: Ragged, allowed: Mask) -> tuple[Rows, Scores]:
        found = np.full((len(asked), k), -1, np.int32)
        scores = np.full((len(asked), k), np.nan, np.float32)
        sound = np.flatnonzero(np.isfinite(asked).all(axis=1))
        if not k or not len(sound):
            return found, scores
        condition = _condition(allowed)
        count = min(k + int(exclude.length.max(initial=0)), MOST)
        for start in range(0, len(sound), 100):
            part = sound[start : start + 100]
            hits = self._ask(about, asked[part], count, condition)
            for b, (row, score) in zip(part.tolist(), hits, strict=True):
                gone = exclude["item"][exclude.ptr[b] : exclude.ptr[b + 1]]
                kept = np.flatnonzero(~np.isin(row, gone))[:k]
                if len(kept) < k:  # a graph misses what few rows match: look at all of them
                    row, score = self._all(about, asked[b], condition, gone)
                    kept = np.argsort(-score, kind="stable")[:k]
                found[b, : len(kept)] = row[kept]
                scores[b, : len(kept)] = score[kept]
        return found, scores

    def _ask(self, about: About, asked: Vectors, count: int, condition: str) -> Iterator[tuple[Rows, Scores]]:
        how = {"ef": max(about.breadth, count)} if about.kind == "hnsw" else {}
        with self._explained():
            answer = self._client.search(
                about.collection,
                data=_wide(asked).tolist(),
                limit=count,
                filter=condition,
                output_fields=["row"],
                search_params={"metric_type": "IP", "params": how},
                consistency_level="Strong",
            )
        for hits in answer:
            row = np.array([each["row"] for each in hits], np.int32)
            score = np.array([each["distance"] for each in hits], np.float32)
            order = np.argsort(-score, kind="stable")
            yield row[order], score[order]

    def _all(self, about: About, asked: NDArray[np.float32], condition: str, gone: Rows) -> tuple[Rows, Scores]:
        """Every row that matches with its score, page by page in order of row."""
        rows, scores, after = [np.empty(0, np.int32)], [np.empty(0, np.float32)], -1
        while True:
            here = f"row > {after}" + (f" and ({condition})" if condition else "")
            with self._explained():
                page = self._client.query(
                    about.collection,
                    filter=f"{here} and row <= {after + BATCH}",
                    output_fields=["row", "vector"],
                    consistency_level="Strong",
                )
                if not page and not self._client.query(
                    about.collection, filter=here, output_fields=["row"], limit=1, consistency_level="Strong"
                ):
                    break
            after += BATCH
            if page:
                rows.append(np.array([each["row"] for each in page], np.int32))
                held = np.array([each["vector"] for each in page], np.float32)
                scores.append(held[:, : len(asked)] @ asked)
        row, score = np.concatenate(rows), np.concatenate(scores)
        kept = ~np.isin(row, gone)
        return row[kept], score[kept]

    def _measured(self, space: str, about: About, rows: Rows, vectors: Vectors) -> About:
        """With recall at DEPTH against exact, and the breadth that reaches the floor."""
        if about.kind == "exact" or not len(rows):
            return about
        asked, k, floor = questions(vectors), min(DEPTH, len(rows)), self._options.floor
        least = -np.partition(-(asked @ vectors.T), k - 1, axis=1)[:, k - 1 : k]
        while True:
            found = list(self._ask(about, asked, k, ""))
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
        self._client.create_collection(collection, schema=schema, index_params=index, consistency_level="Strong")

    def _put(self, collection: str, rows: Rows, vectors: Vectors) -> None:
        wide = _wide(vectors)
        for start in range(0, len(rows), BATCH):
            part = slice(start, start + BATCH)
            pairs = zip(rows[part].tolist(), wide[part].tolist(), strict=True)
            self._client.upsert(collection, [{"row": row, "vector": vector} for row, vector in pairs])

    def _name(self, space: str, about: About) -> None:
        row = {"name": space, "about": msgspec.json.encode(about).decode(), "vector": [0.0, 0.0]}
        with self._explained():
            self._client.upsert(self._names, [row])
            self._client.flush(self._names)
        self._spaces[space] = about

    def _writes(self) -> None:
        if self._read_only:
            raise StoreError(f"{self._address} was opened for reading only", hint="Open it without read_only.")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Milvus's errors in words."""
        try:
            yield
        except (MilvusException, OSError, ConnectionError) as error:
            raise StoreError(
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
