from pathlib import Path

import numpy as np
import pytest

from shortlist.errors import StoreError
from shortlist.stores import embedded_log
from shortlist.stores.database import Database
from shortlist.stores.embedded import Embedded
from shortlist.types import Columns, Events


def events(numbers: list[int], columns: Columns | None = None) -> Events:
    n = np.array(numbers, np.int64)
    number = n.astype(np.uint64)
    return Events(
        n.astype(np.int32),
        n.astype(np.int32),
        np.zeros(len(n), np.uint8),
        np.ones(len(n), np.float32),
        n,
        number,
        np.stack((number, number), axis=1),
        columns or {},
    )


def numbers(store: Embedded, start: str = "") -> list[int]:
    return [int(n) for _, batch in store.log.scan(start) for n in batch.time]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("BULK", 10), ("ROLL", 40), ("SEGMENT", 16)):
        monkeypatch.setattr(embedded_log, name, value)


@pytest.mark.usefixtures("small")
def test_tail_and_segments_are_one_sequence(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sent: list[int] = []
    with Embedded.open(tmp_path) as store:
        ends = []
        for _ in range(60):
            part = list(range(len(sent), len(sent) + int(rng.choice([1, 2, 3, 25]))))
            odd = {"place": np.array(part, np.int16)} if rng.random() < 0.5 else {}
            assert store.log.append(events(part, odd)).all()
            sent += part
            ends.append((len(sent), store.log.end()))
        assert numbers(store) == sent
        for count, end in ends:
            assert numbers(store, end) == sent[count:]
        sizes = [len(batch) for _, batch in store.log.scan()]
        assert max(sizes) <= 40
        for _, batch in store.log.scan():
            place = batch.columns.get("place")
            if place is not None:
                assert set(np.unique(place - batch.time.astype(np.int16))) <= {0, *(-1 - batch.time.astype(np.int16))}
    with Embedded.open(tmp_path) as store:
        assert numbers(store) == sent
        assert not store.log.append(events(sent)).any()
        files = {path.name for path in (tmp_path / "events").iterdir()}
        (tmp_path / "events" / "000000009999-3.parquet").write_bytes(b"left by a crash")
        (tmp_path / "events" / ".half.parquet.new").write_bytes(b"left by a crash")
    with Embedded.open(tmp_path) as store:
        assert numbers(store) == sent
        assert {path.name for path in (tmp_path / "events").iterdir()} == files


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("count", [1, 30])
def test_an_append_that_fails_leaves_nothing_and_can_be_sent_again(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Embedded.open(tmp_path) as store:
        store.log.append(events([100]))
        with monkeypatch.context() as broken:
            broken.setattr(Database, "write", lambda self: (_ for _ in ()).throw(StoreError("no disk")))
            with pytest.raises(StoreError, match="no disk"):
                store.log.append(events(list(range(count))))
        assert numbers(store) == [100]
        assert store.log.append(events(list(range(count)))).all()
        assert numbers(store) == [100, *range(count)]


@pytest.mark.usefixtures("small")
def test_events_are_acknowledged_though_their_tail_cannot_be_rolled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, first: int, events: Events) -> str:
        raise StoreError("no disk")

    with Embedded.open(tmp_path) as store:
        with monkeypatch.context() as broken:
            broken.setattr(embedded_log.EmbeddedLog, "_write_segment", full)
            for n in range(50):
                assert store.log.append(events([n])).all()
        assert numbers(store) == list(range(50))
        store.log.append(events([50]))
        assert len(list((tmp_path / "events").iterdir())) == 4
        assert numbers(store) == list(range(51))


def test_a_missing_segment_is_found_at_opening(tmp_path: Path) -> None:
    with Embedded.open(tmp_path) as store:
        store.log.append(events(list(range(6000))))
    next((tmp_path / "events").iterdir()).unlink()
    with Embedded.open(tmp_path) as store, pytest.raises(StoreError, match="is missing"):
        _ = store.log


def test_a_reader_sees_events_at_once(tmp_path: Path) -> None:
    with Embedded.open(tmp_path) as writer, Embedded.open(tmp_path, read_only=True) as reader:
        for part in ([1], list(range(10, 6000)), [2]):
            writer.log.append(events(part))
            assert numbers(reader) == numbers(writer)
            assert reader.log.end() == writer.log.end()
        with pytest.raises(StoreError, match="for reading only"):
            reader.log.append(events([7]))


@pytest.mark.usefixtures("small")
def test_every_batch_has_every_context_column(tmp_path: Path) -> None:
    """What is loaded from files says where it happened, what servers add does not: both are read together."""
    with Embedded.open(tmp_path) as store:
        store.log.append(events(list(range(60)), {"pid": np.arange(60, dtype=np.int64)}))
        store.log.append(events([100, 101]))
        with Embedded.open(tmp_path, read_only=True) as reader:
            for log in (store.log, reader.log):
                read = Events.concat([batch for _, batch in log.scan()])
                assert read.columns["pid"].tolist() == [*range(60), -1, -1]
