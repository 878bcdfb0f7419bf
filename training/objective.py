"""What a step minimises: the loss on the logits plus the cross-entropy on the label count (SPEC 2 and 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.nn.classifier import Classifier
from training import losses
from training.config import LossConfig


class Objective(nn.Module):
    """Classifier and loss as one module.

    `accelerate` wraps this module's forward in the run's precision; the classifier inside stays as it is, so that label
    sets are always decided in float32.
    """

    def __init__(self, classifier: Classifier, config: LossConfig) -> None:
        super().__init__()
        self.classifier = classifier
        self.count_weight = config.count_weight
        self._loss = losses.build(config)

    def forward(self, inputs: Tensor, targets_BC: Tensor, progress: float) -> Tensor:
        """Mean loss of a batch.

        Args:
            inputs: uint8 pixels `[B, H, W, 3]` or int64 token ids `[B, T]`.
            targets_BC: Multi-hot, bool.
            progress: Part of the run that is done, in [0, 1].
        """
        output = self.classifier(inputs)
        class_loss = self._loss(output.logits_BC.float(), targets_BC, progress).mean()
        # Validation data may hold more labels than training data ever did; the head cannot say so.
        count_B = targets_BC.sum(dim=-1).clamp(max=output.count_logits_BK.shape[-1] - 1)
        count_loss: Tensor = functional.cross_entropy(output.count_logits_BK.float(), count_B)
        return torch.add(class_loss, count_loss, alpha=self.count_weight)
