"""An invented week of display ads in the shape of Taobao's (people, ads, impressions, clicks), and the true chance of
every click.

Everything comes from one seed. The tables have the columns of Ali_Display_Ad_Click; nobody in them exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shortlist.errors import ConfigError, DataError
from shortlist.types import Columns

DAY_SECONDS, DAYS = 86_400, 8
START = 1_494_000_000  # seconds: when the eight days begin
WHOLE = {"users": 1_140_000, "ads": 846_811, "categories": 6769, "customers": 255_875, "impressions": 26_600_000}
LEVELS = {"cms_group_id": 13, "final_gender_code": 2, "age_level": 7, "shopping_level": 3, "occupation": 2}
VALUE_MISSING, CITY_MISSING = 0.54, 0.32
CLICKS = 0.05  # share of impressions
TASTED = ("final_gender_code", "age_level")  # what makes taste
PLACES = ("430548_1007", "430539_1007")
FACTS = ("cms_group_id", "final_gender_code", "age_level", "pvalue_level", "shopping_level", "occupation")
LAYOUT = ("price", "cms_group_id", "final_gender_code", "age_level", "shopping_level", "occupation", "pid",
          "pvalue_level", "new_user_class_level")  # fmt: skip
"""The 39 columns of the ads system, before one-hot coding, in order."""


USERS = ("userid", "cms_segid", *FACTS, "new_user_class_level")
ADS = ("adgroup_id", "cate_id", "campaign_id", "customer", "brand", "price")
BEHAVIOURS = 250  # columns of joined samples before those of people


class AdTables(NamedTuple):
    """People, ads and impressions, in the columns of Ali_Display_Ad_Click."""

    users: pl.DataFrame
    ads: pl.DataFrame
    impressions: pl.DataFrame


@dataclass(frozen=True, eq=False)
class AdWorld:
    """The three tables and the truth."""

    users: pl.DataFrame  # userid, cms_segid, the levels; null where a level is not known
    ads: pl.DataFrame  # adgroup_id, cate_id, campaign_id, customer, brand, price
    impressions: pl.DataFrame  # user, time_stamp, adgroup_id, pid, nonclk, clk, in order of time
    truth: NDArray[np.float32]  # (N,) the chance of each click

    @property
    def last_day(self) -> NDArray[np.bool_]:
        """(N,) true for the impressions that models are tested on."""
        late: NDArray[np.bool_] = self.impressions["time_stamp"].to_numpy() >= START + (DAYS - 1) * DAY_SECONDS
        return late


def generate(*, scale: float = 0.01, seed: int = 0) -> AdWorld:
    """A world `scale` times as large as the original.

    The log-odds of a click are the sum of what the place, the person's levels, the category and the price do by
    themselves, of how the taste of gender and age meets the category, and of how means meet the price.
    """
    if not 0 < scale <= 1:
        raise ConfigError(f"scale is {scale}, but must be in (0, 1]", where="data.ads")
    chance = np.random.default_rng(seed)
    size = {name: max(8, round(count * scale)) for name, count in WHOLE.items()}
    users, ads = _users(chance, size["users"]), _ads(chance, size)
    shown = size["impressions"]
    who = (size["users"] * chance.random(shown) ** 2).astype(np.int64)  # some come often
    what = (size["ads"] * chance.random(shown) ** 1.5).astype(np.int64)
    place = (chance.random(shown) < 0.4).astype(np.int64)
    time = np.sort(START + chance.integers(0, DAYS * DAY_SECONDS, shown))
    odds = _odds(chance, users, ads, who, what, place)
    truth = 1 / (1 + np.exp(-(odds + _base(odds))))
    clicked = chance.random(shown) < truth
    table = pl.DataFrame(
        {
            "user": users["userid"].to_numpy()[who],
            "time_stamp": time,
            "adgroup_id": ads["adgroup_id"].to_numpy()[what],
            "pid": np.array(PLACES)[place],
            "nonclk": (~clicked).astype(np.int8),
            "clk": clicked.astype(np.int8),
        }
    )
    return AdWorld(users, ads, table, truth.astype(np.float32))


def columns(users: pl.DataFrame, ads: pl.DataFrame, impressions: pl.DataFrame) -> Columns:
    """What a ranker reads of each impression: codes from 2 on, 0 = no value; and the price, NaN where there is none."""
    joined = impressions.select("user", "adgroup_id", "pid").join(
        users, left_on="user", right_on="userid", how="left", maintain_order="left"
    )
    joined = joined.join(ads, on="adgroup_id", how="left", maintain_order="left")
    made: dict[str, NDArray[np.generic]] = {"price": joined["price"].cast(pl.Float32).fill_null(np.nan).to_numpy()}
    for name in (*FACTS, "new_user_class_level", "cms_segid", "cate_id", "campaign_id", "customer", "brand"):
        made[name] = (joined[name].cast(pl.Int32) + 2).fill_null(0).to_numpy()
    made["pid"] = np.where(joined["pid"].to_numpy() == PLACES[0], 2, 3).astype(np.int32)
    return made


def write(folder: Path, users: pl.DataFrame, ads: pl.DataFrame, impressions: pl.DataFrame) -> None:
    """The three files of Ali_Display_Ad_Click, as the blueprint `ads` reads them: no value is an empty cell of people,
    NULL for a brand."""
    users.write_csv(folder / "user_profile.csv")
    ads.write_csv(folder / "ad_feature.csv", null_value="NULL")
    impressions.write_csv(folder / "raw_sample.csv")


def joined(*files: Path) -> AdTables:
    """The tables behind samples that were joined beforehand: those of DMR (PaddleRec) and of DeepCTR.

    Both hold 250 columns of behaviour, then what `USERS` and `ADS` name, the place as a number, and the label; a first
    line of names is passed over. They tell no time: rows count as one second apart. 0 = no value where levels start
    at 1.
    """
    names = (*USERS, *ADS, "place", "clk")
    width = BEHAVIOURS + len(names)
    texts = [file.read_text("utf-8").split() for file in files]
    rows = [line.split(",") for text in texts for line in text[not text[0][0].isdigit() :]]
    if wrong := next((line for line in rows if len(line) != width), None):
        raise DataError(f"a row has {len(wrong)} columns, expected {width}", where=", ".join(map(str, files)))
    table = pl.DataFrame([line[BEHAVIOURS:] for line in rows], schema=list(names), orient="row")
    table = table.with_columns(
        pl.col("price").cast(pl.Float64), pl.all().exclude("price").cast(pl.Float64).cast(pl.Int64)
    )
    table = table.with_columns(
        pl.when(pl.col(name) > 0).then(pl.col(name)) for name in ("pvalue_level", "new_user_class_level")
    )
    impressions = table.select(
        pl.col("userid").alias("user"),
        (START + pl.int_range(pl.len())).alias("time_stamp"),
        "adgroup_id",
        pl.col("place").replace_strict(dict(enumerate(PLACES)), default=PLACES[0]).alias("pid"),
        (1 - pl.col("clk")).alias("nonclk"),
        "clk",
    )
    users, ads = (table.select(own).unique(own[0], keep="last", maintain_order=True) for own in (USERS, ADS))
    return AdTables(users, ads, impressions)


def _users(chance: np.random.Generator, count: int) -> pl.DataFrame:
    levels = {name: chance.integers(0, size, count) for name, size in LEVELS.items()}
    value = pl.Series(chance.integers(1, 4, count)).set(pl.Series(chance.random(count) < VALUE_MISSING), None)
    city = pl.Series(chance.integers(1, 5, count)).set(pl.Series(chance.random(count) < CITY_MISSING), None)
    return pl.DataFrame(
        {
            "userid": chance.permutation(count) + 1,
            "cms_segid": levels["cms_group_id"] * 7 + chance.integers(0, 7, count),
            **levels,
            "pvalue_level": value,
            "new_user_class_level": city,
        }
    )


def _ads(chance: np.random.Generator, size: dict[str, int]) -> pl.DataFrame:
    count = size["ads"]
    category = (size["categories"] * chance.random(count) ** 1.3).astype(np.int64)
    customer = chance.integers(0, size["customers"], count)
    usual = chance.normal(4.5, 0.8, size["categories"])
    price = np.exp(usual[category] + chance.normal(0, 0.7, count)).round(2)
    price[chance.random(count) < 0.0002] = 1e8  # as in the original
    brand = pl.Series(customer // 2 + 1).set(pl.Series(chance.random(count) < 0.3), None)
    return pl.DataFrame(
        {
            "adgroup_id": chance.permutation(count) + 1,
            "cate_id": category + 1,
            "campaign_id": customer * 2 + chance.integers(0, 2, count) + 1,
            "customer": customer + 1,
            "brand": brand,
            "price": price,
        }
    )


def _odds(
    chance: np.random.Generator,
    users: pl.DataFrame,
    ads: pl.DataFrame,
    who: NDArray[np.int64],
    what: NDArray[np.int64],
    place: NDArray[np.int64],
) -> NDArray[np.float64]:
    category = ads["cate_id"].to_numpy() - 1
    price = np.clip(np.log(ads["price"].to_numpy()), 0, 9)
    own = chance.normal(0, 0.6, category.max() + 1)
    appeal = chance.normal(0, 0.3, category.max() + 1)
    person = np.zeros(len(users))
    taste = np.zeros(len(users))
    for name, size in LEVELS.items():
        level = users[name].to_numpy()
        person += chance.normal(0, 0.3, size)[level]
        if name in TASTED:
            taste += chance.normal(0, 0.7, size)[level]
    means = users["pvalue_level"].fill_null(2).to_numpy() - 2.0  # poor, usual, rich
    city = np.array([0.0, 0.2, 0.1, -0.1, -0.2])[users["new_user_class_level"].fill_null(0).to_numpy()]
    odds: NDArray[np.float64] = person[who] + city[who] + own[category[what]] + 0.5 * place
    odds += taste[who] * appeal[category[what]]
    odds += (price[what] - 4.5) * (0.15 * means[who] - 0.3)
    return odds


def _base(odds: NDArray[np.float64]) -> float:
    """What is to be added to the log-odds so that CLICKS of all impressions are clicked."""
    low, high = -20.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if float((1 / (1 + np.exp(-(odds + middle)))).mean()) < CLICKS else (low, middle)
    return low
