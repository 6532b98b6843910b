"""Releases that are corrupt, foreign, newer or hostile are refused with the reason; the old one serves on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import swaps
from shortlist import packed, release
from shortlist.batch.steps import by_role, make_release, open_configured
from shortlist.batch.train import read_window
from shortlist.config import Settings, parse
from shortlist.errors import NotFound, ReleaseError, ShapeError
from shortlist.models.dense import DenseItems
from shortlist.models.sparse import SparseItems
from shortlist.pipeline import Pipeline, Recall
from shortlist.recall.given import Given
from shortlist.runtime import Runtime
from shortlist.serve.http import address, application, listen, server
from shortlist.serve.metrics import Metrics
from shortlist.serve.service import Service
from shortlist.serve.wire import RecommendRequest
from shortlist.types import Candidates, Queries, Ragged, Scores

OFFSETS = 200
NEWER = "2026-06-01T00:00:00"


@pytest.fixture(scope="module")
def trained(_loaded: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The tiny installation with a release made by the daily path: golden lists, rehearsal, fingerprint."""
    from tests.conftest import TABLES

    home = tmp_path_factory.mktemp("trained")
    shutil.copytree(_loaded, home, dirs_exist_ok=True)
    settings = parse(TABLES, home=home)
    made(settings)
    return settings


def made(settings: Settings) -> str:
    with open_configured(settings, read_only=True) as stores:
        data = read_window(settings, stores.catalog, stores.log)
        version, _ = make_release(settings, data, stores, created=datetime(2026, 1, 1, tzinfo=UTC))
    release.publish(settings.releases_path, version)
    return version


@pytest.fixture
def shop(trained: Settings, tmp_path: Path) -> Settings:
    shutil.copytree(trained.home, tmp_path / "shop")
    return replace(trained, home=tmp_path / "shop")


def refused(settings: Settings, version: str) -> str:
    """Why `version` is refused: by the check, by loading, and by a server, which serves on."""
    root = settings.releases_path
    good = release.current(root)
    assert good is not None
    with Runtime.open(settings, read_only=True) as runtime:
        before = answers(runtime)
        (root / "CURRENT").write_text(f"{version}\n")
        assert runtime.refresh() is False
        assert runtime.release.version == good
        assert answers(runtime) == before
        why = runtime.refused
        (root / "CURRENT").write_text(f"{good}\n")
    assert version in why
    return why


def answers(runtime: Runtime, users: int = 20) -> list[int]:
    rows = np.arange(users, dtype=np.int32)
    slate = runtime.recommend("home", runtime.queries(rows, rows.astype(np.uint64)), 10).slate
    listed: list[int] = slate.item.tolist()
    return listed


def forged(settings: Settings, change: Callable[[dict[str, Any], Path], None]) -> str:
    """A release whose author changed it and then wrote a manifest and a name that fit: nothing is corrupt."""
    root = settings.releases_path
    version = release.current(root)
    assert version is not None
    folder = root / "forged"
    shutil.copytree(root / version, folder)
    manifest = json.loads((folder / packed.MANIFEST).read_text())
    change(manifest, folder)
    (folder / packed.MANIFEST).write_text(json.dumps(manifest))
    name = f"2026-06-01T000000-{packed.sha256(folder / packed.MANIFEST)[:8]}"
    folder.rename(root / name)
    return name


def rewritten(name: str, data: bytes) -> Callable[[dict[str, Any], Path], None]:
    """Put `data` into the array file `name`, with the SHA-256 and size that it has."""

    def change(manifest: dict[str, Any], folder: Path) -> None:
        (folder / name).write_bytes(data)
        manifest["files"][name] = {"sha256": packed.sha256(folder / name), "size": len(data)}

    return change


# M2: corrupt


@pytest.mark.fault("M2")
def test_bytes_flipped_anywhere_are_noticed(shop: Settings) -> None:
    root = shop.releases_path
    version = release.current(root)
    assert version is not None
    files = sorted(each for each in (root / version).rglob("*") if each.is_file())
    sizes = np.array([each.stat().st_size for each in files])
    chance = np.random.default_rng(0)
    for draw in range(OFFSETS):
        file = (
            files[draw % len(files)] if draw < len(files) else files[chance.choice(len(files), p=sizes / sizes.sum())]
        )
        offset, bit = int(chance.integers(file.stat().st_size)), 1 << int(chance.integers(8))
        flip(file, offset, bit)
        with pytest.raises(ReleaseError) as caught:
            release.check(root, version)
        assert caught.value.hint, (file.name, offset)
        flip(file, offset, bit)
    release.check(root, version)


