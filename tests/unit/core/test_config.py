"""Configuration: defaults, overrides, and errors that name the key and what is allowed."""

from dataclasses import replace

import pytest

from shortlist import ConfigError, NotFound, config
from shortlist.config import Builder
from shortlist.dataset import DEFAULT_KINDS


def test_an_empty_file_gives_the_default_pipelines(tmp_path):
    (tmp_path / "shortlist.toml").write_text("")
    settings = config.load(tmp_path, {})
    assert {"home", "similar"} <= settings.pipelines.keys()
    assert settings.train.models["als"]["use"] == "models.als:Als"
    assert settings.home == tmp_path


def test_a_model_is_changed_key_by_key_and_a_pipeline_as_a_whole():
    given = {
        "train": {"models": {"als": {"factors": 7}}},
        "pipelines": {"home": {"sources": {"als": {"model": "als"}}}},
    }
    settings = config.parse(given)
    assert settings.train.models["als"] == {"use": "models.als:Als", "factors": 7}
    assert list(settings.pipelines["home"].sources) == ["als"]
    assert "similar" in settings.pipelines


def test_the_size_dial_derives_and_explicit_keys_win():
    assert config.parse({"shortlist": {"size": "large"}}).train.models["als"]["factors"] == 128
    both = config.parse({"shortlist": {"size": "large"}, "train": {"models": {"als": {"factors": 5}}}})
    assert both.train.models["als"]["factors"] == 5


def test_environment_overrides_the_file(tmp_path):
    (tmp_path / "shortlist.toml").write_text("[serve]\nport = 1\n")
    settings = config.load(
        tmp_path, {"SHORTLIST__SERVE__PORT": "4321", "SHORTLIST__STORES__STATE": "memory:", "HOME": "x"}
    )
    assert settings.serve.port == 4321
    assert settings.stores.state == "memory:"


def test_relative_stores_start_at_the_files_folder(tmp_path):
    settings = config.load(tmp_path, {})
    assert settings.store_url("catalog") == f"file:{tmp_path / 'shortlist-data/store'}"


def test_a_kind_may_be_changed_by_name_and_keeps_its_code():
    kinds = config.parse({"events": {"kinds": {"click": {"weight": 0.5}, "play": {"code": 40}}}}).kinds.table
    assert kinds["click"] == replace(DEFAULT_KINDS["click"], weight=0.5)
    assert kinds["play"].code == 40
    assert kinds["buy"] == DEFAULT_KINDS["buy"]


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"pipelines": {"home": {"limit": 3}}}, r"pipelines\.home: a pipeline without sources proposes nothing"),
        ({"pipelines": {"home": {"lmit": 3}}}, r"pipelines\.home: .*no field 'lmit' \(did you mean 'limit'\?"),
        ({"sevre": {}}, r"the top level: Settings has no field 'sevre' \(did you mean 'serve'\?"),
        ({"serve": {"port": "x"}}, r"serve\.port: is 'x', expected int"),
        ({"serve": {"port": True}}, r"serve\.port: is True, expected int"),
        ({"serve": 3}, r"serve: is 3, expected a table"),
        ({"shortlist": {"size": "huge"}}, r"shortlist\.size: is 'huge'"),
        ({"evaluate": {"k": 10}}, r"evaluate\.k: is 10, expected a list"),
        ({"events": {"kinds": {"play": {"weight": 1}}}}, r"events\.kinds\.play: Kind needs 'code'"),
    ],
)
def test_mistakes_are_named(given, text):
    with pytest.raises(ConfigError, match=text):
        config.parse(given)


def test_broken_toml_and_missing_file_are_named(tmp_path):
    (tmp_path / "shortlist.toml").write_text("[serve\n")
    with pytest.raises(ConfigError, match="not valid TOML"):
        config.load(tmp_path, {})
    with pytest.raises(NotFound, match="no such configuration file"):
        config.load(tmp_path / "other.toml", {})


@pytest.mark.parametrize(
    ("use", "text"),
    [
        ("os:system", "neither in shortlist"),
        ("types", "is not of the form"),
        ("types:__import__('os')", "is not of the form"),
        ("types:Nothing", "cannot be loaded"),
        ("types:np", "is not a dataclass"),
        ("models.nothing:Nothing", "cannot be loaded"),
    ],
)
def test_names_that_are_not_components_are_refused(use, text):
    with pytest.raises(ConfigError, match=text):
        config.resolve(use)


def test_builder_names_unknown_fields_and_models():
    builder = Builder({}, {}, lambda component, where: component)
    with pytest.raises(ConfigError, match=r"here: Ragged has no field 'pt' \(did you mean 'ptr'\?"):
        builder.component({"use": "types:Ragged", "pt": 1}, "here")
    with pytest.raises(ConfigError, match="no model 'als'"):
        builder.component({"model": "als"}, "here")
    with pytest.raises(ConfigError, match="neither `use` nor `model`"):
        builder.component({}, "here")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"likings": 0}, "likings is 0, others 0, uniform 0, impressions 0: at least 1"),
        ({"others": -1}, "likings is 1, others -1"),
        ({"uniform": -5}, "others 0, uniform -5"),
        ({"position": -1.0, "validation": "impressions"}, "is -1.0, expected a number of at least 0"),
        ({"position": 0.5}, "impressions have places and are their own negatives"),
        ({"uniform": 5, "validation": "impressions"}, "candidates have none, and are drawn"),
        ({"impressions": -1, "validation": "impressions"}, "impressions -1: at least 1, and 0 or more"),
        ({"likings": 4, "validation": "global"}, "held out by leave-last, not by global"),
    ],
)
def test_what_rankers_learn_from_is_possible(train, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        config.parse({"train": train}, home=tmp_path)
