"""SASRec: a causal transformer over what somebody liked, read in the order it happened (Kang, McAuley, ICDM 2018).

Learned with PyTorch by softmax over all items or a sample (Klenitskiy, Vasilev, RecSys 2023) or by gBCE (Petrov,
Macdonald, RecSys 2023), served by numpy: the state after the newest liking, times the vectors of the items.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shortlist import _kernels, ops
from shortlist.dataset import Dataset
from shortlist.descent import Arrays, Descent, Tensors, digest, dropped, library
from shortlist.errors import ConfigError, ShapeError
from shortlist.models import learning
from shortlist.types import Candidates, Queries, Ragged, Rows, Scores, Vectors

Array: TypeAlias = NDArray[np.float32]
EPSILON = 1e-5  # of layer normalisation
MINUTE = 60_000_000  # microseconds
TOGETHER = 64  # lists worked on at once: bounds memory
DEVIATION = 0.02  # of what parameters start from


@dataclass(frozen=True, slots=True)
class Sasrec:
    """The source that learns order best; needs the extra `torch` to fit, nothing to serve.

    Fitting takes, for n likings of S items, about 6 n (S or `negatives`) `width` operations an epoch for the last layer
    and 72 n `blocks` `width`² for the others; from some 20,000 items on, name a number of `negatives`.
    """

    width: int = 64  # of vectors
    blocks: int = 2
    heads: int = 2
    length: int = 100  # newest likings that are read
    inner: int = 4  # width of the inner layer of a block, in widths
    gaps: int = 0  # codes for the time from a liking to the next one, or to the question; 0 = time does not matter
    dropout: float = 0.2  # of what the layers add up; weights of attention are kept whole, which makes them fast
    loss: Literal["softmax", "gbce"] = "softmax"
    negatives: int = 0  # different items drawn for each batch to tell from the next one; 0 = all (softmax)
    calibration: float = 0.75  # t of gBCE: 0 = plain binary cross-entropy, 1 = fully calibrated for the sample
    descent: Descent = field(default_factory=Descent)

    def __post_init__(self) -> None:
        if min(self.width, self.blocks, self.heads, self.length, self.inner) < 1 or self.width % self.heads:
            raise ConfigError(
                f"width is {self.width}, blocks {self.blocks}, heads {self.heads}, length {self.length}, inner"
                f" {self.inner}: all must be at least 1, and the width a multiple of the heads",
                where="models.sasrec",
            )
        if self.loss == "gbce" and not self.negatives:
            raise ConfigError("gBCE needs negatives", where="models.sasrec: negatives", hint="negatives = 256")

    def fit(self, data: Dataset, *, seed: int) -> SasrecModel:
        chance = np.random.default_rng(seed)
        liked = data.sequences.where(data.sequences["weight"] > 0)
        rest, held = learning.hold_out(liked, self.descent.held, chance)
        item = np.unique(rest["item"])
        start = self._start(len(item), chance)
        windows = _Windows.of(rest, item, self.length, self.gaps)
        if not self.descent.epochs or not len(windows.start):
            return self._model(start, item, data.n_items)
        torch = library("models.sasrec")
        learned = self.descent.run(
            torch,
            start,
            lambda parameters, batch: self._loss(torch, parameters, *batch),
            lambda chance: windows.batches(self.descent.batch, self.negatives, len(item), chance),
            (lambda arrays: held.ndcg(self._model(arrays, item, data.n_items))) if len(held.queries) else None,
            seed=seed,
            facts=(self, digest(rest.ptr, rest["item"], rest["time"])),
        )
        return self._model(learned, item, data.n_items)

    def _start(self, items: int, chance: np.random.Generator) -> Arrays:
        width, inner = self.width, self.width * self.inner

        def drawn(*shape: int) -> Array:
            return chance.normal(0, DEVIATION, shape).astype(np.float32)

        made = {"item": drawn(items, width), "position": drawn(self.length, width), "gap": drawn(self.gaps, width)}
        shapes = {"mix": (width, 3 * width), "out": (width, width), "up": (width, inner), "down": (inner, width)}
        for block in range(self.blocks):
            for name, shape in shapes.items():
                made[f"{block}.{name}"] = drawn(*shape)
                made[f"{block}.{name}_shift"] = np.zeros(shape[1], np.float32)
        for name in (*(f"{block}.{norm}" for block in range(self.blocks) for norm in ("first", "second")), "last"):
            made[name] = np.stack((np.ones(width, np.float32), np.zeros(width, np.float32)))
        return made

    def _model(self, arrays: Arrays, item: NDArray[np.integer], items: int) -> SasrecModel:
        vectors, known = np.zeros((items, self.width), np.float32), np.zeros(items, np.bool_)
        vectors[item], known[item] = arrays["item"], True
        blocks = tuple(
            Block(**{name.partition(".")[2]: each for name, each in arrays.items() if name.startswith(f"{block}.")})
            for block in range(self.blocks)
        )
        return SasrecModel(vectors, known, arrays["position"], arrays["gap"], blocks, arrays["last"], self.heads)

    def _loss(self, torch: Any, parameters: Tensors, item: Array, wait: Array, length: Array, negative: Array) -> Any:
        """Mean loss of all next items of a batch of windows: items (B, L + 1), waits (B, L), lengths (B,)."""
        inside = torch.from_numpy(np.arange(item.shape[1] - 1) < length[:, None] - 1)
        item = torch.from_numpy(item)
        state = self.states(torch, parameters, item[:, :-1], torch.from_numpy(wait), torch.from_numpy(length - 1))
        state, target = state[inside], item[:, 1:][inside]
        if not self.negatives:
            return torch.nn.functional.cross_entropy(state @ parameters["item"].T, target)
        drawn = torch.from_numpy(negative)
        right = (state * torch.nn.functional.embedding(target, parameters["item"])).sum(-1)
        wrong = state @ torch.nn.functional.embedding(drawn, parameters["item"]).T
        place = torch.full((len(parameters["item"]),), -1).scatter(0, drawn, torch.arange(len(drawn)))[target]
        hit = torch.nonzero(place >= 0)[:, 0]  # the right one was drawn
        wrong = wrong.index_put((hit, place[hit]), wrong.new_tensor(-1e9))
        if self.loss == "softmax":
            return (torch.logaddexp(right, torch.logsumexp(wrong, 1)) - right).mean()
        share = min(1.0, self.negatives / max(1, len(parameters["item"]) - 1))
        beta = share * (self.calibration * (1 - 1 / share) + 1 / share)
        binary = torch.nn.functional.softplus
        return (beta * binary(-right) + binary(wrong).sum(1)).mean()

    def states(self, torch: Any, parameters: Tensors, item: Any, wait: Any, length: Any, *, learn: bool = True) -> Any:
        """(B, L, width) the state after each of the first `length` (B,) of `item` (B, L), as tensors.

        Likings are counted from the newest one, so that its place is the same in training and in serving.
        """
        nn = torch.nn.functional
        dropout = self.dropout if learn else 0.0
        place = self.length - length[:, None] + torch.arange(item.shape[1])
        state = nn.embedding(item, parameters["item"])
        state = state + nn.embedding(place.clamp(0, self.length - 1), parameters["position"])
        if self.gaps:
            state = state + nn.embedding(wait, parameters["gap"])
        state = dropped(torch, state, dropout)
        later = torch.full((item.shape[1],) * 2, float("-inf")).triu(1)  # what is liked later is not read
        for block in range(self.blocks):
            own = {name: parameters[f"{block}.{name}"] for name in Block.__dataclass_fields__}
            mixed = nn.layer_norm(state, (self.width,), *own["first"], eps=EPSILON) @ own["mix"] + own["mix_shift"]
            question, key, value = mixed.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            weight = (question * question.shape[-1] ** -0.5) @ key.transpose(-1, -2) + later
            seen = torch.softmax(weight, -1) @ value
            mixed = seen.transpose(1, 2).flatten(2) @ own["out"] + own["out_shift"]
            state = state + dropped(torch, mixed, dropout)
            inner = nn.layer_norm(state, (self.width,), *own["second"], eps=EPSILON) @ own["up"] + own["up_shift"]
            outer = nn.relu(inner) @ own["down"] + own["down_shift"]
            state = state + dropped(torch, outer, dropout)
        return nn.layer_norm(state, (self.width,), *parameters["last"], eps=EPSILON)


@dataclass(frozen=True, slots=True)
class Block:
    """One layer: attention, then two dense layers, each behind a normalisation and added to what came in."""

    first: Array  # (2, D) scale and shift of the normalisation before attention
    mix: Array  # (D, 3 D) to questions, keys and values
    mix_shift: Array
    out: Array  # (D, D)
    out_shift: Array
    second: Array  # (2, D)
    up: Array  # (D, W)
    up_shift: Array
    down: Array  # (W, D)
    down_shift: Array

    def apply(self, state: Array, ptr: NDArray[np.int64], heads: int, *, newest: bool) -> Array:
        """The states (H, D) of lists that begin at `ptr`; of the last row of each list alone with `newest`."""
        width, normed = state.shape[1], _normed(state, self.first)
        offered = normed @ self.mix[:, width:] + self.mix_shift[width:]  # keys and values
        if newest:
            state, normed = state[ptr[1:] - 1], normed[ptr[1:] - 1]
        question = normed @ self.mix[:, :width] + self.mix_shift[:width]
        seen = np.empty_like(state)
        for b in range(len(ptr) - 1):
            rows = slice(int(ptr[b]), int(ptr[b + 1]))
            asked = slice(b, b + 1) if newest else rows
            seen[asked] = _attend(question[asked], offered[rows], heads)
        state = state + (seen @ self.out + self.out_shift)  # a new array: the caller keeps its own
        inner = _normed(state, self.second) @ self.up + self.up_shift
        state += np.maximum(inner, 0, out=inner) @ self.down + self.down_shift
        return state


@dataclass(frozen=True, slots=True)
class SasrecModel:
    """Vectors of items and the layers that turn a history into one; nothing is kept of anybody."""

    item: Vectors  # (I, D), a row of zeros for an item that nobody liked
    known: NDArray[np.bool_]  # (I,) false for those
    position: Vectors  # (L, D) the last for the newest liking
    gap: Vectors  # (G, D) by code of the time to the next liking
    blocks: tuple[Block, ...]
    last: Array  # (2, D)
    heads: int

    def __post_init__(self) -> None:
        width = self.item.shape[1]
        if self.known.shape != (len(self.item),) or self.position.shape[1] != width or width % self.heads:
            raise ShapeError(f"SasrecModel: {self.item.shape} items, {self.known.shape} known, {self.heads} heads")

    def recall(self, queries: Queries, k: int) -> Candidates:
        allowed = queries.with_allowed(self.known).allowed
        return ops.top_of_product(self.encode(queries), self.item, k, queries.exclude, allowed)

    def score(self, queries: Queries, found: Candidates) -> Scores:
        score = _kernels.products(self.encode(queries), self.item, found.query, found.item)
        return np.where(ops.gather(self.known, found.item, False), score, np.float32(np.nan))

    def because(self, queries: Queries, found: Candidates) -> Rows:
        """The liking that is read whose vector has the largest cosine with the item's: attention tells how a history is
        mixed, not what of it spoke for an item."""
        liked = self._liked(queries.history)
        return ops.nearest_liked(liked, self.item[liked["item"]], found.query, ops.gather(self.item, found.item, 0))

    def vectors(self, item: Rows) -> Vectors:
        return np.where(ops.gather(self.known, item, False)[:, None], ops.gather(self.item, item, 0), np.float32(0))

    def encode(self, queries: Queries) -> Vectors:
        """The state after the newest liking, worked out once for a list."""
        return queries.once(self, "user", lambda: self.states(queries.history, queries.time))

    def _liked(self, history: Ragged) -> Ragged:
        """The likings that are read."""
        said = (history["weight"] > 0) & ops.gather(self.known, history["item"], False)
        return history.where(said).last(len(self.position))

    def states(self, history: Ragged, time: NDArray[np.int64]) -> Vectors:
        """(B, D) the state after the newest liking of each history, asked at `time` (B,); zeros without likings."""
        liked = self._liked(history)
        state = np.zeros((len(liked), self.item.shape[1]), np.float32)
        asking = np.flatnonzero(liked.length > 0)
        for begin in range(0, len(asking), TOGETHER):
            some = asking[begin : begin + TOGETHER]
            state[some] = self._read(liked.take(some), time[some])
        return state

    def _read(self, liked: Ragged, time: NDArray[np.int64]) -> Vectors:
        back = np.arange(len(liked["item"])) - liked.ptr[1:][liked.owner]  # -1 = the newest
        state = self.item[liked["item"]] + self.position[back]
        if len(self.gap):
            after = np.append(liked["time"][1:], 0)
            after[liked.ptr[1:] - 1] = time
            state += self.gap[waits(after - liked["time"], len(self.gap))]
        ptr = liked.ptr
        for number, block in enumerate(self.blocks, 1):
            state = block.apply(state, ptr, self.heads, newest=number == len(self.blocks))
        return _normed(state, self.last)


def waits(length: NDArray[np.int64], codes: int) -> NDArray[np.int64]:
    """Lengths of time as codes 0 .. codes - 1: below a minute, below two, below four, ..."""
    minutes = np.maximum(length, 0) / MINUTE
    return np.minimum(np.log2(np.maximum(minutes, 1)).astype(np.int64) + (minutes >= 1), codes - 1)


def _normed(state: Array, scale: Array) -> Array:
    centred: Array = state - state.mean(-1, keepdims=True)
    spread = np.einsum("hd,hd->h", centred, centred)[:, None] / np.float32(state.shape[-1])
    centred *= scale[0] / np.sqrt(spread + np.float32(EPSILON))
    centred += scale[1]
    return centred


def _attend(question: Array, offered: Array, heads: int) -> Array:
    """What the rows (q, D) of one list, all or the newest, make of keys and values (n, 2 D) up to them: (q, D)."""
    count, width = len(offered), question.shape[1]
    key, value = offered.reshape(count, 2, heads, width // heads).transpose(1, 2, 0, 3)
    weight = question.reshape(len(question), heads, width // heads).transpose(1, 0, 2) @ key.transpose(0, 2, 1)
    weight *= np.float32((width // heads) ** -0.5)
    if len(question) > 1:
        weight[:, np.triu(np.ones((count, count), np.bool_), 1)] = -np.inf
    weight -= weight.max(-1, keepdims=True)
    np.exp(weight, out=weight)
    weight /= weight.sum(-1, keepdims=True)
    return (weight @ value).transpose(1, 0, 2).reshape(-1, width).astype(np.float32, copy=False)


@dataclass(frozen=True, slots=True)
class _Windows:
    """Stretches of at most `width` likings of one list, each beginning with what the one before ended with."""

    item: NDArray[np.int64]  # (H,) places among the items that are learned
    time: NDArray[np.int64]
    start: NDArray[np.int64]  # (W,)
    length: NDArray[np.int64]  # (W,) at least 2
    width: int
    gaps: int

    @staticmethod
    def of(liked: Ragged, item: NDArray[np.integer], length: int, gaps: int) -> _Windows:
        count = np.maximum(liked.length - 1, 0)
        pieces = -(-count // length)
        owner = np.repeat(np.arange(len(liked)), pieces)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        stop = liked.ptr[1:][owner] - number * length  # from the newest on: only the oldest window is short
        start = np.maximum(liked.ptr[:-1][owner], stop - length - 1)
        place = np.searchsorted(item, liked["item"])
        return _Windows(place.astype(np.int64), liked["time"], start, stop - start, length + 1, gaps)

    def batches(self, size: int, negatives: int, items: int, chance: np.random.Generator) -> Iterable[tuple[Any, ...]]:
        order = chance.permutation(len(self.start))
        for begin in range(0, len(order), size):
            some = order[begin : begin + size]
            width = int(self.length[some].max())
            at = np.minimum(self.start[some, None] + np.arange(width), len(self.item) - 1)
            time = self.time[at]
            wait = waits(np.diff(time, axis=1), max(1, self.gaps))
            drawn = chance.choice(items, min(negatives, items), replace=False)
            yield self.item[at], wait, self.length[some], drawn