def flip(file: Path, offset: int, bit: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        (byte,) = opened.read(1)
        opened.seek(offset)
        opened.write(bytes([byte ^ bit]))


@pytest.mark.fault("M2")
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "another size or SHA-256"),
        (lambda file: file.write_bytes(b""), "another size or SHA-256"),
        (lambda file: file.unlink(), "missing or not a plain file"),
        (lambda file: file.rename(file.with_suffix(".bak")), "missing or not a plain file"),
        (lambda file: swap(file, file.with_name("0003.npy")), "another size or SHA-256"),
    ],
    ids=["cut short", "empty", "gone", "renamed", "swapped"],
)
def test_a_damaged_release_is_refused_and_the_old_one_serves_on(
    shop: Settings, harm: Callable[[Path], None], said: str
) -> None:
    newer = forged(shop, lambda manifest, folder: manifest["facts"].update(created=NEWER))
    arrays = sorted((shop.releases_path / newer).glob("*.npy"), key=lambda each: -each.stat().st_size)
    harm(arrays[0])
    assert said in refused(shop, newer)


def swap(one: Path, other: Path) -> None:
    other = other if other.exists() and other != one else next(each for each in one.parent.glob("*.npy") if each != one)
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)


# M3: foreign and newer


@pytest.mark.fault("M3")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m, f: m.update(format=99), "has format 99, this program reads up to 1"),
        (lambda m, f: m.update(format="x"), "damaged"),
        (lambda m, f: m["facts"]["catalog"].update(items=91), "knows 91 items, this catalogue has 90"),
        (lambda m, f: m["facts"]["catalog"].update(users=10**9), "knows 1,000,000,000 users, this catalogue has 60"),
        (
            lambda m, f: m["facts"]["catalog"].update(probe={"0": "other"}),
            "1 of 1 items that were compared have another id",
        ),
        (lambda m, f: m["facts"].update(catalog="x"), "what it says of its catalogue is damaged"),
        (lambda m, f: m["facts"]["catalog"].update(probe=[1]), "what it says of its catalogue is damaged"),
        (lambda m, f: use(m, "models.dense:DenseItems", "models.dense:Nothing"), "models.dense:Nothing"),
        (lambda m, f: use(m, "models.dense:DenseItems", "shop.models:DenseItems"), "nor in a trusted module"),
        (lambda m, f: use(m, "models.dense:DenseItems", "models.sparse:SparseItems"), "damaged at"),
        (lambda m, f: use(m, "pipeline:Pipeline", "types:Ragged"), "damaged at"),
    ],
)
def test_a_release_that_does_not_belong_here_is_refused_with_the_difference(
    shop: Settings, change: Callable[[dict[str, Any], Path], None], said: str
) -> None:
    assert said in refused(shop, forged(shop, change))


def use(manifest: dict[str, Any], old: str, new: str) -> None:
    text = json.dumps(manifest["tree"])
    assert f'"{old}"' in text
    manifest["tree"] = json.loads(text.replace(f'"{old}"', f'"{new}"'))


@pytest.mark.fault("M3")
def test_wrong_shapes_and_rows_out_of_range_never_reach_a_kernel() -> None:
    lists = Ragged(np.int64([0, 1, 2]), {"item": np.int32([0, 2]), "score": np.float32([1, 1])})
    with pytest.raises(ShapeError, match=r"must be in 0 \.\. 1, found 0 \.\. 2"):
        SparseItems(lists, 0.0)
    falls = Ragged(np.int64([0, 2, 1, 2]), {"item": np.int32([0, 0]), "score": np.float32([1, 1])})
    with pytest.raises(ShapeError, match="must not fall"):
        SparseItems(falls, 0.0)
    with pytest.raises(ShapeError, match="weight is"):
        DenseItems(np.zeros((2, 3), np.float32), np.int32([0, 1]), np.int32([0, 1]), 0.0)
    with pytest.raises(ShapeError, match="none below 0"):
        Given(np.int32([-1]), np.float32([1]))


