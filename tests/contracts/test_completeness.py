"""Every public component passes the suite of every Protocol it implements.

It counts as covered when a class in this folder really makes one: nothing is declared. That each is in the reference
is checked where the reference is written (tests/architecture/test_documents.py).
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import shortlist
from shortlist import protocols
from shortlist.stores import open_store
from shortlist.testing import contracts, reason_contract, stores
from shortlist.testing.store_contract import StoreContract, closed

HERE = Path(__file__).parent
ROOMS = ("recall", "models", "features", "filters", "rank", "rerank", "stores")
SUITES: dict[Any, type] = {
    protocols.Source: contracts.SourceContract,
    protocols.Feature: contracts.FeatureContract,
    protocols.Encoder: contracts.EncoderContract,
    protocols.Filter: contracts.FilterContract,
    protocols.Scorer: contracts.ScorerContract,
    protocols.Reranker: contracts.RerankerContract,
    protocols.Explainer: contracts.ExplainerContract,
    protocols.Recipe: contracts.RecipeContract,
    protocols.Ranker: contracts.RankerContract,
    protocols.Reasoned: reason_contract.ReasonedContract,
    protocols.Additive: reason_contract.AdditiveContract,
    protocols.Accountable: reason_contract.AccountableContract,
    protocols.Catalog: stores.CatalogContract,
    protocols.EventLog: stores.EventLogContract,
    protocols.State: stores.StateContract,
    protocols.Index: stores.IndexContract,
}
ROLES = {
    stores.CatalogContract: "catalog",
    stores.EventLogContract: "log",
    stores.StateContract: "state",
    stores.IndexContract: "index",
}


def modules() -> Iterator[ModuleType]:
    for room in ROOMS:
        folder = Path(shortlist.__file__).parent / room
        for found in pkgutil.walk_packages([str(folder)], f"shortlist.{room}."):
            yield importlib.import_module(found.name)


def implements(cls: type, protocol: Any) -> bool:
    verbs = [name for name, value in vars(protocol).items() if callable(value) and not name.startswith("_")]
    return all(callable(getattr(cls, verb, None)) for verb in verbs)


@cache
def components() -> dict[str, tuple[type, list[Any]]]:
    """Use path -> the class and the Protocols it implements."""
    found = {}
    for module in modules():
        for name, cls in vars(module).items():
            if not isinstance(cls, type) or cls.__module__ != module.__name__ or name.startswith("_"):
                continue
            promised = [protocol for protocol in SUITES if implements(cls, protocol)]
            if promised and not getattr(cls, "_is_protocol", False):
                found[f"{module.__name__.removeprefix('shortlist.')}:{name}"] = (cls, promised)
    return found


@cache
def suites() -> list[type]:
    """Every contract class of this folder."""
    found: list[type] = []
    for file in sorted(HERE.glob("test_*.py")):
        if file == Path(__file__):
            continue
        spec = importlib.util.spec_from_file_location(f"contracts_of_{file.stem}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += [each for name, each in vars(module).items() if name.startswith("Test") and isinstance(each, type)]
    return found


@pytest.fixture(scope="module")
def covered(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[type, type]]:
    """(class, suite): what the contract classes make when they are asked to."""
    pairs: set[tuple[type, type]] = set()
    for suite in suites():
        if any(mark.name == "slow" for mark in getattr(suite, "pytestmark", ())):
            continue
        if issubclass(suite, contracts.Contract):
            test = suite()
            made = type(test.make(test.world()))
            pairs |= {(made, each) for each in SUITES.values() if issubclass(suite, each)}
        elif issubclass(suite, StoreContract):
            for each in ROLES.keys() & set(suite.__mro__):
                url = suite().url(tmp_path_factory.mktemp("store"))
                with closed(open_store(ROLES[each], url)) as store:  # type: ignore[call-overload]
                    pairs.add((type(store), each))
    return pairs


@pytest.mark.parametrize("path", sorted(path for path, each in components().items() if protocols.Feature in each[1]))
def test_feature_says_its_columns_in_words(path: str) -> None:
    assert implements(components()[path][0], protocols.Telling), f"{path} has no `words`: explanations need them"


@pytest.mark.parametrize("path", sorted(components()))
def test_component_passes_the_suites_of_its_protocols(path: str, covered: set[tuple[type, type]]) -> None:
    cls, promised = components()[path]
    for protocol in promised:
        suite = SUITES[protocol]
        assert (cls, suite) in covered, (
            f"{path} is a {protocol.__name__}, but no class in tests/contracts makes one for {suite.__name__}:"
            f" add class Test{cls.__name__}({suite.__name__}) with a make() that returns one"
        )
