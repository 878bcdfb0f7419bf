from pathlib import Path

import pytest

from model.predictor import Predictor
from training.card import model_card
from training.config import Recipe
from training.data.arrays import ArrayDataset
from training.evaluate_bundle import measure_bundle
from training.overrides import named_recipe, override
from training.record import LOG, RECIPE, read_history, read_result
from training.report import Finished, table
from training.train_and_export import run_folder, train_and_export


@pytest.fixture
def recipe(text_recipe):
    return override(text_recipe, ["schedule.epochs=1"])


def test_a_run_is_found_again_and_restarted_only_when_asked(recipe, text_data, tmp_path):
    def run(restart=False):
        return train_and_export(recipe, text_data, tmp_path / "bundle", tmp_path / "runs", restart)

    first = run()
    folder = run_folder(recipe, text_data, tmp_path / "runs")
    history = (folder / LOG).read_text()
    assert history.count("\n") == 1
    (folder / "mark").touch()
    again = run()
    assert (folder / LOG).read_text() == history
    assert again.exported.metrics == first.exported.metrics
    anew = run(restart=True)
    assert not (folder / "mark").exists()
    assert anew.exported.metrics == first.exported.metrics


def test_a_run_folder_says_what_was_done_and_how_it_ended(recipe, text_data, tmp_path):
    finished = train_and_export(recipe, text_data, tmp_path / "bundle", tmp_path / "runs")
    folder = run_folder(recipe, text_data, tmp_path / "runs")
    assert finished.report == folder / "report.html"
    assert "4 labels" in finished.report.read_text()
    assert Recipe.model_validate_json((folder / RECIPE).read_text()) == recipe
    result = read_result(folder)
    assert result.test == finished.exported.metrics
    assert result.validation["example_f1"] == read_history(folder)[0]["validation_example_f1"]
    assert result.examples == {"train": 40, "validation": 10, "test": 10}
    assert result.bundle_bytes == sum(file.stat().st_size for file in (tmp_path / "bundle").iterdir())


@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_bundle_measures_as_the_network_in_it(request, kind):
    trained = request.getfixturevalue(f"trained_{kind}")
    measured = measure_bundle(Predictor.open(trained.bundle, device="cpu"), trained.data.test)
    recorded = {name: value for name, value in trained.exported.metrics.items() if name in measured}
    assert measured == pytest.approx(recorded)
    assert "example_f1" in measured


def test_labels_outside_the_label_space_do_not_count(trained_text):
    dataset = ArrayDataset(trained_text.data.test, ("food", "sport"), trained_text.parts.test.preprocess)
    for index, example in enumerate(trained_text.data.test):
        assert dataset.targets(index).tolist() == ["food" in example.labels, "sport" in example.labels]


def test_the_table_has_a_line_for_each_run(trained_text, trained_image):
    page = Path("report.html")
    runs = [Finished(trained_text.exported, page, seconds=61.4), Finished(trained_image.exported, page, seconds=7)]
    header, rule, first, second = table(runs).splitlines()
    assert header.split()[:2] == ["model", "example-F1"]
    assert len(rule) == len(header) == len(first)
    assert first.split()[0] == "tiny-text"
    assert first.split()[1] == f"{trained_text.exported.metrics['example_f1']:.4f}"
    assert (first.split()[-1], second.split()[-1]) == ("1:01", "0:07")


def test_the_card_says_what_the_model_saw_and_how_to_make_it_again(image_data):
    names = ("example_f1", "micro_f1", "macro_f1", "mean_average_precision", "exact_match", "count_accuracy")
    card = model_card(named_recipe("openclipart"), image_data, dict.fromkeys(names, 0.25))
    assert "drawn by a test" in card
    assert "CC0" in card
    assert "26 training" in card
    assert "blue, circle, green, red, square" in card
    assert "labelset train-and-export --recipe openclipart --seed 0" in card
    assert card.count("0.2500") == len(names)
