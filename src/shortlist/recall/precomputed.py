"""Lists that a batch run worked out beforehand for each person, read from the state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shortlist import ops
from shortlist.errors import ShapeError
from shortlist.protocols import State
from shortlist.types import Candidates, Queries, Ragged

TABLE = "user"  # so that what is erased of a person is erased of their lists
RUNS = "runs"  # table of one row: for each name the run whose lists count


@dataclass(frozen=True, slots=True)
class Precomputed:
    """The list of the run that was published last under `name`; nothing for people who have none.

    `write` puts it there. A state that is rebuilt from the log has no such lists until the next run.
    """

    state: State
    name: str = "precomputed"

    def recall(self, queries: Queries, k: int) -> Candidates:
        run = self.state.read(RUNS, np.zeros(1, np.int32), [self.name])[self.name][0]
        lists = self.state.lists(TABLE, self.name, queries.user)
        if np.isnan(run) or not len(lists["item"]):
            return Candidates.empty()
        mine = lists.where(lists["time"] == np.int64(run))
        permitted = mine.where(ops.permitted(mine.owner, mine["item"], queries.exclude, queries.allowed))
        score = permitted["score"]
        best = ops.topk(permitted.owner, score, k, len(queries))
        return Candidates(permitted.owner[best], permitted["item"][best], {"score": score[best]})


def write(state: State, name: str, lists: Ragged, run: int) -> int:
    """Make `lists` ("item" and "score" for each user row) the ones that count; how many rows of earlier runs went.

    Readers see the lists of the run before until all new ones are there. `run` is a time in microseconds, later than
    that of the run before. Durable with the next snapshot of the state.
    """
    before = state.read(RUNS, np.zeros(1, np.int32), [name])[name][0]
    if run <= before:
        raise ShapeError(f"run {run} of {name!r} is not later than the one that counts, {int(before)}")
    owner = lists.owner
    state.push(
        TABLE,
        name,
        owner,
        {
            "item": lists["item"].astype(np.int32),
            "score": lists["score"].astype(np.float32),
            "kind": np.zeros(len(owner), np.uint8),
            "time": np.full(len(owner), run, np.int64),
        },
        keep=2**31,
    )
    state.write(RUNS, np.zeros(1, np.int32), {name: np.array([run], np.float64)})
    return state.retain(TABLE, name, {0: run})
