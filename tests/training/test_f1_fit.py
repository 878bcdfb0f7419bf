import numpy as np
import pytest
import torch

from model.nn.counting import CountLayers
from model.policies import expected_f1
from training.evaluate import Answers
from training.f1_fit import f1_of_counts, fit_f1
from training.metrics import label_set_metrics

CLASSES, MAX_COUNT = 8, 4


def _answers(rows, seed, trust=1.0):
    """One to three labels, which the count knows; a class is ranked first that is a label as often as `trust` says."""
    chance = np.random.default_rng(seed)
    count_N = chance.integers(1, 4, rows)
    order_NC = chance.permuted(np.tile(np.arange(CLASSES), (rows, 1)), axis=1)
    target_NC = np.zeros((rows, CLASSES), bool)
    for row, (count, order) in enumerate(zip(count_N, order_NC, strict=True)):
        target_NC[row, order[:count]] = True
    logits_NC = target_NC * 2.0 + chance.normal(size=(rows, CLASSES)) / trust
    count_logits_NK = 4.0 * (np.arange(MAX_COUNT + 1) == count_N[:, None])
    return Answers(*(array.astype(np.float32) for array in (logits_NC, count_logits_NK, logits_NC)), target_NC)


def _example_f1(answers, scores_NK):
    rank_NC = (-answers.logits_NC).argsort(axis=1).argsort(axis=1)
    label_sets = rank_NC < scores_NK.argmax(axis=1)[:, None]
    return label_set_metrics(label_sets, answers.targets_NC)["example_f1"]


def _f1_logits(layers, answers):
    with torch.no_grad():
        seen = layers.f1_inputs(torch.from_numpy(answers.logits_NC), torch.from_numpy(answers.count_logits_NK))
        return layers.f1(seen).numpy()


def test_the_f1_of_each_count_is_that_of_the_label_set():
    answers = _answers(30, seed=0, trust=0.5)
    found_NK = f1_of_counts(torch.from_numpy(answers.logits_NC), torch.from_numpy(answers.targets_NC), MAX_COUNT)
    for count in range(MAX_COUNT + 1):
        chosen = np.zeros((30, MAX_COUNT + 1))
        chosen[:, count] = 1
        assert float(found_NK[:, count].mean()) == pytest.approx(_example_f1(answers, chosen), abs=1e-12)
    nothing = f1_of_counts(torch.zeros(1, 3), torch.zeros(1, 3, dtype=torch.bool), 2)
    assert nothing.tolist() == [[1.0, 0.0, 0.0]]


def test_where_the_ranking_cannot_be_trusted_the_fit_is_better_than_the_expected_f1():
    fitted, held_out = _answers(2000, seed=1, trust=0.4), _answers(2000, seed=2, trust=0.4)
    layers = CountLayers(3, CLASSES, MAX_COUNT)
    fit_f1(layers, fitted)
    by_fit, by_count = (
        _example_f1(held_out, _f1_logits(layers, held_out)),
        _example_f1(held_out, expected_f1(held_out.count_logits_NK)),
    )
    assert by_fit > by_count + 0.02
    # And it says what F1 there will be.
    said = 1 / (1 + np.exp(-_f1_logits(layers, held_out).max(axis=1)))
    assert said.mean() == pytest.approx(by_fit, abs=0.03)


def test_where_the_ranking_is_right_the_fit_takes_the_right_count():
    fitted, held_out = _answers(1000, seed=3, trust=100), _answers(500, seed=4, trust=100)
    layers = CountLayers(3, CLASSES, MAX_COUNT)
    fit_f1(layers, fitted)
    assert _example_f1(held_out, _f1_logits(layers, held_out)) > 0.99


@pytest.mark.parametrize("rows", [1, 3, 10])
def test_of_very_few_examples_the_expected_f1_remains(rows):
    layers = CountLayers(3, CLASSES, MAX_COUNT)
    fit_f1(layers, _answers(rows, seed=5))
    held_out = _answers(300, seed=6)
    by_fit = _example_f1(held_out, _f1_logits(layers, held_out))
    assert by_fit > _example_f1(held_out, expected_f1(held_out.count_logits_NK)) - 0.02


def test_more_labels_than_the_count_can_say_and_labels_that_are_never_there_are_no_matter():
    answers = _answers(50, seed=8)
    answers.targets_NC[:25] = True
    answers.targets_NC[25:] = False
    found_NK = f1_of_counts(torch.from_numpy(answers.logits_NC), torch.from_numpy(answers.targets_NC), MAX_COUNT)
    assert found_NK[0].tolist() == pytest.approx([2 * k / (k + CLASSES) for k in range(MAX_COUNT + 1)])
    layers = CountLayers(3, CLASSES, MAX_COUNT)
    fit_f1(layers, answers)
    assert np.isfinite(_f1_logits(layers, answers)).all()


def test_a_single_class_is_there_or_is_not():
    there_N = np.arange(200) % 2 == 0
    logits_N1, count_logits_N2 = np.zeros((200, 1)), np.where(there_N[:, None], [0, 1], [1, 0])
    answers = Answers(*(a.astype(np.float32) for a in (logits_N1, count_logits_N2, logits_N1)), there_N[:, None])
    layers = CountLayers(3, 1, 1)
    fit_f1(layers, answers)
    np.testing.assert_array_equal(_f1_logits(layers, answers).argmax(axis=1), there_N)


def test_the_fit_is_the_same_every_time_and_touches_nothing_else():
    layers = CountLayers(3, CLASSES, MAX_COUNT)
    before = {name: value.clone() for name, value in layers.state_dict().items()}
    fit_f1(layers, _answers(200, seed=7))
    once = {name: value.clone() for name, value in layers.state_dict().items()}
    fit_f1(layers, _answers(200, seed=7))
    for name, value in layers.state_dict().items():
        assert torch.equal(value, once[name])
        assert torch.equal(value, before[name]) == (not name.startswith("f1."))
