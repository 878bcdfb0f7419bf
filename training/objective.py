"""What a step minimises: the loss of each row, on its logits and beside them on its label count (SPEC 2 and 3)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.nn.classifier import Classifier
from training import losses
from training.config import LossConfig
from training.data.arrays import ArrayDataset
from training.data.dataset import Task, label_counts

IGNORED = -100


class RowLoss(NamedTuple):
    """What a step minimises, for each row.

    Attributes:
        network_B: `[B]`, what the network learns from; exactly 0 where the loss masks the row.
        count_B: `[B]`, what the layers of the count learn from, and they alone; never 0.
        weight_B: `[B]`, the number of terms in the row's loss.
    """

    network_B: Tensor
    count_B: Tensor
    weight_B: Tensor

    def total(self) -> Tensor:
        """`[B]`, both parts."""
        return self.network_B + self.count_B


class Objective(nn.Module):
    """Classifier and loss as one module.

    `accelerate` wraps this module's forward in the run's precision; the classifier inside stays as it is, so that label
    sets are always decided in float32.
    """

    def __init__(
        self,
        classifier: Classifier,
        config: LossConfig,
        task: Task = "multi_label",
        class_weight_C: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.classifier = classifier
        self._backbone = classifier.backbone.__call__
        self.config = config
        self.task = task
        self._loss = losses.build(config, task, class_weight_C)

    def compile_network(self) -> None:
        """Compile the backbone for training; the classifier itself, which is evaluated and exported, stays as it is.

        Without head and loss: that is little work, and what depends on progress would be compiled anew with every step.
        """
        self._backbone = torch.compile(self.classifier.backbone.forward, dynamic=True)

    def forward(self, inputs: Tensor, targets: Tensor, progress: float, is_look: bool = False) -> RowLoss:
        """Loss of each row of a batch.

        Args:
            inputs: uint8 pixels `[B, H, W, 3]` or int64 token ids `[B, T]`.
            targets: Multi-hot `[B, C]`, bool; for token classification classes `[B, T]`, -100 where none is learned.
            progress: Part of the run that is done, in [0, 1].
            is_look: Whether the backbone is to be left without a graph, because only the count is learned from.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not is_look):
            feature_BF = self._backbone(inputs)
        output = self.classifier.head(feature_BF)
        logits = _at_least_float32(output.logits_BC)
        if self.task == "token_classification":
            return self._of_tokens(logits, targets, progress)
        loss_B = self._loss(logits, targets, progress)
        if output.t_B is not None:
            loss_B = loss_B + losses.threshold_loss(logits, output.t_B, targets, reduction="none")
        return RowLoss(loss_B, self._of_count(output.count_logits_BK, targets), torch.ones_like(loss_B))

    def _of_count(self, count_logits_BK: Tensor, targets_BC: Tensor) -> Tensor:
        if self.task != "multi_label" or not self.config.count_weight or not count_logits_BK.shape[-1]:
            return torch.zeros(len(targets_BC), device=targets_BC.device)
        # Validation data may hold more labels than training data ever did; the head cannot say so.
        count_B = targets_BC.sum(dim=-1).clamp(max=count_logits_BK.shape[-1] - 1)
        loss_B = nn.functional.cross_entropy(_at_least_float32(count_logits_BK), count_B, reduction="none")
        return self.config.count_weight * loss_B

    def _of_tokens(self, logits_BTC: Tensor, targets_BT: Tensor, progress: float) -> RowLoss:
        learned_BT = targets_BT != IGNORED
        logits_RC = logits_BTC[learned_BT]
        target_RC = nn.functional.one_hot(targets_BT[learned_BT], logits_RC.shape[-1]).bool()
        loss_BT = logits_BTC.new_zeros(targets_BT.shape).masked_scatter(
            learned_BT, self._loss(logits_RC, target_RC, progress)
        )
        loss_B = loss_BT.sum(dim=-1)
        return RowLoss(loss_B, torch.zeros_like(loss_B), learned_BT.sum(dim=-1).to(loss_B.dtype))


def class_weights(config: LossConfig, train: ArrayDataset) -> Tensor | None:
    """What each class weighs in the loss `[C]`; None where all weigh the same."""
    if config.label_weights == "none":
        return None
    counts = label_counts(train.examples)
    return losses.inverse_frequency(torch.tensor([counts[label] for label in train.labels]))


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
