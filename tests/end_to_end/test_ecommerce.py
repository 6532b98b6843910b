"""The blueprint for a shop: towers propose by profile and facts, DeepFM ranks; what is new counts at once."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from shortlist import config
from shortlist.cli import app
from shortlist.data import shop
from shortlist.errors import ConfigError
from tests.end_to_end.test_http import Served, serving

pytestmark = pytest.mark.torch
SCALE = 0.001
FACTS = ("age", "sex", "city_level", "province", "city", "county")


@pytest.fixture(scope="module")
def world() -> shop.ShopWorld:
    return shop.generate(scale=SCALE, seed=2)


@pytest.fixture(scope="module")
def home(world: shop.ShopWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'shortlist[torch]'")
    folder = tmp_path_factory.mktemp("shop")
    shop.write(folder, world)
    return folder


def test_the_world_has_the_shape_of_the_original(world: shop.ShopWorld, home: Path) -> None:
    assert world.users.columns == ["user_id", *FACTS]
    assert world.products.columns == ["sku", "brand", "shop", "cate"]
    assert world.users["user_id"].is_unique().all()
    assert 1 <= world.users["user_id"].min() <= world.users["user_id"].max() <= shop.WHOLE["users"]
    for name, low, high in (("age", 1, 6), ("sex", 0, 2), ("city_level", 1, 6), ("province", 1, 31)):
        assert (world.users[name].min(), world.users[name].max()) == (low, high), name
        assert world.users[name].null_count() == pytest.approx(shop.MISSING * len(world.users), rel=0.5)
    assert len((home / "users.dat").read_text().splitlines()[0].split(":")) == 7
    assert len((home / "products.dat").read_text().splitlines()[0].split(":")) == 4
    assert world.events["time"].is_sorted()
    again = shop.generate(scale=SCALE, seed=2)
    assert again.events.equals(world.events)
    assert not shop.generate(scale=SCALE, seed=3).events.equals(world.events)
    with pytest.raises(ConfigError, match="scale is 2"):
        shop.generate(scale=2)


def test_what_is_taken_and_bought_follows_taste(world: shop.ShopWorld) -> None:
    place = {name: dict(zip(table[name].to_list(), range(len(table)), strict=True)) for name, table in
             (("user_id", world.users), ("sku", world.products))}  # fmt: skip
    rows = {name: np.array([place[name][each] for each in world.events[name].to_list()]) for name in place}
    liking = world.liking(rows["user_id"], rows["sku"])
    drawn = world.liking(rows["user_id"], np.random.default_rng(0).permutation(rows["sku"]))
    bought = world.events["type"].to_numpy() == 2
    assert liking[~bought].mean() > drawn.mean() + 1
    assert liking[bought].mean() > liking[~bought].mean() + 0.3
    assert bought.sum() / (~bought).sum() == pytest.approx(shop.BOUGHT, rel=0.4)


def test_from_files_to_lists(home: Path, world: shop.ShopWorld, capsys: pytest.CaptureFixture[str]) -> None:
    file = home / "shortlist.toml"

    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as left:
            app.main([*words, "--out" if words[0] == "init" else "--config", str(file)])
        said = capsys.readouterr()
        assert left.value.code == 0, said.err
        return said.out

    run("init", "--blueprint", "ecommerce")
    file.write_text(file.read_text().replace("decay = 1e-4,", "decay = 1e-4, threads = 1,"))
    loaded = json.loads(run("ingest", "--json"))["sources"]
    assert [each["rejected"] for each in loaded] == [{}, {}, {}]
    told = json.loads(run("evaluate", "--pipeline", "home", "--pipeline", "towers", "--json"))
    for name in ("home", "towers"):
        (row,) = [
            each for each in told["rows"]
            if (each["system"], each["metric"], each["segment"]) == (name, told["main"], "all")
        ]  # fmt: skip
        assert row["difference_low"] > 0, name  # better than what is popular
    run("train", "--publish")
    with serving(config.load(home, {})) as served:
        unlike_profiles(served, world)
        new_product(served, world)


def unlike_profiles(served: Served, world: shop.ShopWorld) -> None:
    """Acceptance: two unlike new-user profiles, different candidates; the same profile again, the same list."""
    profiles = {
        "young": ("1", "0", "1", "1", "1", "1"),
        "old": ("6", "1", "5", "20", "230", "1500"),
        "young again": ("1", "0", "1", "1", "1", "1"),
    }
    for id, facts in profiles.items():
        fields = dict(zip(FACTS, facts, strict=True))
        assert served.client.put(f"/v1/users/{id}", json={"fields": fields}).status_code == 201
    for scenario in ("home", "towers"):
        pages = {
            id: [(item["id"], item["score"]) for item in served.recommend(user_id=id, scenario=scenario)["items"]]
            for id in profiles
        }
        assert pages["young"] == pages["young again"], scenario
        shared = {id for id, _ in pages["young"]} & {id for id, _ in pages["old"]}
        assert len(shared) < 15, scenario
        assert all(len(page) == 20 for page in pages.values())
    row = world.users.drop_nulls().row(0, named=True)
    assert row["user_id"] > 0


def new_product(served: Served, world: shop.ShopWorld) -> None:
    liked = served.recommend(user_id="young", scenario="towers", fields=["brand", "shop", "cate"])["items"][0]
    fields = liked["fields"]
    assert "brand-new" not in served.ids(user_id="young", scenario="towers")
    assert served.client.put("/v1/items/brand-new", json={"fields": fields}).status_code == 201
    page = served.ids(user_id="young", scenario="towers", n=60)
    assert "brand-new" in page
    assert "brand-new" in served.ids(user_id="young", scenario="home", n=100)
    assert "brand-new" in [
        item["id"] for item in served.client.get(f"/v1/items/{liked['id']}/similar?n=50").json()["items"]
    ]
    known = pl.Series(page).is_in(world.products["sku"].cast(pl.String).to_list())
    assert known.sum() == len(page) - 1
