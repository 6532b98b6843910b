"""Groups of requests: everyone gets their own answer, and whoever comes while a group is busy is in the next."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from shortlist.serve.gathering import MOST, Gathering


def test_those_who_wait_are_answered_together() -> None:
    groups: list[list[int]] = []
    busy, go = threading.Event(), threading.Event()

    def answer(some: Sequence[int]) -> Sequence[int | Exception]:
        groups.append(list(some))
        busy.set()
        assert go.wait(10)
        return [ValueError(str(each)) if each == 3 else each * 10 for each in some]

    async def ask() -> list[int | BaseException]:
        with ThreadPoolExecutor(2) as workers:
            gathering = Gathering(workers, answer, 9)
            first = asyncio.create_task(gathering.ask(0, 1))
            await asyncio.get_running_loop().run_in_executor(workers, busy.wait, 10)
            others = [asyncio.create_task(gathering.ask(each, MOST // 3)) for each in (1, 2, 3, 4, 5)]
            await asyncio.sleep(0)
            others[1].cancel()
            go.set()
            return await asyncio.gather(first, *others, return_exceptions=True)

    said = asyncio.run(ask())
    assert groups == [[0], [1, 2, 3], [4, 5]]
    assert [said[0], said[1], said[4], said[5]] == [0, 10, 40, 50]
    assert isinstance(said[2], asyncio.CancelledError)
    assert isinstance(said[3], ValueError)


def test_a_group_that_fails_fails_for_everyone_in_it_and_for_nobody_after() -> None:
    broken = [True]

    def answer(some: Sequence[str]) -> Sequence[str | Exception]:
        if broken.pop() if broken else False:
            raise RuntimeError("no disk")
        return list(some)

    async def ask() -> tuple[list[str | BaseException], str]:
        with ThreadPoolExecutor(1) as workers:
            gathering = Gathering(workers, answer, 9)
            both = await asyncio.gather(gathering.ask("a", 1), gathering.ask("b", MOST * 2), return_exceptions=True)
            return both, await gathering.ask("c", 1)

    both, after = asyncio.run(ask())
    assert isinstance(both[0], RuntimeError)
    assert both[1] == "b"
    assert after == "c"


def test_a_group_has_no_more_than_its_endpoint_takes() -> None:
    groups: list[list[int]] = []

    def answer(some: Sequence[int]) -> Sequence[int | Exception]:
        groups.append(list(some))
        return list(some)

    async def ask() -> list[int]:
        with ThreadPoolExecutor(1) as workers:
            gathering = Gathering(workers, answer, 3)
            return await asyncio.gather(*(gathering.ask(each, 1) for each in range(7)))

    assert asyncio.run(ask()) == [0, 1, 2, 3, 4, 5, 6]
    assert groups == [[0, 1, 2], [3, 4, 5], [6]]


def test_what_is_short_is_answered_in_the_loop_and_sent_before_the_next_group() -> None:
    told: list[str] = []

    def answer(some: Sequence[int]) -> Sequence[int | Exception]:
        told.append(f"{list(some)} in {threading.current_thread().name}")
        return list(some)

    async def ask() -> None:
        async def one(number: int) -> None:
            told.append(f"{await gathering.ask(number, 1)} sent")

        with ThreadPoolExecutor(1, "worker") as workers:
            gathering = Gathering(workers, answer, 2, lambda: len(told) < 4)
            await asyncio.gather(*(one(each) for each in range(5)))

    asyncio.run(ask())
    assert told[:6] == ["[0, 1] in MainThread", "0 sent", "1 sent", "[2, 3] in MainThread", "2 sent", "3 sent"]
    assert told[6:] == ["[4] in worker_0", "4 sent"]


@pytest.mark.parametrize("size", [1, MOST * 5])
def test_one_alone_is_a_group(size: int) -> None:
    async def ask() -> int:
        with ThreadPoolExecutor(1) as workers:
            return await Gathering(workers, lambda some: list(some), 3).ask(7, size)

    assert asyncio.run(ask()) == 7
