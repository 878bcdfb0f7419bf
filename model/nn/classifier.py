"""The classifier: backbone and head, and the form of it that is exported."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.nn.backbones import Backbone
from model.nn.heads import HeadOutput, LabelSetHead


class Classifier(nn.Module):
    """What is trained: raw batch -> logits."""

    def __init__(self, backbone: Backbone, head: LabelSetHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    @property
    def input_name(self) -> str:
        """Name of the graph's data input."""
        return self.backbone.input_name

    def forward(self, batch: Tensor) -> HeadOutput:
        """uint8 pixels `[B, H, W, 3]` or int64 token ids `[B, T]` -> the head's output."""
        output: HeadOutput = self.head(self.backbone(batch))
        return output


class ServedOutput(NamedTuple):
    """The outputs of the exported graph, in their order: CSR over the batch, the rates, and the dense rows."""

    label_index_M: Tensor
    label_probability_M: Tensor
    row_offset: Tensor
    applied_sparsity_rate_B: Tensor
    probabilities_BC: Tensor


class ServedClassifier(nn.Module):
    """What is exported: raw batch, the callers' wishes and the policy -> label sets, compacted on the device."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(
        self, batch: Tensor, label_count_B: Tensor, sparsity_rate_B: Tensor, sparsity_policy_B: Tensor
    ) -> ServedOutput:
        """Answer a batch; a wish of -1 leaves the decision to the policy.

        Args:
            batch: uint8 pixels `[B, H, W, 3]` or int64 token ids `[B, T]`.
            label_count_B: int64, -1 or the wanted number of labels.
            sparsity_rate_B: float64, -1 or the wanted rate.
            sparsity_policy_B: int64, the code in `model/policies.py` of the policy that decides.
        """
        output = self.classifier(batch)
        answer = self.classifier.head.probabilities(output, label_count_B, sparsity_rate_B, sparsity_policy_B)
        present_BC = answer.probabilities_BC != 0
        position_M2 = present_BC.nonzero()
        row_M, label_index_M = position_M2.unbind(dim=1)
        per_row_B = present_BC.sum(dim=1)
        row_offset = torch.cat([per_row_B.new_zeros(1), per_row_B.cumsum(dim=0)])
        return ServedOutput(
            label_index_M,
            answer.probabilities_BC[row_M, label_index_M],
            row_offset,
            answer.sparsity_rate_B,
            answer.probabilities_BC,
        )
