"""The blueprint for ads: from the three files of an invented week to probabilities, and through the real schema."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from shortlist import config
from shortlist.batch import steps
from shortlist.batch.impressions import Shown, labelled
from shortlist.batch.train import read_window
from shortlist.cli import app
from shortlist.data import ads
from shortlist.data.events import context_number
from shortlist.eval import ctr
from shortlist.rank.logistic import LogisticModel
from shortlist.types import Candidates, Queries
from tests.end_to_end.test_http import problem, serving

SCALE = 0.01  # the calibration error of the truth itself would be too large with fewer impressions
TORCH = find_spec("torch") is not None  # without it networks stay as they begin, and are not judged
RANKERS = ("home", "logistic", "dcn", "trees") if TORCH else ("logistic", "trees")
Run = Callable[..., str]


@pytest.fixture(scope="module")
def world() -> ads.AdWorld:
    return ads.generate(scale=SCALE, seed=1)


@pytest.fixture(scope="module")
def home(world: ads.AdWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three files."""
    folder = tmp_path_factory.mktemp("ads")
    ads.write(folder, world.users, world.ads, world.impressions)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def ran(home: Path, *words: str) -> str:
        where = "--out" if words[0] == "init" else "--config"
        with pytest.raises(SystemExit) as left:
            app.main([*words, where, str(home / "shortlist.toml")])
        said = capsys.readouterr()
        assert left.value.code == 0, said.err
        return said.out

    return ran


def quicker(home: Path) -> None:
    """Fewer turns and smaller networks than the blueprint asks for."""
    file = home / "shortlist.toml"
    text = (
        file.read_text()
        .replace("layers = [64, 64]", "layers = [16]\nwidth = 8")
        .replace("epochs = 5", f"epochs = {2 if TORCH else 0}")
    )
    text = text.replace('objective = "binary"', 'objective = "binary"\ntrees = 60\nthreads = 1')
    file.write_text(text)


def test_from_files_to_probabilities(home: Path, world: ads.AdWorld, run: Run) -> None:
    run(home, "init", "--blueprint", "ads")
    quicker(home)
    loaded = json.loads(run(home, "ingest", "--json"))["sources"]
    assert [each["rejected"] for each in loaded] == [{}, {}, {}]
    assert [each["accepted"] for each in loaded] == [len(world.ads), len(world.users), len(world.impressions)]
    page = home / "ctr.html"
    words = [word for name in RANKERS for word in ("--pipeline", name)]
    words += ["--report", "html", "--out", str(page), "--json"]
    told = json.loads(run(home, "evaluate", "--impressions", "1d", *words))
    assert set(told["pipelines"]) == set(RANKERS)
    assert told["impressions"] == pytest.approx(world.last_day.sum(), rel=0.01)
    rows = told["impressions"] + told["learned_from"]
    assert len(world.impressions) - 5 < rows <= len(world.impressions)  # a click soon after a showing is its answer
    label = world.impressions["clk"].to_numpy()[world.last_day].astype(np.float32)
    best = ctr.auc(world.truth[world.last_day], label)
    for name, found in told["pipelines"].items():
        assert found["calibration-error"]["value"] <= 0.01, name
        assert 0.6 < found["auc"]["value"] < best + 0.01, name
        assert 0.5 < found["gauc"]["value"] < 1, name
        assert found["log-loss"]["value"] < ctr.log_loss(np.full(len(label), label.mean(), np.float32), label), name
        assert sum(point["rows"] for point in found["reliability"]) == told["impressions"]
    text = page.read_text()
    assert text.count("<svg") == len(RANKERS)
    assert "calibration-error" in text
    assert "calibration error" in run(home, "evaluate", "--impressions", "2d", "--pipeline", "logistic").replace(
        "-", " "
    )
    bit_for_bit(home, run, world)
    place_and_person(home, world)
    absurd_prices(home, world)


