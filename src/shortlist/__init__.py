"""Shortlist: from millions of items to a short list for each person, in milliseconds, on one machine."""

from shortlist.errors import (
    ConfigError,
    DataError,
    NotFound,
    NotOffered,
    ReleaseError,
    ShapeError,
    ShortlistError,
    StoreError,
    StoreLocked,
)
from shortlist.pipeline import FilterFailed, Pipeline, Recall, Step, Trace
from shortlist.types import Candidates, Columns, Events, Mask, Queries, Ragged, Rows, Scores, Vectors

__version__ = "0.1.0"

__all__ = [
    "Candidates",
    "Columns",
    "ConfigError",
    "DataError",
    "Events",
    "FilterFailed",
    "Mask",
    "NotFound",
    "NotOffered",
    "Pipeline",
    "Queries",
    "Ragged",
    "Recall",
    "ReleaseError",
    "Rows",
    "Scores",
    "ShapeError",
    "ShortlistError",
    "Step",
    "StoreError",
    "StoreLocked",
    "Trace",
    "Vectors",
]
