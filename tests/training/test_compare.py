import json
import re
import shutil

import pytest
from click.testing import CliRunner

import labelset
from training.compare import comparison, read_sides, short_names
from training.overrides import override
from training.record import RECIPE, read_history, write_recipe, write_result


@pytest.fixture(scope="module")
def runs(trained_text, text_data, tmp_path_factory):
    """Three runs: one that has ended, one like it with other settings and a worse end, one that has only begun."""
    folder = tmp_path_factory.mktemp("runs")
    history = folder / "good" / "metrics.jsonl"
    for name, settings in (("good", []), ("worse", ["loss.name=bce", "loss.delta=0.25"]), ("begun", ["seed=9"])):
        write_recipe(folder / name, override(trained_text.recipe, settings))
    shutil.copy(trained_text.run_folder / "metrics.jsonl", history)
    rows = [json.dumps(row) for row in read_history(folder / "good")[:2]]
    (folder / "worse" / "metrics.jsonl").write_text("\n".join(rows) + "\n")
    write_result(folder / "good", text_data, {"example_f1": 0.75, "macro_f1": 0.5}, trained_text.bundle)
    write_result(folder / "worse", text_data, {"example_f1": 0.25, "macro_f1": 0.5})
    return folder


def cells(lines):
    return {line.title: line.cells for line in lines}


def test_only_settings_that_differ_are_shown_and_the_metrics_of_each_side(runs):
    lines = comparison(read_sides([runs / "good", runs / "worse", runs / "begun"]))
    shown = cells(lines)
    assert [line.title for line in lines][:3] == ["loss.name", "loss.delta", "seed"]
    assert shown["loss.name"] == ["as_softmax", "bce", "as_softmax"]
    assert shown["loss.delta"] == ["1.0", "0.25", "1.0"]
    assert "schedule.epochs" not in shown
    assert shown["test example-F1"] == ["0.7500", "0.2500", "-"]
    assert shown["epochs"] == [f"{read_history(runs / 'good')[-1]['epoch']:g}", "2", "-"]
    best = {line.title: line.best for line in lines}
    assert best["test example-F1"] == {0}
    assert best["test macro-F1"] == {0, 1}
    history = read_history(runs / "good")
    figure = max(row["validation_example_f1"] for row in history)
    assert shown["validation example-F1"][0] == f"{figure:.4f}"
    assert shown["validation example-F1"][2] == "-"


def test_a_bundle_stands_beside_the_run_that_it_comes_from(runs, trained_text):
    sides = read_sides([runs / "good", trained_text.bundle])
    shown = cells(comparison(sides))
    assert sides[1].settings == sides[0].settings
    assert shown["test example-F1"] == ["0.7500", f"{trained_text.exported.metrics['example_f1']:.4f}"]
    size = sum(file.stat().st_size for file in trained_text.bundle.iterdir())
    assert shown["bundle"] == [f"{size / 1e6:.1f} MB"] * 2
    assert shown["training time"][1] == "-"


def test_a_setting_that_one_side_does_not_know_is_shown_as_missing(runs, tmp_path):
    document = json.loads((runs / "good" / RECIPE).read_text())
    del document["loss"]["delta"]
    (tmp_path / RECIPE).write_text(json.dumps(document))
    assert cells(comparison(read_sides([runs / "good", tmp_path])))["loss.delta"] == ["1.0", "-"]


def test_the_command_prints_the_table_and_writes_a_page_with_curves(runs, tmp_path):
    folders = [str(runs / name) for name in ("good", "worse")]
    page = tmp_path / "compare.html"
    answer = CliRunner().invoke(labelset.main, ["compare", *folders, "--html", str(page)])
    assert answer.exit_code == 0, answer.output
    header, _, *lines = answer.stdout.splitlines()
    assert header.split() == ["good", "worse"]
    found = {re.split(r"\s{2,}", line)[0]: re.split(r"\s{2,}", line)[1:] for line in lines if line}
    assert found["loss.name"] == ["as_softmax", "bce"]
    assert found["test example-F1"] == ["0.7500*", "0.2500"]
    html = page.read_text()
    assert re.search(r"test example-F1</td><td class=best>0.7500</td><td>0.2500</td>", html)
    # Loss, four figures of validation, and example-F1 over time.
    assert html.count("<img") == 6
    assert "http" not in html.replace("data:image/png;base64", "")


def test_a_folder_that_is_neither_a_run_nor_a_bundle_is_refused(tmp_path):
    answer = CliRunner().invoke(labelset.main, ["compare", str(tmp_path)])
    assert answer.exit_code == 1
    assert "a run's folder holds recipe.json and a bundle bundle.json" in answer.stderr


def test_names_are_as_short_as_tells_them_apart(tmp_path):
    assert short_names([tmp_path / "a" / "1", tmp_path / "b" / "2"]) == ["1", "2"]
    assert short_names([tmp_path / "a" / "1", tmp_path / "b" / "1"]) == ["a/1", "b/1"]
    assert short_names([tmp_path, tmp_path]) == [str(tmp_path)] * 2
