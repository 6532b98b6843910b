"""What an answer may cost: how much sources are asked for, and which of them are left alone for a while."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

PAUSE, LONGEST_PAUSE = 1.0, 30.0  # seconds that a slow source is left alone: the first time, and at most


@dataclass
class Effort:
    """The share of candidates that sources are asked for: less while answers take too long, slowly more afterwards."""

    budget: float  # seconds that 99 of 100 answers may take
    share: float = 1.0
    recent: deque[float] = field(default_factory=deque)

    def record(self, seconds: float) -> None:
        """Judged every 100 answers, so that each judgement sees only answers given since the last."""
        self.recent.append(seconds)
        judged = sorted(self.recent)  # a copy: another thread may judge and clear meanwhile
        if len(judged) >= 100:
            slow = judged[98]
            self.recent.clear()
            self.share = max(0.25, self.share * 0.7) if slow > self.budget else min(1.0, self.share + 0.05)


@dataclass
class _Pause:
    """Why a source is left alone, and until when."""

    took: float
    length: float
    until: float
    tried: bool = False  # a trial is under way


class Breaker:
    """Leaves a source alone that took longer than its budget, so that it holds only the requests it had already.

    A local source cannot be interrupted and a thread for every call would cost more than most sources do. So calls run
    in the request, and one that was too long is the last for a while: when the pause is over, a trial runs beside the
    requests, in a thread of its own, and ends the pause when it is quick enough again. Pauses double up to a limit.
    """

    def __init__(self, budget: float, *, clock: Callable[[], float] = monotonic) -> None:
        self.budget = budget
        self._clock = clock
        self._lock = threading.Lock()
        self._paused: dict[str, _Pause] = {}

    def paused(self, name: str) -> str:
        """Why to leave `name` alone now, or nothing."""
        pause = self._paused.get(name)
        return "" if pause is None else f"Paused: took {pause.took:.2f} s, {self.budget:.2f} s are allowed"

    def record(self, name: str, seconds: float) -> None:
        """What a call of `name` took."""
        if seconds <= self.budget and name not in self._paused:
            return
        with self._lock:
            pause = self._paused.pop(name, None)
            if seconds > self.budget:
                length = PAUSE if pause is None else min(2 * pause.length, LONGEST_PAUSE)
                self._paused[name] = _Pause(seconds, length, self._clock() + length)

    def due(self, name: str) -> bool:
        """True for the one caller that is to try `name` again, once its pause is over."""
        with self._lock:
            pause = self._paused.get(name)
            if pause is None or pause.tried or self._clock() < pause.until:
                return False
            pause.tried = True
            return True

    def states(self) -> dict[str, float]:
        """Seconds of pause that are left, by name; 0 = a trial is due or under way."""
        with self._lock:
            return {name: max(0.0, pause.until - self._clock()) for name, pause in self._paused.items()}
