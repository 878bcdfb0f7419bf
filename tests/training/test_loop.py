import json
from pathlib import Path

import pytest
import torch
from accelerate.utils import set_seed
from safetensors.torch import load_file

from training import checkpoint
from training.build import build_parts
from training.loop import BEST_WEIGHTS, Run
from training.overrides import override
from training.record import LOG
from training.train_and_export import run_folder


@pytest.fixture
def start(text_recipe, text_data, tmp_path):
    """Begin or resume a run of the small text recipe: `start(*settings, folder="run")`."""

    def begin(*settings: str, folder: str = "run", kind: type[Run] = Run) -> Run:
        recipe = override(text_recipe, settings)
        set_seed(recipe.seed)
        return kind(recipe, build_parts(recipe, text_data), tmp_path / folder)

    return begin


class Interrupted(Exception):
    """Stands for the power cut."""


class InterruptedRun(Run):
    """A run that ends in the middle of its eighth step, the third of its second epoch."""

    def _step(self, source, batch_count):
        if self.progress.step == 7:
            raise Interrupted
        return super()._step(source, batch_count)


class InterruptedAtValidation(Run):
    """A run that ends between the last step of its first epoch and what follows it."""

    def _validate(self, bar):
        raise Interrupted


@pytest.mark.parametrize("kind", [InterruptedRun, InterruptedAtValidation])
@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_resumed_run_ends_with_the_very_weights_of_an_unbroken_one(start, kind, steps):
    settings = ["schedule.epochs=3", f"schedule.checkpoint_steps={steps}"]
    unbroken = start(*settings, folder="unbroken")
    unbroken.train()
    with pytest.raises(Interrupted):
        start(*settings, kind=kind).train()
    resumed = start(*settings)
    assert 0 < resumed.progress.step < 15
    resumed.train()
    for name in (BEST_WEIGHTS, "checkpoint-00000015-0003/model.safetensors"):
        expected, actual = load_file(unbroken.folder / name), load_file(resumed.folder / name)
        assert expected.keys() == actual.keys()
        for key, value in expected.items():
            torch.testing.assert_close(actual[key], value, rtol=0, atol=0)
    assert _without_costs(resumed) == _without_costs(unbroken)
    assert [json.loads(line)["step"] for line in (resumed.folder / LOG).read_text().splitlines()] == [5, 10, 15]


def _without_costs(run: Run) -> list[dict[str, float]]:
    costs = {"seconds", "cpu_seconds", "peak_memory_bytes"}
    return [{key: value for key, value in row.items() if key not in costs} for row in run.progress.history]


def test_a_pictures_run_resumes_with_the_same_augmentation(image_recipe, image_data, tmp_path):
    recipe = override(image_recipe, ["schedule.epochs=2", "schedule.batch_size=8", "schedule.checkpoint_steps=1"])
    weights = []
    for folder, kinds in (("unbroken", [Run]), ("broken", [InterruptedRun, Run])):
        for kind in kinds:
            set_seed(recipe.seed)
            run = kind(recipe, build_parts(recipe, image_data), tmp_path / folder)
            try:
                run.train()
            except Interrupted:
                assert kind is InterruptedRun
        weights.append(load_file(tmp_path / folder / "checkpoint-00000008-0002" / "model.safetensors"))
    for key, value in weights[0].items():
        torch.testing.assert_close(weights[1][key], value, rtol=0, atol=0)


def test_a_finished_run_is_not_trained_again(start):
    first = start("schedule.epochs=2")
    done = first.train()
    log = (first.folder / LOG).read_text()
    again = start("schedule.epochs=2")
    assert again.train() == done
    assert (again.folder / LOG).read_text() == log
    for key, value in load_file(again.folder / BEST_WEIGHTS).items():
        torch.testing.assert_close(again.classifier.state_dict()[key], value, rtol=0, atol=0)


def test_training_ends_with_the_best_weights_and_not_the_last(trained_text):
    best = load_file(trained_text.run_folder / BEST_WEIGHTS)
    history = trained_text.progress.history
    assert trained_text.progress.best_f1 == max(row["validation_example_f1"] for row in history)
    for key, value in best.items():
        torch.testing.assert_close(trained_text.parts.classifier.state_dict()[key], value, rtol=0, atol=0)


def test_training_learns(trained_text):
    losses = [row["train_loss"] for row in trained_text.progress.history]
    assert losses[-1] < 0.8 * losses[0]


