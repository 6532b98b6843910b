"""The file of the keys: what is kept, who is known, what a change means at once."""

from __future__ import annotations

import hashlib
import json
import logging
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shortlist.errors import ConfigError, NotFound, StoreError, masked
from shortlist.serve import keys as module
from shortlist.serve.keys import SECRET, Keys

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "data" / "keys.json")


def test_a_key_is_256_random_bits_of_which_a_hash_is_kept(keys: Keys) -> None:
    secret, made = keys.create("shop", ["write", "read"], NOW)
    assert SECRET.fullmatch(secret)
    assert len(secret.rpartition("_")[2].encode()) >= 43 or secret.count("_") > 2  # 256 bits in base64
    text = keys.path.read_text("utf-8")
    assert secret not in text
    assert hashlib.sha256(secret.encode()).hexdigest() in text
    assert stat.S_IMODE(keys.path.stat().st_mode) == 0o600
    assert (made.scopes, made.state(NOW)) == (("read", "write"), "valid")
    assert len({keys.create(f"k{number}", ["read"], NOW)[0] for number in range(50)}) == 50


def test_a_key_is_found_by_its_whole_secret_only(keys: Keys) -> None:
    secret, made = keys.create("shop", ["read"], NOW)
    other, _ = keys.create("other", ["read"], NOW)
    assert keys.find(secret) == made
    for wrong in ("", made.id, made.sha256, secret[:-1], secret + "A", secret.upper(), other[:16] + secret[16:]):
        assert keys.find(wrong) is None


def test_hashes_are_compared_in_constant_time(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, _ = keys.create("shop", ["read"], NOW)
    compared = []
    monkeypatch.setattr(module.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or False)
    assert keys.find(secret) is None  # found only if that comparison says so
    assert keys.find("nonsense") is None
    assert len(compared) == 2


def test_another_process_that_revokes_is_heard_at_once(keys: Keys) -> None:
    secret, _ = keys.create("shop", ["read"], NOW)
    server = Keys(keys.path)
    assert server.find(secret).state(NOW) == "valid"  # type: ignore[union-attr]
    keys.revoke("shop", NOW)
    assert server.find(secret).state(NOW) == "revoked"  # type: ignore[union-attr]
    newer, made = keys.create("shop", ["read"], NOW)  # the name is free again
    assert server.find(newer) == made
    keys.path.unlink()
    assert server.find(newer) is None


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"format": 2, "keys": []}', b'{"format": 1}', b"\xff\xfe"])
def test_a_file_that_cannot_be_read_lets_nobody_in(
    keys: Keys, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    secret, _ = keys.create("shop", ["read"], NOW)
    keys.path.write_bytes(damaged)
    with caplog.at_level(logging.ERROR):
        assert keys.find(secret) is None
        assert keys.find(secret) is None
    assert len(caplog.records) == 1  # not once a request
    with pytest.raises(StoreError, match="damaged"):
        keys.all()
    with pytest.raises(StoreError):
        keys.create("more", ["read"], NOW)
    assert keys.path.read_bytes() == damaged


def test_a_key_ends(keys: Keys) -> None:
    _, made = keys.create("shop", ["read"], NOW, expires=NOW + timedelta(days=1))
    assert made.state(NOW + timedelta(hours=23)) == "valid"
    assert made.state(NOW + timedelta(days=1)) == "expired"


def test_scopes_contain_those_before_them_and_never_people(keys: Keys) -> None:
    for number, (given_scopes, allowed) in enumerate(
        [(["read"], {"read"}), (["write"], {"read", "write"}), (["admin"], {"read", "write", "admin"})]
    ):
        _, made = keys.create(f"k{number}", given_scopes, NOW)
        assert {each for each in module.SCOPES if made.allows(each)} == allowed
        assert not made.pii
    _, made = keys.create("people", ["read", "pii:read"], NOW)
    assert made.pii
    assert not made.allows("write")


@pytest.mark.parametrize(
    ("name", "scopes", "words"),
    [
        ("shop", [], "needs a scope"),
        ("shop", [""], "no scope ''"),
        ("shop", ["root"], "no scope 'root'"),
        ("shop", ["pii:read"], "needs a scope"),
        ("", ["read"], "name of a key"),
        ("../shop", ["read"], "name of a key"),
        ("-shop", ["read"], "name of a key"),
        ("a" * 65, ["read"], "name of a key"),
        ("shop\n", ["read"], "name of a key"),
        ("taken", ["read"], "exists"),
    ],
)
def test_what_cannot_be_a_key_is_refused(keys: Keys, name: str, scopes: list[str], words: str) -> None:
    keys.create("taken", ["read"], NOW)
    before = keys.path.read_bytes()
    with pytest.raises(ConfigError, match=words) as caught:
        keys.create(name, scopes, NOW)
    assert caught.value.hint
    assert keys.path.read_bytes() == before


def test_what_is_not_there_cannot_be_revoked(keys: Keys) -> None:
    _, made = keys.create("shop", ["read"], NOW)
    assert keys.revoke(made.id, NOW).revoked == NOW
    for gone in ("shop", made.id, "never"):
        with pytest.raises(NotFound):
            keys.revoke(gone, NOW)


def test_keys_made_at_once_are_all_kept(keys: Keys) -> None:
    threads = [threading.Thread(target=Keys(keys.path).create, args=(f"k{at}", ["read"], NOW)) for at in range(16)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert {each.name for each in keys.all()} == {f"k{at}" for at in range(16)}
    assert json.loads(keys.path.read_text("utf-8"))["format"] == 1


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_secret_outlives_masking(before: str, after: str) -> None:
    secret = "sl_0123456789ab_" + "aB3-_" * 8 + "xyz"
    assert SECRET.fullmatch(secret)
    text = masked(f"{before} {secret} {after}")
    assert secret[16:] not in text
    assert "sl_0123456789ab_***" in text
