"""A tiny installation: the synthetic world, loaded, trained and published. Made once, copied for every test."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from shortlist import config, release
from shortlist.batch.train import read_window, train
from shortlist.config import Settings
from shortlist.stores import ROLES, open_stores
from shortlist.testing.world import synthetic

# The same cases on every machine, however slow it is; HYPOTHESIS_PROFILE=wide looks for new ones.
settings.register_profile("steady", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("wide", max_examples=1000, deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def _stay_at_home(event: str, details: tuple[Any, ...]) -> None:
    """No test, and nothing that a test starts in this process, reaches beyond this machine (row S16)."""
    if event == "socket.connect" and isinstance(details[1], tuple) and not _here(details[1][0]):
        raise AssertionError(f"a connection to {details[1]} was tried")
    if event == "socket.getaddrinfo" and details[0] and not _here(details[0]):
        raise AssertionError(f"the name {details[0]!r} was looked up")


def _here(host: str | bytes) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    try:
        return name == "localhost" or ip_address(name).is_loopback or ip_address(name).is_unspecified
    except ValueError:
        return False


sys.addaudithook(_stay_at_home)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """What one test does to the loggers is undone before the next."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("shortlist")]
    for each in (loggers := [logging.getLogger(name) for name in {"shortlist", *names}]):
        each.disabled = False
    before = [(each.level, each.propagate, each.handlers) for each in loggers]
    yield
    for each, (level, propagate, handlers) in zip(loggers, before, strict=True):
        each.level, each.propagate, each.handlers = level, propagate, handlers
        each.manager._clear_cache()


EASE = {"use": "models.ease:Ease"}
FILTERS = {"seen": {"use": "filters.seen:Seen"}, "available": {"use": "filters.available:Available"}}
POPULAR = {"use": "recall.popular:Popular"}
FALLBACK = {"use": "recall.ladder:Ladder", "rungs": [POPULAR, {"use": "recall.fresh:Fresh"}]}
TABLES = {
    "pipelines": {
        "home": {
            "limit": 10,
            "sources": {
                "next": {"use": "models.transitions:Transitions", "k": 40},
                "ease": {**EASE, "k": 40},
                "popular": {**POPULAR, "k": 20},
                "fresh": {"use": "recall.fresh:Fresh", "k": 5},
            },
            "filters": FILTERS,
            "fallback": FALLBACK,
        },
        "similar": {
            "sources": {"ease": {"use": "recall.similar:Similar", "source": EASE, "k": 40}},
            "filters": FILTERS,
            "fallback": FALLBACK,
        },
    }
}


def _publish(settings: Settings, created: str = "2026-01-01T00:00:00") -> str:
    """Train on everything in the stores and publish."""
    with open_stores({role: settings.store_url(role) for role in ROLES}) as stores:
        data = read_window(settings, stores.catalog, stores.log)
        trained = train(settings, data, {role: getattr(stores, role) for role in ROLES})
    settings.releases_path.mkdir(parents=True, exist_ok=True)
    facts = {"created": created, "last_event": int(data.events.time[-1])}
    version = release.save(settings.releases_path, trained.pipelines, facts)
    release.publish(settings.releases_path, version)
    return version


@pytest.fixture(scope="session")
def publish() -> Callable[..., str]:
    """Trains on everything in the stores of some settings and publishes; the version."""
    return _publish


@pytest.fixture(scope="session")
def _loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("loaded")
    settings, data = config.parse(TABLES, home=home), synthetic().data
    with open_stores({role: settings.store_url(role) for role in ROLES}) as stores:
        for entity, size, facts in (("user", data.n_users, data.users), ("item", data.n_items, data.items)):
            rows = stores.catalog.rows(entity, [f"{entity[0]}{row}" for row in range(size)], create=True)
            stores.catalog.put(entity, rows, facts)
        stores.log.append(data.events)
    return home


@pytest.fixture(scope="session")
def _published(_loaded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("published")
    shutil.copytree(_loaded, home, dirs_exist_ok=True)
    _publish(config.parse(TABLES, home=home))
    return home


@pytest.fixture
def untrained(_loaded: Path, tmp_path: Path) -> Settings:
    """Users u0 ..., items i0 ..., their events; no release."""
    shutil.copytree(_loaded, tmp_path / "home")
    return config.parse(TABLES, home=tmp_path / "home")


@pytest.fixture
def installation(_published: Path, tmp_path: Path) -> Settings:
    """The same with a published release of the pipelines "home" and "similar"."""
    shutil.copytree(_published, tmp_path / "home")
    return config.parse(TABLES, home=tmp_path / "home")
