"""How much of something has happened lately, and what share of it went well: per person, item, category and pair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from shortlist.dataset import DAY, Dataset, duration
from shortlist.derived import Derived, all_rows
from shortlist.errors import ConfigError
from shortlist.features.happened import Growing, counted, which
from shortlist.features.keys import Lists, codes, keys, parse, picked
from shortlist.features.ledger import Ledger
from shortlist.features.wording import number, span, times, verb
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Column, Columns, Events, Queries, Ragged, Reason, Rows, Scores

SAMPLE = 100_000  # keys that a prior is estimated from, at most
STRONGEST, USUAL = 10_000.0, 20.0  # trials that a prior counts for: at most, and where nothing tells
REMEMBERED = 10_000  # priors

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tallies:
    """Counters that fade, and rates with a prior, of what happened strictly before the moment asked.

    A group of `by` names what is counted together: "user", "item", "hour", "weekday" (UTC), "item.NAME" or "user.NAME"
    (a fact of theirs), or several joined by "*": "user * item.genres". A list counts under each of its values.

    With `of` = ["shown"], rates (events + a) / (`of` events + a + b) are given too. Beta(a, b) is declared, or
    estimated at the beginning of each UTC day from all that was known then: the mean over keys, and how much they
    differ (Kleinman, JASA 1973). Where what was taken was not logged as shown beside that, name its kind in `of` too:
    never is more taken than shown.
    """

    catalog: Catalog
    by: tuple[str, ...] = ("item",)
    half_lives: tuple[str, ...] = ("1h", "1d", "7d")  # beside these, all there ever was is counted
    kinds: tuple[str, ...] = ()  # of events that count; empty = those that are likings
    of: tuple[str, ...] = ()  # kinds of events that they are a share of; none = no rates
    prior: tuple[float, ...] = ()  # a and b; empty = estimated
    name: str = "tally"  # the columns begin with it: two of these in a pipeline need two names
    most: int = 4_000_000  # events that are kept of each group, the newest; 48 bytes each with three half-lives

    def __post_init__(self) -> None:
        for each in self.half_lives:
            duration(each)
        prior = len(self.prior) in (0, 2) and all(0 < each < np.inf for each in self.prior)
        if not (self.by and prior and self.name.isidentifier() and self.most > 0):
            raise ConfigError(
                f"by is {list(self.by)}, prior {list(self.prior)}, name {self.name!r}, most {self.most}: by needs a"
                " group, prior is empty or two numbers above 0, name is one word, most at least 1",
                where="features.tallies",
            )
        for group in self.by:
            parse(group)

    def fit(self, data: Dataset, *, seed: int) -> TalliesModel:
        taken = which(data.kinds, self.kinds, "features.tallies: kinds")
        shown = which(data.kinds, self.of, "features.tallies: of") if self.of else None
        pace = np.array([0.0, *(1 / duration(each) for each in self.half_lives)])
        facts = {
            (entity, name): codes(_fact(columns, name, entity), name)
            for entity, columns in (("item", data.items), ("user", data.users))
            for group in self.by
            for name in parse(group).facts(entity)
        }

        def ledgers(code: NDArray[np.uint8], least: Scores) -> tuple[Ledger, ...]:
            events = data.events.take(counted(data.events, code, least))
            return tuple(
                _ledger(group, events, lambda entity, name, rows: picked(facts[entity, name], rows), pace, self.most)
                for group in self.by
            )

        windows = ("all", *self.half_lives)
        return TalliesModel(
            self.catalog,
            tuple(parse(group).name for group in self.by),
            windows,
            *taken,
            *(shown or (taken[0][:0], taken[1][:0])),
            self.prior,
            self.name,
            ledgers(*taken),
            ledgers(*shown) if shown else (),
            verb(self.kinds),
            verb(self.of),
        )


@dataclass(frozen=True)
class TalliesModel:
    """Columns of float32: `NAME.GROUP.all`, `NAME.GROUP.1d` ... log(1 + events, each halved once a half-life), and with
    `of` the probabilities `NAME.rate.GROUP.all` ... Of a list of values the mean. NaN where there is no key (nobody, no
    value), where nothing at all is known yet, and for moments that are too long ago to be kept."""

    catalog: Catalog
    by: tuple[str, ...]
    windows: tuple[str, ...]  # all, then half-lives
    code: NDArray[np.uint8]  # of the kinds that count
    least: Scores  # from which value on they do
    of_code: NDArray[np.uint8]  # of the kinds that they are a share of
    of_least: Scores
    prior: tuple[float, ...]
    name: str
    taken: tuple[Ledger, ...]  # by group
    shown: tuple[Ledger, ...]  # by group; none without rates
    done: str  # what the events say, in words
    tried: str  # and those that they are a share of

    def columns(self, queries: Queries, found: Candidates) -> Columns:
        made: dict[str, Scores] = {}
        for at, group in enumerate(map(parse, self.by)):
            owner = np.arange(len(queries)) if group.shared else found.query
            item = found.item if not group.shared else np.full(len(queries), -1, np.int32)
            now = queries.time[owner]
            row, key = keys(group, queries.user[owner], item, now, self._lists)
            taken = _asked(self._taken[at].held, key, now[row])
            told = {f"{self.name}.{group.name}": np.log1p(_mean(row, taken, len(now)))}
            if self.shown:
                tried = np.maximum(_asked(self._shown[at].held, key, now[row]), taken)
                mean, strength = self._priors(at, now[row])
                rate = (taken + mean * strength) / (tried + strength)
                told[f"{self.name}.rate.{group.name}"] = _mean(row, rate, len(now))
            for name, table in told.items():
                for window, column in zip(self.windows, table.T.astype(np.float32), strict=True):
                    made[f"{name}.{window}"] = column[found.query] if group.shared else column
        return made

    def update(self, events: Events) -> None:
        kinds = ((self._taken, self.code, self.least), (self._shown, self.of_code, self.of_least))
        for logs, code, least in kinds:
            new = events.take(counted(events, code, least))
            for log, group in zip(logs, self.by, strict=True) if len(new) else ():
                pace, most = self.taken[0].pace, self.taken[0].most
                log.add(_ledger(group, new, self._lists, pace, most))
        if len(events):
            self._known.forget(int(events.time.min()))

    def words(self, name: str, value: Column) -> Reason | None:
        stem, _, window = name.rpartition(".")
        rated = stem.startswith(f"{self.name}.rate.")
        group = stem.removeprefix(f"{self.name}.rate." if rated else f"{self.name}.")
        if group not in self.by or window not in self.windows or not name.startswith(f"{self.name}."):
            return None
        what, who = parse(group).words
        lately = "" if window == "all" else f", each counting half after {'a ' * (window[:-1] == '1')}{span(window)}"
        if not np.isfinite(value):
            return Reason(f"{what}nothing is known of how often it is {self.done}{who}")
        if rated:
            some = f"{what}{self.done} {{value}} % of the times it was {self.tried}{who}{lately}"
            return number(100 * value, some, "")
        told = times(float(np.expm1(value)), self.done)
        return Reason(f"{what}{told.text}{who}{lately}", told.facts)

    def _priors(self, group: int, now: NDArray[np.int64]) -> tuple[Doubles, Doubles]:
        """(M, 1) twice: mean and strength of the prior at each moment."""
        if self.prior:
            good, bad = self.prior
            return np.full((len(now), 1), good / (good + bad)), np.full((len(now), 1), good + bad)
        days, at = np.unique(now // DAY, return_inverse=True)
        told = [self._known.of(group, day) for day in days.tolist()]
        both = np.array(told, np.float64).reshape(-1, 2)[at]
        return both[:, :1], both[:, 1:]

    def _estimated(self, group: int, day: int) -> tuple[float, float]:
        """The prior at the beginning of `day`, from a draw of the keys that there were."""
        taken, shown, now = self._taken[group].held, self._shown[group].held, day * DAY
        known = np.unique(np.concatenate([log.key[log.born < now] for log in (*taken, *shown)]))
        key = known[:SAMPLE]  # keys are hashes: the first are as good a draw as any
        then = np.full(len(key), now)
        return beta(_asked(taken, key, then)[:, 0], _asked(shown, key, then)[:, 0])

    def _lists(self, entity: str, name: str, rows: Rows) -> Ragged:
        if entity == "item":
            return picked(self._items()[name], rows)
        there = (rows >= 0) & (rows < self.catalog.size("user"))
        facts = self.catalog.read("user", rows[there], [name])[name]
        return picked(codes(facts, name), np.where(there, np.cumsum(there) - 1, -1).astype(np.int32))

    @cached_property
    def _items(self) -> Derived[dict[str, Ragged]]:
        return Derived(self.catalog, self._read)

    def _read(self) -> dict[str, Ragged]:
        names = sorted({name for group in self.by for name in parse(group).facts("item")})
        facts = self.catalog.read("item", all_rows(self.catalog), names)
        return {name: codes(each, name) for name, each in facts.items()}

    @cached_property
    def _taken(self) -> tuple[Growing[Ledger], ...]:
        return tuple(map(Growing, self.taken))

    @cached_property
    def _shown(self) -> tuple[Growing[Ledger], ...]:
        return tuple(map(Growing, self.shown))

    @cached_property
    def _known(self) -> _Priors:
        return _Priors(self)


class _Priors:
    """Priors of days, worked out when first asked for, and again when an event comes late."""

    def __init__(self, model: TalliesModel) -> None:
        self._model, self._told = model, dict[tuple[int, int], tuple[float, float]]()
        self._lock = Lock()

    def of(self, group: int, day: int) -> tuple[float, float]:
        told = self._told.get((group, day))
        if told is None:
            with self._lock:
                if len(self._told) >= REMEMBERED:
                    self._told.clear()
                told = self._told[group, day] = self._model._estimated(group, day)
        return told

    def forget(self, since: int) -> None:
        """What was estimated for the beginnings of days after `since`."""
        with self._lock:
            for key in [key for key in self._told if key[1] * DAY > since]:
                del self._told[key]


def beta(taken: Doubles, shown: Doubles) -> tuple[float, float]:
    """Mean and strength (a + b) of the Beta distribution that the rates of keys (K,) come from, by moments; the mean is
    NaN when nothing was tried. Keys that differ no more than chance would have it give the strongest prior."""
    tried = np.maximum(taken, shown)
    taken, tried = taken[tried > 0], tried[tried > 0]
    total = tried.sum()
    if not total:
        return np.nan, USUAL
    mean = taken.sum() / total
    spread, spare = mean * (1 - mean), len(tried) - 1
    room = total - (tried**2).sum() / total - spare
    if spread <= 0 or room <= 0:
        return float(mean), USUAL
    alike = (((taken**2 / tried).sum() - total * mean**2) / spread - spare) / room  # correlation inside a key
    return float(mean), float(np.clip(1 / max(alike, 1 / (STRONGEST + 1)) - 1, 1, STRONGEST))


def _ledger(group: str, events: Events, lists: Lists, pace: Doubles, most: int) -> Ledger:
    row, key = keys(parse(group), events.user, events.item, events.time, lists)
    return Ledger.of(key, events.time[row], pace, most)


def _asked(logs: Sequence[Ledger], key: NDArray[np.uint64], now: NDArray[np.int64]) -> Doubles:
    """(M, W) what all of `logs` know; NaN where one no longer knows."""
    total = np.zeros((len(key), len(logs[0].pace)))
    for log in logs:
        total += log.asked(key, now)
        total[now <= log.horizon] = np.nan
    return total


def _mean(row: NDArray[np.intp], told: Doubles, rows: int) -> Doubles:
    """(R, W) the mean over the keys of each row, NaN where it has none."""
    count = np.bincount(row, minlength=rows)[:, None]
    made = np.stack([np.bincount(row, each, rows) for each in told.T], axis=1)
    return np.where(count > 0, made / np.maximum(count, 1), np.nan)


def _fact(columns: Columns, name: str, entity: str) -> NDArray[np.object_]:
    if name not in columns:
        hint = f"there are: {', '.join(columns) or 'none'}"
        raise ConfigError(f"there is no column {name!r} of {entity}s", where="features.tallies: by", hint=hint)
    return columns[name]
