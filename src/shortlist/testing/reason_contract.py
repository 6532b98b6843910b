"""What every component that explains itself must keep: inherit a suite beside that of its verb."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Any

import numpy as np

from shortlist.protocols import Accountable, Additive, Reasoned
from shortlist.testing.checks import TOLERANCE, candidates, everything
from shortlist.testing.contracts import Contract
from shortlist.testing.world import World
from shortlist.types import Candidates, Queries, Reason


class ReasonedContract(Contract):
    """For filters with `reasons`."""

    @abstractmethod
    def make(self, world: World) -> Reasoned: ...

    def test_every_row_that_is_taken_out_has_a_reason(self) -> None:
        world = self.world()
        filter: Any = self.make(world)
        told = 0
        for queries in (world.queries(), world.odd_queries()):
            found = everything(world, queries)
            out = found.take(~filter.keep(queries, found))
            reasons = filter.reasons(queries, out)
            assert len(reasons) == len(out)
            for each in reasons:
                check_reason(each)
            told += len(out)
        assert told, "the filter took nothing out"


class AdditiveContract(Contract):
    """For scorers with `parts`."""

    @abstractmethod
    def make(self, world: World) -> Additive: ...

    def test_parts_add_up_to_the_score(self) -> None:
        world = self.world()
        scorer: Any = self.make(world)
        for queries in (world.queries(), world.odd_queries()):
            found = candidates(world, queries)
            parts = scorer.parts(queries, found)
            assert len({each.name for each in parts}) == len(parts)
            for each in parts:
                assert each.value.shape == each.weight.shape == (len(found),)
            total = np.sum([each.value * each.weight for each in parts], axis=0)
            np.testing.assert_allclose(total, scorer.score(queries, found), rtol=TOLERANCE, atol=TOLERANCE)


class AccountableContract(Contract):
    """For rerankers with `moved`."""

    @abstractmethod
    def make(self, world: World) -> Accountable: ...

    def found(self, world: World, queries: Queries) -> Candidates:
        """The scored candidates of `queries`, with the columns it reads."""
        return candidates(world, queries)

    def test_what_a_rule_did_is_said_of_any_row(self) -> None:
        world = self.world()
        rule, told = self.make(world), 0
        for user in range(6):
            queries = world.queries(np.array([user]))
            found = self.found(world, queries)
            for row in range(len(found)):
                reason = rule.moved(queries, found, 5, row)
                if reason is not None:
                    check_reason(reason)
                    told += 1
        assert told, "the rule did nothing to any row"


def check_reason(reason: Reason) -> None:
    """A sentence whose gaps its facts fill."""
    assert reason.text
    gaps = set(re.findall(r"\{([^{}]+)\}", reason.text))
    assert gaps <= set(reason.facts), f"{reason.text!r} has no fact for {gaps - set(reason.facts)}"
