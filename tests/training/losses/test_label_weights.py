import pytest
import torch

from training.losses import inverse_frequency
from training.losses.label_weights import weight_of_present


def test_weights_by_hand():
    # 12 occurrences of 3 labels: 12 / (3 n).
    assert inverse_frequency(torch.tensor([8, 1, 3])).tolist() == pytest.approx([0.5, 4, 4 / 3])


def test_an_occurrence_weighs_one_on_average():
    counts = torch.tensor([1, 5, 5, 100, 20_000])
    assert (inverse_frequency(counts) * counts).sum().item() == pytest.approx(counts.sum().item())


def test_a_label_that_never_occurs_weighs_one_and_leaves_the_others_alone():
    assert inverse_frequency(torch.tensor([8, 0, 1, 3])).tolist() == pytest.approx([0.5, 1, 4, 4 / 3])


def test_only_present_labels_weigh():
    positive = torch.tensor([[True, False, True]])
    assert weight_of_present(positive, torch.tensor([2.0, 3.0, 4.0])).tolist() == [[2, 0, 4]]
    assert weight_of_present(positive, None).tolist() == [[1, 0, 1]]
