from pathlib import Path

import pytest

from shortlist import stores
from shortlist.errors import ConfigError, NotOffered
from shortlist.stores import ROLES, open_store, open_stores
from shortlist.stores.embedded import Embedded


class Elsewhere:
    """Somebody else's State."""

    def __init__(self, host: str, port: str = "1") -> None:
        self.address = f"{host}:{port}"
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Unclosable:
    pass


def test_roles_of_one_url_share_one_folder(tmp_path: Path) -> None:
    url = f"file:{tmp_path}/data"
    with open_stores(dict.fromkeys(ROLES, url)) as opened:
        folder = opened.backends[url]
        assert isinstance(folder, Embedded)
        assert (opened.catalog, opened.log) == (folder.catalog, folder.log)
        assert (opened.state, opened.index) == (folder.state, folder.index)
    with open_stores(dict.fromkeys(ROLES, url), read_only=True) as opened:
        assert opened.catalog.size("item") == 0


def test_somebody_elses_class_gets_the_query_as_keywords(tmp_path: Path) -> None:
    url = f"{__name__}:Elsewhere?host=there&port=7"
    with open_stores({**dict.fromkeys(ROLES, "memory:"), "state": url}) as opened:
        mine = opened.state
        assert isinstance(mine, Elsewhere)
        assert mine.address == "there:7"
    assert mine.closed
    assert isinstance(open_store("state", f"{__name__}:Unclosable"), Unclosable)


@pytest.mark.parametrize("url", ["data", "s3:bucket/x", "nowhere.at.all:State", "shortlist.errors:State", ""])
def test_a_url_that_cannot_be_opened_says_what_can(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_store("state", url)
    assert caught.value.where == "stores.state"
    assert "file:, memory:" in caught.value.hint


def test_urls_that_lack_or_have_too_much() -> None:
    for url in ("file:", "memory:data"):
        with pytest.raises(ConfigError) as caught:
            open_store("log", url)
        assert caught.value.hint
    with pytest.raises(ConfigError, match=r"stores\.index: has no URL"):
        open_stores(dict.fromkeys(ROLES[:3], "memory:"))
    with pytest.raises(ConfigError, match="no role 'cache'"):
        stores._role("cache", "memory:", False, {})


def test_a_back_end_without_the_role_says_which_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "SCHEMES", {**stores.SCHEMES, "vec": ("x:y", ("index",))})
    with pytest.raises(NotOffered, match="vec offers index, not state") as caught:
        open_store("state", "vec:here")
    assert caught.value.hint == "Choose one of file, memory."


def test_what_was_opened_is_closed_when_a_later_one_fails(tmp_path: Path) -> None:
    urls = {**dict.fromkeys(ROLES, f"file:{tmp_path}"), "index": "nowhere:Index"}
    with pytest.raises(ConfigError):
        open_stores(urls)
    Embedded.open(tmp_path).close()  # would raise StoreLocked
