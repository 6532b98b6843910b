"""Finished lists for many people as a Parquet file: one row a place, with the ids of the caller."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from shortlist import ops
from shortlist.errors import DataError, NotFound
from shortlist.protocols import Catalog
from shortlist.types import Candidates, Ragged, Rows

COLUMNS = ("user", "item", "score")


def save(path: Path, catalog: Catalog, user: Rows, slate: Candidates) -> None:
    """Write the slates of `user` (B,), best first. The file is complete or not there."""
    frame = pl.DataFrame(
        {
            "user": catalog.ids("user", user[slate.query]),
            "item": catalog.ids("item", slate.item),
            "score": slate.columns["score"],
        }
    )
    whole = path.with_name(f".{path.name}.part")
    frame.write_parquet(whole)
    whole.replace(path)


def read(path: Path, catalog: Catalog) -> Ragged:
    """For each user row of the catalog the list ("item", "score") that the file has for them.

    Rows whose user or item the catalog does not know are left out. NotFound, DataError.
    """
    if not path.exists():
        raise NotFound("no such file", where=str(path))
    try:
        frame = pl.read_parquet(path, columns=list(COLUMNS))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"cannot be read as lists: {error}", where=str(path), hint=f"a Parquet file with {', '.join(COLUMNS)}"
        ) from error
    user = catalog.rows("user", frame["user"].cast(pl.String).to_list())
    item = catalog.rows("item", frame["item"].cast(pl.String).to_list())
    score = frame["score"].cast(pl.Float32).to_numpy()
    known = np.flatnonzero((user >= 0) & (item >= 0) & np.isfinite(score))
    known = known[ops.stable_order(user[known])]
    ptr = ops.pointers(user[known], catalog.size("user"))
    return Ragged(ptr, {"item": item[known], "score": score[known]})
