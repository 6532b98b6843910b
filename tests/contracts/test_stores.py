from pathlib import Path

from shortlist.testing.stores import CatalogContract, EventLogContract, IndexContract, StateContract


class File:
    def url(self, folder: Path) -> str:
        return f"file:{folder / 'data'}"


class Memory:
    lasting = False

    def url(self, folder: Path) -> str:
        return "memory:"


class TestEmbeddedCatalog(File, CatalogContract): ...


class TestMemoryCatalog(Memory, CatalogContract): ...


class TestEmbeddedLog(File, EventLogContract): ...


class TestMemoryLog(Memory, EventLogContract): ...


class TestEmbeddedState(File, StateContract): ...


class TestMemoryState(Memory, StateContract): ...


class TestExactIndex(File, IndexContract): ...


class TestMemoryIndex(Memory, IndexContract): ...
