"""Defaults come from a search, and say on which data: what a docstring claims, the kept settings bear out."""

import inspect
import json
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from shortlist.batch.spaces import SPACES

TUNED = Path(__file__).resolve().parents[2] / "benchmarks" / "tuned"
NAMES = {
    "movielens-1m": "MovieLens-1M",
    "movielens-100k": "MovieLens-100K",
    "anime": "the anime ratings",
    "gowalla": "Gowalla",
}
LED = {
    "models.als:Als": ("movielens-1m", "leave-last", "als"),
    "models.bpr:Bpr": ("movielens-100k", "leave-last", "bpr"),
    "models.bspm:Bspm": ("gowalla", "published", "bspm"),
    "models.gfcf:GfCf": ("gowalla", "published", "gfcf"),
    "models.dan:Dan": ("movielens-100k", "leave-last", "dan"),
    "models.ease:Ease": ("movielens-1m", "leave-last", "ease"),
    "models.edlae:Edlae": ("movielens-100k", "leave-last", "edlae"),
    "models.itemknn:ItemKnn": ("movielens-100k", "leave-last", "itemknn"),
    "models.rp3beta:Rp3Beta": ("movielens-1m", "leave-last", "rp3beta"),
    "models.slim:Slim": ("movielens-100k", "leave-last", "slim"),
    "models.slist:Slist": ("movielens-100k", "leave-last", "slist"),
    "models.transitions:Transitions": ("movielens-1m", "leave-last", "transitions"),
    "models.turbocf:TurboCf": ("movielens-100k", "leave-last", "turbocf"),
    "models.userknn:UserKnn": ("anime", "published", "userknn"),
    "models.warp:Warp": ("movielens-100k", "leave-last", "warp"),
}


def recipe(use: str) -> Any:
    module, _, name = use.partition(":")
    return getattr(import_module(f"shortlist.{module}"), name)


@pytest.mark.parametrize("use", LED)
def test_defaults_are_what_led_on_validation(use: str) -> None:
    name, split, model = LED[use]
    led = json.loads((TUNED / f"{name}.json").read_text())[split][model]["shortlist"]
    assert led["trials"] > 1
    default = {field.name: field.default for field in fields(recipe(use))}
    searched = [each for each in led["params"] if each in SPACES[use]]
    assert {each: default[each] for each in searched} == {each: led["params"][each] for each in searched}
    assert NAMES[name] in (inspect.getdoc(recipe(use)) or "")
