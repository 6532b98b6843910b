"""The only splits that count: what was known, what was asked, what was right.

A right answer is an item the person liked (weight above 0, not disliked since) and had not met before: items already in
the history are never asked for. Histories are weighed as they were at the moment asked. Nothing in `train` happened
after what it is asked to predict in the person's own order; under `global_time` nothing in it happened after it at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shortlist import ops
from shortlist.dataset import Dataset
from shortlist.errors import ConfigError, DataError
from shortlist.types import Mask, Queries, Ragged, Rows

BLOCK = 1024
"""Questions asked at once, at most."""
CELLS = 1 << 24
"""Pairs of question and item asked about at once: what scores every item needs 64 MB, however many there are."""


@dataclass(frozen=True, slots=True)
class Part:
    """B questions with their answers."""

    user: Rows  # (B,)
    time: NDArray[np.int64]  # (B,) the moment asked
    history: Ragged  # B lists, columns of types.HISTORY, all before the moment asked
    relevant: Ragged  # B lists of "item", distinct, not in the history, none empty
    known: Mask  # (I,) the items that the split knows: all may be proposed, no others

    def __len__(self) -> int:
        return len(self.user)

    @property
    def queries(self) -> Queries:
        """All questions in one batch: everything in the history is excluded; the seed comes from the user."""
        exclude = Ragged(self.history.ptr, {"item": self.history["item"]})
        seed = self.user.astype(np.int64).view(np.uint64)
        return Queries.of(
            self.user, history=self.history, exclude=exclude, allowed=self.known, time=self.time, seed=seed
        )

    def blocks(self) -> Iterator[Queries]:
        """The questions in blocks of at most `BLOCK`, in order."""
        queries, size = self.queries, max(1, min(BLOCK, CELLS // max(1, len(self.known))))
        for start in range(0, len(self), size):
            yield queries.take(np.arange(start, min(start + size, len(self))))

    def take(self, positions: NDArray[np.integer]) -> Part:
        """The questions at `positions` (M,), in that order."""
        return Part(
            self.user[positions],
            self.time[positions],
            self.history.take(positions),
            self.relevant.take(positions),
            self.known,
        )


@dataclass(frozen=True, slots=True)
class Split:
    """Tune models of `train` on `valid`; then report models of `final`, with the settings chosen, on `test`."""

    name: str  # leave-last, global, published, hold-out
    train: Dataset
    valid: Part
    final: Dataset
    test: Part


def leave_last(data: Dataset) -> Split:
    """Of each person's liked items, by time, the last is the test answer, the one before it the validation answer.

    Train, which is final too, holds what came before the validation answer; the test history what came before the test
    answer, so the validation item is in it. People with fewer than three liked items stay in train whole, not asked.
    """
    places = _Places.of(data)
    _check(bool((places.count >= 3).any()), "leave-last", "nobody has three liked items")
    (_, test), (before, valid) = (places.asked(place, places.count >= 3) for place in (1, 2))
    return Split("leave-last", before, valid, before, test)


def newest(data: Dataset, likings: int) -> tuple[Dataset, Part]:
    """The newest `likings` liked items of each person as questions, the oldest first, and what came before them all.

    Each question is asked of all that its person did before it. Two liked items of each person are never asked for.
    """
    places = _Places.of(data)
    _check(bool((places.count >= 3).any()), "newest", "nobody has three liked items")
    parts = [places.asked(place, places.count >= place + 2) for place in range(likings, 0, -1)]
    first = np.full(data.n_users, len(data))
    for place in range(1, likings + 1):
        chosen = places.position[(places.left == place) & (places.count >= place + 2)]
        first[data.events.user[chosen]] = places.rank[chosen]
    return data.only(places.rank < first[data.events.user]), joined([part for _, part in parts])


def later(data: Dataset, share: float = 0.1, moments: int = 1) -> tuple[Dataset, Part]:
    """Questions at `moments` moments that cut the last `share` of all events into equal parts, about everything that is
    new in the part that follows; and what came before the first of them.

    Each question is asked of all that its person did before its moment. Where `global_time` asks about a time to come,
    rankers learn from such questions.
    """
    if not (0 < share < 1 and moments >= 1):
        raise ConfigError(
            f"share={share:g} and moments={moments} leave nothing to learn from or to ask",
            where="questions about later",
            hint="Give a share between 0 and 1, and at least one moment.",
        )
    _check(len(data) > 0, "later", "there are no events")
    time, known = data.events.time, _known(data)
    starts = [int(time[int(len(data) * (1 - share * (1 - part / moments)))]) for part in range(moments)]
    parts = [
        _asked_after(data.before(start), data.only((time >= start) & (time < stop)), known)
        for start, stop in zip(starts, [*starts[1:], int(time[-1]) + 1], strict=True)
    ]
    past = data.before(starts[0])
    _check(bool(len(past) and any(len(part) for part in parts)), "later", "one side of the cut holds nothing new")
    return past, joined(parts)


@dataclass(frozen=True, slots=True)
class _Places:
    """First likings, each person's counted from their last one."""

    data: Dataset
    position: NDArray[np.intp]  # (L,) events, in time order
    left: NDArray[np.int64]  # (L,) 1 = the last of this person
    count: NDArray[np.int64]  # (L,) how many this person has
    rank: NDArray[np.int64]  # (E,) place of each event in its person's own order

    @staticmethod
    def of(data: Dataset) -> _Places:
        position = _first_likings(data)
        user = data.events.user[position]
        count = np.bincount(user, minlength=data.n_users)[user]
        return _Places(data, position, count - _nth(user), count, _nth(data.events.user))

    def asked(self, place: int, wanted: Mask) -> tuple[Dataset, Part]:
        """What everybody did before their liking at `place`, where that is `wanted` (L,), and the questions for it."""
        events = self.data.events
        chosen = self.position[(self.left == place) & wanted]
        stop = np.full(self.data.n_users, len(events))
        stop[events.user[chosen]] = self.rank[chosen]
        before = self.data.only(self.rank < stop[events.user])
        who = chosen[np.argsort(events.user[chosen])]
        relevant = Ragged(np.arange(len(who) + 1), {"item": events.item[who]})
        history = before.histories(events.user[who])
        return before, Part(events.user[who], events.time[who], history, relevant, _known(self.data))


