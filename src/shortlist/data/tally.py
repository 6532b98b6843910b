"""What became of every row of a load: counted by fate, and the refused ones kept in a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from shortlist.data.rows import Reject

KEPT, KEPT_BYTES = 100_000, 64 << 20  # rejected rows in a file


@dataclass(frozen=True, slots=True)
class Summary:
    """Every row has one fate: rows = accepted + duplicate + held + rejected."""

    source: str
    entity: str
    rows: int
    accepted: int
    duplicate: int  # known already, or a second time in this source
    held: int  # events that wait for their item
    rejected: Mapping[str, int]  # by reason
    created: Mapping[str, int]  # users and items that were not known before
    released: int  # held events of earlier loads whose item has come with this one
    warnings: tuple[str, ...]
    seconds: float
    rejects: Path | None  # where the rejected rows are, None when there are none


@dataclass(slots=True)
class Tally:
    """A summary in the making."""

    rows: int = 0
    accepted: int = 0
    duplicate: int = 0
    held: int = 0
    released: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    created: Counter[str] = field(default_factory=Counter)
    oddities: Counter[str] = field(default_factory=Counter)  # warnings that are a sentence about so many rows
    notes: dict[str, None] = field(default_factory=dict)  # warnings about the source as a whole, in order

    def warnings(self) -> tuple[str, ...]:
        """The notes, then each oddity with its count."""
        return (*self.notes, *(f"{count:,} {what}" for what, count in self.oddities.most_common()))


class Refused:
    """The rejects file: one JSON object a row, made only when there is one, replacing that of an earlier load.

    All rows are counted, the first KEPT of them and at most KEPT_BYTES are kept: a source that is wrong as a whole
    fills no disk.
    """

    def __init__(self, path: Path, source: str) -> None:
        self.path = path
        self._source = source
        self._file: IO[str] | None = None
        self._rows = self._bytes = 0
        path.unlink(missing_ok=True)

    def write(self, rejects: Iterable[Reject], tally: Tally) -> None:
        """Count every row of `rejects`, and keep it while there is room."""
        for each in rejects:
            tally.rejected[each.reason] += 1
            if self._rows >= KEPT or self._bytes >= KEPT_BYTES:
                tally.notes[f"the rejects file holds the first {self._rows:,} rejected rows, not all of them"] = None
                continue
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("w", encoding="utf-8")
            row = {"file": self._source, **each._asdict()}
            self._bytes += self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self._rows += 1

    @property
    def any(self) -> bool:
        return self._file is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
