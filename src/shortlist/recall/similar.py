"""More like what is in view: any source that reads a history, asked about the context instead."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from shortlist.protocols import Explainer, Source
from shortlist.types import Candidates, Queries, Ragged, Rows


@dataclass(frozen=True, slots=True)
class Similar:
    """Asks `source` as somebody unknown whose whole history is the context; never proposes the context itself."""

    source: Source

    def recall(self, queries: Queries, k: int) -> Candidates:
        return self.source.recall(_about_context(queries), k)

    def because(self, queries: Queries, found: Candidates) -> Rows:
        if isinstance(self.source, Explainer):
            return self.source.because(_about_context(queries), found)
        return np.full(len(found), -1, np.int32)


def _about_context(queries: Queries) -> Queries:
    context = queries.context
    asked = Ragged(context.ptr, {**context.columns, "weight": np.ones(len(context["item"]), np.float32)})
    unknown = np.full(len(queries), -1, np.int32)
    about = replace(queries, user=unknown, history=asked)
    return about.with_exclude(Ragged(context.ptr, {"item": context["item"]}))
