import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS
from accelerate.utils import set_seed
from click.testing import CliRunner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import labelset
from training.build import build_parts
from training.config import ConfigError
from training.loop import Run
from training.overrides import flat_settings, override
from training.record import RECIPE, read_history
from training.tracking import TRACKERS, check_tracker

ROOT = Path(__file__).parents[2]
SETTINGS = [
    'backbone={"kind": "new", "hidden_size": 32, "layers": 1}',
    "input.max_length=16",
    "input.vocabulary_size=120",
    "schedule.epochs=2",
    "schedule.batch_size=8",
    "precision=float32",
]


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


class _Logged(NamedTuple):
    """What a tracker knows of a run: its settings as text, and each figure with its steps."""

    settings: dict[str, str]
    figures: dict[str, list[tuple[int, float]]]
    ended: bool


def _of_mlflow(folder: Path) -> dict[str, _Logged]:
    logged = {}
    database = sqlite3.connect(folder / "mlflow.db")
    for key, name, status in database.execute("SELECT run_uuid, name, status FROM runs").fetchall():
        settings = dict(database.execute("SELECT key, value FROM params WHERE run_uuid = ?", [key]))
        figures = defaultdict(list)
        rows = database.execute("SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY step", [key])
        for figure, step, value in rows:
            figures[figure].append((step, value))
        logged[name] = _Logged(settings, figures, ended=status == "FINISHED")
    database.close()
    return logged


def _of_wandb(folder: Path) -> dict[str, _Logged]:
    from wandb.proto.wandb_internal_pb2 import Record

    logged = {}
    for file in folder.glob("wandb/offline-run-*/*.wandb"):
        name, settings, figures, exit_codes = "", {}, defaultdict(list), []
        for record in map(Record.FromString, _entries(file.read_bytes())):
            name = record.run.display_name or name
            settings |= {item.key: str(json.loads(item.value_json)) for item in record.run.config.update}
            settings |= {item.key: str(json.loads(item.value_json)) for item in record.config.update}
            row = {item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            for figure, value in row.items():
                if not figure.startswith("_"):
                    figures[figure].append((row["_step"], value))
            if record.HasField("exit"):
                exit_codes.append(record.exit.exit_code)
        settings.pop("_wandb", None)
        logged[name] = _Logged(settings, figures, ended=exit_codes == [0])
    return logged


def _entries(log: bytes):
    """The entries of a log in LevelDB's format: blocks of 32 KiB, in them parts of checksum, length, kind and data."""
    entry, place = b"", 7  # after the head of the file
    while place < len(log):
        if 32768 - place % 32768 < 7:  # too little of the block is left for another part
            place += 32768 - place % 32768
            continue
        length, kind = int.from_bytes(log[place + 4 : place + 6], "little"), log[place + 6]
        entry += log[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield entry
            entry = b""


@pytest.mark.slow
@pytest.mark.parametrize(("tracker", "read"), [("wandb", _of_wandb), ("mlflow", _of_mlflow)])
def test_settings_and_figures_of_every_run_arrive_and_nothing_is_left_running(tracker, read, text_data, tmp_path):
    found = importlib.util.find_spec(tracker)
    if found is None or found.origin is None:
        pytest.skip(f"{tracker} is not installed: pip install {tracker}")
    rows = [json.dumps({"text": example.text, "labels": example.labels}) for example in text_data]
    (tmp_path / "own.jsonl").write_text("\n".join(rows))
    options = ["--data", "own.jsonl", *(f"--set={setting}" for setting in SETTINGS)]
    # The winner's run is over when it is exported: it is not logged once more.
    wanted = ["--seeds", "0,1", "--export-best", "best", "--log-with", tracker]
    answer = subprocess.run(
        [sys.executable, "-m", "labelset", "sweep", *options, *wanted],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline", "DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert [process for process in Path("/proc").glob("[0-9]*") if _is_in(process, tmp_path)] == []

    runs, logged = list((tmp_path / "runs").glob("own-*")), read(tmp_path)
    assert len(runs) == 2
    assert sorted(logged) == sorted(run.name for run in runs)
    for run in runs:
        one, history = logged[run.name], read_history(run)
        assert one.ended
        settings = flat_settings(json.loads((run / RECIPE).read_text()))
        assert one.settings == {name: str(value) for name, value in settings.items()}
        assert len(history) == 2
        figures = set(history[0]) - {"epoch", "step"}
        assert set(one.figures) == figures
        for name in figures:
            assert one.figures[name] == [(row["step"], pytest.approx(row[name])) for row in history], name


def _is_in(process: Path, folder: Path) -> bool:
    try:
        return (process / "cwd").readlink() == folder
    except OSError:  # another user's, or gone
        return False


def test_a_tracker_that_cannot_begin_is_an_error_in_one_line(run, tmp_path):
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "tensorboard").write_text("where its folder should be")
    with pytest.raises(ConfigError, match=r"^--log-with tensorboard cannot begin: .*File exists.*$") as raised:
        run("tensorboard")
    assert len(raised.value.message.splitlines()) == 1


def test_a_run_that_is_over_is_not_logged_once_more(run):
    folder = run("tensorboard")
    [events] = (folder / "tensorboard").iterdir()
    run("tensorboard")
    assert list((folder / "tensorboard").iterdir()) == [events]


def test_a_folder_by_the_name_of_a_package_is_not_the_package(tmp_path, monkeypatch):
    if importlib.util.find_spec("mlflow"):
        pytest.skip("mlflow is installed")
    (tmp_path / "mlflow").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="needs the package mlflow, which is not installed"):
        check_tracker("mlflow")


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
