"""Blueprints turn real files into a running system: ingest, train, serve, answer."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path

import pytest

from benchmarks import blueprints, systems
from benchmarks.anime_files import LEAST, Files, generated
from benchmarks.rows import Row
from shortlist import config
from shortlist.config import Settings
from shortlist.data.load import load
from shortlist.data.world import generate
from shortlist.stores import ROLES, open_stores
from tests.end_to_end.test_http import Served, serving

ROWS = 6_000  # of the real ratings: some 60 people
RUNS: Mapping[str, Callable[[Path], Iterator[Row]]] = {
    "ads": lambda home: systems.run_ads(home, 0.002, 10),
    "ecommerce": lambda home: systems.run_shop(home, 0.0004, 20),
    "movies": lambda home: systems.run_films(
        home, generate(now=blueprints.NOW, users=150, items=300, events=9_000).frames
    ),
}


@pytest.fixture
def folder() -> Path:
    folder = Path(os.environ.get("SHORTLIST_DATA") or Path(__file__).parents[2] / "../shared/data") / "anime"
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist; name the folder of data sets in SHORTLIST_DATA")
    return folder


def ingested(name: str, folder: Path, home: Path) -> Settings:
    """The blueprint as somebody's shortlist.toml, beside the catalogue and a cut of the ratings."""
    (home / "shortlist.toml").write_text((files("shortlist") / "blueprints" / f"{name}.toml").read_text("utf-8"))
    (home / "anime.csv").write_bytes((folder / "anime.csv").read_bytes())
    ratings = (folder / "rating_part23_of_23.csv").read_text("utf-8").splitlines()[:ROWS]
    (home / "rating.csv").write_text("\n".join(["user_id,anime_id,rating", *ratings]))
    settings = config.load(home, {})
    with open_stores({role: settings.store_url(role) for role in ROLES}) as stores:
        for each, mapping in settings.ingest.items():
            summary = load(
                home / mapping.source.replace("*", ""),
                mapping,
                stores.catalog,
                stores.log,
                kinds=settings.kinds,
                now=1_700_000_000_000_000,
                rejects=home / f"{each}.rejects",
            )
            assert summary.accepted
            assert not summary.rejected
    return settings


def titles(served: Served, **asked: object) -> list[str]:
    return [item["id"] for item in served.recommend(**asked)["items"]]


def seen(home: Path, user: str) -> set[str]:
    rows = [line.split(",") for line in (home / "rating.csv").read_text().splitlines()[1:]]
    return {item for who, item, _ in rows if who == user}


def test_anime(folder: Path, tmp_path: Path, publish: Callable[..., str]) -> None:
    settings = ingested("anime", folder, tmp_path)
    publish(settings)
    with serving(settings) as served:
        for scenario in ("home", "most_rated", "high_rated", "user_vector", "recent_clicks"):
            for user in ("72561", "72570", "nobody"):
                page = titles(served, user_id=user, scenario=scenario, seed=3)
                assert len(page) == len(set(page)) == 20, scenario
                assert not set(page) & seen(tmp_path, user)
        answer = served.recommend(user_id="72561", seed=3)
        assert len({source for item in answer["items"] for source in item["sources"]}) >= 4
        rows = served.runtime.catalog.rows("item", [item["id"] for item in answer["items"]])
        genres = served.runtime.catalog.read("item", rows, ["genres"])["genres"]
        assert max(Counter(genre for each in genres for genre in each).values()) <= 8  # refilled places are not counted
        votes = Counter(line.split(",")[1] for line in (tmp_path / "rating.csv").read_text().splitlines()[1:])
        assert all(votes[item] >= 5 for item in titles(served, user_id="nobody", scenario="high_rated"))
        before = titles(served, user_id="nobody", scenario="recent_clicks")
        served.tell({"user_id": "nobody", "item_id": "20", "type": "click"})
        after = titles(served, user_id="nobody", scenario="recent_clicks")
        assert after != before
        assert "20" not in after
        similar = served.client.get("/v1/items/20/similar").json()["items"]
        assert len(similar) == 20
        assert "20" not in {item["id"] for item in similar}


