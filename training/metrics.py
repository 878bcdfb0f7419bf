"""Quality of label sets, and of the ranking behind them: which of scikit-learn's formulas we use, and how."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

Multihot = npt.NDArray[np.bool_]


def label_set_metrics(predicted_NC: Multihot, target_NC: Multihot) -> dict[str, float]:
    """Compare label sets.

    Args:
        predicted_NC: Multi-hot predictions.
        target_NC: Multi-hot truth.

    Returns:
        `example_f1` (mean over the examples of `2 |A and B| / (|A| + |B|)`, 1 where both are empty), `micro_f1`,
        `macro_f1`, `exact_match` and `count_accuracy`, each in [0, 1].
    """
    return {
        "example_f1": float(f1_score(target_NC, predicted_NC, average="samples", zero_division=1.0)),
        "micro_f1": float(f1_score(target_NC, predicted_NC, average="micro", zero_division=0.0)),
        "macro_f1": float(f1_score(target_NC, predicted_NC, average="macro", zero_division=0.0)),
        "exact_match": float(accuracy_score(target_NC, predicted_NC)),
        "count_accuracy": float(accuracy_score(target_NC.sum(axis=1), predicted_NC.sum(axis=1))),
    }


def mean_average_precision(scores_NC: npt.NDArray[np.floating], target_NC: Multihot) -> float:
    """Mean over the labels of the average precision; labels that no example carries are left out."""
    carried = target_NC.any(axis=0)
    return float(average_precision_score(target_NC[:, carried], scores_NC[:, carried], average="macro"))


def example_f1(predicted_NC: Multihot, target_NC: Multihot) -> float:
    """The figure that models are chosen by."""
    return label_set_metrics(predicted_NC, target_NC)["example_f1"]


def best_threshold(scores_NC: npt.NDArray[np.floating], target_NC: Multihot) -> float:
    """The one threshold on the scores with the best example-F1: what a user of sigmoid scores would tune."""
    candidates = np.quantile(scores_NC, np.linspace(0.5, 0.999, 200))
    return float(max(candidates, key=lambda threshold: example_f1(scores_NC > threshold, target_NC)))
