"""Planted defects: each is one promise broken on purpose, and the row of the table that must turn red.

They are planted by SHORTLIST_DEFECT in a process of the test build; the source is never changed.
"""

from __future__ import annotations

import dataclasses
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults import disk, kills, steps, world
from benchmarks.faults.oracle import Oracle
from benchmarks.faults.processes import Nursery, Server

Row = Callable[[Nursery, Path, Path, Mapping[str, str]], list[str]]


@dataclasses.dataclass(frozen=True)
class Defect:
    """What is broken, how, the row that must turn red, and the run that shows it."""

    what: str
    row: str
    plant: Callable[[], None]
    show: Row


# how they are planted


def _dedupe_removed() -> None:
    """Every event is new, whatever its id."""
    from shortlist import _kernels
    from shortlist.stores import embedded_log

    class Forgetful:
        def __init__(self) -> None:
            self._real = _kernels.IdSet()

        def fresh(self, ids: Any) -> Any:
            self._real.fresh(ids)
            return np.ones(len(ids), np.bool_)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._real, name)

    kernels = type(sys)("kernels")
    kernels.IdSet = Forgetful  # type: ignore[attr-defined]
    embedded_log._kernels = kernels  # type: ignore[attr-defined]


def _ids_not_recovered() -> None:
    """After a restart the log does not know the ids of its segments and its tail."""
    from shortlist import _kernels
    from shortlist.stores import embedded_log

    real = embedded_log.EmbeddedLog._recover

    def forgets(self: Any) -> None:
        real(self)
        self._known = _kernels.IdSet()

    embedded_log.EmbeddedLog._recover = forgets  # type: ignore[method-assign]


def _acknowledged_before_the_commit() -> None:
    """The tail is kept in memory and written with the next append: an append returns before it is durable."""
    from shortlist.stores import embedded_log

    real, waiting = embedded_log.EmbeddedLog._store_tail, []

    def late(self: Any, events: Any) -> None:
        waiting.append(events)
        if len(waiting) > 3:
            real(self, embedded_log._join(waiting))
            waiting.clear()

    embedded_log.EmbeddedLog._store_tail = late  # type: ignore[method-assign]


def _tail_deleted_before_the_segment() -> None:
    """The tail is deleted in a transaction of its own, before its segment has a row."""
    from shortlist.stores import embedded_log

    real = embedded_log.EmbeddedLog._write_segment

    def early(self: Any, first: int, events: Any) -> str:
        name = real(self, first, events)
        with self._database.write() as sql:
            sql.execute("DELETE FROM tail")
        return name

    embedded_log.EmbeddedLog._write_segment = early  # type: ignore[method-assign]


def _swept_before_the_commit() -> None:
    """A snapshot removes the one before it while the database still names that one, and no log makes up for it."""
    from shortlist.stores import database

    real = database.Database.new

    @contextmanager
    def early(self: Any, name: str) -> Iterator[Path]:
        with real(self, name) as path:
            yield path
        if name.startswith("state/"):
            for old in (self.folder / "state").iterdir():
                if old.name != name.removeprefix("state/"):
                    (old / "state.json").unlink(missing_ok=True)

    database.Database.new = early  # type: ignore[method-assign, assignment]


def _offset_not_kept() -> None:
    """A snapshot forgets how far it has come: the start of the log is folded again."""
    from shortlist.stores import embedded_state

    real = embedded_state.EmbeddedState.snapshot

    def forgets(self: Any) -> None:
        offset, self.offset = self.offset, ""
        real(self)
        self.offset = offset

    embedded_state.EmbeddedState.snapshot = forgets  # type: ignore[method-assign]


def _lock_removed() -> None:
    """Nobody asks whether another process writes."""
    from shortlist.stores import database

    database.fcntl = None  # type: ignore[assignment]


def _full_disk_unnamed() -> None:
    """A full disk is an error like any other."""
    from shortlist.stores import database

    real = database.failure

    def plain(error: BaseException, path: Path) -> Any:
        made = real(error, path)
        made.code = "dependency_unavailable"
        return made

    database.failure = plain  # type: ignore[assignment]


