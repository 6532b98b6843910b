"""An invented shop in the shape of JD's 2019 files (people with a profile, products, what was clicked and bought), and
the truth behind it.

Everything comes from one seed. The tables have the columns of users.dat and products.dat, and of a log of behaviour;
nobody in them exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shortlist.errors import ConfigError

DAY_SECONDS, DAYS = 86_400, 60
START = 1_546_300_800  # seconds: 1 January 2019, UTC
WHOLE = {"users": 1_373_351, "products": 350_000, "brands": 9_000, "shops": 10_000, "events": 37_000_000}
AGES, SEXES, CITY_LEVELS, PROVINCES, CITIES, COUNTIES = 6, 3, 6, 31, 380, 3_000
CATEGORIES = 81
WIDTH = 8  # of tastes
GROUPS = ("age", "sex", "city_level", "province")  # what of a profile makes taste
BOUGHT = 0.12  # share of clicks that end in a purchase, of a product that is liked as much as clicked ones are
SHELF = 200  # products that somebody chooses one from
MISSING = 0.05  # share of each fact of a profile that is not known


@dataclass(frozen=True, eq=False)
class ShopWorld:
    """The three tables and the truth."""

    users: pl.DataFrame  # user_id, age, sex, city_level, province, city, county; null where it is not known
    products: pl.DataFrame  # sku, brand, shop, cate
    events: pl.DataFrame  # user_id, sku, time (seconds), type: 1 click, 2 purchase; in order of time
    taste: NDArray[np.float32]  # (U, WIDTH) of people
    appeal: NDArray[np.float32]  # (P, WIDTH) of products
    known: NDArray[np.float32]  # (P,) how well known each is, as log-odds

    def liking(self, user: NDArray[np.integer], product: NDArray[np.integer]) -> NDArray[np.float32]:
        """(N,) how much people (places in `users`) like products (places in `products`), 0 = as anybody likes any."""
        liked: NDArray[np.float32] = np.einsum("nd,nd->n", self.taste[user], self.appeal[product])
        return liked


def generate(*, scale: float = 0.01, seed: int = 0) -> ShopWorld:
    """A world `scale` times as large as the original.

    A person's taste is the sum of what their age, sex, city level and province bring, and of a little of their own; a
    product's appeal that of its category, brand and shop, and a little of its own. Of a shelf of `SHELF` products, the
    better known more often among them, everybody takes one by softmax of their liking, and buys it the more often the
    more they like it.
    """
    if not 0 < scale <= 1:
        raise ConfigError(f"scale is {scale}, but must be in (0, 1]", where="data.shop")
    chance = np.random.default_rng(seed)
    size = {name: max(8, round(count * scale)) for name, count in WHOLE.items()}
    users, taste = _users(chance, size["users"])
    products, appeal = _products(chance, size)
    known = chance.normal(0, 1.0, len(products)).astype(np.float32)
    world = ShopWorld(users, products, pl.DataFrame(), taste, appeal, known)
    return ShopWorld(users, products, _events(chance, world, size["events"]), taste, appeal, known)


def write(folder: Path, world: ShopWorld) -> None:
    """users.dat and products.dat as JD has them, colons between cells and no names; events.csv beside them."""
    world.users.write_csv(folder / "users.dat", separator=":", include_header=False)
    world.products.write_csv(folder / "products.dat", separator=":", include_header=False)
    world.events.write_csv(folder / "events.csv")


def _users(chance: np.random.Generator, count: int) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    province = (PROVINCES * chance.random(count) ** 1.5).astype(np.int64)
    city = province * (CITIES // PROVINCES) + chance.integers(0, CITIES // PROVINCES, count)
    facts = {
        "age": chance.integers(0, AGES, count),
        "sex": chance.choice(SEXES, count, p=(0.45, 0.5, 0.05)),
        "city_level": chance.integers(0, CITY_LEVELS, count),
        "province": province,
        "city": city,
        "county": city * (COUNTIES // CITIES) + chance.integers(0, COUNTIES // CITIES, count),
    }
    taste = chance.normal(0, 0.2, (count, WIDTH))
    for name, size, weight in zip(GROUPS, (AGES, SEXES, CITY_LEVELS, PROVINCES), (0.6, 0.6, 0.25, 0.25), strict=True):
        taste += chance.normal(0, weight, (size, WIDTH))[facts[name]]
    first = {"sex": 0}  # sexes count from 0, everything else from 1
    columns = {
        name: pl.Series(each + first.get(name, 1)).set(pl.Series(chance.random(count) < MISSING), None)
        for name, each in facts.items()
    }
    ids = chance.choice(WHOLE["users"], count, replace=False) + 1
    return pl.DataFrame({"user_id": ids, **columns}), taste.astype(np.float32)


def _products(chance: np.random.Generator, size: dict[str, int]) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    count = size["products"]
    category = (CATEGORIES * chance.random(count) ** 1.5).astype(np.int64)
    shop = (size["shops"] * chance.random(count) ** 1.5).astype(np.int64)
    brand = (shop * 7 + chance.integers(0, 5, count)) % size["brands"]
    appeal = chance.normal(0, 0.15, (count, WIDTH))
    for each, groups, weight in (
        (category, CATEGORIES, 0.6),
        (brand, size["brands"], 0.3),
        (shop, size["shops"], 0.15),
    ):
        appeal += chance.normal(0, weight, (groups, WIDTH))[each]
    table = {"sku": chance.permutation(count) + 1, "brand": brand + 1, "shop": shop + 1, "cate": category + 1}
    return pl.DataFrame(table), appeal.astype(np.float32)


def _events(chance: np.random.Generator, world: ShopWorld, count: int) -> pl.DataFrame:
    share = np.exp(world.known.astype(np.float64))
    edges = np.cumsum(share / share.sum())
    clicks = round(count / (1 + BOUGHT))
    who = (len(world.users) * chance.random(clicks) ** 1.7).astype(np.int64)  # some come often
    what = np.empty(clicks, np.int64)
    block = 20_000
    for start in range(0, clicks, block):
        some = slice(start, min(start + block, clicks))
        shelf = np.minimum(np.searchsorted(edges, chance.random((some.stop - start, SHELF))), len(share) - 1)
        liked = np.einsum("nd,nsd->ns", world.taste[who[some]], world.appeal[shelf])
        pick = np.argmax(liked + chance.gumbel(size=liked.shape), axis=1)
        what[some] = shelf[np.arange(len(shelf)), pick]
    time = START + chance.integers(0, DAYS * DAY_SECONDS, clicks)
    liking = world.liking(who, what)
    odds = np.log(BOUGHT / (1 - BOUGHT)) + 0.5 * (liking - liking.mean())
    bought = np.flatnonzero(chance.random(clicks) < 1 / (1 + np.exp(-odds)))
    later = time[bought] + chance.integers(60, 3600, len(bought))
    row = np.concatenate((np.arange(clicks), bought))
    table = pl.DataFrame(
        {
            "user_id": world.users["user_id"].to_numpy()[who[row]],
            "sku": world.products["sku"].to_numpy()[what[row]],
            "time": np.concatenate((time, later)),
            "type": np.repeat(np.array([1, 2]), (clicks, len(bought))),
        }
    )
    return table.sort("time", maintain_order=True)
