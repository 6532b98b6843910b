"""Requests that wait at the same moment are answered in one go: one sync of the disk, or one pass of the arrays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Said = TypeVar("Said")

MOST = 1 << 20  # bytes of bodies answered together, so that no group takes long


class Gathering(Generic[Asked, Said]):
    """One group at a time is being answered; whoever comes meanwhile makes up the next."""

    def __init__(
        self,
        workers: Executor,
        answer: Callable[[Sequence[Asked]], Sequence[Said | Exception]],
        most: int,
        here: Callable[[], bool] = lambda: False,
    ) -> None:
        """`answer` has an answer or an error for each of at most `most`. It runs in a worker, or in the event loop when
        `here` says that this is short: two threads less to wake up for every group."""
        self._workers, self._answer, self._most, self._here = workers, answer, most, here
        self._waiting: list[tuple[Asked, int, asyncio.Future[Said]]] = []
        self._busy: asyncio.Task[None] | None = None

    async def ask(self, asked: Asked, size: int) -> Said:
        """The answer to one request, whose body has `size` bytes."""
        future: asyncio.Future[Said] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, size, future))
        if self._busy is None:
            self._busy = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                group = self._next()
                some = [asked for asked, _, _ in group]
                try:
                    if self._here():
                        answers = self._answer(some)
                    else:
                        answers = await loop.run_in_executor(self._workers, self._answer, some)
                except Exception as error:
                    answers = [error] * len(group)
                for (_, _, future), said in zip(group, answers, strict=True):
                    if future.cancelled():  # the client has gone; what it sent is stored all the same
                        continue
                    if isinstance(said, Exception):
                        future.set_exception(said)
                    else:
                        future.set_result(said)
                await asyncio.sleep(0)  # they get their answers before the next are begun with
        finally:
            self._busy = None

    def _next(self) -> list[tuple[Asked, int, asyncio.Future[Said]]]:
        """Those who came first, as many as fit."""
        count = total = 0
        for _, size, _ in self._waiting[: self._most]:
            total += size
            if count and total > MOST:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group