@pytest.mark.fault("M3")
def test_items_beyond_the_catalogue_are_refused(shop: Settings) -> None:
    root = shop.releases_path
    beyond = Given(np.arange(80, 100, dtype=np.int32), -np.arange(20, dtype=np.float32))
    version = release.save(root, {"home": Pipeline({"x": Recall(beyond, 50)})}, {"created": NEWER})
    assert "beyond the 90 of this catalogue" in refused(shop, version)


# M4: hostile


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file outside that nothing may touch, and a module that may never be imported."""
    file = tmp_path / "canary"
    file.write_text("alive")
    yield file
    assert file.read_text() == "alive"
    assert not (tmp_path / "hatched").exists()


def header(shape: str, dtype: str = "'<f4'") -> bytes:
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"
    padded = text + " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()


@pytest.mark.fault("M4")
@pytest.mark.parametrize(
    "data",
    [
        header("(25_000_000_000,)"),
        header("(25000000000,)") + b"\0" * 64,
        header("(-1, -4)") + b"\0" * 16,
        header("(4,)", "'|O'") + b"\0" * 32,
        header("(4,)", "[('x', '<f4')]") + b"\0" * 16,
        header("(4,)", "'|V4'") + b"\0" * 16,
        header("(" * 500 + ")" * 500),
        header("__import__('os').system('touch hatched')"),
        b"\x93NUMPY\x02\x00" + (2**32 - 1).to_bytes(4, "little") + b"{",
        b"\x93NUMPY\x01\x00\xff\xff{",
        b"PK\x03\x04" + b"\0" * 60,
        b"\x80\x04cposix\nsystem\n(S'touch hatched'\ntR.",
        b"",
    ],
)
def test_arrays_that_lie_about_themselves_are_refused(shop: Settings, canary: Path, data: bytes) -> None:
    assert "is not a plain array" in refused(shop, forged(shop, rewritten("0004.npy", data)))


@pytest.mark.fault("M4")
@pytest.mark.parametrize("name", ["../../canary", "/etc/passwd", "x.npy", "0001.npy/../0001.npy", "0001.pkl", ""])
def test_names_that_lead_elsewhere_are_refused(shop: Settings, canary: Path, name: str) -> None:
    version = forged(shop, lambda m, f: m["files"].update({name: {"size": 5, "sha256": ""}}))
    assert "not one a release may hold" in refused(shop, version)


@pytest.mark.fault("M4")
@pytest.mark.parametrize("kind", ["file", "manifest", "folder", "part", "pipe"])
def test_links_and_pipes_are_refused(shop: Settings, canary: Path, tmp_path: Path, kind: str) -> None:
    version = forged(shop, lambda m, f: None)
    folder = shop.releases_path / version
    outside = tmp_path / "outside"
    if kind == "folder":
        folder.rename(outside)
        folder.symlink_to(outside)
    elif kind == "part":
        (folder / "golden").rename(outside)
        (folder / "golden").symlink_to(outside)
    else:
        victim = folder / packed.MANIFEST if kind == "manifest" else sorted(folder.glob("*.npy"))[0]
        victim.rename(outside)
        os.mkfifo(victim) if kind == "pipe" else victim.symlink_to(outside)
    with pytest.raises((ReleaseError, NotFound)) as caught:
        release.check(shop.releases_path, version)
    assert caught.value.hint
    if kind != "part":  # which serving never reads
        assert refused(shop, version)


@pytest.mark.fault("M4")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"format": 1, "files": {}, "facts": {}, "tree": ' + "[" * 100_000, "damaged"),
        ('{"format": 1, "files": {}, "facts": {}, "tree": ' + '{"$": "tuple", "items": [' * 900 + "]}" * 900 + "}", ""),
        ('{"format": ' + "9" * 10_000 + "}", "damaged"),
        ('{"format": 1, "files": [], "facts": {}, "tree": 1}', "damaged"),
        ('{"format": 1, "files": {"0001.npy": 1}, "facts": {}, "tree": 1}', "damaged"),
        ('{"format": 1, "files": {}, "facts": {}, "parts": {"../x": "y"}, "tree": 1}', ""),
        ('{"format": 1, "files": {}, "facts": {}, "tree": {"$": "ref", "n": []}}', "damaged"),
        ('{"format": 1, "files": {}, "facts": {}, "tree": {"$": "map", "n": {}, "items": []}}', "damaged"),
        (
            '{"format": 1, "files": {}, "facts": {}, "tree": {"$": "object", "use": "os:system", "fields": {}}}',
            "trusted",
        ),
        (
            '{"format": 1, "files": {}, "facts": {}, "tree": {"$": "map", "n": 0, "items": [["home", 1]]}}',
            "no pipelines",
        ),
        (" " * (packed.MANIFEST_LIMIT + 1), "larger than"),
    ],
)
def test_manifests_that_are_traps_are_refused(shop: Settings, canary: Path, text: str, said: str) -> None:
    folder = shop.releases_path / "forged"
    folder.mkdir()
    (folder / packed.MANIFEST).write_text(text)
    version = f"2026-06-01T000000-{packed.sha256(folder / packed.MANIFEST)[:8]}"
    folder.rename(shop.releases_path / version)
    assert said in refused(shop, version)


@pytest.mark.fault("M4")
@pytest.mark.parametrize(
    "version", ["../../etc", "2026-06-01T000000-00000000/../x", "", "\x00", "2026-06-01T000000-zzzzzzzz"]
)
def test_versions_that_are_paths_are_refused(shop: Settings, version: str) -> None:
    for call in (release.check, release.facts, release.publish):
        with pytest.raises(NotFound):
            call(shop.releases_path, version)


# M1: numbers that are none


@pytest.mark.fault("M1")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_neither_written_nor_read(shop: Settings, value: float) -> None:
    array = np.ones(5000, np.float32)
    array[4321] = value
    with pytest.raises(ReleaseError, match=r"1 of 5,000 numbers are not finite") as caught:
        packed.pack({"a": array}, shop.home / "x")
    assert "did not converge" in caught.value.hint

    def poison(manifest: dict[str, Any], folder: Path) -> None:
        for name in sorted(manifest["files"]):
            held = np.load(folder / name)
            if held.dtype == np.float32 and held.size:
                held.flat[held.size // 2] = value
                np.save(folder / name, held)
                rewritten(name, (folder / name).read_bytes())(manifest, folder)
                return

    assert "are not finite" in refused(shop, forged(shop, poison))


@dataclass(frozen=True)
class Overflows:
    """Scores of every kind that floating point knows."""

    def score(self, queries: Queries, found: Candidates) -> Scores:
        odd = np.array([np.nan, np.inf, -np.inf, 3e38, 1.0, 0.0], np.float32)
        return odd[np.arange(len(found)) % len(odd)]


@pytest.mark.fault("M1")
def test_scores_that_are_not_finite_come_last_in_an_order_that_is_total(shop: Settings) -> None:
    with Runtime.open(shop, read_only=True) as runtime:
        home = replace(runtime.release.pipelines["home"], scorer=Overflows())
        queries = runtime.queries(np.arange(20, dtype=np.int32), np.arange(20, dtype=np.uint64))
        slate, _ = home.recommend(queries, 90)
        again, _ = home.recommend(queries, 90)
    np.testing.assert_array_equal(slate.item, again.item)
    ranked = slate.take(~slate.columns["fallback"])
    assert not np.isinf(ranked.columns["score"]).any()
    for query in range(20):
        mine = ranked.take(ranked.query == query)
        score, known = mine.columns["score"], np.isfinite(mine.columns["score"])
        assert known.any()
        assert not known[np.argmin(known) :].any() or known.all()
        assert (np.diff(score[known]) <= 0).all()
        assert len(set(mine.item.tolist())) == len(mine)


# M5: age


@pytest.mark.fault("M5")
def test_every_answer_says_how_old_the_model_is(shop: Settings) -> None:
    made = np.datetime64("2026-01-01", "us").astype(np.int64)
    with Runtime.open(shop, read_only=True, clock=lambda: int(made) + 3 * 86_400_000_000) as runtime:
        service = Service(runtime, Metrics())
        (answer,) = service.recommend([RecommendRequest(user_id="u3")], ["r"], [""])
        assert answer.versions.model_age_s == 3 * 86_400  # type: ignore[union-attr]
        assert service.ready().reasons == []
        runtime.settings = replace(shop, releases=replace(shop.releases, schedule="1d"))
        assert service.ready().reasons == ["the release is 3.0 days old, one is made every 1d"]
        assert "shortlist_model_age_seconds 259200.0" in service.exposition({}).decode()


# M7: swaps under load


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    with Runtime.open(settings) as runtime:
        listening = listen("127.0.0.1", 0)
        running = server(application(Service(runtime, Metrics()), poll=0.02))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield address(listening)
        finally:
            running.should_exit = True
            thread.join()
            listening.close()


@pytest.mark.fault("M7")
def test_ten_swaps_under_load_fail_nobody_and_mix_nothing(tmp_path: Path) -> None:
    settings, versions = swaps.two_sides(tmp_path, users=60, items=80, events=2_000)

    def publish(version: str) -> None:
        release.publish(settings.releases_path, version)

    with serving(settings) as url:
        seen, swapped = asyncio.run(swaps.under_load(url, 60, versions, publish, swaps=10, rate=40))
    assert (seen.failed, seen.mixed) == ([], [])
    assert len(swapped) == 10
    assert set(seen.answers) == set(versions)


@pytest.mark.fault("M7")
def test_an_answer_of_two_releases_would_be_noticed() -> None:
    seen, sides = swaps.Seen(), {"a": 0, "b": 1}
    item = {"id": "x", "fields": {"side": 1}}
    seen.look({"versions": {"release": "a"}, "items": [item], "trace": [{"name": "even"}]}, sides)
    seen.look({"versions": {"release": "b"}, "items": [item], "trace": [{"name": "even"}]}, sides)
    seen.look({"versions": {"release": "b"}, "items": [item], "trace": [{"name": "odd"}]}, sides)
    assert len(seen.mixed) == 2


# M13: determinism


@pytest.mark.fault("M13")
def test_the_same_data_and_seed_make_the_same_release_and_lists(shop: Settings) -> None:
    root = shop.releases_path
    (first,) = release.versions(root)
    tree, files = (packed.manifest_of(root / first)[key] for key in ("tree", "files"))
    listed = []
    for run in range(3):
        with Runtime.open(shop, read_only=True, clock=lambda: 1_700_000_000_000_000) as runtime:
            listed.append(answers(runtime, 60))
            with ThreadPoolExecutor(4) as workers:
                for each in workers.map(lambda _, runtime=runtime: answers(runtime, 60), range(8)):
                    assert each == listed[0], run
    assert listed[0] == listed[1] == listed[2]
    shutil.rmtree(root / first)
    again = packed.manifest_of(root / made(shop))
    assert (again["tree"], again["files"]) == (tree, files)


# rolling back, pruning, crashes


def test_going_back_goes_further_back_each_time_and_pruning_keeps_the_way(shop: Settings) -> None:
    root = shop.releases_path
    (first,) = release.versions(root)
    with Runtime.open(shop, read_only=True) as runtime:
        pipelines = runtime.release.pipelines
    later = [release.save(root, pipelines, {"created": f"2026-0{month}-01T00:00:00"}) for month in (2, 3, 4, 5)]
    assert release.previous(root) is None
    for version in later[:3]:
        release.publish(root, version)
    assert release.previous(root) == later[1]
    release.publish(root, later[1], action="rollback")
    assert release.previous(root) == later[0]
    release.publish(root, later[0], action="rollback")
    assert release.previous(root) == first
    release.publish(root, later[3])
    assert release.previous(root) == later[0]
    assert release.superfluous(root, 0) == [first, later[1], later[2]]
    assert release.prune(root, 2) == [first, later[1]]
    assert release.versions(root) == [later[0], later[2], later[3]]
    assert release.prune(root, 0) == [later[2]]
    assert (release.current(root), release.previous(root)) == (later[3], later[0])


def test_what_a_crash_left_is_removed_and_a_cut_history_is_read(shop: Settings) -> None:
    root = shop.releases_path
    version = release.current(root)
    assert version is not None
    draft = root / ".draft-999999999"
    draft.mkdir()
    (draft / "0001.npy").write_bytes(b"x")
    with (root / "history.jsonl").open("ab") as file:
        file.write(b'{"time": "2026')
    before = len(release.history(root))
    release.publish(root, version, by="after the crash")
    assert [each.by for each in release.history(root)[before:]] == ["after the crash"]
    with Runtime.open(shop, read_only=True) as runtime:
        release.save(root, runtime.release.pipelines, {"created": NEWER})
    assert not draft.exists()


def test_a_catalogue_that_grew_is_the_same_catalogue(shop: Settings) -> None:
    with open_configured(shop) as stores:
        stores.catalog.rows("item", ["one more"], create=True)
        loaded = release.load(shop.releases_path, release.versions(shop.releases_path)[0], by_role(stores))
    assert loaded.pipelines