def joined(parts: Sequence[Part]) -> Part:
    """The questions of all parts, which know the same items, one part after the other."""

    def lists(each: Sequence[Ragged]) -> Ragged:
        length = np.concatenate([one.length for one in each])
        columns = {name: np.concatenate([one[name] for one in each]) for name in each[0].columns}
        return Ragged(np.concatenate(([0], np.cumsum(length))).astype(np.int64), columns)

    return Part(
        np.concatenate([part.user for part in parts]),
        np.concatenate([part.time for part in parts]),
        lists([part.history for part in parts]),
        lists([part.relevant for part in parts]),
        parts[0].known,
    )


def global_time(data: Dataset, test: float = 0.1, valid: float = 0.1) -> Split:
    """The last share `test` of all events is asked for, at the moment where it begins; the share `valid` before it is
    for choosing, and part of final. People without a history by then are asked too: they are the segment "new"."""
    if not (test > 0 and valid > 0 and test + valid < 1):
        raise ConfigError(
            f"shares test={test:g} and valid={valid:g} leave nothing to train on",
            where="global split",
            hint="Give two shares above 0 whose sum is below 1, for example 0.1 and 0.1.",
        )
    _check(len(data) > 0, "global", "there are no events")
    time = data.events.time
    start_valid, start_test = (int(time[int(len(data) * (1 - share))]) for share in (test + valid, test))
    train, final = data.before(start_valid), data.before(start_test)
    asked = _asked_after(train, data.only((time >= start_valid) & (time < start_test)), _known(data))
    answer = _asked_after(final, data.only(time >= start_test), _known(data))
    _check(bool(len(train) and len(asked) and len(answer)), "global", "train, validation or test holds nothing new")
    return Split("global", train, asked, final, answer)


