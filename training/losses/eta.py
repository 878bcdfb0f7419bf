"""The distribution that a label set stands for."""

import torch
from torch import Tensor


def label_distribution(positive_BC: Tensor, dtype: torch.dtype) -> Tensor:
    """`eta = y / |y|_1`: equal shares among the labels of a row `[B, C]`; zeros in a row without labels."""
    return positive_BC.to(dtype) / positive_BC.sum(dim=-1, keepdim=True).clamp(min=1)
