"""Boosted trees: what many weak rules say together.

Learned by LightGBM (Ke et al., NeurIPS 2017), scored by our kernel. LambdaRank (Burges 2010) learns the order within a
query, log-loss learns probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels, ops, progress
from shortlist.errors import ConfigError, ShapeError
from shortlist.rank import boosting, labels
from shortlist.rank.layout import OUTPUTS, kind_of, width_of
from shortlist.types import Candidates, Columns, Part, Queries, Rows, Scores, Vectors

MOST = 5000  # trees, where learning is to stop by itself


@dataclass(frozen=True, slots=True)
class Gbdt:
    """The ranker that needs the least care: it reads numbers as they are, in any unit, with gaps.

    For N rows and F numbers learning holds 5 N F bytes; a row is scored by one comparison a node of all trees, sixteen
    rows at once. Of columns of codes only those in `coded` are read: for others counters say what they would.
    """

    columns: tuple[str, ...] = ()  # numbers to read; empty = all there are, by name
    coded: tuple[str, ...] = ()  # categories of few values, read as the numbers that their codes are
    objective: Literal["lambdarank", "binary"] = "lambdarank"
    trees: int = 0  # 0 = until the held-out queries gain no more
    leaves: int = 31
    rate: float = 0.05
    rows_in_leaf: int = 50  # at least
    l2: float = 1.0
    column_share: float = 0.5  # of the columns, drawn for each tree
    row_share: float = 0.7  # of the rows, drawn for each tree
    depth: int = 20  # places of the list whose order counts (lambdarank)
    held: float = 0.1  # share of the queries that decide when to stop
    patience: int = 60  # trees without a gain on them
    latest: bool = False  # hold out the last queries of the table instead of drawing them
    positive: float = 1.0  # how often a row labelled 1 counts (binary); probabilities are corrected for it
    kept: float = 1.0  # share of the rows labelled 0 that are in the table (binary); probabilities are corrected for it
    threads: int = 0  # 0 = all
    checkpoint: str = ""  # file (.json) that an interrupted training goes on from, written every 50 trees; empty = none

    def __post_init__(self) -> None:
        if min(self.leaves - 1, self.rows_in_leaf, self.depth, self.patience) < 1 or self.trees < 0:
            raise ConfigError(
                f"trees is {self.trees}, leaves {self.leaves}, rows_in_leaf {self.rows_in_leaf}, depth {self.depth},"
                f" patience {self.patience}: leaves must be at least 2, the others 1, trees 0 or more",
                where="rank.gbdt",
            )
        shares = (self.rate, self.column_share, self.row_share, self.kept)
        if not (all(0 < each <= 1 for each in shares) and 0 < self.held < 1 and self.positive > 0 and self.l2 >= 0):
            raise ConfigError(
                f"rate is {self.rate}, column_share {self.column_share}, row_share {self.row_share}, kept {self.kept},"
                f" held {self.held}, positive {self.positive}, l2 {self.l2}: shares must be in (0, 1], held below 1,"
                " positive above 0, l2 not below",
                where="rank.gbdt",
            )

    def learn(self, found: Candidates, label: Scores, *, seed: int, weight: Scores | None = None) -> GbdtModel:
        """Raises ConfigError when LightGBM cannot be loaded. Of an order no row counts more than another."""
        names = self._names(found.columns)
        width = tuple(width_of(found.columns[name]) for name in names)
        target = labels.checked(found, label)[:, 0]
        value, often = _values(found.columns, names, width, len(found), self.coded), labels.counted(weight, len(found))
        if len(found) < 2 * self.rows_in_leaf:  # no tree could have two leaves
            return _model(names, width, self.coded, [], 0.0, self.objective == "binary")
        lightgbm = _library()
        held = np.zeros(len(found), np.bool_)
        if not self.trees:
            held = labels.apart(found.query, self.held, latest=self.latest, seed=seed)
        rows = [_shuffled(found.query, mask, seed) for mask in (~held, held)]
        given = {"free_raw_data": False, "params": {"verbose": -1, "max_bin": 255, "data_random_seed": seed}}
        parts: list[Any] = []
        for at in rows:
            size = np.unique(found.query[at], return_counts=True)[1] if self.objective == "lambdarank" else None
            times = None if self.objective == "lambdarank" else ((1 + (self.positive - 1) * target) * often)[at]
            reference = parts[0] if parts else None
            parts.append(
                lightgbm.Dataset(value[at], target[at], group=size, weight=times, reference=reference, **given)
            )
        watched = len(rows[1]) > 0
        params, most = self._params(seed), self.trees or MOST
        if self.checkpoint:
            same = replace(self, checkpoint="", threads=0)
            key = boosting.key_of(seed, (same, names), value, target, often, found.query)
            path = boosting.place(self.checkpoint, key)
            some = parts if watched else parts[:1]
            booster, kept = boosting.grown(lightgbm, params, some, most, self.patience, path, key, _tell)
        else:
            booster = lightgbm.train(
                params,
                parts[0],
                most,
                valid_sets=[parts[1]] if watched else None,
                callbacks=[_tell, *([lightgbm.early_stopping(self.patience, verbose=False)] if watched else [])],
            )
            kept = booster.best_iteration if watched else booster.num_trees()
        shift = labels.shift(self.positive, self.kept) if self.objective == "binary" else 0.0
        trees = booster.dump_model(num_iteration=kept)["tree_info"] if kept else []
        return _model(names, width, self.coded, trees, shift, self.objective == "binary")

    def _names(self, columns: Columns) -> tuple[str, ...]:
        readable = [name for name in sorted(columns) if name not in OUTPUTS and kind_of(columns[name]) == "number"]
        absent = [name for name in self.columns if name not in readable]
        if absent or not readable:
            raise ConfigError(
                f"the candidates have no numbers in column {', '.join(map(repr, absent)) or 'of any name'}",
                where="rank.gbdt: columns",
                hint=f"sources and features give: {', '.join(readable) or 'none'}",
            )
        if wrong := [name for name in self.coded if name not in columns or kind_of(columns[name]) != "category"]:
            raise ConfigError(
                f"the candidates have no codes in column {', '.join(map(repr, wrong))}", where="rank.gbdt: coded"
            )
        return (*(self.columns or readable), *self.coded)

    def _params(self, seed: int) -> Mapping[str, Any]:
        ranking = self.objective == "lambdarank"
        return {
            "objective": self.objective,
            "metric": "ndcg" if ranking else "binary_logloss",
            "eval_at": [min(10, self.depth)],
            "lambdarank_truncation_level": self.depth,
            "learning_rate": self.rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": self.rows_in_leaf,
            "lambda_l2": self.l2,
            "feature_fraction": self.column_share,
            "bagging_fraction": self.row_share,
            "bagging_freq": int(self.row_share < 1),
            "num_threads": self.threads,
            "seed": seed,
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }


@dataclass(frozen=True)
class GbdtModel:
    """Trees as arrays; see `_kernels.Forest`. A column that is absent, because its source or feature failed, is read as
    "no value"; one of another width is a ShapeError."""

    columns: tuple[str, ...]
    width: tuple[int, ...]  # numbers of each column
    root: Rows  # (T,)
    column: Rows  # (M,)
    threshold: Scores  # (M,)
    below: Rows  # (M, 2)
    nothing_left: NDArray[np.bool_]  # (M,)
    leaf: NDArray[np.float64]  # (L,)
    cover: NDArray[np.float64]  # (M,)
    leaf_cover: NDArray[np.float64]  # (L,)
    shift: float  # added to the sum of the leaves
    probable: bool  # the sum is log-odds
    coded: tuple[str, ...] = ()  # those of `columns` that are codes

    def __post_init__(self) -> None:
        _ = self.forest  # trees that lead nowhere are found when they are loaded

    def score(self, queries: Queries, found: Candidates) -> Scores:
        total = self.forest.sums(_values(found.columns, self.columns, self.width, len(found), self.coded)) + self.shift
        return labels.sigmoid(total) if self.probable else total.astype(np.float32)

    def shifted(self, by: float) -> GbdtModel:
        return replace(self, shift=self.shift + by)

    def parts(self, queries: Queries, found: Candidates) -> list[Part]:
        """`base`, then one a column with its TreeSHAP value (Lundberg et al. 2020); of log-odds, paid out in
        probability at the rate of the straight way from the base (Sundararajan, Taly, Yan 2017)."""
        part = self.forest.parts(_values(found.columns, self.columns, self.width, len(found), self.coded))
        base, part = part[:, -1] + self.shift, part[:, :-1]
        rate = np.ones(len(found))
        if self.probable:
            way, start = part.sum(axis=1), labels.sigmoid(base)
            small = np.abs(way) < 1e-6
            climb = (labels.sigmoid(base + way) - start) / np.where(small, 1, way)
            base, rate = start.astype(np.float64), np.where(small, start * (1 - start), climb)
        one = np.ones(len(found), np.float32)
        said = [Part("base", one, base.astype(np.float32))]
        begin = np.cumsum((0, *self.width))
        for name, first, last in zip(self.columns, begin, begin[1:], strict=False):
            said.append(Part(name, one, (part[:, first:last].sum(axis=1) * rate).astype(np.float32)))
        return said

    @property
    def gain(self) -> NDArray[np.int64]:
        """(F,) how many nodes read each number."""
        return np.bincount(self.column, minlength=sum(self.width))

    @cached_property
    def forest(self) -> _kernels.Forest:
        arrays = (self.root, self.column, self.threshold, self.below, self.nothing_left)
        return _kernels.Forest(*arrays, self.leaf, self.cover, self.leaf_cover)


def _values(
    columns: Columns, names: Sequence[str], width: Sequence[int], rows: int, coded: Sequence[str] = ()
) -> Vectors:
    """(N, F) the numbers of `names`, side by side; an infinite one is no value, nor is code 0 of those in `coded`."""
    made = np.full((rows, sum(width)), np.nan, np.float32)
    at = 0
    for name, wide in zip(names, width, strict=True):
        column = columns.get(name)
        if column is not None:
            if kind_of(column) != ("category" if name in coded else "number") or width_of(column) != wide:
                known = "a code" if name in coded else f"{wide} numbers"
                raise ShapeError(
                    f"column {name!r} is {column.dtype} {column.shape[1:]}, but the ranker was learned with {known} a"
                    " row: train it again, or give the column as it was"
                )
            with np.errstate(over="ignore"):
                made[:, at : at + wide] = column.reshape(rows, wide)
            if name in coded:
                made[column == 0, at] = np.nan
        at += wide
    made[np.isinf(made)] = np.nan
    return made


def _tell(turn: Any) -> None:
    """LightGBM calls it after each tree."""
    note = ", ".join(f"held-out {metric} {value:.4f}" for _, metric, value, *_ in turn.evaluation_result_list or ())
    progress.tell("tree", turn.iteration + 1, turn.end_iteration, note)


def _shuffled(query: Rows, mask: NDArray[np.bool_], seed: int) -> NDArray[np.intp]:
    """The rows of `mask`, query by query, in an order that says nothing: LightGBM breaks ties by place."""
    at = np.flatnonzero(mask)
    lot = ops.chance(np.full(len(at), seed, np.uint64), at)
    return at[np.lexsort((lot, query[at]))]


def _library() -> ModuleType:
    try:
        import lightgbm
    except (ImportError, OSError) as error:  # OSError: the library is there, what it is linked with is not
        raise ConfigError(
            f"LightGBM cannot be loaded: {error}",
            where="rank.gbdt",
            hint="pip install lightgbm; on Debian it also needs: apt-get install libgomp1",
        ) from None
    found: ModuleType = lightgbm
    return found


def _model(
    names: tuple[str, ...],
    width: tuple[int, ...],
    coded: tuple[str, ...],
    trees: Sequence[Mapping[str, Any]],
    shift: float,
    probable: bool,
) -> GbdtModel:
    flat = _Flat()
    root = [flat.add(tree["tree_structure"]) for tree in trees]
    return GbdtModel(
        names,
        width,
        np.array(root, np.int32),
        np.array(flat.column, np.int32),
        np.array(flat.threshold, np.float32),
        np.array(flat.below, np.int32).reshape(-1, 2),
        np.array(flat.nothing_left, np.bool_),
        np.array(flat.leaf, np.float64),
        np.array(flat.cover, np.float64),
        np.array(flat.leaf_cover, np.float64),
        shift,
        probable,
        coded,
    )


class _Flat:
    """LightGBM's nested nodes laid end to end, parents first."""

    def __init__(self) -> None:
        self.column: list[int] = []
        self.threshold: list[np.float32] = []
        self.below: list[list[int]] = []
        self.nothing_left: list[bool] = []
        self.leaf: list[float] = []
        self.cover: list[float] = []
        self.leaf_cover: list[float] = []

    def add(self, node: Mapping[str, Any]) -> int:
        """The number of `node`, ~number for a leaf."""
        if "leaf_value" in node:
            self.leaf.append(node["leaf_value"])
            self.leaf_cover.append(max(node.get("leaf_count", 1), 1))
            return ~(len(self.leaf) - 1)
        own, bound = len(self.column), node["threshold"]
        self.column.append(node["split_feature"])
        self.threshold.append(_not_above(bound))
        self.nothing_left.append(node["default_left"] if node["missing_type"] == "NaN" else bound >= 0)
        self.cover.append(max(node["internal_count"], 1))
        self.below.append([])
        self.below[own] = [self.add(node["left_child"]), self.add(node["right_child"])]
        return own


def _not_above(bound: float) -> np.float32:
    """The largest float32 not above `bound`: a float32 is at most the one exactly when it is at most the other."""
    with np.errstate(over="ignore"):  # where only gaps go the other way, LightGBM cuts at 1e300
        near = np.float32(bound)
    return near if float(near) <= bound else np.nextafter(near, np.float32(-np.inf))
