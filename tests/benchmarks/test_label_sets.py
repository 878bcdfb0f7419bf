"""The benchmark of label sets reads networks as its columns say, and tunes nothing on what it reports."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import label_sets
from benchmarks.label_sets import best_threshold_of_each, table, top
from model.nn.counting import CountLayers
from training.data.registry import load
from training.evaluate import Answers, answer, measure
from training.metrics import best_threshold, example_f1
from training.overrides import named_recipe, override
from training.train_and_export import run_folder, train

TINY = [
    'backbone={"kind": "new", "hidden_size": 32, "layers": 1}',
    "input.max_length=16",
    "input.vocabulary_size=120",
    "optimizer.lr=5e-3",
    "optimizer.head_lr=1e-2",
    "schedule.epochs=4",
    "schedule.batch_size=8",
    "precision=float32",
]


def test_the_so_many_highest_scores_the_first_of_equal_ones():
    scores = np.array([[0.1, 0.3, 0.2], [5.0, -1.0, 5.0], [1.0, 2.0, 3.0]])
    assert top(scores, np.array([2, 1, 0])).tolist() == [[False, True, True], [True, False, False], [False] * 3]


def test_each_label_gets_the_threshold_with_its_own_best_f1():
    scores = np.tile(np.array([0.5, 0.0, 0.9, 0.1, 0.7])[:, None], (1, 3))
    targets = np.array([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 0]], bool)
    # From the highest score down, F1 of the first label is 2/3, 2/4, 4/5, 4/6, 4/7, of the second 2/3, 2/4, 2/5, 2/6,
    # 4/7; the cut lies halfway to the next score. The third never occurs.
    assert best_threshold_of_each(scores, targets).tolist() == pytest.approx([0.3, 0.8, np.inf])


def test_a_label_that_every_example_carries_has_no_threshold():
    assert best_threshold_of_each(np.array([[0.2], [0.1]]), np.ones((2, 1), bool)).tolist() == [-np.inf]


def _records(loss, decision, *f1_of_seeds):
    return [
        {"loss": loss, "decision": decision, "validation_example_f1": validation, "test_example_f1": test}
        for validation, test in f1_of_seeds
    ]


def test_the_table_shows_test_figures_and_chooses_on_validation():
    records = [
        *_records("softmax", "predicted count", (0.60, 0.70), (0.62, 0.74)),
        *_records("softmax", "one threshold", (0.70, 0.50)),
        *_records("BCE", "own rule", (0.80, 0.40)),
        *_records("BCE", "expected F1", (0.65, 0.10)),
        # The best of all, and not to be had.
        *_records("softmax", "true count (bound)", (0.99, 0.98)),
    ]
    lines = table(records).splitlines()
    columns = ["loss", *label_sets.DECISIONS]
    assert lines[0] == f"| {' | '.join(columns)} |"
    cells = [dict(zip(columns, (cell.strip() for cell in line.split("|")[1:-1]), strict=True)) for line in lines[2:4]]
    assert [row["loss"] for row in cells] == ["BCE", "softmax"]
    assert cells[1]["predicted count"] == "72.0 ± 2.0"
    assert cells[1]["one threshold"] == "50.0 ± 0.0"
    assert cells[1]["true count (bound)"] == "98.0 ± 0.0"
    assert cells[0]["own rule"] == "40.0 ± 0.0"
    assert cells[0]["one threshold"] == ""
    assert lines[-2:] == [
        "Best on validation: BCE, own rule (80.0).",
        "Best on validation of those without a threshold: BCE, expected F1 (65.0).",
    ]


def _answers(rows):
    chance = np.random.default_rng(0)
    targets_NC = chance.random((rows, 6)) < 0.3
    logits_NC = (targets_NC + chance.normal(size=targets_NC.shape)).astype(np.float32)
    count_logits_NK = chance.normal(size=(rows, 5)).astype(np.float32)
    return Answers(logits_NC, count_logits_NK, logits_NC, targets_NC)


def test_a_fifth_of_validation_is_decided_by_a_fit_that_has_not_seen_its_labels():
    classifier = SimpleNamespace(head=SimpleNamespace(count=CountLayers(3, class_count=6, max_label_count=4)))
    answers = _answers(100)
    fifth_N = np.random.default_rng(0).permutation(100) % 5 == 0
    changed_NC = np.where(fifth_N[:, None], ~answers.targets_NC, answers.targets_NC)
    decided, again = (
        label_sets._by_crossed_fit(classifier, answers._replace(targets_NC=targets_NC))
        for targets_NC in (answers.targets_NC, changed_NC)
    )
    assert decided.any()
    np.testing.assert_array_equal(again[fifth_N], decided[fifth_N])
    # To the others these labels do matter.
    assert (again != decided).any(axis=1).sum() > 10


def test_the_crossed_fit_leaves_the_network_as_it_is():
    layers = CountLayers(3, class_count=6, max_label_count=4)
    before = layers.f1.weight.clone()
    label_sets._by_crossed_fit(SimpleNamespace(head=SimpleNamespace(count=layers)), _answers(10))
    assert (layers.f1.weight == before).all()


@pytest.fixture(scope="module")
def source(text_data, tmp_path_factory):
    rows = [
        {"text": example.text, "labels": example.labels, "split": side}
        for side in ("train", "validation", "test")
        for example in getattr(text_data, side)
    ]
    file = tmp_path_factory.mktemp("data") / "words.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_run_has_a_record_for_each_decision_and_takes_up_what_is_trained(source, tmp_path):
    settings = [*TINY, f"data.source={source}"]
    options = [f"--set={setting}" for setting in settings]
    out = tmp_path / "out.json"

    def run(*chosen):
        losses = [f"--loss={loss}" for loss in chosen]
        places = ["--runs", str(tmp_path), "--json", str(out)]
        arguments = ["--recipe=text", "--seeds=0", *losses, *options, *places]
        return CliRunner().invoke(label_sets.main, arguments, catch_exceptions=False), json.loads(out.read_text())

    _, first = run("BCE")
    result, records = run("BCE", "softmax", "AS-Softmax, delta .3")
    assert records[: len(first)] == first
    found = {
        loss: {record["decision"]: record for record in records if record["loss"] == loss}
        for loss in dict.fromkeys(record["loss"] for record in records)
    }
    tuned = {"one threshold", "a threshold for each label", "threshold tuned on test (bound)"}
    always = {*label_sets.COUNTS, "true count (bound)"}
    assert set(found["BCE"]) == set(label_sets.DECISIONS)
    assert set(found["softmax"]) == always | tuned
    assert set(found["AS-Softmax, delta .3"]) == always | {"own rule"}
    for loss in found:
        assert found[loss]["true count (bound)"]["test_count_accuracy"] == 1
    assert result.output.count("\n| ") == 3

    recipe = override(named_recipe("text"), [*settings, *label_sets.LOSSES["BCE"], "seed=0"])
    data = load(str(source))
    log = run_folder(recipe, data, tmp_path) / "metrics.jsonl"
    history = log.read_text()
    parts = train(recipe, data, tmp_path).seen
    assert log.read_text() == history
    # The head decides by the same rules in another way: r-softmax with that count.
    for decision, policy in label_sets.COUNTS.items():
        parts.classifier.head.policy = parts.classifier.head.policy.model_copy(update={"policy": policy})
        measured = measure(answer(parts.classifier, parts.test, "test"))
        for metric in ("example_f1", "macro_f1", "count_accuracy"):
            assert found["BCE"][decision][f"test_{metric}"] == pytest.approx(measured[metric]), decision
    validation, test = (answer(parts.classifier, split, "split") for split in (parts.validation, parts.test))
    tuned_on = {"one threshold": validation, "threshold tuned on test (bound)": test}
    for decision, split in tuned_on.items():
        threshold = best_threshold(split.logits_NC, split.targets_NC)
        expected = example_f1(test.logits_NC > threshold, test.targets_NC)
        assert found["BCE"][decision]["test_example_f1"] == pytest.approx(expected), decision