def _held_forgotten_first() -> None:
    """Events that waited are forgotten before they are in the log."""
    from shortlist.stores import embedded_notes

    @contextmanager
    def early(self: Any, items: Any) -> Iterator[list[str]]:
        with self._database.write() as sql:
            rows = [row for item in items for row in sql.execute("SELECT seq, event FROM held WHERE item = ?", (item,))]
            sql.executemany("DELETE FROM held WHERE seq = ?", [(seq,) for seq, _ in rows])
        yield [event for _, event in rows]

    embedded_notes.Held.take_for = early  # type: ignore[method-assign, assignment]


def _current_before_the_release() -> None:
    """CURRENT is written before the release has its name."""
    import os

    from shortlist import release

    real = os.replace

    class Early:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        @staticmethod
        def replace(source: Path, target: Path) -> None:
            if Path(source).name.startswith(".draft") and not Path(target).name.startswith(".draft"):
                (Path(target).parent / "CURRENT").write_text(f"{Path(target).name}\n")
                from shortlist import failpoints

                failpoints.at("release.renamed")
            real(source, target)

    release.os = Early()  # type: ignore[assignment]


def _seen_filter_removed() -> None:
    """What a person has met is proposed again."""
    from shortlist.filters import seen

    seen.SeenKinds.narrow = lambda self, queries: queries  # type: ignore[method-assign]
    seen.SeenKinds.keep = lambda self, queries, found: np.ones(len(found), np.bool_)  # type: ignore[method-assign]


def _finite_check_removed() -> None:
    """Numbers that are no numbers are taken from files."""
    import polars as pl

    pl.Expr.is_finite = lambda self: pl.lit(True)  # type: ignore[method-assign]


def _parquet_errors_let_through() -> None:
    """Whatever a damaged file makes polars raise comes out as it is."""
    from shortlist.data import sources

    @contextmanager
    def nothing(path: Path) -> Iterator[None]:
        yield

    sources._readable = nothing


# how they show


def _by_kills(point: str) -> Row:
    def show(nursery: Nursery, start: Path, folder: Path, env: Mapping[str, str]) -> list[str]:
        """Lives over one installation until something is wrong."""
        home, oracle, found = world.copy(start, folder / "home"), Oracle(3), kills.Found()
        chance = random.Random(3)
        for turn in range(12):
            kills.life(nursery, home, oracle, chance, point if turn % 2 else "", found, env)
            if oracle.wrong:
                return oracle.wrong
        kills.after(nursery, home, oracle, env, found, everyone=True)
        oracle.check_files(home)
        return oracle.wrong

    return show


def _by_disk(part: Callable[..., dict[str, Any]]) -> Row:
    def show(nursery: Nursery, start: Path, folder: Path, env: Mapping[str, str]) -> list[str]:
        wrong: list[str] = part(nursery, start, folder, env=env)["wrong"]
        return wrong

    return show


def _by_training(nursery: Nursery, start: Path, folder: Path, env: Mapping[str, str]) -> list[str]:
    return steps.train_again(nursery, world.copy(start, folder / "home"), "release.renamed", env=env)


def _by_lists(nursery: Nursery, start: Path, folder: Path, env: Mapping[str, str]) -> list[str]:
    home, wrong = world.copy(start, folder / "home"), []
    server = Server.start(nursery, home, env=env)
    assert server
    try:
        with server.client() as client:
            for number in range(12):
                met = client.get(f"/v1/users/u{number}/history", params={"limit": 1000}).json()["events"]
                told = client.post("/v1/recommend", json={"user_id": f"u{number}", "n": 30}).json()["items"]
                again = {each["item_id"] for each in met} & {each["id"] for each in told}
                wrong += [f"u{number} has met {each}" for each in sorted(again)]
    finally:
        server.process.kill()
    return wrong


