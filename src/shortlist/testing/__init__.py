"""For people who write components: the contract suites every built-in passes, and small worlds with known answers.

from shortlist.testing.contracts import SourceContract

class TestMine(SourceContract):
    def make(self, world):
        return Mine().fit(world.data, seed=0)
"""