def test_item2vec(folder: Path, tmp_path: Path, publish: Callable[..., str]) -> None:
    settings = ingested("item2vec", folder, tmp_path)
    publish(settings)
    with serving(settings) as served:
        pages = {}
        for scenario in ("home", "node2vec", "lists"):
            answer = served.recommend(user_id="72561", scenario=scenario)
            pages[scenario] = [item["id"] for item in answer["items"]]
            assert len(set(pages[scenario])) == 20
            assert not set(pages[scenario]) & seen(tmp_path, "72561")
            assert not any(item.get("fallback") for item in answer["items"])
        assert len(set(map(tuple, pages.values()))) == 3
        assert len(titles(served, user_id="nobody")) == 20
        similar = served.client.get("/v1/items/20/similar").json()["items"]
        assert "20" not in {item["id"] for item in similar}


@pytest.fixture(scope="module")
def files_of_a_world(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return generated(tmp_path_factory.mktemp("world"), users=500, items=800, ratings=50_000)


def test_the_generated_files_say_what_they_should(files_of_a_world: Files) -> None:
    files, ratings = files_of_a_world, files_of_a_world.ratings
    assert abs(len(ratings) + len(files.withheld) - 50_000) < 300  # rounded for each person
    assert set(ratings["value"]) <= {-1, *range(1, 11)}
    assert 0.1 < (ratings["value"] == -1).mean() < 0.3
    assert not ratings.select("user", "item").is_duplicated().any()
    assert set(ratings["item"]) <= set(files.genres)
    assert files.withheld["user"].is_unique().all()
    assert not len(files.withheld.join(ratings, ["user", "item"]))
    liked = ratings.filter(ratings["value"] >= LEAST)
    assert set(files.withheld["user"]) <= set(liked["user"])


@pytest.mark.parametrize("name", blueprints.NAMES)
def test_a_blueprint_from_files_to_answers(name: str, files_of_a_world: Files, tmp_path: Path) -> None:
    rows = blueprints.run(name, "generated", files_of_a_world, tmp_path, people=30)
    steps = {row.model.split()[1] for row in rows if row.metric == "seconds" and row.peak_mb}
    assert steps == {"init", "ingest", "train", "evaluate", "publish", "serve", "ask"}
    promised = [row for row in rows if "asked" in row.params]
    assert {row.model.split()[1] for row in promised} == set(config.load(tmp_path, {}).pipelines)
    for row in promised:
        if row.metric.startswith("from "):
            assert row.value > 0, row
        else:
            assert row.value == row.params["asked"], row
    gap = next(row for row in rows if row.metric == "ndcg@10-minus-popular")
    assert gap.low is not None
    if name == "anime":  # of vectors alone nobody promises that they find more than fame does
        assert gap.low > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", blueprints.OTHERS)
def test_a_blueprint_with_data_of_its_own(name: str, tmp_path: Path) -> None:
    rows = list(RUNS[name](tmp_path))
    steps = {row.model.split()[1] for row in rows if row.metric == "seconds" and row.peak_mb}
    daily = {"init", "ingest", "train", "evaluate", "publish", "serve"}
    assert steps == ({"predict"} if name == "movies" else daily)
    promised = [row for row in rows if "asked" in row.params]
    assert promised
    for row in promised:
        assert row.value == row.params["asked"], row
    figures = {(row.model.split()[1], row.metric): row for row in rows if row.low is not None}
    if name == "ads":
        for ranker in ("home", "logistic", "dcn", "trees"):
            assert figures[ranker, "auc"].value < figures["truth", "auc"].value + 0.01
            assert figures[ranker, "calibration-error"].value < 0.02  # a few thousand impressions: mostly chance
    elif name == "ecommerce":
        gap = figures["towers", "liking-minus-popular"]
        assert gap.low is not None
        assert gap.low > 0
    else:
        assert figures["stars", "rmse"].value < figures["biases", "rmse"].value * 1.1
        assert {"home", "towers", "multitask"} <= {model for model, metric in figures if metric == "ndcg@10"}