def _by_numbers(nursery: Nursery, start: Path, folder: Path, env: Mapping[str, str]) -> list[str]:
    home = world.copy(start, folder / "home")
    (home / "odd.csv").write_text("user,item,value,time\nu1,i1,inf,1640000000\nu1,i2,NaN,1640000001\n")
    _, said = nursery.run("ingest", "odd.csv", "--map", "value=value", "--json", home=home, env=env)
    return [] if '"accepted": 0' in said else [f"infinite values were taken: {said}"]


def _by_fuzz(nursery: Nursery, start: Path, folder: Path, env: Mapping[str, str]) -> list[str]:
    code, said = nursery.run("@fuzz", "parquet", home=world.copy(start, folder / "home"), env=env)
    return [said[-300:]] if code else []


DEFECTS: Mapping[str, Defect] = {
    "dedupe-removed": Defect("dedupe removed", "P1", _dedupe_removed, _by_kills("")),
    "ids-not-recovered": Defect("ids not read at start", "I1", _ids_not_recovered, _by_kills("")),
    "ack-before-commit": Defect("acknowledged before the commit", "P1", _acknowledged_before_the_commit, _by_kills("")),
    "tail-deleted-early": Defect(
        "tail deleted before its segment is named", "P2", _tail_deleted_before_the_segment, _by_kills("log.segment")
    ),
    "snapshot-swept-early": Defect(
        "old snapshot removed before the new one is named", "P2", _swept_before_the_commit, _by_kills("state.written")
    ),
    "offset-not-kept": Defect("offset not kept with the snapshot", "P1", _offset_not_kept, _by_kills("state.named")),
    "held-forgotten-first": Defect(
        "held events forgotten before the append", "P2", _held_forgotten_first, _by_kills("held.named")
    ),
    "lock-removed": Defect("lock removed", "P11", _lock_removed, _by_disk(disk.crowded)),
    "full-disk-unnamed": Defect("full disk not told apart", "P6", _full_disk_unnamed, _by_disk(disk.full)),
    "current-too-early": Defect("CURRENT before the release", "P4", _current_before_the_release, _by_training),
    "seen-filter-removed": Defect("filter check removed", "M10", _seen_filter_removed, _by_lists),
    "finite-check-removed": Defect("finite check removed", "I6", _finite_check_removed, _by_numbers),
    "parquet-errors-through": Defect("errors of polars let through", "I13", _parquet_errors_let_through, _by_fuzz),
}
QUICK = ("dedupe-removed", "ack-before-commit", "lock-removed", "seen-filter-removed")  # in every run of the tests


def plant(name: str) -> None:
    """Break this process."""
    DEFECTS[name].plant()


def red(nursery: Nursery, start: Path, folder: Path, name: str) -> list[str]:
    """What the row of a defect says when it is planted; nothing means that the row cannot see it."""
    folder.mkdir(parents=True, exist_ok=True)
    return DEFECTS[name].show(nursery, start, folder, {"SHORTLIST_DEFECT": name})


def green(nursery: Nursery, start: Path, folder: Path, name: str) -> list[str]:
    """What the same run says without the defect."""
    folder.mkdir(parents=True, exist_ok=True)
    return DEFECTS[name].show(nursery, start, folder, {})


def all_of(nursery: Nursery, start: Path, folder: Path, seed: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Plant each; those that no row saw are wrong."""
    caught: dict[str, Any] = {}
    for name, defect in DEFECTS.items():
        seen = red(nursery, start, folder / name, name)
        clean = green(nursery, start, folder / f"{name}-clean", name)
        caught[name] = {"what": defect.what, "row": defect.row, "red": bool(seen), "said": seen[:1], "green": not clean}
        say(f"{name}: {'red' if seen else 'NOT SEEN'}; without it {'NOT green' if clean else 'green'}")
    wrong = [f"{name} was not seen" for name, each in caught.items() if not each["red"]]
    wrong += [f"{name} is red without the defect" for name, each in caught.items() if not each["green"]]
    seen_by_row = sum(each["red"] for each in caught.values())
    return {"planted": len(DEFECTS), "caught": seen_by_row, "defects": caught, "wrong": wrong}
