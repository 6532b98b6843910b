"""An invented bookshop for the demo: readers with planted tastes, seasons, a trend, and the truth to compare with.

Everything comes from one seed. Nothing here was read anywhere: titles, authors and readers do not exist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shortlist.data.frames import Frames
from shortlist.dataset import DAY

YEAR = 365 * DAY
EXPLORED = 0.08  # share of events that follow the crowd instead of the reader's taste
TREND = 0.04  # share of the last weeks' events that go to the books of the trend
TREND_DAYS, TREND_BOOKS = 21, 12

SHELVES: dict[str, dict[str, str]] = {  # genre -> theme -> nouns of its titles
    "Crime": {
        "Harbour": "Harbour Ferry Lighthouse Quay Tide Anchor",
        "Courtroom": "Verdict Witness Alibi Juror Testimony Appeal",
        "Village": "Vicarage Orchard Parish Teashop Churchyard Allotment",
        "Noir": "Alley Revolver Neon Informer Pawnshop Getaway",
    },
    "Fantasy": {
        "Dragons": "Dragon Ember Wyrm Scale Wing Hoard",
        "Court": "Throne Crown Heir Regent Oath Banner",
        "Witches": "Witch Cauldron Familiar Hex Broom Charm",
        "Quest": "Sword Map Ranger Dungeon Relic Pass",
    },
    "Science fiction": {
        "Space": "Orbit Starship Nebula Airlock Comet Beacon",
        "Machines": "Automaton Circuit Android Algorithm Engine Protocol",
        "Time": "Paradox Chronometer Yesterday Epoch Loop Century",
        "Colony": "Colony Dome Terraformer Outpost Settler Greenhouse",
    },
    "Romance": {
        "Coast": "Promenade Seashell Boathouse Regatta Sandcastle Pier",
        "Bakery": "Bakery Cinnamon Croissant Apron Macaroon Oven",
        "Regency": "Ballroom Duchess Carriage Suitor Waltz Scandal",
        "Winter": "Snowflake Chalet Mitten Sleigh Fireside Mistletoe",
    },
    "Horror": {
        "House": "Attic Cellar Staircase Nursery Keyhole Corridor",
        "Forest": "Thicket Antler Hollow Moss Owl Campfire",
        "Sea": "Kraken Wreck Fathom Drowning Leviathan Siren",
        "Ghosts": "Ghost Seance Shroud Lantern Grave Whisper",
    },
    "History": {
        "Rome": "Legion Senator Forum Aqueduct Gladiator Centurion",
        "Middle Ages": "Abbey Chalice Scribe Siege Pilgrim Falconer",
        "Explorers": "Compass Expedition Sextant Caravan Voyage Strait",
        "Wars": "Trench Armistice Battalion Telegram Convoy Bunker",
    },
    "Nature": {
        "Birds": "Heron Swift Kestrel Nest Feather Warbler",
        "Mountains": "Summit Glacier Ridge Avalanche Cairn Valley",
        "Gardens": "Garden Rose Hedge Trowel Meadow Compost",
        "Ocean": "Whale Reef Current Dolphin Lagoon Coral",
    },
    "Thriller": {
        "Spies": "Cipher Defector Dossier Safehouse Courier Mole",
        "Hackers": "Firewall Password Backdoor Botnet Keystroke Server",
        "Heists": "Vault Diamond Blueprint Decoy Safe Masterkey",
        "Medical": "Scalpel Virus Antidote Pathogen Ward Trial",
    },
    "Comedy": {
        "Office": "Photocopier Meeting Intern Stapler Memo Deadline",
        "Family": "Aunt Reunion Barbecue Cousin Casserole Minivan",
        "Travel": "Suitcase Hostel Passport Guidebook Layover Tourist",
        "Animals": "Llama Parrot Hedgehog Poodle Goose Donkey",
    },
    "Philosophy": {
        "Ethics": "Duty Virtue Promise Conscience Mercy Dilemma",
        "Mind": "Memory Dream Attention Self Perception Habit",
        "Logic": "Axiom Proof Infinity Syllogism Symbol Fallacy",
        "Solitude": "Silence Hermit Stillness Solitude Walk Island",
    },
    "Cooking": {
        "Bread": "Sourdough Loaf Crust Flour Yeast Bagel",
        "Spice": "Saffron Cardamom Pepper Curry Chili Clove",
        "Vegetables": "Beetroot Leek Pumpkin Radish Artichoke Lentil",
        "Sweets": "Caramel Truffle Sorbet Meringue Toffee Pudding",
    },
    "Young readers": {
        "School": "Classroom Detention Timetable Prefect Locker Homework",
        "Pirates": "Pirate Cutlass Treasure Schooner Doubloon Buccaneer",
        "Detectives": "Clue Magnifier Suspect Footprint Riddle Clubhouse",
        "Monsters": "Monster Troll Goblin Yeti Gremlin Swamp",
    },
}
SEASON = {"Winter": 12, "Ghosts": 10, "Gardens": 5, "Coast": 7, "Sweets": 12, "Mountains": 1}  # theme -> its month
WORDS = {
    "adjective": """Silent Crooked Golden Last Hidden Broken Distant Second Paper Hollow Gentle Burning Forgotten
    Northern Velvet Borrowed Narrow Secret Stolen Wandering Quiet Painted Restless Patient Amber Wild Unfinished
    Seventh Blue Honest Lonely Brave Invisible Early Sleeping Reluctant Iron Clever Winding Cold""",
    "place": """Aldermoor Brackwater Calder Dunmere Eastwick Farrow Glenhollow Hartsea Inverloch Juniper Kestrelby
    Larkhill Marrowby Netherfold Oakhaven Pellworm Quillon Ravensey Saltmarsh Thornbury Ulverton Wexcombe Yarrow""",
    "first": """Ada Bruno Clara Dario Elif Finn Greta Hugo Ines Jonas Kaya Leo Mina Noor Otto Priya Quinn Rosa Samir
    Tessa Uma Viktor Wanda Yusuf Zoe Amara Boris Celia Diego Emil Freya Goran Hana Ivo Jana Kofi Lena Mateo Nadia""",
    "last": """Abara Bergström Castell Dvorak Eklund Fontaine Grimaldi Hartley Ivanova Jansen Kowalczyk Lindqvist
    Moreau Nakamura Okafor Petrov Quintero Rossi Sandoval Tanaka Ueda Varga Winther Xenakis Yilmaz Zeller""",
}
PATTERNS = {  # of titles, with their share
    "The {adjective} {noun}": 0.3,
    "{adjective} {noun}": 0.15,
    "The {noun} of {place}": 0.25,
    "{noun} and {other}": 0.05,
    "A {noun} for {first}": 0.1,
    "{first} and the {adjective} {noun}": 0.15,
}


@dataclass(frozen=True)
class World:
    """The shop's data, and what is true of it. Rows are positions in frames.users and frames.items. S shelves."""

    frames: Frames
    shelf: NDArray[np.int64]  # (I,) where each book stands
    taste: NDArray[np.float64]  # (U, S) how likely a reader picks from each shelf
    later: NDArray[np.float64]  # (U, S) the same after the reader has turned to something else
    turned: NDArray[np.int64]  # (U,) microseconds: when that happened; beyond the end = never
    trend: NDArray[np.int64]  # books that everyone reads in the last three weeks


