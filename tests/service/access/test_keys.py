"""The file of keys: what it may say, and what a wrong one is told."""

import json
import os
import stat

import pytest

from service.access.keys import InvalidKeys, new_key, read_keys, write_keys

HASH = "ab" * 32


def written(tmp_path, *entries):
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": entries}))
    return path


def test_what_is_written_is_read_again_and_holds_no_key(tmp_path):
    path = tmp_path / "keys.json"
    plain, secret = new_key("batch")
    narrow, other = new_key("app", scopes=("infer", "admin"), models=("attack",), requests_per_second=2.5)
    write_keys(path, [plain, narrow])
    assert read_keys(path) == (plain, narrow)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret not in path.read_text()
    assert os.listdir(tmp_path) == ["keys.json"]
    assert secret != other
    # 32 random bytes in base64
    assert len(secret.removeprefix("labelset_")) == 43


def test_an_entry_needs_a_name_and_a_hash_and_may_infer(tmp_path):
    [key] = read_keys(written(tmp_path, {"name": "a", "sha256": HASH}))
    assert (key.scopes, key.models, key.requests_per_second) == (("infer",), None, None)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"name": "bad", "sha256": "secret"},
            r"keys\.1 \('bad'\)\.sha256: String should match pattern '\^\[0-9a-f\]\{64\}\$'",
        ),
        ({"name": "bad", "sha256": "AB" * 32}, r"keys\.1 \('bad'\)\.sha256: "),
        ({"name": "bad"}, r"keys\.1 \('bad'\)\.sha256: Field required"),
        ({"name": "bad\n", "sha256": "cd" * 32}, r"keys\.1 \('bad\\n'\)\.name: "),
        ({"sha256": "cd" * 32}, r"keys\.1\.name: Field required"),
        (
            {"name": "bad", "sha256": "cd" * 32, "scopes": ["root"]},
            r"keys\.1 \('bad'\)\.scopes\.0: .*'infer', 'metrics'",
        ),
        ({"name": "bad", "sha256": "cd" * 32, "scopes": []}, r"keys\.1 \('bad'\)\.scopes: "),
        ({"name": "bad", "sha256": "cd" * 32, "models": []}, r"keys\.1 \('bad'\)\.models: "),
        ({"name": "bad", "sha256": "cd" * 32, "model": "a"}, r"keys\.1 \('bad'\)\.model: Extra inputs"),
        ({"name": "bad", "sha256": "cd" * 32, "requests_per_second": 0}, r"keys\.1 \('bad'\)\.requests_per_second: "),
        ({"name": "good", "sha256": "cd" * 32}, r"keys\.1 \('good'\) has the name of the entry 'good'"),
        ({"name": "bad", "sha256": HASH}, r"keys\.1 \('bad'\) has the sha256 of the entry 'good'"),
        ("secret", r"keys\.1: "),
    ],
)
def test_a_wrong_entry_is_named_and_its_hash_is_not_repeated(tmp_path, entry, message):
    with pytest.raises(InvalidKeys, match=message) as caught:
        read_keys(written(tmp_path, {"name": "good", "sha256": HASH}, entry))
    assert "secret" not in caught.value.message
    assert HASH not in caught.value.message


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"keys": 1}', '{"keys": [], "more": 1}'])
def test_what_is_no_file_of_keys_is_refused(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(InvalidKeys, match=r"keys\.json: "):
        read_keys(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InvalidKeys, match=r"the keys in .*none.json cannot be read: No such file"):
        read_keys(tmp_path / "none.json")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "keys.json"
    path.mkdir()  # what cannot be replaced by a file
    with pytest.raises(InvalidKeys, match="cannot be written"):
        write_keys(path, [])
    assert os.listdir(tmp_path) == ["keys.json"]
