"""Weights that let rare labels count more, and where they enter a loss: at the labels that are present."""

import torch
from torch import Tensor


def inverse_frequency(label_count_C: Tensor) -> Tensor:
    """Weights in inverse proportion to how often each label occurs.

    Args:
        label_count_C: How many training examples carry each label, at least 0.

    Returns:
        float32 `[C]`. The mean over all occurrences is 1, so that the size of the loss stays what it was; a label that
        never occurs gets 1.
    """
    count_C = label_count_C.double()
    occurs_C = count_C > 0
    return torch.where(occurs_C, count_C.sum() / (occurs_C.sum() * count_C.clamp(min=1)), 1.0).float()


def weight_of_present(positive_BC: Tensor, class_weight_C: Tensor | None) -> Tensor:
    """How much each label counts in each row: its weight, or 1, where it is present, and 0 where it is not."""
    return positive_BC if class_weight_C is None else positive_BC * class_weight_C
