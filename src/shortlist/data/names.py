"""The ids of one role in one load: each text is checked and looked up once, not once a row."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shortlist import _kernels
from shortlist.data.checks import CONTROL
from shortlist.data.rows import ID_BYTES
from shortlist.types import Mask, Rows

Numbers = NDArray[np.int32]


class Names:
    """Every text that was met has a number, in order of its first appearance, and columns by number.

    Texts are told apart by 128 bits of hash, as events are (docs/decisions/0005-event-ids-of-128-bits.md).
    """

    def __init__(self) -> None:
        self._known = _kernels.IdRows()
        self._texts: list[pl.Series] = []
        self.long: Mask = np.empty(0, np.bool_)
        self.control: Mask = np.empty(0, np.bool_)
        self.row: Rows = np.empty(0, np.int32)  # of the catalogue, -1 = not looked up or not there

    def numbers(self, ids: pl.Series) -> Numbers:
        """(N,) the number of each text, -1 for null."""
        key = _key(ids)
        number = self._known.find(key)
        absent = number < 0
        if ids.null_count():
            absent &= ids.is_not_null().to_numpy()
        if absent.any():
            new = ids.filter(absent).unique(maintain_order=True)
            first = len(self.row)
            self._known.add(_key(new), np.arange(first, first + len(new), dtype=np.int32))
            self._texts.append(new)
            self.long = np.append(self.long, (new.str.len_bytes() > ID_BYTES).to_numpy())
            self.control = np.append(self.control, new.str.contains(CONTROL).to_numpy())
            self.row = np.append(self.row, np.full(len(new), -1, np.int32))
            number[absent] = self._known.find(key[absent])
        return number

    def texts(self, numbers: Numbers) -> list[str]:
        """The texts of some numbers."""
        return self.all.gather(numbers).to_list()

    @property
    def all(self) -> pl.Series:
        """Every text by its number."""
        if len(self._texts) != 1:
            self._texts = [pl.concat([pl.Series(dtype=pl.String), *self._texts])]
        return self._texts[0]


def _key(ids: pl.Series) -> NDArray[np.uint64]:
    return np.stack((ids.hash(1).to_numpy(), ids.hash(2).to_numpy()), axis=1)
