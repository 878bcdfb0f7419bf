"""The losses. A recipe calls them by the names of `registry`; the two papers' are functions that stand on their own."""

from training.losses.as_softmax import as_softmax, as_softmax_multilabel
from training.losses.label_weights import inverse_frequency
from training.losses.r_softmax import r_softmax_loss
from training.losses.registry import Loss, build, own_decision
from training.losses.threshold import threshold_loss

__all__ = [
    "Loss",
    "as_softmax",
    "as_softmax_multilabel",
    "build",
    "inverse_frequency",
    "own_decision",
    "r_softmax_loss",
    "threshold_loss",
]