def generate(*, now: int, seed: int = 0, users: int = 1500, items: int = 4000, events: int = 120_000) -> World:
    """One year up to `now` (microseconds); at most `events` events, as nobody meets a book twice."""
    rng = np.random.default_rng(seed)
    start = now - YEAR
    themes = [(genre, theme) for genre, shelves in SHELVES.items() for theme in shelves]
    shelf = rng.permutation(np.arange(items) % len(themes))
    appeal = rng.permutation(1.0 / (1 + np.arange(items)) ** 0.9)
    born = rng.random(items) < 0.2  # books that come out in the course of the year
    added = np.where(born, start + rng.integers(0, YEAR, items), start - rng.integers(1, 9 * YEAR, items))
    trend = rng.choice(np.flatnonzero(added < now - 60 * DAY), TREND_BOOKS, replace=False)

    taste, later = _tastes(rng, users, len(themes)), _tastes(rng, users, len(themes))
    turns = rng.random(users) < 0.25
    later = np.where(turns[:, None], later, taste)
    turned = np.where(turns, start + rng.integers(YEAR // 4, YEAR, users), now + 1)
    joined = np.where(rng.random(users) < 0.7, start, start + rng.integers(0, YEAR, users))

    drawn = int(events * 2.5)  # before books that are not out yet and second meetings are taken out
    activity = rng.lognormal(0, 1, users)
    user = rng.choice(users, drawn, p=activity / activity.sum())
    time = joined[user] + (rng.random(drawn) * (now - joined[user])).astype(np.int64)
    time = _evenings(rng, time, now)
    wanted = np.where((time < turned[user])[:, None], taste[user], later[user]) * _season(themes, time)
    picked = _draw(rng, wanted)
    crowd = rng.random(drawn) < EXPLORED
    item = _books(rng, shelf, appeal, picked)
    item[crowd] = rng.choice(items, int(crowd.sum()), p=appeal / appeal.sum())
    trendy = (time > now - TREND_DAYS * DAY) & (rng.random(drawn) < TREND)
    item[trendy] = rng.choice(trend, int(trendy.sum()))

    order = np.argsort(time, kind="stable")
    order = order[added[item[order]] <= time[order]]
    _, first = np.unique(user[order] * items + item[order], return_index=True)
    order = order[np.sort(rng.permutation(first)[:events])]
    user, item, time = user[order], item[order], time[order]
    liked = wanted[order, shelf[item]] * len(themes) > 1
    kind, value = _reactions(rng, liked, rng.normal(0, 0.4, items)[item])
    frame = pl.DataFrame(
        {
            "user": "r" + pl.Series(user).cast(pl.String),
            "item": "b" + pl.Series(item).cast(pl.String),
            "kind": kind,
            "value": value,
            "time": time,
        }
    )
    frames = Frames("bookshop", frame, _catalogue(rng, themes, shelf, added), _readers(rng, users))
    return World(frames, shelf, taste, later, turned, trend)


def _tastes(rng: np.random.Generator, users: int, shelves: int) -> NDArray[np.float64]:
    """Each reader likes two to five shelves, the first most; a little of everything remains."""
    order = rng.random((users, shelves)).argsort(axis=1)
    depth = 0.6 ** np.arange(shelves) * (np.arange(shelves) < rng.integers(2, 6, users)[:, None])
    taste = np.empty((users, shelves))
    np.put_along_axis(taste, order, depth / depth.sum(axis=1, keepdims=True), axis=1)
    return 0.97 * taste + 0.03 / shelves


def _evenings(rng: np.random.Generator, time: NDArray[np.int64], now: int) -> NDArray[np.int64]:
    """Moved to an hour around eight in the evening, on the same day."""
    hour = np.clip(rng.normal(20, 3, len(time)), 0, 23.99) / 24
    moved: NDArray[np.int64] = np.minimum(time - time % DAY + (hour * DAY).astype(np.int64), now)
    return moved


def _season(themes: list[tuple[str, str]], time: NDArray[np.int64]) -> NDArray[np.float64]:
    """(E, S) some themes have a month in which they are read four times as much."""
    month = time.astype("M8[us]").astype("M8[M]").astype(np.int64) % 12 + 1
    peak = np.array([SEASON.get(theme, 0) for _, theme in themes])
    factor: NDArray[np.float64] = np.where(month[:, None] == peak, 4.0, 1.0)
    return factor


def _draw(rng: np.random.Generator, weight: NDArray[np.float64]) -> NDArray[np.int64]:
    """One column of each row, by its weight."""
    total = np.cumsum(weight, axis=1)
    drawn: NDArray[np.int64] = (rng.random(len(weight))[:, None] * total[:, -1:] > total).sum(axis=1)
    return drawn


def _books(
    rng: np.random.Generator, shelf: NDArray[np.int64], appeal: NDArray[np.float64], picked: NDArray[np.int64]
) -> NDArray[np.int64]:
    """A book of each picked shelf, by its appeal."""
    order = np.argsort(shelf, kind="stable")
    total = np.cumsum(appeal[order])
    last = np.searchsorted(shelf[order], np.arange(shelf.max() + 1), side="right")
    top = total[last - 1]
    low = np.concatenate(([0], top[:-1]))
    aim = low[picked] + rng.random(len(picked)) * (top - low)[picked]
    found: NDArray[np.int64] = order[np.minimum(np.searchsorted(total, aim, side="right"), last[picked] - 1)]
    return found


def _reactions(
    rng: np.random.Generator, liked: NDArray[np.bool_], quality: NDArray[np.float64]
) -> tuple[pl.Series, NDArray[np.float64]]:
    kinds = np.array(["click", "rate", "like", "hide"])
    which = np.where(liked, _draw(rng, np.tile([0.5, 0.4, 0.1, 0.0], (len(liked), 1))), 0)
    which[~liked] = _draw(rng, np.tile([0.6, 0.3, 0.0, 0.1], (int((~liked).sum()), 1)))
    stars = np.clip(np.round(np.where(liked, 4.1, 2.6) + quality + rng.normal(0, 0.8, len(liked))), 1, 5)
    return pl.Series(kinds[which]), np.where(which == 1, stars, 1.0)


def _catalogue(
    rng: np.random.Generator, themes: list[tuple[str, str]], shelf: NDArray[np.int64], added: NDArray[np.int64]
) -> pl.DataFrame:
    size = len(shelf)
    titles: dict[str, None] = {}
    for genre, theme in (themes[where] for where in shelf.tolist()):
        before = len(titles)
        while len(titles) == before:
            titles[_title(rng, SHELVES[genre][theme].split())] = None
    authors, nth = np.array(_people(rng, 400)), rng.integers(0, 6, size)  # each shelf has six of them
    year = added.astype("M8[us]").astype("M8[Y]").astype(np.int64) + 1970
    return pl.DataFrame(
        {
            "item": [f"b{i}" for i in range(size)],
            "title": list(titles),
            "author": authors[(7 * shelf + nth) % len(authors)].tolist(),
            "genres": [list(themes[where]) for where in shelf.tolist()],
            "year": year.astype(np.float64),
            "pages": rng.integers(90, 620, size).astype(np.float64),
            "available": rng.random(size) > 0.02,
            "time": pl.Series(added).cast(pl.Datetime("us")),
        }
    )


def _title(rng: np.random.Generator, nouns: list[str]) -> str:
    noun, other = (nouns[i] for i in rng.choice(len(nouns), 2, replace=False))
    words = {kind: rng.choice(list_.split()) for kind, list_ in WORDS.items()}
    return str(rng.choice(list(PATTERNS), p=list(PATTERNS.values()))).format(noun=noun, other=other, **words)


def _people(rng: np.random.Generator, count: int) -> list[str]:
    first, last = (rng.choice(WORDS[kind].split(), count).tolist() for kind in ("first", "last"))
    return [f"{a} {b}" for a, b in zip(first, last, strict=True)]


def _readers(rng: np.random.Generator, users: int) -> pl.DataFrame:
    age = np.clip(rng.normal(41, 15, users), 12, 95).round()
    return pl.DataFrame({"user": [f"r{i}" for i in range(users)], "name": _people(rng, users), "age": age})
