"""Runs that are killed again and again, at moments drawn by chance, and what they end with."""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import pytest
from safetensors.torch import load_file

from training.loop import BEST_WEIGHTS
from training.overrides import override
from training.record import read_history
from training.train_and_export import run_folder, train

KILLS = 10
SETTINGS = ["schedule.checkpoint_steps=1", "schedule.patience=99", "input.word_dropout=0.1"]
PLAIN = ["schedule.epochs=12", "schedule.validations_per_epoch=2"]
SKIPPING = [
    "schedule.epochs=24",
    "loss.delta=0.1",
    "loss.delta_warm_up=0",
    "speed.skip_masked=true",
    "speed.rest_epochs=1",
]


def _start(recipe, data, runs) -> int:
    """A life of the run, in a process of its own that need not import anything again."""
    if process := os.fork():
        return process
    try:
        train(recipe, data, runs, tracker="none")
        os._exit(0)
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(1)


def _kill_by_chance(process: int, folder: Path, chance: random.Random) -> None:
    """Kill a run on its way to its first checkpoint, or within or between the steps after it."""
    first_step = _step(folder)
    steps = chance.choice([0, 1, 1, 2, 3])
    deadline = time.monotonic() + 60
    while steps and _step(folder) < first_step + steps and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.03 if steps else 0.3))
    os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status), f"the run ended by itself, with {status}"


def _step(folder: Path) -> int:
    return max((int(path.name.split("-")[1]) for path in folder.glob("checkpoint-*")), default=0)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [PLAIN, SKIPPING], ids=["plain", "skipping"])
def test_a_run_killed_ten_times_ends_with_the_weights_of_one_never_killed(text_recipe, text_data, tmp_path, settings):
    recipe = override(text_recipe, [*SETTINGS, *settings])
    train(recipe, text_data, tmp_path / "unbroken", tracker="none")
    unbroken = run_folder(recipe, text_data, tmp_path / "unbroken")

    killed = run_folder(recipe, text_data, tmp_path / "killed")
    chance = random.Random(7)
    for _ in range(KILLS):
        _kill_by_chance(_start(recipe, text_data, tmp_path / "killed"), killed, chance)
    assert 0 < _step(killed) < _step(unbroken)
    _, status = os.waitpid(_start(recipe, text_data, tmp_path / "killed"), 0)
    assert status == 0

    assert _without_costs(read_history(killed)) == _without_costs(read_history(unbroken))
    [last] = killed.glob("checkpoint-*")
    for name in (BEST_WEIGHTS, f"{last.name}/model.safetensors"):
        weights, expected = load_file(killed / name), load_file(unbroken / name)
        assert weights.keys() == expected.keys()
        assert all(weights[key].equal(expected[key]) for key in expected), name
    if settings is SKIPPING:
        assert read_history(killed)[-1]["active_share"] < 0.6


def _without_costs(history):
    costs = {"seconds", "cpu_seconds", "peak_memory_bytes"}
    return [{key: value for key, value in row.items() if key not in costs} for row in history]
