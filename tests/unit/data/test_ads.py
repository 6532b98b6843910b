"""The generated world of ads: its shape, its truth, and that what was planted can be learned."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from shortlist.data import ads
from shortlist.errors import ConfigError
from shortlist.eval import ctr
from shortlist.rank.logistic import Logistic
from shortlist.types import Candidates, Queries


def test_tables_have_the_columns_and_shares_of_the_original() -> None:
    world = ads.generate(scale=0.001, seed=1)
    assert world.impressions.columns == ["user", "time_stamp", "adgroup_id", "pid", "nonclk", "clk"]
    assert world.ads.columns == ["adgroup_id", "cate_id", "campaign_id", "customer", "brand", "price"]
    assert (len(world.users), len(world.ads), len(world.impressions)) == (1140, 847, 26_600)
    assert world.impressions["user"].is_in(world.users["userid"].implode()).all()
    assert world.impressions["adgroup_id"].is_in(world.ads["adgroup_id"].implode()).all()
    assert (world.impressions["clk"] + world.impressions["nonclk"] == 1).all()
    assert world.impressions["time_stamp"].is_sorted()
    assert world.truth.mean() == pytest.approx(ads.CLICKS, rel=1e-3)
    assert world.impressions["clk"].mean() == pytest.approx(ads.CLICKS, rel=0.1)
    assert world.users["pvalue_level"].null_count() / 1140 == pytest.approx(ads.VALUE_MISSING, abs=0.05)
    assert world.users["new_user_class_level"].null_count() / 1140 == pytest.approx(ads.CITY_MISSING, abs=0.05)
    assert world.last_day.mean() == pytest.approx(1 / 8, rel=0.1)
    with pytest.raises(ConfigError, match="scale is 0"):
        ads.generate(scale=0)


def test_the_same_seed_makes_the_same_world() -> None:
    one, two = (ads.generate(scale=0.0005, seed=3) for _ in range(2))
    assert one.impressions.equals(two.impressions)
    assert one.users.equals(two.users)
    assert one.ads.equals(two.ads)
    assert not one.impressions.equals(ads.generate(scale=0.0005, seed=4).impressions)


def test_columns_are_those_of_the_rows_they_came_from() -> None:
    world = ads.generate(scale=0.0005)
    made = ads.columns(world.users, world.ads, world.impressions)
    row = 77
    user = world.users.filter(pl.col("userid") == world.impressions["user"][row])
    ad = world.ads.filter(pl.col("adgroup_id") == world.impressions["adgroup_id"][row])
    assert made["age_level"][row] == user["age_level"][0] + 2
    assert made["pvalue_level"][row] == (0 if user["pvalue_level"][0] is None else user["pvalue_level"][0] + 2)
    assert made["cate_id"][row] == ad["cate_id"][0] + 2
    assert made["price"][row] == pytest.approx(ad["price"][0])
    assert made["pid"][row] == 2 + ads.PLACES.index(world.impressions["pid"][row])
    nobody = world.impressions.head(1).with_columns(user=pl.lit(-5, pl.Int64), adgroup_id=pl.lit(-5, pl.Int64))
    strange = ads.columns(world.users, world.ads, nobody)
    assert np.isnan(strange["price"]).all()
    assert all(strange[name][0] == 0 for name in ("age_level", "cate_id", "brand"))


def test_logistic_regression_on_39_columns_is_calibrated_and_finds_what_columns_say() -> None:
    world = ads.generate(scale=0.004)
    made = ads.columns(world.users, world.ads, world.impressions)
    label, late = world.impressions["clk"].to_numpy().astype(np.float32), world.last_day
    rows = np.arange(len(label), dtype=np.int32)
    found = Candidates(rows, rows, made)
    model = Logistic(ads.LAYOUT).learn(found.take(~late), label[~late], seed=0)
    assert len(model.layout.inputs) == 39
    said = model.score(Queries.of(np.zeros(len(rows), np.int32)), found.take(late))
    assert ctr.reliability(said, label[late]).error < 0.01
    assert 0.58 < ctr.auc(said, label[late]) < ctr.auc(world.truth[late], label[late]) - 0.02
    assert (np.bincount(made["price"] > 1e7) > 0).all()
