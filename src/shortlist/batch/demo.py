"""What the demo is about: a world of people and items, and three people worth looking at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shortlist.data.frames import Frames
from shortlist.data.movielens import fetch_movielens_100k
from shortlist.data.world import generate
from shortlist.dataset import Dataset
from shortlist.errors import DataError

CREDIT = (
    "MovieLens data by GroupLens, University of Minnesota: for research, not to be redistributed or sold.\n"
    "F. M. Harper, J. A. Konstan: The MovieLens Datasets: History and Context. ACM TiiS 5 (4), 2015."
)
CONFIGURATION = """\
# What the demo runs with; every other key has its default.
[train]
seed = {seed}

[events.kinds.rate]
least = 3    # a rating below counts as seen, not as liked: nothing is shown because of a film that somebody hated
"""
NEWCOMER = "somebody-new"
BUSY = 0.9  # share of people with a shorter history than a heavy one


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody worth looking at."""

    id: str
    why: str
    events: int


def world(name: str, cache: Path, *, now: int, seed: int) -> tuple[Frames, str]:
    """The data of the world `name`, and a sentence that says where it is from, or why it is another one."""
    if name == "generated":
        return generate(now=now, seed=seed).frames, "an invented world with planted tastes"
    try:
        return fetch_movielens_100k(cache), CREDIT
    except DataError as error:
        return generate(now=now, seed=seed).frames, f"{error}. So this is an invented world with planted tastes"


def people(data: Dataset, ids: list[str]) -> list[Person]:
    """A heavy user of one taste, one of many tastes, and a newcomer. `ids` are the names of the user rows."""
    length = np.bincount(data.events.user, minlength=data.n_users)
    heavy = length >= max(1, np.quantile(length[length > 0], BUSY))
    share, genres = _taste(data)
    # how far a person's genres are from everybody's: the Kullback-Leibler divergence
    base = share.mean(axis=0) + 1e-9
    apart = share * np.log((share + 1e-9) / base)
    narrow = apart.sum(axis=1)
    one = int(np.argmax(np.where(heavy, narrow, -np.inf)))
    many = int(np.argmin(np.where(heavy, narrow, np.inf)))
    favourite = genres[int(np.argmax(apart[one]))] if genres else "one kind"
    return [
        Person(ids[one], f"one taste: {favourite}", int(length[one])),
        Person(ids[many], "many tastes", int(length[many])),
        Person(NEWCOMER, "new here", 0),
    ]


def _taste(data: Dataset) -> tuple[np.ndarray, list[str]]:
    """(U, G) the share of each genre in what a person liked, and the names of the genres."""
    column = data.items.get("genres")
    lists: list[tuple[str, ...]] = [()] * data.n_items if column is None else column.tolist()
    genres = sorted({genre for each in lists for genre in each})
    code = {genre: place for place, genre in enumerate(genres)}
    belongs = np.zeros((data.n_items, max(1, len(genres))), np.float32)
    for item, each in enumerate(lists):
        belongs[item, [code[genre] for genre in each]] = 1
    liked = data.matrix @ belongs
    total = liked.sum(axis=1, keepdims=True)
    return liked / np.maximum(total, 1e-9), genres
