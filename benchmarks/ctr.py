"""How good probabilities are, ours and DeepCTR-Torch's: `python -m benchmarks.quality ctr --json OUT`.

Both learn the same network (width of vectors, layers, batch, rate) from the same rows, stop by the same validation
rows, and get as many settings to choose from on them. Test rows are looked at once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.process import PeerFailed, Worker
from benchmarks.rows import ROOT, Row, write
from benchmarks.splits import folder
from shortlist.data import ads, movielens
from shortlist.data.frames import to_dataset
from shortlist.eval import ctr
from shortlist.types import Columns

OWN, PEER = "shortlist", "peer:deepctr-torch"
SCRIPTS = {OWN: "clicks_shortlist.py", PEER: "clicks_deepctr.py"}
MODELS = ("logistic", "fm", "deepfm", "dcn", "din")
SETTINGS: Mapping[str, Sequence[Mapping[str, float]]] = {
    OWN: ({"l2": 1e-6}, {"l2": 1e-5}),
    PEER: ({"l2": 1e-5}, {"l2": 1e-2}),  # its default, and what 1e-5 of a row is in its sums over a batch
}
LOGISTIC = ({"l2": 0.3}, {"l2": 3.0})  # of our own logistic regression: a sum over all rows
LIKED = 4.0  # the rating from which on a film counts as liked
PAST = 20  # films liked before that are read
NEGATIVES = 2  # apps drawn for each that was used
HELD = 0.1  # share of the rows that is validation, and of those that are test


@dataclass(frozen=True)
class Table:
    """Rows in three parts, with labels and whose they are."""

    columns: Columns  # codes from 2 on, 0 = no value
    label: NDArray[np.float32]  # (N,)
    group: NDArray[np.integer]  # (N,) people
    part: NDArray[np.int8]  # (N,) 0 train, 1 validation, 2 test
    past: str = ""
    item: str = ""
    truth: NDArray[np.float32] | None = None  # (N,) the true probabilities, where they are known

    def write(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(("train", "valid", "test")):
            mine = self.part == number
            np.savez(path / f"{name}.npz", label=self.label[mine], **{key: c[mine] for key, c in self.columns.items()})
        sizes = {name: int(column.max()) + 1 for name, column in self.columns.items() if column.dtype.kind in "iu"}
        if self.past:
            sizes[self.past] = sizes[self.item] = max(sizes[self.past], sizes[self.item])
        (path / "facts.json").write_text(json.dumps({"sizes": sizes, "past": self.past, "item": self.item}))


def frappe() -> Table:
    """Apps used in a context, 96,195 times, and two others drawn for each; parts by lot, 8 : 1 : 1."""
    path = folder("ctr-frappe-cfm")
    lines = [line for name in ("train", "test") for line in (path / f"{name}.csv").read_text().split()]
    used = np.array([[int(code) for side in line.split(",") for code in side.split("-")] for line in lines])
    context, item, cost = used[:, :-2], used[:, -2], used[:, -1]
    chance = np.random.default_rng(3)
    cost_of = dict(zip(item.tolist(), cost.tolist(), strict=True))
    names = np.unique(item)
    where = np.unique(context, axis=0, return_inverse=True)[1].reshape(-1)
    known = set(zip(where.tolist(), item.tolist(), strict=True))
    drawn = chance.choice(names, (len(item), NEGATIVES))
    for row, mine in enumerate(drawn):
        for at in range(NEGATIVES):
            while (int(where[row]), int(mine[at])) in known:
                mine[at] = chance.choice(names)
    app = np.concatenate([item, *drawn.T])
    price = np.array([cost_of[each] for each in app.tolist()])
    whole = np.column_stack([np.tile(context, (1 + NEGATIVES, 1)), app, price])
    label = (np.arange(len(app)) < len(item)).astype(np.float32)
    order = chance.permutation(len(app))
    columns = {f"field{at}": _coded(column) for at, column in enumerate(whole[order].T)}
    return Table(columns, label[order], whole[order][:, 0], _parts(len(order)))


def movielens_1m() -> Table:
    """Whether a rating is 4 or 5, by person, film and what is known of them; parts in order of time, 8 : 1 : 1."""
    data = to_dataset(movielens.movielens_1m(folder("movielens-1m")))[0]
    events = data.events.take(np.lexsort((data.events.item, data.events.user, data.events.time)))
    user, item = events.user, events.item
    liked = (events.value >= LIKED).astype(np.float32)
    columns: dict[str, np.ndarray] = {"user": user + np.int32(2), "item": item + np.int32(2)}
    for name in ("age", "gender", "occupation"):
        columns[name] = _coded(data.users[name][user])
    columns["year"] = _coded(data.items["year"][item])
    columns["genres"] = _lists(data.items["genres"])[item]
    columns["past"] = _past(user, columns["item"], events.time, liked > 0)
    return Table(columns, liked, user, _parts(len(user)), "past", "item")


def generated_ads() -> Table:
    """The generated world of ads at a hundredth of the original's size; the last of eight days is test, the day before
    validation. Prices are left to our own rankers' tests: here every column is a category, theirs of equal shares."""
    world = ads.generate(scale=0.01)
    read = ads.columns(world.users, world.ads, world.impressions)
    columns = {name: read[name] for name in (*ads.LAYOUT[1:], "cate_id")}
    edges = np.quantile(read["price"], np.arange(1, 20) / 20)
    columns["price"] = (np.searchsorted(edges, read["price"]) + 2).astype(np.int32)
    day = (world.impressions["time_stamp"].to_numpy() - ads.START) // ads.DAY_SECONDS
    part = (day >= ads.DAYS - 2).astype(np.int8) + (day >= ads.DAYS - 1)
    label = world.impressions["clk"].to_numpy().astype(np.float32)
    return Table(columns, label, world.impressions["user"].to_numpy(), part, truth=world.truth)


