"""Ask the service in this process, beside a running server if there is one, and print what it answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from shortlist.cli.failures import Usage
from shortlist.cli.screen import Screen
from shortlist.cli.why import tree
from shortlist.errors import NotFound

if TYPE_CHECKING:
    from shortlist.config import Settings
    from shortlist.serve.service import Service
    from shortlist.serve.why import Explanation
    from shortlist.serve.wire import Item, Recommendation


@contextmanager
def asked(settings: Settings, at: str = "") -> Iterator[Service]:
    """The service over the stores and the current release, opened for reading only; `at` = as it was then."""
    from shortlist.cli.past import Past
    from shortlist.runtime import Runtime
    from shortlist.serve.metrics import Metrics
    from shortlist.serve.service import Service

    opened = Past.open(settings, read_only=True, clock=moment(at)) if at else Runtime.open(settings, read_only=True)
    with opened as runtime:
        if not runtime.release.version:
            raise NotFound(
                "no release is published",
                where=str(settings.releases_path),
                hint="run: shortlist train --publish",
            )
        yield Service(runtime, Metrics())


def moment(text: str) -> Callable[[], int]:
    """A clock that stands still at an ISO 8601 time; without a zone it is UTC."""
    from datetime import UTC, datetime

    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise Usage(f"{text!r} is not a time", where="--at", hint="write it like 2026-11-21T22:10:00Z") from None
    micros = int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1_000_000)
    return lambda: micros


def facts(given: Sequence[str] | None) -> dict[str, str]:
    """What `--fact NAME=VALUE` says."""
    said = {}
    for each in given or ():
        name, sign, value = each.partition("=")
        if not (name and sign):
            raise Usage(f"{each!r} is not NAME=VALUE", where="--fact", hint="write it like --fact pid=430548_1007")
        said[name] = value
    return said


def titles(service: Service) -> list[str]:
    """The item column that people read, when the catalogue has it."""
    name = service.runtime.settings.serve.titles
    return [name] if name in service.catalog.names("item") else []


def show(screen: Screen, command: str, answer: Recommendation, *, trace: bool, why: Sequence[Explanation] = ()) -> None:
    """A list with reasons, how far it is from what was configured; each stage, and each item's way, when wanted."""
    from msgspec import to_builtins

    screen.table(("", "item", "title", "score", "why"), [_row(each) for each in answer.items])
    if answer.degradation.level != "none":
        screen.say(f"degraded ({answer.degradation.level}): {'; '.join(answer.degradation.reasons)}")
    if trace and answer.trace:
        screen.text("")
        screen.table(
            ("stage", "name", "ms", "rows in", "rows out", "error"),
            [(each.stage, each.name, each.ms, each.rows_in, each.rows_out, each.error) for each in answer.trace],
        )
    for each in why:
        screen.text("\n".join(["", *tree(each)]))
    screen.say(f"release {answer.versions.release}, {answer.timing_ms:.1f} ms")
    also = {"explanations": to_builtins(why)} if why else {}
    screen.result(command, {**to_builtins(answer), **also})
    if answer.items:
        screen.next(f"shortlist similar {answer.items[0].id}")
    else:
        screen.say("nothing is left to propose: all items are seen, unavailable or ruled out by the condition")


def _row(item: Item) -> tuple[object, ...]:
    title = ", ".join(str(each) for each in (item.fields or {}).values())
    why = " · ".join(list(dict.fromkeys(each.text for each in item.why or []))[:2])
    return (item.rank, item.id, title, "–" if item.score is None else item.score, why)
