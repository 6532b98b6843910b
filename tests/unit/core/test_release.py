"""A release is what was packed, or it is refused with the reason."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist import ConfigError, NotFound, Pipeline, Ragged, Recall, ReleaseError, release

scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**60), 2**60), st.floats(), st.text(), st.binary())
trees = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def same(a, b):
    if isinstance(a, float):
        return a == b or (a != a and b != b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b and type(a) is type(b)


@given(tree=trees)
def test_trees_come_back_as_they_were(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    release.pack(tree, folder)
    assert same(release.unpack(folder, {}), tree)


@pytest.mark.parametrize("dtype", ["int32", "float32", "uint64", "bool", "U5"])
def test_arrays_come_back_with_dtype_and_shape(tmp_path, dtype):
    arrays = {"a": np.arange(6).reshape(2, 3).astype(dtype), "empty": np.empty((0, 4), dtype)}
    release.pack(arrays, tmp_path / "x")
    back = release.unpack(tmp_path / "x", {})
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)
        assert back[name].dtype == array.dtype
        assert type(back[name]) is np.ndarray


def test_a_shared_object_is_stored_once_and_stays_shared(tmp_path):
    ragged = Ragged(np.int64([0, 1]), {"item": np.int32([4])})
    release.pack({"a": ragged, "b": (ragged,)}, tmp_path / "x")
    back = release.unpack(tmp_path / "x", {})
    assert back["a"] is back["b"][0]
    assert len(list((tmp_path / "x").glob("*.npy"))) == 2


@dataclass(frozen=True)
class Foreign:
    """Not of this package."""

    number: int = 1


def test_a_foreign_class_is_refused_unless_trusted(tmp_path):
    release.pack(Foreign(3), tmp_path / "x")
    with pytest.raises(ConfigError, match=r"neither in shortlist .* nor in a trusted module"):
        release.unpack(tmp_path / "x", {})
    assert release.unpack(tmp_path / "x", {}, trust=[Foreign.__module__.split(".")[0]]) == Foreign(3)


def test_what_cannot_be_released_is_named(tmp_path):
    with pytest.raises(ReleaseError, match=r"a\.b: a set cannot be released"):
        release.pack({"a": {"b": {1}}}, tmp_path / "x")
    with pytest.raises(ReleaseError, match="array of objects"):
        release.pack({"a": np.array([None])}, tmp_path / "y")


def pipelines():
    return {"home": Pipeline({}, limit=7)}


def saved(root: Path, created="2026-11-21T22:10:02+00:00"):
    return release.save(root, pipelines(), {"created": created, "metrics": {"ndcg@10": 0.2}})


def test_save_publish_load_and_list(tmp_path):
    version = saved(tmp_path)
    assert version.startswith("2026-11-21T221002-")
    assert release.current(tmp_path) is None
    release.publish(tmp_path, version)
    assert release.current(tmp_path) == version
    assert release.versions(tmp_path) == [version]
    loaded = release.load(tmp_path, version, {})
    assert loaded.pipelines["home"].limit == 7
    assert loaded.facts["metrics"] == {"ndcg@10": 0.2}
    assert saved(tmp_path) == version  # the same again is the same release


@pytest.mark.parametrize("position", range(0, 200, 23))
def test_a_flipped_byte_is_refused(tmp_path, position):
    release.pack({"a": np.arange(100, dtype=np.int64)}, tmp_path / "x")
    file = tmp_path / "x" / "0001.npy"
    data = bytearray(file.read_bytes())
    data[position % len(data)] ^= 1
    file.write_bytes(data)
    with pytest.raises(ReleaseError, match="another size or SHA-256"):
        release.unpack(tmp_path / "x", {})


def test_truncated_missing_and_linked_files_are_refused(tmp_path):
    release.pack({"a": np.arange(100)}, tmp_path / "x")
    file = tmp_path / "x" / "0001.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(ReleaseError, match="another size"):
        release.unpack(tmp_path / "x", {})
    file.unlink()
    with pytest.raises(ReleaseError, match="missing or not a plain file"):
        release.unpack(tmp_path / "x", {})
    (tmp_path / "elsewhere").write_bytes(whole)
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReleaseError, match="missing or not a plain file"):
        release.unpack(tmp_path / "x", {})


def edited(folder, change):
    manifest = json.loads((folder / "release.json").read_text())
    change(manifest)
    (folder / "release.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: m.update(format=99), "has format 99, this program reads up to 1"),
        (lambda m: m.pop("tree"), "release.json is damaged"),
        (lambda m: m["files"].update({"../../etc/passwd": {"size": 1, "sha256": ""}}), "not one a release may hold"),
        (lambda m: m["tree"]["items"][0][1].update(file="0009.npy"), "damaged at .a"),
        (lambda m: m.update(tree={"$": "object", "use": "types:Ragged", "n": 0, "fields": {}}), "damaged at its root"),
    ],
)
def test_a_changed_manifest_is_refused_with_the_reason(tmp_path, change, text):
    release.pack({"a": np.arange(3)}, tmp_path / "x")
    edited(tmp_path / "x", change)
    with pytest.raises(ReleaseError, match=text):
        release.unpack(tmp_path / "x", {})


def test_a_half_written_release_is_not_listed_and_not_published(tmp_path):
    version = saved(tmp_path)
    (tmp_path / version / "release.json").unlink()
    assert release.versions(tmp_path) == []
    with pytest.raises(NotFound, match="no release"):
        release.publish(tmp_path, version)
    with pytest.raises(NotFound, match="not a release version"):
        release.publish(tmp_path, "../../x")


def test_a_source_keeps_its_store_by_role(tmp_path):
    fresh = pytest.importorskip("shortlist.recall.fresh").Fresh(catalog="not saved")
    release.pack({"home": Pipeline({"fresh": Recall(fresh, 5)})}, tmp_path / "x")
    back = release.unpack(tmp_path / "x", {"catalog": "the open catalog"})
    assert back["home"].sources["fresh"].source.catalog == "the open catalog"
    with pytest.raises(ReleaseError, match="needs the catalog store"):
        release.unpack(tmp_path / "x", {})
