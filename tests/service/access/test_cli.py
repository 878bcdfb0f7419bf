"""`labelset keys`."""

import json
import stat

import pytest
from click.testing import CliRunner

import labelset
from service.access.caller import Caller
from service.access.gate import Gate


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.json"


def run(file, *arguments, exit_code=0):
    done = CliRunner().invoke(labelset.main, ["keys", *arguments, "--file", str(file)])
    assert done.exit_code == exit_code, done.output
    return done


def test_a_new_key_is_printed_once_and_opens_what_it_is_for(file):
    done = run(file, "new", "app", "--scope", "infer", "--scope", "metrics", "--model", "attack")
    [secret] = done.stdout.splitlines()
    assert Gate(file).admit(secret, "metrics") == Caller("app", frozenset({"attack"}))
    assert secret not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret not in run(file, "list").output


def test_keys_are_listed_with_what_they_are_for(file):
    run(file, "new", "app", "--model", "attack", "--model", "other", "--requests-per-second", "5")
    run(file, "new", "root", "--scope", "admin")
    assert run(file, "list").stdout == "app\tinfer\tattack other\t5 requests/s\nroot\tadmin\tall models\tno limit\n"


def test_a_revoked_key_is_gone_and_the_others_stay(file):
    for name in ("a", "b"):
        run(file, "new", name)
    run(file, "revoke", "a")
    assert [key["name"] for key in json.loads(file.read_text())["keys"]] == ["b"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "app"], "a key's name must be new, got app"),
        (["new", "two words"], "name: String should match pattern '^[A-Za-z0-9._-]{1,64}$', got 'two words'"),
        (
            ["new", "fast", "--requests-per-second", "0"],
            "requests_per_second: Input should be greater than or equal to 0.001, got 0.0",
        ),
        (["revoke", "other"], "a key must be one of ['app'], got other"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_the_file_alone(file, arguments, message):
    run(file, "new", "app")
    before = file.read_text()
    done = run(file, *arguments, exit_code=1)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert message in line
    assert line.endswith("[invalid_keys]")
    assert file.read_text() == before


def test_the_file_may_be_that_of_the_service(file, monkeypatch):
    monkeypatch.setenv("LABELSET_KEYS_FILE", str(file))
    done = CliRunner().invoke(labelset.main, ["keys", "new", "app"])
    assert done.exit_code == 0
    assert len(Gate(file)._holders) == 1
