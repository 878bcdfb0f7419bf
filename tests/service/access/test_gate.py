"""Who is let in by which key."""

import asyncio
import logging

import pytest

from service.access.caller import ANYONE, Caller
from service.access.gate import Gate
from service.access.keys import new_key, write_keys
from service.errors import Forbidden, RateLimited, Unauthorized


@pytest.fixture
def secrets(tmp_path):
    """Writes the file; the keys by the names of their entries."""
    made = {
        "app": new_key("app", models=("attack", "other")),
        "watcher": new_key("watcher", scopes=("metrics",)),
        "slow": new_key("slow", requests_per_second=0.01),
    }
    write_keys(tmp_path / "keys.json", [key for key, _ in made.values()])
    return {name: secret for name, (_, secret) in made.items()}


@pytest.fixture
def gate(tmp_path, secrets):
    return Gate(tmp_path / "keys.json")


@pytest.mark.parametrize("secret", [None, "", "anything"])
def test_without_a_file_everybody_is_let_in(secret):
    gate = Gate(None)
    assert [gate.admit(secret, scope) for scope in ("infer", "metrics", "admin")] == [ANYONE] * 3


def test_a_key_lets_in_for_its_scopes_alone(gate, secrets):
    assert gate.admit(secrets["app"], "infer") == Caller("app", frozenset({"attack", "other"}))
    assert gate.admit(secrets["watcher"], "metrics") == Caller("watcher")
    with pytest.raises(Forbidden, match=r"the scope admin, got one with \['infer'\]"):
        gate.admit(secrets["app"], "admin")


@pytest.mark.parametrize("change", [str.upper, lambda key: key[:-1], lambda key: key + " ", lambda key: "é" + key])
def test_what_is_nearly_a_key_is_none(gate, secrets, change):
    with pytest.raises(Unauthorized) as caught:
        gate.admit(change(secrets["app"]), "infer")
    assert secrets["app"] not in caught.value.message


def test_the_hash_in_the_file_is_no_key(gate, tmp_path):
    digest = new_key("x")[0].sha256
    for key in (digest, *(holder.digest.hex() for holder in gate._holders)):
        with pytest.raises(Unauthorized):
            gate.admit(key, "infer")


def test_a_file_without_keys_lets_nobody_in(tmp_path):
    write_keys(tmp_path / "keys.json", [])
    gate = Gate(tmp_path / "keys.json")
    with pytest.raises(Unauthorized):
        gate.admit("anything", "infer")


def test_a_key_that_is_used_too_fast_waits_and_others_do_not(gate, secrets):
    gate.admit(secrets["slow"], "infer")
    with pytest.raises(RateLimited, match="try again in 100 s") as caught:
        gate.admit(secrets["slow"], "infer")
    assert caught.value.detail == {"retry_after_seconds": 100}
    for _ in range(100):
        gate.admit(secrets["app"], "infer")


def test_a_file_that_is_read_again_revokes_and_adds(gate, secrets, tmp_path):
    fresh, secret = new_key("fresh")
    write_keys(tmp_path / "keys.json", [fresh])
    asyncio.run(gate.reread())
    assert gate.admit(secret, "infer") == Caller("fresh")
    with pytest.raises(Unauthorized):
        gate.admit(secrets["app"], "infer")


def test_the_same_file_read_again_forgets_no_use_of_a_key(gate, secrets):
    gate.admit(secrets["slow"], "infer")
    asyncio.run(gate.reread())
    with pytest.raises(RateLimited):
        gate.admit(secrets["slow"], "infer")


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1)])
def test_a_file_that_everybody_can_read_is_a_warning(secrets, tmp_path, caplog, mode, warnings):
    (tmp_path / "keys.json").chmod(mode)
    with caplog.at_level(logging.WARNING):
        Gate(tmp_path / "keys.json")
    assert len(caplog.records) == warnings


@pytest.mark.parametrize("content", ["{", None], ids=["broken", "gone"])
def test_a_file_that_cannot_be_read_again_leaves_the_keys_as_they_were(gate, secrets, tmp_path, caplog, content):
    (tmp_path / "keys.json").unlink()
    if content:
        (tmp_path / "keys.json").write_text(content)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            asyncio.run(gate.reread())
    assert gate.admit(secrets["app"], "infer").name == "app"
    assert caplog.text.count("the API keys stay as they were") == 1


def test_a_model_that_a_key_does_not_cover_is_refused():
    caller = Caller("app", frozenset({"b", "a"}))
    caller.require_model("a")
    assert not caller.may_use("c")
    with pytest.raises(Forbidden, match=r"this key is for the models \['a', 'b'\], got 'c'"):
        caller.require_model("c")
