"""An empty shop in memory, and the words to load files into it and to look at what came of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shortlist.data.load import load
from shortlist.data.mapping import Mapping
from shortlist.data.tally import Summary
from shortlist.dataset import Kinds
from shortlist.stores.embedded import Embedded

NOW = 1_767_225_600_000_000  # 2026-01-01


class Shop:
    def __init__(self, stores: Embedded, folder: Path) -> None:
        self.stores, self.folder = stores, folder

    def write(self, content: str | bytes, name: str = "events.csv") -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def load(self, source: str | Path, mapping: Mapping | None = None, **fields: Any) -> Summary:
        """Load a path or URL; the summary always adds up."""
        stores = self.stores
        summary = load(
            source,
            mapping or Mapping(**fields),
            stores.catalog,
            stores.log,
            kinds=Kinds(),
            now=NOW,
            rejects=self.folder / "rejects.jsonl",
            held=stores.held,
        )
        parts = summary.accepted + summary.duplicate + summary.held + sum(summary.rejected.values())
        assert summary.rows == parts
        assert (summary.rejects is not None) == bool(summary.rejected)
        assert len(self.rejects()) == sum(summary.rejected.values())
        return summary

    def rejects(self) -> list[dict[str, Any]]:
        path = self.folder / "rejects.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    def events(self) -> list[tuple[str, str, str, float, int]]:
        """user, item, kind, value, time in order of arrival."""
        out = []
        for _, each in self.stores.log.scan():
            user, item = self.stores.catalog.ids("user", each.user), self.stores.catalog.ids("item", each.item)
            kind = [Kinds().name(code) for code in each.kind.tolist()]
            out += list(zip(user, item, kind, each.value.tolist(), each.time.tolist(), strict=True))
        return out

    def facts(self, entity: str, id: str) -> dict[str, Any]:
        catalog = self.stores.catalog
        row = catalog.rows(entity, [id])
        return {name: column[0] for name, column in catalog.read(entity, row, catalog.names(entity)).items()}

    def ids(self, entity: str) -> list[str]:
        size = self.stores.catalog.size(entity)
        return self.stores.catalog.ids(entity, np.arange(size, dtype=np.int32))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    with Embedded.memory() as stores:
        yield Shop(stores, tmp_path)


@pytest.fixture(scope="session")
def real_data() -> Path:
    folder = Path(os.environ.get("SHORTLIST_DATA", Path(__file__).parents[3] / "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"no real data in {folder}: name its folder in SHORTLIST_DATA")
    return folder
