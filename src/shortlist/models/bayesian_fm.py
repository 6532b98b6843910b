"""Bayesian factorisation machine: predicts ratings from who rated what and from facts about people and items.

Freudenthaler, Schmidt-Thieme, Rendle 2011 (Gibbs sampling, a prior for each group of features), with the features of
Rendle, Zhang, Koren, "On the Difficulty of Evaluating Baselines", 2019: beside the person and the item, the items that
a person rated and the people who rated an item. A person's features meet an item's only, not one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array

from shortlist import progress
from shortlist.dataset import Dataset
from shortlist.errors import ConfigError
from shortlist.models.als import LANES
from shortlist.models.fields import Fields
from shortlist.models.gibbs import Block, Chain
from shortlist.models.rating import RatingModel, ratings_of
from shortlist.types import Columns, Ragged, Scores, Vectors


@dataclass(frozen=True, slots=True)
class BayesianFm:
    """No rate and no regularisation to choose: the chain finds them, and samples of it are averaged."""

    factors: int = 30  # two less than a multiple of 16 leave no column unused
    sweeps: int = 200
    warmup: int = 40  # sweeps before the first sample
    samples: int = 20  # kept of the other sweeps, evenly: what a model weighs and a prediction costs
    people: tuple[str, ...] = ()  # facts of people that are read; () = all
    items: tuple[str, ...] = ()  # facts of items
    least: int = 5  # rows that must share a value for it to count
    deviation: float = 0.1  # of the random weights at the start
    freedom: float = 8.0  # of the t distribution of errors; larger: people are noisy alike

    def __post_init__(self) -> None:
        if self.factors < 1 or self.warmup < 0 or not 1 <= self.samples <= self.sweeps - self.warmup:
            raise ConfigError(
                f"factors is {self.factors}, sweeps {self.sweeps}, warmup {self.warmup}, samples {self.samples}",
                where="models.bayesian_fm",
                hint="factors and samples are at least 1; warmup and samples together at most sweeps",
            )

    def fit(self, data: Dataset, *, seed: int) -> RatingModel:
        """Facts of items are read here and never again; those of people are kept, as codes."""
        scale, rated = ratings_of(data)
        people, known = _facts(Fields.of(data.users, self.people, self.least), data.users, data.n_users)
        items, _ = _facts(Fields.of(data.items, self.items, self.least), data.items, data.n_items)
        one = np.ones(len(rated["item"]), np.float32)
        pairs = csr_array((one, rated["item"], rated.ptr), shape=(data.n_users, data.n_items))
        chance = np.random.default_rng(seed)

        def side(pair: csr_array, facts: list[csr_array]) -> Block:
            own = eye_array(pair.shape[0], dtype=np.float32, format="csr")
            return Block.of(chance, [own, _shared(pair), *facts], self.factors, self.deviation)

        sides = side(pairs, people), side(pairs.T.tocsr(), items)
        chain = Chain(chance, rated, scale.units(rated["score"]), *sides, self.freedom)
        kept = np.linspace(self.warmup, self.sweeps, self.samples + 1)[1:].astype(np.int64)
        samples = []
        for sweep in range(1, self.sweeps + 1):
            chain.sweep()
            progress.tell("sweep", sweep, self.sweeps, f"noise {chain.precision**-0.5:.4f}")
            if sweep in kept:
                samples.append(Sample.of(chain))
        item, implied, said, start = (
            np.concatenate(each, axis=1) for each in zip(*(s.vectors for s in samples), strict=True)
        )
        mean, reg = (np.array([getattr(each, name) for each in samples], np.float32) for name in ("mean", "reg"))
        return RatingModel(scale, self.factors, mean, item, implied, start, said, known, reg, exponent=0.0)


class Sample(NamedTuple):
    """One state of the chain, in the units of a person's own weights: their prior is the same for all columns."""

    vectors: tuple[Vectors, Vectors, Vectors, Vectors]  # of items, of having rated them, of facts, of a stranger
    mean: float
    reg: float

    @staticmethod
    def of(chain: Chain) -> Sample:
        people, items = chain.people, chain.items
        users, size = people.total.shape[1], items.total.shape[1]
        mean, precision = people.own
        unit = 1 / np.sqrt(precision)
        factors = len(unit) - 1
        columns = -(-(factors + 2) // LANES) * LANES

        def of_people(weight: NDArray[np.floating]) -> Vectors:
            vector = np.zeros((weight.shape[1], columns), np.float32)
            vector[:, :factors] = (weight[:factors] / unit[:factors, None]).T
            vector[:, factors + 1] = weight[factors] / unit[factors]
            return vector

        item = np.zeros((size, columns), np.float32)
        item[:, :factors] = (items.total[:factors] * unit[:factors, None]).T
        item[:, factors] = items.total[factors]
        item[:, factors + 1] = unit[factors]
        start = of_people(mean[:, None])
        start[:, factors] = 1
        implied, facts = of_people(people.weight[:, users : users + size]), of_people(people.weight[:, users + size :])
        return Sample((item, implied, facts, start), chain.mean, 1 / chain.precision)


def _shared(pairs: csr_array) -> csr_array:
    """Each row's entries made one over the root of how many there are."""
    shared = pairs.copy()
    shared.data = (1 / np.sqrt(np.repeat(np.diff(pairs.indptr), np.diff(pairs.indptr)))).astype(np.float32)
    return shared


def _facts(fields: Fields, columns: Columns, rows: int) -> tuple[list[csr_array], Ragged]:
    """A matrix (R, C_f) for each field, and lists of "code" and "share": values of one field share its weight."""
    codes = fields.codes(columns, rows)
    first = np.cumsum((0, *fields.sizes))
    field = np.searchsorted(first, codes["code"], side="right") - 1
    _, place, many = np.unique(codes.owner * len(first) + field, return_inverse=True, return_counts=True)
    share: Scores = (1 / np.sqrt(many[place])).astype(np.float32)
    whole = csr_array((share, codes["code"], codes.ptr), shape=(rows, fields.size))
    matrices = [whole[:, begin:end] for begin, end in pairwise(first.tolist())]
    return matrices, Ragged(codes.ptr, {"code": codes["code"].astype(np.int32), "share": share})