SETS: Mapping[str, Callable[[], Table]] = {"frappe": frappe, "movielens-1m": movielens_1m, "ads": generated_ads}


def run(name: str, table: Table, environments: Path, models: Sequence[str], threads: int, quick: bool) -> list[Row]:
    """Every model of both sides, with the paired difference."""
    rows: list[Row] = []
    test = table.part == 2
    label, group = table.label[test], table.group[test]
    for model in models:
        if model == "din" and not table.past:
            continue
        said: dict[str, NDArray[np.float64]] = {}
        told: dict[str, dict[str, Any]] = {}
        with tempfile.TemporaryDirectory() as place:
            table.write(Path(place))
            for side in SCRIPTS:
                try:
                    said[side], told[side] = _best(table, side, model, Path(place), environments, threads, quick)
                except PeerFailed as failed:
                    if side == OWN:
                        raise
                    rows.append(Row(model, side, name, "ctr", "auc", float("nan"), note=f"failed: {failed}"[:500]))
                    say(f"{name:13} {model:9} {side} failed: {failed}")
        if table.truth is not None:
            said["truth"], told["truth"] = table.truth[test], {"note": "the planted chance of every click"}
        found = ctr.measured(said, label, group)
        for (side, measure), value in found.items():
            one = side.partition(" - ")[0]
            metric = measure if side == one else f"{measure}-minus-{side.partition(' - ')[2]}"
            rows.append(Row(model, one, name, "ctr", metric, *value[:3], **(told[one] if side == one else {})))
            say(
                f"{name:13} {model:9} {side:30} {measure:17} {value.value:+.5f} ({value.low:+.5f} to {value.high:+.5f})"
            )
    return rows


