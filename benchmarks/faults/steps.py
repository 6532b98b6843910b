"""Commands and jobs that are killed at a boundary or at any moment, and run again."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from benchmarks.faults import jobs, world
from benchmarks.faults.child import DIED
from benchmarks.faults.processes import Nursery, Server
from shortlist import release
from shortlist.errors import NotFound
from shortlist.stores.embedded import Embedded

LOADED = ("load.refused", "load.named", "load.put", "held.stored")
RELEASED = (
    "release.swept",
    "release.part",
    "release.array",
    "release.packed",
    "release.renamed",
    "release.checked",
    "release.noted",
    "release.drafted",
    "release.current",
)
PRUNED = ("release.pruning", "release.pruned")
INDEXED = ("index.written", "index.named", "index.changed")
CONTEXT = ("log.context",)
ERASED = ("log.erasing", "log.rolled", "log.rewritten", "log.replaced")
POINTS = (*LOADED, *RELEASED, *PRUNED, *INDEXED, *CONTEXT, *ERASED)
SMALL = {"SHORTLIST_SMALL": "1"}

MORE_ITEMS = "item,title,version\nx1,New one,1\nx2,New two,1\n,No name,1\nx3,New three,1\n"
MORE_EVENTS = (
    "user,item,kind,time\n"
    + "".join(f"v{n % 5},{'x1' if n % 4 == 0 else f'i{n}'},click,{1_640_000_000 + n}\n" for n in range(30))
    + "v1,waits,click,1640000100\n,i1,click,1640000101\nv1,i1,nonsense,1640000102\n"
)


def contents(home: Path) -> dict[str, list[object]]:
    """Everything that an installation was told, in words and in order: equal contents, equal effect."""
    with Embedded.open(home / "shortlist-data" / "store", read_only=True) as store:
        events = [
            (user, item, int(kind), int(time), tuple(id))
            for _, batch in store.log.scan()
            for user, item, kind, time, id in zip(
                store.catalog.ids("user", batch.user),
                store.catalog.ids("item", batch.item),
                batch.kind,
                batch.time,
                batch.id.tolist(),
                strict=True,
            )
        ]
        rows = np.arange(store.catalog.size("item"), dtype=np.int32)
        names = store.catalog.ids("item", rows)
        facts = store.catalog.read("item", rows, store.catalog.names("item"))
        items = [(name, *(str(column[at]) for _, column in sorted(facts.items()))) for at, name in enumerate(names)]
        held = sorted(store.held.count().items())
        return {"events": sorted(events), "items": sorted(items), "held": held}


def load_again(nursery: Nursery, start: Path, folder: Path, point: str, nth: int = 1) -> list[str]:
    """Kill `shortlist ingest` at `point`, run it again; what is wrong afterwards."""
    (clean, killed), wrong = (world.copy(start, folder / name) for name in ("clean", "killed")), []
    for home in (clean, killed):
        (home / "shortlist.toml").write_text(
            world.CONFIGURATION
            + '[ingest.items]\nsource = "more-items.csv"\nentity = "items"\nitem = "item"\n'
            + '[ingest.events]\nsource = "more-events.csv"\nuser = "user"\nitem = "item"\nkind_column = "kind"\n'
            + 'time = "time"\ntime_unit = "s"\nunknown_items = "hold"\n'
        )
        (home / "more-items.csv").write_text(MORE_ITEMS)
        (home / "more-events.csv").write_text(MORE_EVENTS)
    code, said = nursery.run("ingest", "--json", home=clean)
    if code:
        wrong.append(f"ingest ended with {code}: {said}")
    armed = {"SHORTLIST_FAILPOINTS": f"{point}=exit@{nth}"}
    code, said = nursery.run("ingest", "--json", home=killed, env=armed)
    if code != DIED:
        return [f"{point} was not reached: ingest ended with {code}: {said}"]
    code, said = nursery.run("ingest", "--json", home=killed)
    if code:
        wrong.append(f"after a death at {point}, ingest ended with {code}: {said}")
    wanted, found = contents(clean), contents(killed)
    wrong += [f"after a death at {point}, {name} differ" for name in wanted if wanted[name] != found[name]]
    return wrong


def train_again(
    nursery: Nursery, home: Path, point: str = "", seconds: float = 0.0, env: Mapping[str, str] | None = None
) -> list[str]:
    """Kill `shortlist train --publish` at `point`, or after `seconds`; what is wrong afterwards."""
    root, wrong = home / "shortlist-data" / "releases", []
    before = release.current(root)
    armed = {**(env or {}), "SHORTLIST_FAILPOINTS": f"{point}=exit" if point else ""}
    process = nursery.start("train", "--publish", "--json", home=home, env=armed)
    if point:
        code = process.wait()
        if code != DIED:
            return [f"{point} was not reached: train ended with {code}: {process.said()}"]
    else:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not process.ended():
            time.sleep(0.002)
        process.kill()
    now = release.current(root)
    if now != before and now not in release.versions(root):
        wrong.append(f"{now} is served and is not there")
    if not point or point == "release.current":
        wrong += _serves(nursery, home, now)
    code, said = nursery.run("train", "--publish", "--json", home=home)
    if code:
        wrong.append(f"after a death in training, train ended with {code}: {said}")
    left = [each.name for each in root.glob(".draft*")]
    if left:
        wrong.append(f"left behind by a death in training: {left}")
    return wrong


def _serves(nursery: Nursery, home: Path, version: str | None) -> list[str]:
    """A server starts and answers from `version`."""
    server = Server.start(nursery, home)
    if server is None:
        return ["after a death in training the server does not start"]
    with server.client() as client:
        answer = client.post("/v1/recommend", json={"user_id": "u1", "n": 5})
    server.process.kill()
    if (
        answer.status_code == 200
        and len(answer.json()["items"]) == 5
        and answer.json()["versions"]["release"] == version
    ):
        return []
    return [f"after a death in training: {answer.status_code} {answer.text[:200]}"]


def train_randomly(nursery: Nursery, home: Path, rounds: int, seed: int) -> list[str]:
    """Kill training at any moment, `rounds` times."""
    chance, wrong = random.Random(seed), []
    for _ in range(rounds):
        wrong += train_again(nursery, home, seconds=chance.uniform(0.02, 0.6))
    return wrong


def index_again(nursery: Nursery, folder: Path, point: str, nth: int = 3) -> list[str]:
    """Kill a process that builds and changes an index; what it said was durable must be there, or the next step."""
    home = folder / f"index-{point}"
    home.mkdir(parents=True)
    armed = {**SMALL, "SHORTLIST_FAILPOINTS": f"{point}=exit@{nth}"}
    code, said = nursery.run("@index", str(home / "store"), home=home, env=armed)
    if code != DIED:
        return [f"{point} was not reached: {code} {said}"]
    done = [int(line) for line in said.split()]
    last = done[-1] if done else 0
    with Embedded.open(home / "store") as stores:
        try:
            rows, scores = stores.index.search(jobs.SPACE, np.ones((1, jobs.WIDTH), np.float32), 10)
            steps = {
                round(float(score) / jobs.WIDTH) for row, score in zip(rows[0], scores[0], strict=True) if row >= 0
            }
        except NotFound:
            steps = set()
        dropped = {step for step in (last, last + 1) if step % 10 == 9}
        if not steps and not dropped and last:
            return [f"after a death at {point}, step {last} is lost"]
        if (steps and not steps & {last, last + 1}) or max(steps, default=0) > last + 1:
            return [f"after a death at {point}, the space holds steps {sorted(steps)}, the last was {last}"]
        left = {each.name for each in (home / "store" / "index").iterdir()}
        if len(left) > 1:
            return [f"left behind in index/: {sorted(left)}"]
    return []


def context_again(nursery: Nursery, folder: Path, point: str, nth: int = 2) -> list[str]:
    """Kill a process that appends events with columns of their own."""
    home = folder / f"context-{point}"
    home.mkdir(parents=True)
    armed = {**SMALL, "SHORTLIST_FAILPOINTS": f"{point}=exit@{nth}"}
    code, said = nursery.run("@context", str(home / "store"), home=home, env=armed)
    if code != DIED:
        return [f"{point} was not reached: {code} {said}"]
    done = [int(line) for line in said.split()]
    with Embedded.open(home / "store") as stores:
        times = sorted(int(time) for _, batch in stores.log.scan() for time in batch.time)
        if times[: len(done)] != done or len(times) > len(done) + 1:
            return [f"after a death at {point}: {times}, acknowledged {done}"]
    code, said = nursery.run("@context", str(home / "store"), home=home, env=SMALL)
    return [] if code == 0 else [f"after a death at {point} the second try ended with {code}: {said}"]


def erase_again(nursery: Nursery, folder: Path, point: str) -> list[str]:
    """Kill a process that takes one person out of the log; the second try must leave everybody else alone."""
    home = folder / f"erase-{point}"
    home.mkdir(parents=True)
    armed = {**SMALL, "SHORTLIST_FAILPOINTS": f"{point}=exit"}
    code, said = nursery.run("@erase", str(home / "store"), home=home, env=armed)
    if code != DIED:
        return [f"{point} was not reached: {code} {said}"]
    code, said = nursery.run("@erase", str(home / "store"), home=home, env=SMALL)
    if code:
        return [f"after a death at {point} the second try ended with {code}: {said}"]
    with Embedded.open(home / "store") as stores:
        left = sorted(
            (int(time), int(user)) for _, e in stores.log.scan() for time, user in zip(e.time, e.user, strict=True)
        )
        named = len(list((home / "store" / "events").iterdir()))
        files = len({offset for offset, _ in stores.log.scan()})
    wanted = [(step, step % 10) for step in range(1, 201) if step % 10 != 3]
    if left != wanted:
        return [f"after a death at {point}, {len(left)} events are left of {len(wanted)}"]
    return [] if named <= files else [f"after a death at {point}, files are left behind: {named}, {files} are named"]


def prune_again(nursery: Nursery, home: Path, point: str) -> list[str]:
    """Kill the removal of old releases; what is served stays, and the second try leaves nothing behind."""
    root = home / "shortlist-data" / "releases"
    while len(release.versions(root)) < 4:
        code, said = nursery.run("train", "--json", home=home)
        if code:
            return [f"train ended with {code}: {said}"]
    before = release.current(root)
    armed = {"SHORTLIST_FAILPOINTS": f"{point}=exit"}
    code, said = nursery.run("@prune", str(root), "1", home=home, env=armed)
    if code != DIED:
        return [f"{point} was not reached: {code} {said}"]
    for version in release.versions(root):
        release.check(root, version)
    code, said = nursery.run("@prune", str(root), "1", home=home)
    left = [each.name for each in root.glob(".draft*")]
    if code or left or release.current(root) != before or before not in release.versions(root):
        return [f"after a death at {point}: {code}, left behind {left}, {release.current(root)} is served: {said}"]
    return []


def die_at(nursery: Nursery, start: Path, folder: Path, point: str) -> list[str]:
    """Die at `point` of POINTS and go on; what is wrong afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    if point in LOADED:
        return load_again(nursery, start, folder, point)
    if point in INDEXED:
        return index_again(nursery, folder, point)
    if point in CONTEXT:
        return context_again(nursery, folder, point)
    if point in ERASED:
        return erase_again(nursery, folder, point)
    home = world.copy(start, folder / "home")
    return prune_again(nursery, home, point) if point in PRUNED else train_again(nursery, home, point)


def all_of(nursery: Nursery, start: Path, folder: Path, trainings: int, seed: int) -> dict[str, object]:
    """Every boundary of the commands and jobs, then trainings killed at any moment."""
    wrong = [each for point in POINTS for each in die_at(nursery, start, folder / point, point)]
    home = world.copy(start, folder / "trained")
    wrong += train_randomly(nursery, home, trainings, seed)
    return {"boundaries": len(POINTS), "trainings_killed": trainings, "wrong": wrong}
