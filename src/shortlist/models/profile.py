"""What people of the same age, job or place like more than others do: for people who have not liked anything yet.

Naive Bayes over the facts of a person: the logarithm of an item's share of all likings, and for each fact that of its
share among the people who have it over its share among all, shrunk towards no difference (Lewis, ECML 1998).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from shortlist import _kernels, ops
from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.models.fields import Fields
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Mask, Queries, Rows, Scores, Vectors


@dataclass(frozen=True, slots=True)
class Profile:
    """Popularity by profile; keeps a number for each item and each value of a fact."""

    catalog: Catalog
    columns: tuple[str, ...] = ()  # facts of people that are read; () = all
    least: int = 20  # people who must share a value for it to count
    shrink: float = 10_000.0  # likings, as everybody's are, added to those of each value
    weight: float = 0.5  # of the facts; below 1, since they overlap

    def __post_init__(self) -> None:
        if self.least < 1 or not (self.shrink > 0 and self.weight >= 0):
            raise ConfigError(
                f"least is {self.least}, shrink {self.shrink}, weight {self.weight}",
                where="models.profile",
                hint="least is at least 1, shrink above 0, weight not below 0",
            )

    def fit(self, data: Dataset, *, seed: int) -> ProfileModel:
        fields = Fields.of(data.users, self.columns, self.least)
        codes = fields.codes(data.users, data.n_users)
        liked = (data.matrix > 0).astype(np.float32)
        one = np.ones(len(codes["code"]), np.float32)
        having = csr_array((one, (codes["code"], codes.owner)), shape=(fields.size, data.n_users))
        often = np.asarray((having @ liked).toarray(), np.float64)  # (C, I)
        count = np.asarray(liked.sum(axis=0), np.float64).ravel()
        share = (count + 0.5) / (count.sum() + 0.5 * len(count))
        within = (often + self.shrink * share) / (often.sum(axis=1, keepdims=True) + self.shrink)
        lift = self.weight * (np.log(within) - np.log(share))
        return ProfileModel(self.catalog, fields, np.log(share).astype(np.float32), lift.astype(np.float32), count > 0)


@dataclass(frozen=True)
class ProfileModel:
    """Facts are those of the catalogue as it is now; without any, what everybody likes."""

    catalog: Catalog
    fields: Fields
    popular: Scores  # (I,) logarithm of the share of likings
    lift: Vectors  # (C, I) by code of a fact: what it adds
    known: Mask  # (I,) false for items that nobody liked

    def recall(self, queries: Queries, k: int) -> Candidates:
        allowed = queries.with_allowed(self.known).allowed
        return ops.top_of_matrix(self._scores(queries.user), k, queries.exclude, allowed)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        scores, item = self._scores(queries.user), np.maximum(found.item, 0)
        there = ops.gather(self.known, found.item, False)
        return np.where(there, scores[found.query, np.where(there, item, 0)], np.float32(np.nan))

    def _scores(self, user: Rows) -> Vectors:
        """(B, I)"""
        rows = np.where(user < self.catalog.size("user"), user, -1).astype(np.int32)
        there = set(self.catalog.names("user"))
        names = [each for each in self.fields.names if each in there]
        codes = self.fields.codes(self.catalog.read("user", rows, names), len(rows))
        weight = np.ones(len(codes["code"]), np.float32)
        return self.popular + _kernels.sum_of_rows(codes.ptr, codes["code"].astype(np.int32), weight, self.lift)