def bit_for_bit(home: Path, run: Run, world: ads.AdWorld) -> None:
    """What is served is what was learned."""
    file = home / "shortlist.toml"
    file.write_text(file.read_text().replace("impressions = 6_000_000", "impressions = 40_000"))
    run(home, "train", "--publish")
    settings = config.load(home, {})
    with serving(settings) as served:
        runtime = served.runtime
        pipeline = runtime.release.pipelines["logistic"]
        model = pipeline.scorer
        assert isinstance(model, LogisticModel)
        assert len(model.layout.inputs) == 39
        data = read_window(settings, runtime.catalog, runtime.stores.log)
        shown = Shown.of(data)
        shown = shown.take(np.arange(0, len(shown), len(shown) // 40))
        found, _ = labelled(pipeline, data, shown)
        vector = model.layout.one_hot(found.columns, len(found)).toarray()
        score = model.score(Queries.of(np.zeros(len(shown), np.int32)), found)
        users, items = data.events.user[shown.event], data.events.item[shown.event]
        places = world.impressions["pid"].to_numpy()
        named = dict(zip(map(context_number, ads.PLACES), ads.PLACES, strict=True))
        others = np.arange(50, dtype=np.int32)
        for at, (user, item) in enumerate(zip(users.tolist(), items.tolist(), strict=True)):
            place = named[int(data.events.columns["pid"][shown.event[at]])]
            assert place in places
            queries = replace(
                runtime.queries(np.array([user], np.int32), np.zeros(1, np.uint64)),
                columns={"fact.pid": np.array([context_number(place)])},
            )
            page = Candidates(np.zeros(51, np.int32), np.append(others, item).astype(np.int32))
            for feature in pipeline.features.values():
                page = page.with_columns(feature.columns(queries, page))
            online = model.layout.one_hot(page.columns, len(page)).toarray()
            assert online[-1].tobytes() == vector[at].tobytes()
            names = runtime.catalog.ids("item", np.array([item, *others[others != item]], np.int32))
            asked = {"user_id": runtime.catalog.ids("user", np.array([user], np.int32))[0], "items": names}
            answer = served.client.post("/v1/rank", json={**asked, "scenario": "logistic", "facts": {"pid": place}})
            told = {each["id"]: each["score"] for each in answer.json()["items"]}
            assert np.float32(told[names[0]]).tobytes() == score[at].tobytes()
            assert len(told) == len(names)


def place_and_person(home: Path, world: ads.AdWorld) -> None:
    """They change what is said."""
    with serving(config.load(home, {})) as served:
        user, other = (
            str(each) for each in world.impressions["user"].value_counts(sort=True)["user"].head(2).to_list()
        )
        for scenario in RANKERS:
            pages = [
                {
                    item["id"]: item["score"]
                    for item in served.recommend(user_id=who, scenario=scenario, facts=facts)["items"]
                }
                for who, facts in (
                    (user, {"pid": ads.PLACES[0]}),
                    (user, {"pid": ads.PLACES[1]}),
                    (other, {"pid": ads.PLACES[0]}),
                )
            ]
            assert all(len(page) == 20 for page in pages), scenario
            assert all(0 < score < 1 for page in pages for score in page.values()), scenario
            assert len({json.dumps(page) for page in pages}) == 3, scenario
        assert len(served.ids(user_id="nobody")) == 20
        problem(served.client.post("/v1/recommend", json={"facts": {"pid": 7}}), "invalid_argument")


def absurd_prices(home: Path, world: ads.AdWorld) -> None:
    """Acceptance: ads with a price of 1e8 or none do not change the order of the others."""
    items = [str(each) for each in world.ads["adgroup_id"].head(60).to_list()]
    with serving(config.load(home, {})) as served:

        def order(scenario: str) -> list[str]:
            answer = served.client.post("/v1/rank", json={"user_id": "1", "items": items, "scenario": scenario})
            return [each["id"] for each in answer.json()["items"]]

        before = {scenario: order(scenario) for scenario in RANKERS}
        for id, price in ((items[0], 1e8), (items[1], None)):
            changed = served.client.patch(f"/v1/items/{id}", json={"fields": {"price": price}})
            assert changed.status_code == 200, changed.text
        for scenario, was in before.items():
            assert [each for each in order(scenario) if each not in items[:2]] == [
                each for each in was if each not in items[:2]
            ], scenario
            assert len(was) == len(items)


def test_the_real_schema(tmp_path: Path, run: Run) -> None:
    """Rows of the real thing, through the same tables."""
    folder = (
        Path(os.environ.get("SHORTLIST_DATA") or Path(__file__).parents[2] / "../shared/data") / "ctr-alimama-sample"
    )
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist; name the folder of data sets in SHORTLIST_DATA")
    tables = ads.joined(*(folder / name for name in ("alimama_sampled_train.txt", "deepctr_alimama_sample.txt")))
    assert len(tables.impressions) == 599  # one of the 600 lines holds names
    ads.write(tmp_path, *tables)
    head, *rest = (tmp_path / "user_profile.csv").read_text().split("\n", 1)
    (tmp_path / "user_profile.csv").write_text("\n".join([f"{head} ", *rest]))  # the real file's last name ends so
    run(tmp_path, "init", "--blueprint", "ads")
    quicker(tmp_path)
    loaded = json.loads(run(tmp_path, "ingest", "--json"))["sources"]
    assert [each["rejected"] for each in loaded] == [{}, {}, {}]
    assert loaded[2]["accepted"] == 599
    settings = config.load(tmp_path, {})
    with steps.open_configured(settings, read_only=True) as stores:
        data = read_window(settings, stores.catalog, stores.log)
        shown = Shown.of(data)
        assert (len(shown), int(shown.label.sum())) == (599, tables.impressions["clk"].sum())
        row = stores.catalog.rows("user", ["1000043"])
        facts = stores.catalog.read("user", row, stores.catalog.names("user"))
        assert {name: column[0] for name, column in facts.items()} == {
            "cms_segid": "27", "cms_group_id": "4", "final_gender_code": "2", "age_level": "4", "pvalue_level": "1",
            "shopping_level": "2", "occupation": "0", "new_user_class_level": "4",
        }  # fmt: skip
        ad = stores.catalog.read("item", stores.catalog.rows("item", ["328301"]), ["cate_id", "brand", "price"])
        assert (ad["cate_id"][0], ad["brand"][0]) == ("6410", "121422")
    told = json.loads(run(tmp_path, "evaluate", "--impressions", "60s", "--pipeline", "logistic", "--json"))
    assert told["impressions"] == 60
    assert 0 < told["pipelines"]["logistic"]["log-loss"]["value"] < 2
