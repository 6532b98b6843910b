"""The steps of the daily path: what is fitted, and how often."""

from datetime import UTC, datetime

from shortlist import config
from shortlist.batch import steps
from shortlist.stores import ROLES, open_stores
from shortlist.testing.world import synthetic

TABLES = {
    "train": {"models": {"mine": {"use": "models.itemknn:ItemKnn"}, "other": {"use": "models.userknn:UserKnn"}}},
    "pipelines": {
        "home": {"sources": {"mine": {"model": "mine"}}},
        "similar": {"sources": {"mine": {"model": "mine"}}},
        "beside": {"sources": {"other": {"model": "other"}}},
    },
}


def test_a_rehearsal_fits_what_is_judged_and_nothing_else(tmp_path) -> None:
    settings = config.parse(TABLES, home=tmp_path)
    told: list[str] = []

    def progress(what: str, seconds: float) -> None:
        told.append(what.rpartition(":")[0])

    with open_stores(dict.fromkeys(ROLES, "memory:")) as stores:
        judged = steps.judge(settings, synthetic().data, stores, progress=progress)
        assert told == ["past: train.models.mine"]
        assert set(judged.rehearsal.trained.pipelines) == {"home"}
        told.clear()
        created = datetime(2026, 1, 1, tzinfo=UTC)
        steps.make_release(settings, synthetic().data, stores, created=created, progress=progress)
        assert told == ["past: train.models.mine", "all: train.models.mine", "all: train.models.other"]
