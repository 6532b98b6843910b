"""Shared by the suites of the four store roles: opening, closing, opening again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from shortlist.stores import Closable
from shortlist.types import Rows

T = TypeVar("T")

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class StoreContract(ABC):
    """Shared by the suites: opening, closing, opening again."""

    lasting: ClassVar[bool] = True  # what was acknowledged is there when the store is opened again

    @abstractmethod
    def url(self, folder: Path) -> str:
        """The URL of the store that belongs to `folder`."""

    def reopens(self) -> None:
        if not self.lasting:
            pytest.skip("this store is gone when it is closed")


@contextmanager
def closed(store: T) -> Iterator[T]:
    with closing(store) if isinstance(store, Closable) else nullcontext():
        yield store


def at(*rows: int) -> Rows:
    return np.array(rows, np.int32)


def in_threads(count: int, work: Callable[[int], T]) -> list[T]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))