def test_a_run_without_progress_stops_early(start):
    progress = start(
        "schedule.epochs=9", "schedule.patience=2", "optimizer.lr=1e-12", "optimizer.head_lr=1e-12"
    ).train()
    assert progress.finished
    assert (progress.epoch, progress.stale_rounds) == (3, 2)


@pytest.mark.parametrize("steps", [1, 100])
def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_no_broken_checkpoint(start, steps):
    run = start("optimizer.lr=1e38", "optimizer.clip_norm=1e30", f"schedule.checkpoint_steps={steps}")
    with pytest.raises(FloatingPointError, match="the loss must be finite, got nan before step"):
        run.train()
    for weights in run.folder.glob("checkpoint-*/model.safetensors"):
        assert all(value.isfinite().all() for value in load_file(weights).values())


def test_a_run_writes_its_metrics_as_json_lines_and_for_tensorboard(trained_text):
    rows = [json.loads(line) for line in (trained_text.run_folder / LOG).read_text().splitlines()]
    assert {"step", "epoch", "train_loss", "validation_example_f1", "learning_rate", "active_share"} <= rows[0].keys()
    assert rows == trained_text.progress.history
    assert list((trained_text.run_folder / "tensorboard").rglob("events.*"))


def test_only_the_newest_checkpoint_is_kept_and_nothing_unfinished(trained_text):
    progress = trained_text.progress
    newest = f"checkpoint-{progress.step:08d}-{progress.round:04d}"
    assert [path.name for path in trained_text.run_folder.glob("checkpoint-*")] == [newest]
    assert not list(trained_text.run_folder.glob(".checkpoint-*"))


def test_a_checkpoint_that_was_cut_off_does_not_count(start):
    run = start("schedule.epochs=1", "schedule.checkpoint_steps=2")
    run.train()
    (run.folder / ".checkpoint-00000099-0009.part").mkdir()
    again = start("schedule.epochs=1", "schedule.checkpoint_steps=2")
    assert again.progress == run.progress
    assert (
        checkpoint.restore(again.accelerator, Path(run.folder) / "nothing here", again.rests) == checkpoint.Progress()
    )


def test_a_run_folder_is_named_for_the_recipe_and_the_data(text_recipe, text_data, image_data):
    runs = Path("runs")
    folders = {
        run_folder(text_recipe, text_data, runs),
        run_folder(override(text_recipe, ["optimizer.lr=1e-4"]), text_data, runs),
        run_folder(override(text_recipe, ["seed=1"]), text_data, runs),
        run_folder(text_recipe, image_data, runs),
    }
    assert len(folders) == 4
    assert run_folder(text_recipe, text_data, runs) in folders
    assert all(folder.parent == runs and folder.name.startswith("tiny-text-") for folder in folders)


def test_several_validations_an_epoch_stand_where_they_were_made(start):
    progress = start("schedule.epochs=2", "schedule.validations_per_epoch=2", "schedule.patience=9").train()
    assert [(row["epoch"], row["step"]) for row in progress.history] == [(0.5, 3), (1.0, 5), (1.5, 8), (2.0, 10)]


SKIPPING = [
    "schedule.epochs=20",
    "schedule.patience=99",
    "loss.delta=0.05",
    "loss.delta_warm_up=0",
    "speed.skip_masked=true",
    "speed.rest_epochs=1",
    "speed.adaptive_accumulation=1.0",
    "schedule.checkpoint_steps=1",
]


def test_a_run_that_skips_and_rests_samples_resumes_exactly(start):
    unbroken = start(*SKIPPING, folder="unbroken")
    unbroken.train()
    assert unbroken.progress.history[-1]["active_share"] < 0.6
    broken = start(*SKIPPING)
    stop_at = unbroken.progress.step - 4
    steps = broken._step

    def step(source, batch_count):
        if broken.progress.step == stop_at:
            raise Interrupted
        return steps(source, batch_count)

    broken._step = step
    with pytest.raises(Interrupted):
        broken.train()
    resumed = start(*SKIPPING)
    assert resumed.progress.step == stop_at
    assert (resumed.rests.streaks > 0).any()
    resumed.train()
    assert _without_costs(resumed) == _without_costs(unbroken)
    for key, value in load_file(unbroken.folder / BEST_WEIGHTS).items():
        torch.testing.assert_close(load_file(resumed.folder / BEST_WEIGHTS)[key], value, rtol=0, atol=0)