def published(train: Dataset, test: Dataset, *, valid: float = 0.1, seed: int = 0) -> Split:
    """Train and test as others gave them; a random share `valid` of each person's liked items in train is for choosing.

    Both share one catalogue. Final is the train that was given.
    """
    position, nth, count = _shuffled_likings(train, seed)
    held = np.zeros(len(train), np.bool_)
    held[position[nth < np.floor(count * valid)]] = True
    _check(bool(held.any()), "published", f"nobody has so many liked items that {valid:g} of them is one")
    inner, known = train.only(~held), _known(train) | _known(test)
    asked = _asked_after(inner, train.only(held), known)
    return Split("published", inner, asked, train, _asked_after(train, test, known))


def hold_out(data: Dataset, *, seed: int = 0) -> Split:
    """For lists without time: one liked item of each person, by lot, is the test answer, another the validation answer.

    As in `leave_last` the validation item belongs to the history of the test question; train and final have neither.
    What is asked of data that has grown is new, or was asked before: the lot of an item is drawn from person and item.
    """
    position, nth, count = _shuffled_likings(data, seed)
    _check(bool((count >= 3).any()), "hold-out", "nobody has three liked items")
    place = np.full(len(data), -1)
    place[position[count >= 3]] = nth[count >= 3]
    train, history, known = data.only((place != 0) & (place != 1)), data.only(place != 0), _known(data)
    asked = _asked_after(train, data.only(place == 1), known)
    return Split("hold-out", train, asked, train, _asked_after(history, data.only(place == 0), known))


def _asked_after(past: Dataset, later: Dataset, known: Mask) -> Part:
    """Everybody who liked something in `later` that is not in `past`, asked at the end of `past`."""
    events, width = later.events, later.n_items
    liked = np.unique((events.user.astype(np.int64) * width + events.item)[later.weight > 0])
    new = liked[~np.isin(liked, past.events.user.astype(np.int64) * width + past.events.item)]
    user, start = np.unique(new // width, return_index=True)
    relevant = Ragged(np.concatenate((start, [len(new)])), {"item": (new % width).astype(np.int32)})
    rows = user.astype(np.int32)
    return Part(rows, np.full(len(rows), past.now), past.histories(rows), relevant, known)


def _first_likings(data: Dataset) -> NDArray[np.intp]:
    """Positions, in time order, of the events that are a person's first with an item, and like it."""
    pair = data.events.user.astype(np.int64) * data.n_items + data.events.item
    first = np.zeros(len(data), np.bool_)
    first[np.unique(pair, return_index=True)[1]] = True
    return np.flatnonzero(first & (data.weight > 0))


def _shuffled_likings(data: Dataset, seed: int) -> tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.int64]]:
    """First likings, each one's place in a random order of its person's, and how many that person has."""
    position = _first_likings(data)
    drawn_by = data.events.user[position].astype(np.uint64) + ops.mix(np.array([seed], np.uint64))
    lot = ops.chance(drawn_by, data.events.item[position])
    position = position[np.argsort(lot, kind="stable")]
    user = data.events.user[position]
    return position, _nth(user), np.bincount(user, minlength=data.n_users)[user]


def _nth(owner: Rows) -> NDArray[np.int64]:
    """(N,) 0 for the first row of each owner, 1 for the second ..."""
    order = np.argsort(owner, kind="stable")
    count = np.bincount(owner)
    nth = np.empty(len(owner), np.int64)
    nth[order] = np.arange(len(owner)) - (np.cumsum(count) - count)[owner[order]]
    return nth


def _known(data: Dataset) -> Mask:
    return np.bincount(data.events.item, minlength=data.n_items) > 0


def _check(fine: bool, split: str, what: str) -> None:
    if not fine:
        raise DataError(
            f"cannot be evaluated: {what}",
            where=f"{split} split",
            hint="Load more events, or give the kinds that mean a liking a weight above 0 under [events.kinds].",
        )
