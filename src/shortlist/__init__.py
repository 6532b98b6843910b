"""Shortlist: from millions of items to a short list for each person, in milliseconds, on one machine."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shortlist.errors import ConfigError as ConfigError
    from shortlist.errors import DataError as DataError
    from shortlist.errors import NotFound as NotFound
    from shortlist.errors import NotOffered as NotOffered
    from shortlist.errors import ReleaseError as ReleaseError
    from shortlist.errors import ShapeError as ShapeError
    from shortlist.errors import ShortlistError as ShortlistError
    from shortlist.errors import StoreError as StoreError
    from shortlist.errors import StoreLocked as StoreLocked
    from shortlist.pipeline import FilterFailed as FilterFailed
    from shortlist.pipeline import Pipeline as Pipeline
    from shortlist.pipeline import Recall as Recall
    from shortlist.pipeline import Step as Step
    from shortlist.pipeline import Trace as Trace
    from shortlist.types import Candidates as Candidates
    from shortlist.types import Columns as Columns
    from shortlist.types import Events as Events
    from shortlist.types import Mask as Mask
    from shortlist.types import Queries as Queries
    from shortlist.types import Ragged as Ragged
    from shortlist.types import Rows as Rows
    from shortlist.types import Scores as Scores
    from shortlist.types import Vectors as Vectors

__version__ = "0.1.0"

# Loaded when first asked for, so that a command line that only prints its help does not wait for numpy.
_HOMES = {
    "errors": (
        *("ConfigError", "DataError", "NotFound", "NotOffered", "ReleaseError", "ShapeError", "ShortlistError"),
        *("StoreError", "StoreLocked"),
    ),
    "pipeline": ("FilterFailed", "Pipeline", "Recall", "Step", "Trace"),
    "types": ("Candidates", "Columns", "Events", "Mask", "Queries", "Ragged", "Rows", "Scores", "Vectors"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'shortlist' has no attribute {name!r}")
    return getattr(import_module(f"shortlist.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
