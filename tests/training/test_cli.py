"""`labelset train-and-export` as a user runs it: in a process of its own, on his own data."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from model import golden
from model.bundle import Bundle
from model.predictor import Predictor

ROOT = Path(__file__).parents[2]
TEXT_SETTINGS = [
    'backbone={"kind": "new", "hidden_size": 32, "layers": 1}',
    "input.max_length=16",
    "input.vocabulary_size=120",
    "head.dropout=0.2",
    "optimizer.lr=5e-3",
    "schedule.epochs=6",
    "schedule.batch_size=4",
    "schedule.checkpoint_steps=3",
    "precision=float32",
]
IMAGE_SETTINGS = [
    'backbone={"kind": "new", "hidden_sizes": [8, 16], "depths": [1, 1]}',
    "input.size=32",
    "schedule.epochs=2",
    "schedule.batch_size=4",
    "precision=float32",
]


def start(*arguments, settings=()) -> subprocess.Popen:
    command = [sys.executable, ROOT / "labelset.py", *arguments, *(f"--set={setting}" for setting in settings)]
    return subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def finish(process: subprocess.Popen) -> str:
    stdout, stderr = process.communicate(timeout=200)
    assert process.returncode == 0, stderr
    return stdout


@pytest.fixture(scope="module")
def table(text_data, tmp_path_factory) -> Path:
    """The sentences as a user's own file."""
    file = tmp_path_factory.mktemp("data") / "Sätze 2024.jsonl"
    with file.open("w", encoding="utf-8") as stream:
        for example in text_data:
            stream.write(json.dumps({"text": example.text, "labels": example.labels}) + "\n")
    return file


@pytest.fixture(scope="module")
def picture_folder(image_data, tmp_path_factory) -> Path:
    """The pictures as a user's own folder, with a table in it; the folder's name could be taken for a number."""
    folder = tmp_path_factory.mktemp("own") / "2024"
    folder.mkdir()
    with (folder / "labels.csv").open("w") as stream:
        stream.write("path,labels\n")
        for example in image_data:
            (folder / example.image.name).symlink_to(example.image)
            stream.write(f"{example.image.name},{'|'.join(example.labels)}\n")
    return folder


@pytest.fixture(scope="module")
def unbroken(table, tmp_path_factory) -> Path:
    """Where an undisturbed run on the table left its bundle and its runs."""
    folder = tmp_path_factory.mktemp("unbroken")
    finish(start(*_text_run(table, folder), settings=TEXT_SETTINGS))
    return folder


def _text_run(table, folder):
    return ["train-and-export", "--data", table, "--out", folder / "bundle", "--runs", folder / "runs"]


def test_a_table_of_texts_becomes_a_bundle_that_verifies(unbroken):
    opened = Bundle.open(unbroken / "bundle")
    assert opened.manifest.name == "s-tze-2024"
    assert opened.manifest.labels == ("food", "music", "sport", "weather")
    assert golden.replay(Predictor(opened, device="cpu"))
    assert "golden" in finish(start("verify", unbroken / "bundle"))


def test_a_folder_of_pictures_becomes_a_bundle_that_verifies(picture_folder, tmp_path):
    own = ["--data", picture_folder, "--name", "007"]
    folders = ["--models", tmp_path / "models", "--runs", tmp_path / "runs"]
    said = finish(start("train-and-export", *own, *folders, settings=IMAGE_SETTINGS))
    assert "007" in said
    assert "verified" in said
    [report] = re.findall(r"report (.*report\.html)", said)
    assert "<h1>007</h1>" in Path(report).read_text()
    assert "example-F1" in said
    opened = Bundle.open(tmp_path / "models" / "007" / "1")
    assert opened.manifest.labels == ("blue", "circle", "green", "red", "square")
    assert golden.replay(Predictor(opened, device="cpu"))
    assert str(opened.manifest.preprocessing.height) == "32"


def test_a_killed_run_ends_with_the_very_weights_of_an_unbroken_one(table, unbroken, tmp_path):
    first = start(*_text_run(table, tmp_path), settings=TEXT_SETTINGS)
    while first.poll() is None and not list((tmp_path / "runs").glob("*/checkpoint-*")):
        time.sleep(0.001)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    [killed_at] = (tmp_path / "runs").glob("*/checkpoint-*/progress.json")
    assert not json.loads(killed_at.read_text())["finished"]
    assert not (tmp_path / "bundle").exists()

    finish(start(*_text_run(table, tmp_path), settings=TEXT_SETTINGS))
    [run], [unbroken_run] = (list((folder / "runs").iterdir()) for folder in (tmp_path, unbroken))
    assert run.name == unbroken_run.name
    [last], [unbroken_last] = (list(folder.glob("checkpoint-*")) for folder in (run, unbroken_run))
    assert last.name == unbroken_last.name
    for actual, expected in (
        (run / "best.safetensors", unbroken_run / "best.safetensors"),
        (last / "model.safetensors", unbroken_last / "model.safetensors"),
    ):
        weights, unbroken_weights = load_file(actual), load_file(expected)
        assert weights.keys() == unbroken_weights.keys()
        assert all(weights[name].equal(unbroken_weights[name]) for name in weights)
    for name in ("model.onnx", "tokenizer.json", "golden.json"):
        assert (tmp_path / "bundle" / name).read_bytes() == (unbroken / "bundle" / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere.jsonl"], "'nowhere.jsonl' is neither a known name nor a path that exists"),
        (["--recipe", "atack"], "did you mean 'attack'?"),
        (["--recipe", "attack", "--set", "optimizer.lrr=1"], "did you mean 'optimizer.lr'?"),
        (["--recipe", "attack", "--recipe", "demo-text", "--out", "x"], "--out is for one recipe, got 2"),
        ([], "give --recipe NAME or --data FILE"),
    ],
)
def test_a_mistake_is_one_line_and_no_traceback(arguments, message):
    process = start("train-and-export", *arguments)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    assert message in stderr
    assert "Traceback" not in stderr


def test_a_broken_row_is_named_in_one_line(tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_text('{"text": "a", "labels": ["x"]}\n{"text": "b"}\n')
    process = start("train-and-export", "--data", file)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "own.jsonl, line 2: labels must be among the fields" in stderr
    assert "Traceback" not in stderr
