"""`shortlist demo`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from shortlist.cli.options import Json, Quiet, described
from shortlist.cli.screen import Screen
from shortlist.cli.serve import addresses

if TYPE_CHECKING:
    from shortlist.batch.demo import Person
    from shortlist.runtime import Runtime
    from shortlist.serve.service import Service

HELP = described(
    """
    shortlist demo
    shortlist demo --port 9000 --no-browser
    shortlist demo --keep films
    shortlist demo --world generated --no-serve
    """,
    """
    Real people and films: fetch MovieLens-100K (2 MB, once), load it, train on it, compare with popularity, serve
    it, and show three people worth looking at. Without a network, or on request, an invented world with planted
    tastes takes its place.
    """,
)


def demo(
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="If it is taken, the next free one.")] = 8000,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Do not open the page.")] = False,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep data and release there.")] = None,
    world: Annotated[Literal["movielens", "generated"], typer.Option(help="Which people and items.")] = "movielens",
    seed: Annotated[int, typer.Option(metavar="N", help="Of everything that is drawn.")] = 0,
    no_serve: Annotated[bool, typer.Option("--no-serve", help="Stop after showing the three people.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    screen = Screen(json=json, quiet=quiet)
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shortlist-demo-")))
        _run(screen, folder, keep is not None, port, not no_browser, world, seed, no_serve)


def _run(
    screen: Screen, folder: Path, kept: bool, port: int, browser: bool, name: str, seed: int, no_serve: bool
) -> None:
    from datetime import UTC, datetime

    from shortlist.batch import demo, gate, steps
    from shortlist.batch.train import read_window
    from shortlist.cli.answers import asked
    from shortlist.config import load
    from shortlist.data.frames import load_frames
    from shortlist.serve.http import serve
    from shortlist.serve.metrics import Metrics
    from shortlist.serve.service import Service

    clock = _Clock(screen)
    file = folder / "shortlist.toml"
    folder.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        file.write_text(demo.CONFIGURATION.format(seed=seed), "utf-8")
    settings = load(file)
    started = datetime.now(UTC)
    now = int(started.timestamp() * 1e6)
    with clock.step("download") as told:
        frames, note = demo.world(name, _cache(), now=now, seed=seed)
        told(frames.name)
    screen.say(note)
    with steps.open_configured(settings) as stores:
        with clock.step("ingest") as told:
            load_frames(
                frames,
                stores.catalog,
                stores.log,
                kinds=settings.kinds,
                now=now,
                rejects=folder / "rejects",
            )
            data = read_window(settings, stores.catalog, stores.log)
            told(f"{len(data):,} events of {data.n_users:,} people and {data.n_items:,} items")
        with clock.step("evaluate") as told:
            judged = steps.judge(settings, data, stores)
            told(_verdict(judged.result))
        with clock.step("train") as told:
            version, facts = steps.make_release(settings, data, stores, created=started, rehearsal=judged.rehearsal)
            told(f"{len(facts['seconds'])} models on everything")
        with clock.step("publish") as told:
            passed = gate.publish(settings, stores, version, by="shortlist demo")
            told(f"{version}: {sum(each.verdict == 'pass' for each in passed.checks)} checks passed")
        chosen = demo.people(data, stores.catalog.ids("user", _all(data.n_users)))
    found: dict[str, Any] = {"world": frames.name, "release": version, "evaluation": judged.result.as_json()}

    def look(service: Service, url: str) -> None:
        with clock.step("first lists"):
            lists = {person.id: _first_titles(service, person) for person in chosen}
        _show_people(screen, chosen, lists)
        people = [{"id": each.id, "why": each.why, "events": each.events, "items": lists[each.id]} for each in chosen]
        screen.result("demo", {**found, "url": url or None, "people": people, "seconds": clock.seconds})

    def announce(url: str, runtime: Runtime) -> None:
        look(Service(runtime, Metrics()), url)
        if not url.endswith(f":{port}"):
            screen.say(f"port {port} is taken, so this is the next free one")
        addresses(screen, url)
        screen.say(f"  curl -s {url}/v1/recommend -H 'Content-Type: application/json' -d '{_question(chosen[0])}'")
        where = f"data and release in {folder}" if kept else "data is removed at the end (--keep DIR keeps it)"
        screen.say(f"{where}; press Ctrl-C to stop")
        if browser and _desktop():
            import webbrowser

            webbrowser.open(url)

    if no_serve:
        with asked(settings) as service:
            look(service, "")
        screen.next(f"shortlist serve --config {folder}" if kept else "shortlist demo")
        return
    serve(settings, port=port, next_free=True, announce=announce)


class _Clock:
    """One line a step, with its seconds."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[Any]:
        said = [""]
        start = perf_counter()
        yield lambda text: said.__setitem__(0, text)
        self.seconds[name] = perf_counter() - start
        self.screen.step(f"{name:<12} {said[0]}", self.seconds[name])


def _verdict(result: Any) -> str:
    home, popular = (result.row(name, result.main).value for name in ("home", "popular"))
    return f"{result.main} {home.value:.3f} ({home.low:.3f} to {home.high:.3f}), popular {popular.value:.3f}"


def _first_titles(service: Service, person: Person) -> list[str]:
    from shortlist.cli.answers import titles
    from shortlist.serve.problems import Refusal
    from shortlist.serve.wire import RecommendRequest

    ask = RecommendRequest(user_id=person.id, n=5, fields=titles(service))
    (answer,) = service.recommend([ask], ["demo"], [""])
    if isinstance(answer, Refusal):
        raise answer
    return [str(next(iter((item.fields or {}).values()), item.id)) for item in answer.items]


def _show_people(screen: Screen, people: list[Person], lists: Mapping[str, list[str]]) -> None:
    rows = [(each.id, each.why, each.events, " · ".join(lists[each.id])) for each in people]
    screen.table(("person", "worth a look", "events", "first on the list"), rows)


def _question(person: Person) -> str:
    import json

    return json.dumps({"user_id": person.id, "n": 5, "fields": ["title"]})


def _all(size: int) -> Any:
    import numpy as np

    return np.arange(size, dtype=np.int32)


def _cache() -> Path:
    """Where downloads of this person are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shortlist"


def _desktop() -> bool:
    """Is somebody sitting before a screen?"""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(each) for each in ("DISPLAY", "WAYLAND_DISPLAY"))
