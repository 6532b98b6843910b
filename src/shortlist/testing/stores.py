"""What every store must keep: inherit a suite, say how to open one, and pytest runs it (needs hypothesis).

    class TestMine(CatalogContract):
        def url(self, folder):
            return f"mine:{folder}"

`url` of the same folder is the same store, of another folder an empty one.
"""

from shortlist.testing.catalog_contract import CatalogContract
from shortlist.testing.index_contract import IndexContract
from shortlist.testing.log_contract import EventLogContract
from shortlist.testing.state_contract import StateContract

__all__ = ["CatalogContract", "EventLogContract", "IndexContract", "StateContract"]
