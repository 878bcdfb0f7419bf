"""How many labels an input has, and how good the label set of each size would be: the layers behind SPEC 2's counts."""

import torch
from torch import Tensor, nn

from model.policies import expected_f1_matrix
from model.sparse_softmax.torch_plain import computed_in

# Highest classes whose probabilities the count sees, and the lowest logarithm of one that it can tell from nothing.
_SHAPE_CLASSES = 12
_LOWEST = -10.0


class CountLayers(nn.Module):
    """Scores of the label counts 0 to K, in two readings.

    The count logits say how probable each number of labels is: from the feature, and from how the probabilities of the
    highest classes fall (ADR 9); nothing below learns from their loss, which would cost the classes dearly (ADR 11).
    The F1 logits say what F1 the label set of each size would have: from the same probabilities and those of the
    counts. No step trains them, they are fitted to validation data (ADR 10, `training/f1_fit.py`); until then they are
    the expected F1.
    """

    def __init__(self, feature_size: int, class_count: int, max_label_count: int) -> None:
        super().__init__()
        self.seen_classes = min(_SHAPE_CLASSES, class_count)
        counts = max_label_count + 1
        self.of_feature = nn.Linear(feature_size, counts)
        self.of_shape = nn.Linear(2 * self.seen_classes, counts, bias=False)
        self.f1 = nn.Linear(2 * (self.seen_classes + counts), counts).requires_grad_(False)
        nn.init.zeros_(self.f1.bias)
        self.f1.weight.copy_(self.expected_f1_weight())

    def expected_f1_weight(self) -> Tensor:
        """The weight `[K + 1, S]` with which the layer of F1 logits says the expected F1."""
        counts, size = self.f1.weight.shape
        # What the layer sees ends with the probabilities of the counts, times a constant.
        weight_KS = torch.zeros(counts, size)
        weight_KS[:, -counts:] = torch.from_numpy(expected_f1_matrix(counts - 1)).T / -_LOWEST
        return weight_KS

    def forward(self, feature_BF: Tensor, logits_BC: Tensor) -> tuple[Tensor, Tensor]:
        """Feature `[B, F]` and class logits `[B, C]` -> count logits and F1 logits `[B, K + 1]`."""
        shape_BS = self._shape(logits_BC).to(feature_BF.dtype)
        count_logits_BK: Tensor = self.of_feature(feature_BF.detach()) + self.of_shape(shape_BS)
        return count_logits_BK, self.f1(self.f1_inputs(logits_BC, count_logits_BK).to(feature_BF.dtype))

    def f1_inputs(self, logits_BC: Tensor, count_logits_BK: Tensor) -> Tensor:
        """What the F1 logits are computed from: `[B, S]`."""
        return torch.cat([self._shape(logits_BC), _seen(_log_softmax(count_logits_BK))], dim=-1)

    def _shape(self, logits_BC: Tensor) -> Tensor:
        """How the probabilities of the highest classes fall."""
        return _seen(_log_softmax(logits_BC).topk(self.seen_classes, dim=-1).values)


def _log_softmax(logits: Tensor) -> Tensor:
    return logits.detach().to(computed_in(logits.dtype)).log_softmax(dim=-1)


def _seen(log_probability_BS: Tensor) -> Tensor:
    """Log-probabilities and probabilities, `[B, S]` -> `[B, 2 S]`; as large as each other, so that both learn alike."""
    return torch.cat([log_probability_BS.clamp(min=_LOWEST), -_LOWEST * log_probability_BS.exp()], dim=-1)
