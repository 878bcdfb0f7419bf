"""The front door: light to open, and clear when something is missing."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

import labelset

COMMANDS = labelset.main.list_commands(None)
HEAVY = {"torch", "transformers", "onnx", "onnxruntime", "numpy", "pydantic", "fastapi", "uvicorn", "PIL", "tokenizers"}


def test_help_lists_every_command_and_imports_none_of_them():
    script = (
        "import json, sys, labelset\n"
        "labelset.main(['--help'], standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    help_text, _, modules = done.stdout.strip().rpartition("\n")
    assert all(f"\n  {command} " in help_text for command in COMMANDS)
    imported = set(json.loads(modules))
    assert not imported & HEAVY
    assert not {module for module in imported if module.startswith(("service", "training"))}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    answer = CliRunner().invoke(labelset.main, [command, "--help"])
    assert answer.exit_code == 0
    usage, summary, *_ = answer.stdout.split("\n\n")
    assert f"{command} [OPTIONS]" in usage
    assert not summary.startswith("Options:")  # as it is where the function has no docstring


def test_an_unknown_command_is_a_usage_error():
    answer = CliRunner().invoke(labelset.main, ["predikt"])
    assert answer.exit_code == 2
    assert "predikt" in answer.stderr


def test_an_error_of_ours_is_one_line_with_its_code(tmp_path):
    answer = CliRunner().invoke(labelset.main, ["verify", str(tmp_path)])
    assert answer.exit_code == 1
    assert answer.stdout == ""
    [line] = answer.stderr.splitlines()
    assert line.startswith("error: a bundle must hold bundle.json")
    assert line.endswith("[bundle_missing_file]")


def test_an_error_that_is_not_ours_is_not_hidden(monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("model.cli.Bundle.open", fail)
    assert isinstance(CliRunner().invoke(labelset.main, ["verify", "."]).exception, ZeroDivisionError)


def test_without_the_packages_of_training_the_way_to_them_is_named():
    script = "import sys, labelset; sys.modules['torch'] = None; labelset.main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "train-and-export", "--recipe", "attack"], capture_output=True, text=True
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line == "error: this command needs the package torch, which is not installed: `make setup-dev` installs it"


def test_a_module_of_ours_that_is_missing_is_not_blamed_on_the_installation(monkeypatch):
    monkeypatch.setitem(sys.modules, "model.cli", None)
    assert isinstance(CliRunner().invoke(labelset.main, ["verify", "."]).exception, ModuleNotFoundError)