def _best(
    table: Table, side: str, model: str, place: Path, environments: Path, threads: int, quick: bool
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Test probabilities of the setting whose validation rows are likeliest, and what it cost."""
    settings = LOGISTIC if side == OWN and model == "logistic" else SETTINGS[side]
    best, kept, note = float("inf"), None, {}
    valid = table.part == 1
    with Worker(side, model, place, environments, script=SCRIPTS[side], threads=threads) as worker:
        for params in settings[:1] if quick else settings:
            told = worker.tell({"params": params})
            said = np.load(worker.out)
            lost = ctr.log_loss(said[: valid.sum()], table.label[valid])
            say(f"  {side} {model} {dict(params)}: {lost:.5f} on validation, {told['seconds']:.0f} s")
            if lost < best:
                best, kept = lost, said[valid.sum() :]
                note = {"seconds": round(told["seconds"], 2), "peak_mb": round(told["peak_mb"], 1), "params": params}
    if kept is None:
        raise PeerFailed(f"{side} {model}: no setting gave numbers")
    return kept, {**note, "note": f"best of {1 if quick else len(settings)} settings on validation"}


def _coded(value: NDArray[Any]) -> NDArray[np.int32]:
    """Codes from 2 on; 0 where there is no value."""
    names, code = np.unique(value.astype(str), return_inverse=True)
    absent = np.isin(names, ("", "nan"))
    return np.where(absent[code], 0, code + 2).astype(np.int32)


def _lists(value: NDArray[Any]) -> NDArray[np.int32]:
    """(I, L) codes of tuples of texts, filled up in front."""
    names = {name: code for code, name in enumerate(sorted({each for some in value for each in some}), 2)}
    made = np.zeros((len(value), max(map(len, value))), np.int32)
    for row, some in enumerate(value):
        made[row, made.shape[1] - len(some) :] = [names[each] for each in some]
    return made


def _past(
    user: NDArray[np.integer], code: NDArray[np.integer], time: NDArray[np.int64], liked: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """(N, PAST) the codes that the person of each row liked strictly before, newest last. Rows are in order of time."""
    made = np.zeros((len(user), PAST), np.int32)
    order = np.argsort(user, kind="stable")
    new = np.ones(len(order), np.bool_)
    new[1:] = (user[order][1:] != user[order][:-1]) | (time[order][1:] != time[order][:-1])
    held = order[liked[order]]  # what was liked, person by person
    before = np.concatenate(([0], np.cumsum(liked[order])))[:-1]
    moment = np.flatnonzero(new)[np.cumsum(new) - 1]  # the first row of the same person and second
    person = np.ones(len(order), np.bool_)
    person[1:] = user[order][1:] != user[order][:-1]
    first = before[np.flatnonzero(person)[np.cumsum(person) - 1]]
    stop = before[moment]
    for back in range(1, PAST + 1):
        at = stop - back
        there = at >= first
        made[order[there], PAST - back] = code[held[at[there]]]
    return made


def _parts(rows: int) -> NDArray[np.int8]:
    """8 : 1 : 1, in order."""
    place = np.arange(rows) / rows
    return ((place >= 1 - 2 * HELD).astype(np.int8) + (place >= 1 - HELD)).astype(np.int8)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """The command, which benchmarks.quality hands its words to."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality ctr", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="file for the rows")
    parser.add_argument("--set", action="append", choices=sorted(SETS), help="default: all")
    parser.add_argument("--only", default=",".join(MODELS), help="models, comma between them (default %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one setting each")
    parser.add_argument("--threads", type=int, default=0, help="of a library; 0 = every core")
    parser.add_argument("--peers", type=Path, default=ROOT / ".benchmarks" / "peers", help="folder of environments")
    given = parser.parse_args(words)
    models = given.only.split(",")
    if unknown := set(models) - set(MODELS):
        parser.error(f"unknown models {', '.join(sorted(unknown))}; there are: {', '.join(MODELS)}")
    rows: list[Row] = []
    for name in given.set or list(SETS):
        rows += run(name, SETS[name](), given.peers, models, given.threads, given.quick)
    if given.json:
        write(given.json, "quality", "ctr", rows)
