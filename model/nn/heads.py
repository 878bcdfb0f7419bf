"""The label-set head (SPEC 2): one feature -> a logit for each class, and how many labels there are.

Which entries are non-zero is the answer, so the map from logits to probabilities belongs to the head and not to the
loss: training, evaluation and the exported graph all go through `LabelSetHead.probabilities`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.manifest import SparsityPolicy
from model.sparse_softmax.torch_op import r_softmax


class HeadOutput(NamedTuple):
    """Logits `[B, C]`, and logits over the number of labels `[B, K + 1]`."""

    logits_BC: Tensor
    count_logits_BK: Tensor


class Answer(NamedTuple):
    """Probabilities `[B, C]` with exact zeros, and the sparsity rate `[B]` (float64) that gave them."""

    probabilities_BC: Tensor
    sparsity_rate_B: Tensor


class LabelSetHead(nn.Module):
    """Two linear layers on one feature, and the policy that turns them into a sparse distribution."""

    def __init__(self, feature_size: int, class_count: int, policy: SparsityPolicy, dropout: float = 0.1) -> None:
        super().__init__()
        self.class_count = class_count
        self.policy = policy
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(feature_size, class_count)
        self.count_logits = nn.Linear(feature_size, (policy.max_label_count or 0) + 1)

    def forward(self, feature_BF: Tensor) -> HeadOutput:
        """Feature `[B, F]` -> logits `[B, C]` and count logits `[B, K + 1]`."""
        feature_BF = self.dropout(feature_BF)
        return HeadOutput(self.logits(feature_BF), self.count_logits(feature_BF))

    def probabilities(
        self, output: HeadOutput, label_count_B: Tensor | None = None, sparsity_rate_B: Tensor | None = None
    ) -> Answer:
        """The sparse distribution of each row.

        Args:
            output: What `forward` gave.
            label_count_B: int64; where >= 0, the caller's number of labels, else the policy decides.
            sparsity_rate_B: float64; where >= 0, the caller's rate, else `label_count_B` or the policy decides.
        """
        count_B, rate_B = self._decide(output)
        if label_count_B is not None:
            wanted_B = label_count_B >= 0
            count_B = torch.where(wanted_B, label_count_B, count_B)
            rate_B = torch.where(wanted_B, self._rate_of(count_B), rate_B)
        if sparsity_rate_B is not None:
            wanted_B = sparsity_rate_B >= 0
            count_B = torch.where(wanted_B, self.class_count, count_B)
            rate_B = torch.where(wanted_B, sparsity_rate_B, rate_B)
        logits_BC = output.logits_BC.float()
        # A distribution cannot be empty, a label set can: k = 0 is granted by a factor of zero (SPEC 1.3).
        some_B1 = (count_B > 0).to(logits_BC.dtype).unsqueeze(-1)
        return Answer(r_softmax(logits_BC, rate_B) * some_B1, rate_B)

    def _decide(self, output: HeadOutput) -> tuple[Tensor, Tensor]:
        """The policy's own label count and rate of each row."""
        if self.policy.policy == "predicted_count":
            count_B = output.count_logits_BK.argmax(dim=-1)
            return count_B, self._rate_of(count_B)
        count_B = torch.full_like(output.count_logits_BK[:, 0], self.policy.label_count or 0, dtype=torch.int64)
        if self.policy.policy == "fixed_count":
            return count_B, self._rate_of(count_B)
        rate_B = torch.full_like(output.count_logits_BK[:, 0], self.policy.sparsity_rate or 0.0, dtype=torch.float64)
        return torch.full_like(count_B, self.class_count), rate_B

    def _rate_of(self, count_B: Tensor) -> Tensor:
        # float64, and from the integer count: in float32 the wanted number of zeros is missed by one for many classes.
        return (self.class_count - count_B).to(torch.float64) / self.class_count
