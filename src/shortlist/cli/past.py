"""Answers as they would have been: the history ends at the moment that is asked about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from shortlist.runtime import Runtime
from shortlist.types import Queries, Ragged, Rows


class Past(Runtime):
    """A runtime whose clock stands still, and for which nothing later has happened. The release stays today's."""

    def queries(
        self,
        user: Rows,
        seed: NDArray[np.uint64],
        *,
        session: Ragged | None = None,
        context: Ragged | None = None,
        exclude: Ragged | None = None,
        where: str = "",
    ) -> Queries:
        asked = super().queries(user, seed, session=session, context=context, exclude=exclude, where=where)
        return replace(asked, history=asked.history.where(asked.history["time"] <= self.clock()))
