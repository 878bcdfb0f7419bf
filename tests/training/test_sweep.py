"""`labelset sweep` through its command, on a user's own small file; and how combinations are read and ordered."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import labelset
from model.bundle import Bundle
from training.config import ConfigError
from training.overrides import override
from training.record import Result
from training.report.statistics import Spread
from training.standings import best_trial, standings, sweep_table
from training.sweep import Outcome, Trial, parse_axis, parse_seeds, trials

SETTINGS = [
    'backbone={"kind": "new", "hidden_size": 32, "layers": 1}',
    "input.max_length=16",
    "input.vocabulary_size=120",
    "schedule.epochs=2",
    "schedule.batch_size=8",
    "precision=float32",
]


@pytest.fixture(scope="module")
def table(text_data, tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "own.jsonl"
    with file.open("w") as stream:
        for example in text_data:
            stream.write(json.dumps({"text": example.text, "labels": example.labels}) + "\n")
    return file


@pytest.fixture(scope="module")
def command(table, tmp_path_factory):
    """A sweep of two learning rates and two seeds; all that it writes lies in one folder."""
    folder = tmp_path_factory.mktemp("sweep")
    fixed = ["--data", str(table), "--runs", str(folder / "runs"), *(f"--set={setting}" for setting in SETTINGS)]
    wanted = ["--grid", "optimizer.head_lr=1e-9,1e-2", "--seeds", "0,1"]
    out = ["--json", str(folder / "sweep.json"), "--html", str(folder / "sweep.html")]
    return folder, ["sweep", *fixed, *wanted, *out]


@pytest.fixture(scope="module")
def swept(command):
    folder, arguments = command
    answer = CliRunner().invoke(labelset.main, [*arguments, "--export-best", str(folder / "best")])
    assert answer.exit_code == 0, answer.output
    return folder, answer.stdout


def test_every_combination_is_trained_with_every_seed_and_the_table_has_their_means(swept):
    folder, said = swept
    records = json.loads((folder / "sweep.json").read_text())
    combinations = {(record["settings"], record["seed"]) for record in records}
    assert combinations == {(f"optimizer.head_lr={rate}", seed) for rate in ("1e-9", "1e-2") for seed in (0, 1)}
    assert len(list((folder / "runs").glob("own-*"))) == 4
    means = {}
    for rate in ("1e-9", "1e-2"):
        of_rate = [record for record in records if record["settings"] == f"optimizer.head_lr={rate}"]
        figures = [of_rate[0]["validation_example_f1"], of_rate[1]["validation_example_f1"]]
        mean, half = sum(figures) / 2, abs(figures[0] - figures[1]) / 2
        means[mean] = rate
        assert re.search(rf"head_lr={rate} .*\b{mean:.4f} ± {half:.4f}", said)
    assert len(means) == 2
    assert f"best on validation (mean of 2 seeds): optimizer.head_lr={means[max(means)]}: " in said


def test_the_winners_best_seed_is_exported(swept):
    folder, said = swept
    records = json.loads((folder / "sweep.json").read_text())
    [winner] = re.findall(r"best on validation \(mean of 2 seeds\): (\S+):", said)
    of_winner = [record for record in records if record["settings"] == winner]
    best = max(of_winner, key=lambda record: record["validation_example_f1"])
    manifest = Bundle.open(folder / "best").manifest
    assert manifest.provenance.seed == best["seed"]
    assert manifest.metrics["example_f1"] == pytest.approx(best["test_example_f1"])


def test_the_page_has_the_table_of_the_terminal(swept):
    folder, said = swept
    page = (folder / "sweep.html").read_text()
    for spread in re.findall(r"\d\.\d{4} ± \d\.\d{4}", said):
        assert spread in page
    assert page.count("<img") == 1


def test_a_sweep_that_is_given_again_trains_only_what_is_missing(swept, command):
    folder, arguments = command
    runs = sorted((folder / "runs").glob("own-*"))

    def trained():
        return {file: file.stat().st_mtime_ns for run in runs for file in run.glob("checkpoint-*/*")}

    before, first = trained(), json.loads((folder / "sweep.json").read_text())
    assert len({file.parents[1] for file in before}) == 4
    answer = CliRunner().invoke(labelset.main, arguments)
    assert answer.exit_code == 0, answer.output
    assert trained() == before
    assert json.loads((folder / "sweep.json").read_text()) == first

    shutil.rmtree(runs[0])
    assert CliRunner().invoke(labelset.main, arguments).exit_code == 0
    after = trained()
    assert {file.parents[1] for file in before if after[file] != before[file]} == {runs[0]}
    [lost] = [record for record in first if record["run"] == runs[0].name]
    [anew] = [record for record in json.loads((folder / "sweep.json").read_text()) if record["run"] == runs[0].name]
    assert anew["test_example_f1"] == pytest.approx(lost["test_example_f1"])


@pytest.mark.slow
def test_several_processes_train_each_run_together_and_one_of_them_tells(table, tmp_path):
    fixed = ["--data", table, "--runs", tmp_path / "runs", *(f"--set={setting}" for setting in SETTINGS)]
    out = ["--json", tmp_path / "sweep.json", "--html", tmp_path / "sweep.html", "--export-best", tmp_path / "best"]
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", 2, "-m", "labelset"]
    command = [sys.executable, "-m", *torchrun, "sweep", *fixed, "--seeds", "0,1", *out]
    root = Path(__file__).parents[2]
    answer = subprocess.run(
        list(map(str, command)), cwd=root, env={**os.environ, "PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    # Each process alone would train every run, and speak of it.
    assert answer.stderr.count("epoch 1: loss") == 2
    for once in ("best on validation (mean of 2 seeds): the recipe as it is", f"page {tmp_path}", f"bundle {tmp_path}"):
        assert answer.stdout.count(once) == 1
    records = json.loads((tmp_path / "sweep.json").read_text())
    assert [record["seed"] for record in records] == [0, 1]
    best = max(records, key=lambda record: record["validation_example_f1"])
    assert Bundle.open(tmp_path / "best").manifest.provenance.seed == best["seed"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "attack", "--grid", "loss.deltta=1"], "did you mean 'loss.delta'?"),
        (["--recipe", "attack", "--grid", "loss.delta=1,,2"], "--grid must read section.key=value,value"),
        (["--recipe", "attack", "--grid", "loss.delta=0.1,7"], "loss.delta: "),
        (["--recipe", "attack", "--seeds", "0,0"], "--seeds must be different numbers"),
        (["--recipe", "attack", "--data", "x.jsonl"], "give either --recipe NAME or --data FILE"),
        ([], "give either --recipe NAME or --data FILE"),
    ],
)
def test_a_mistake_is_said_before_anything_is_trained(arguments, message, tmp_path):
    answer = CliRunner().invoke(labelset.main, ["sweep", *arguments, "--runs", str(tmp_path)])
    assert answer.exit_code != 0
    assert message in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_value_may_hold_commas_within_brackets():
    assert parse_axis("backbone.depths=[3,4],[3, 4, 1]") == ("backbone.depths", ["[3,4]", "[3, 4, 1]"])
    assert parse_axis("loss.name=bce") == ("loss.name", ["bce"])


def test_seeds_are_numbers():
    assert parse_seeds("0,1, 7") == [0, 1, 7]
    with pytest.raises(ConfigError, match="got '0,x'"):
        parse_seeds("0,x")


def test_trials_are_the_product_of_the_settings_and_the_seeds(text_recipe):
    found = trials(text_recipe, [("loss.delta", ["0.1", "1"]), ("loss.name", ["bce", "zlpr"])], [3, 4])
    assert [(one.recipe.loss.delta, one.recipe.loss.name, one.recipe.seed) for one in found] == [
        (delta, name, seed) for delta in (0.1, 1) for name in ("bce", "zlpr") for seed in (3, 4)
    ]
    assert [one.name for one in trials(text_recipe, [], [0])] == ["the recipe as it is"]


def _outcome(recipe, tmp_path, setting, seed, validation, test):
    trial = Trial((setting,), override(recipe, [setting, f"seed={seed}"]))
    metrics = {"example_f1": test, "count_accuracy": 0.5}
    result = Result(data="d", licence="", examples={}, labels=4, validation={"example_f1": validation}, test=metrics)
    return Outcome(trial, result, tmp_path, seconds=60.0)


def test_validation_decides_who_wins_and_test_is_only_reported(text_recipe, tmp_path):
    outcomes = [
        _outcome(text_recipe, tmp_path, "loss.delta=0.1", 0, validation=0.6, test=0.9),
        _outcome(text_recipe, tmp_path, "loss.delta=0.1", 1, validation=0.5, test=0.8),
        _outcome(text_recipe, tmp_path, "loss.delta=0.5", 0, validation=0.4, test=0.1),
        _outcome(text_recipe, tmp_path, "loss.delta=0.5", 1, validation=0.8, test=0.3),
    ]
    first, second = standings(outcomes)
    assert (first.name, second.name) == ("loss.delta=0.5", "loss.delta=0.1")
    assert first.validation_f1 == Spread(pytest.approx(0.6), pytest.approx(0.2))
    assert first.test["example_f1"] == Spread(pytest.approx(0.2), pytest.approx(0.1))
    assert best_trial(outcomes) == outcomes[3].trial
    header, _, best, other, _, verdict = sweep_table([first, second]).splitlines()
    assert re.split(r"\s{2,}", header) == [
        "settings", "validation example-F1", "test example-F1", "test count right", "time"
    ]  # fmt: skip
    assert re.split(r"\s{2,}", best)[1:] == ["0.6000 ± 0.2000", "0.2000 ± 0.1000", "0.5000 ± 0.0000", "1:00"]
    assert re.split(r"\s{2,}", other)[1] == "0.5500 ± 0.0500"
    assert verdict.endswith("validation example-F1 0.6000 ± 0.2000, test example-F1 0.2000 ± 0.1000")
