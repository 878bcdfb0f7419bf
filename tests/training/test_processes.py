"""Two processes, started by torchrun as a user starts them, train what one trains."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, load_model
from transformers import BertConfig, BertModel

from training.build import build_parts
from training.evaluate import answer, measure
from training.loop import BEST_WEIGHTS
from training.objective import Objective
from training.overrides import override
from training.processes import leave_out_unused
from training.record import best_validation, read_history
from training.tokenizer import train_tokenizer
from training.train_and_export import run_folder, train

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("process_of_several.py")
STEP = Path(__file__).with_name("step_of_several.py")
SETTINGS = ["head.dropout=0", "schedule.epochs=3", "schedule.patience=99", "schedule.batch_size=7"]
SKIPPING = [
    "loss.delta=0.2",
    "loss.delta_warm_up=0",
    "speed.skip_masked=true",
    "speed.rest_epochs=1",
    "speed.adaptive_accumulation=1.0",
    "schedule.epochs=12",
]


def start(*command, processes=2) -> subprocess.Popen:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes]
    return subprocess.Popen(
        list(map(str, [*torchrun, *command])),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen) -> tuple[str, str]:
    """What it said, on both streams."""
    try:
        stdout, stderr = process.communicate(timeout=200)
    finally:
        end(process)
    assert process.returncode == 0, stderr
    return stdout, stderr


def end(process: subprocess.Popen) -> None:
    """Kill the launcher; the workers, which have sessions of their own, end with it or before."""
    if process.poll() is None:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def weights(text_data, tmp_path_factory) -> Path:
    """A small BERT without dropout: each process would draw its own."""
    folder = tmp_path_factory.mktemp("weights")
    tokenizer = train_tokenizer([example.text for example in text_data], 120)
    tokenizer.save(str(folder / "tokenizer.json"))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=64,
        max_position_embeddings=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def recipes(text_recipe, weights):
    """Plain; with skipping, resting and windows that grow; with parameters that the loss does not touch; frozen."""
    variants = {
        "plain": ["schedule.accumulation=2"],
        "skipping": SKIPPING,
        "no-count": ["loss.count_weight=0"],
        "frozen": ["backbone.frozen=true"],
    }
    backbone = f'backbone={{"kind": "pretrained", "source": "{weights}"}}'
    return {
        name: override(text_recipe, [f"name={name}", backbone, *SETTINGS, *settings])
        for name, settings in variants.items()
    }


@pytest.fixture(scope="module")
def work(recipes, text_data, tmp_path_factory):
    return _written(tmp_path_factory.mktemp("work"), [(recipe, text_data) for recipe in recipes.values()])


def _written(folder, work):
    (folder / "work.pickle").write_bytes(pickle.dumps(work))
    return folder / "work.pickle"


@pytest.fixture(scope="module")
def alone(recipes, text_data, tmp_path_factory):
    runs = tmp_path_factory.mktemp("alone")
    for recipe in recipes.values():
        train(recipe, text_data, runs, tracker="none")
    return runs


@pytest.fixture(scope="module")
def together(work, tmp_path_factory):
    runs = tmp_path_factory.mktemp("together")
    finish(start(SCRIPT, work, runs))
    return runs


def _assert_same_run(recipe, data, runs, expected_runs):
    folder, expected_folder = (run_folder(recipe, data, root) for root in (runs, expected_runs))
    history, expected = read_history(folder), read_history(expected_folder)
    assert [row["step"] for row in history] == [row["step"] for row in expected]
    for row, expected_row in zip(history, expected, strict=True):
        for name in ("train_loss", "active_share", *(key for key in row if key.startswith("validation_"))):
            assert row[name] == pytest.approx(expected_row[name], abs=1e-5), (name, row["step"])
    weights = load_file(folder / BEST_WEIGHTS)
    for name, value in load_file(expected_folder / BEST_WEIGHTS).items():
        # Softmax does not see what is added to all keys: that gradient is 0 but for rounding, and Adam makes it large.
        if name.endswith("key.bias"):
            continue
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "skipping", "no-count", "frozen"])
def test_two_processes_give_the_loss_curve_and_the_weights_of_one(recipes, text_data, alone, together, name):
    recipe = recipes[name]
    _assert_same_run(recipe, text_data, together, alone)
    if name == "skipping":
        assert read_history(run_folder(recipe, text_data, together))[-1]["active_share"] < 0.6


@pytest.mark.slow
def test_a_process_may_have_rows_to_look_at_where_the_other_has_none():
    losses = [finish(start(STEP, *looking))[0] for looking in ([], [0])]
    assert float(losses[0]) > 0
    assert losses[0] == losses[1]


@pytest.mark.slow
def test_two_processes_that_were_killed_go_on_where_they_stood(recipes, text_data, alone, work, tmp_path):
    process = start(SCRIPT, work, tmp_path)
    folder = run_folder(recipes["skipping"], text_data, tmp_path)
    while process.poll() is None and len(read_history(folder)) < 3:
        time.sleep(0.01)
    workers = _children(process.pid)
    for pid in [process.pid, *workers]:
        os.kill(pid, signal.SIGKILL)
    process.communicate()
    assert len(workers) == 2
    [progress] = folder.glob("checkpoint-*/progress.json")
    assert not json.loads(progress.read_text())["finished"]
    finish(start(SCRIPT, work, tmp_path))
    for recipe in recipes.values():
        _assert_same_run(recipe, text_data, tmp_path, alone)


@pytest.mark.slow
def test_pictures_are_trained_by_two_processes_though_each_has_its_own_batch_norm(image_recipe, image_data, tmp_path):
    recipe = override(image_recipe, ["schedule.epochs=3", "schedule.batch_size=9"])
    finish(start(SCRIPT, _written(tmp_path, [(recipe, image_data)]), tmp_path))
    folder = run_folder(recipe, image_data, tmp_path)
    losses = [row["train_loss"] for row in read_history(folder)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    # The figures are those of the weights that were kept.
    parts = build_parts(recipe, image_data)
    load_model(parts.classifier, folder / BEST_WEIGHTS)
    measured = measure(answer(parts.classifier, parts.validation, "validation"))
    assert measured["mean_average_precision"] == pytest.approx(
        best_validation(read_history(folder))["mean_average_precision"], abs=1e-6
    )


@pytest.mark.slow
def test_when_one_process_dies_the_others_end_and_the_command_fails(work, tmp_path):
    process = start(SCRIPT, work, tmp_path)
    while process.poll() is None and not list(tmp_path.glob("plain-*/metrics.jsonl")):
        time.sleep(0.01)
    first, second = _children(process.pid)
    os.kill(second, signal.SIGKILL)
    try:
        process.communicate(timeout=60)
    finally:
        end(process)
    assert process.returncode != 0
    assert not Path(f"/proc/{first}").exists()


def test_parameters_without_a_gradient_are_left_out_and_no_others(text_recipe, text_data):
    recipe = override(text_recipe, ["loss.count_weight=0"])
    parts = build_parts(recipe, text_data)
    objective = Objective(parts.classifier, recipe.loss)
    leave_out_unused(objective, parts.train)
    counting = {name for name, _ in objective.named_parameters() if ".head.count." in name}
    left_out = {name for name, parameter in objective.named_parameters() if not parameter.requires_grad}
    assert len(counting) > 0
    assert left_out == counting
    assert all(parameter.grad is None for parameter in objective.parameters())


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.slow
def test_the_command_exports_once_and_only_the_main_process_speaks(text_data, tmp_path):
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps({"text": e.text, "labels": e.labels}) + "\n" for e in text_data))
    settings = [
        'backbone={"kind": "new", "hidden_size": 32, "layers": 1}',
        "input.vocabulary_size=120",
        "input.max_length=16",
        "schedule.epochs=1",
        "precision=float32",
    ]
    options = [f"--set={setting}" for setting in settings]
    places = ["--out", tmp_path / "bundle", "--runs", tmp_path / "runs"]
    stdout, stderr = finish(start("-m", "labelset", "train-and-export", "--data", file, *places, *options))
    assert stdout.count("training, ") == 1
    assert stdout.count("verified: torch and onnxruntime agree") == 1
    assert stderr.count("epoch 1: loss") == 1
    assert (tmp_path / "bundle" / "bundle.json").is_file()
    [run] = (tmp_path / "runs").iterdir()
    assert (run / "report.html").is_file()
    assert len(list((run / "tensorboard").rglob("events.*"))) == 1
