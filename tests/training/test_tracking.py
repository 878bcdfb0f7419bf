import importlib.util

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS
from accelerate.utils import set_seed
from click.testing import CliRunner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import labelset
from training.build import build_parts
from training.config import ConfigError
from training.loop import Run
from training.overrides import override
from training.record import read_history
from training.tracking import TRACKERS, check_tracker


@pytest.fixture
def run(text_recipe, text_data, tmp_path):
    """Train two epochs: `run(tracker)` returns the run's folder."""

    def train(tracker):
        recipe = override(text_recipe, ["schedule.epochs=2"])
        set_seed(recipe.seed)
        Run(recipe, build_parts(recipe, text_data), tmp_path / tracker, tracker).train()
        return tmp_path / tracker

    return train


def test_tensorboard_holds_every_figure_of_the_history(run):
    folder = run("tensorboard")
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    history = read_history(folder)
    assert [row["step"] for row in history] == [5, 10]
    names = set(history[0]) - {"epoch", "step"}
    assert {"train_loss", "validation_example_f1", "learning_rate", "seconds"} <= names
    assert set(events.Tags()["scalars"]) == names
    for name in names:
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(row["step"], pytest.approx(row[name])) for row in history]


def test_without_a_tracker_the_history_stays_and_nothing_else_is_written(run):
    folder = run("none")
    assert len(read_history(folder)) == 2
    assert not (folder / "tensorboard").exists()


def test_accelerate_knows_every_tracker_by_the_name_of_its_package():
    assert {name for name in TRACKERS if name != "none"} <= set(LOGGER_TYPE_TO_CLASS)


@pytest.mark.parametrize("tracker", [name for name in TRACKERS if name not in {"none", "tensorboard"}])
def test_a_tracker_whose_package_is_missing_is_an_error_that_names_it(tracker):
    if importlib.util.find_spec(tracker):
        pytest.skip(f"{tracker} is installed")
    with pytest.raises(ConfigError, match=f"needs the package {tracker}, which is not installed"):
        check_tracker(tracker)
    command = ["train-and-export", "--recipe", "attack", "--log-with", tracker]
    answer = CliRunner().invoke(labelset.main, command)
    assert answer.exit_code == 1
    [line] = answer.stderr.splitlines()
    assert line == f"error: --log-with {tracker} needs the package {tracker}, which is not installed [config_invalid]"
