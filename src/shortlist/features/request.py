"""Where and how it is asked: facts of the moment, such as the place on a page or the device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist.errors import ConfigError
from shortlist.types import Candidates, Column, Columns, Events, Queries, Reason

KNOWN = 2  # the code of the first bucket; 0 = nothing is said


@dataclass(frozen=True, slots=True)
class RequestCodes:
    """Columns `request.NAME` of int32 (N,): the code of the fact NAME of the question (`facts` of a request, `context`
    of an ingested event), 0 = not said. Values have their codes by hashing: the same in training and while serving."""

    names: tuple[str, ...]
    buckets: int = 1024  # codes that values are hashed to

    def __post_init__(self) -> None:
        if not self.names or self.buckets < 1:
            raise ConfigError(
                f"names is {list(self.names)}, buckets {self.buckets}: at least one of each", where="features.request"
            )

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        made = {}
        for name in self.names:
            said = np.asarray(queries.columns.get(f"fact.{name}", np.zeros(len(queries), np.int64)))
            code = np.where(said > 0, KNOWN + said % self.buckets, 0).astype(np.int32)
            made[f"request.{name}"] = code[found.query]
        return made

    def update(self, events: Events) -> None:
        """What is said of the moment arrives with the query."""

    def words(self, name: str, value: Column) -> Reason | None:
        group, _, fact = name.partition(".")
        if group != "request" or fact not in self.names:
            return None
        return Reason(f"asked with this {fact}" if value else f"asked without a {fact}")
