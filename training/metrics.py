"""Quality of label sets, and of the ranking behind them.

The F1 scores are scikit-learn's, written out: its own refuse a label space of one label.
"""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

Multihot = npt.NDArray[np.bool_]

# What people call each metric, in the order in which tables show them; each task has some of them.
METRIC_TITLES = {
    "accuracy": "accuracy",
    "top_5_accuracy": "top-5 accuracy",
    "example_f1": "example-F1",
    "micro_f1": "micro-F1",
    "macro_f1": "macro-F1",
    "mean_average_precision": "mAP",
    "exact_match": "exact match",
    "count_accuracy": "count right",
}


def label_set_metrics(predicted_NC: Multihot, target_NC: Multihot) -> dict[str, float]:
    """Compare label sets.

    Args:
        predicted_NC: Multi-hot predictions.
        target_NC: Multi-hot truth.

    Returns:
        `example_f1` (mean over the examples of `2 |A and B| / (|A| + |B|)`, 1 where both are empty), `micro_f1`,
        `macro_f1` (over the labels, 0 for one that is neither predicted nor true), `exact_match` and `count_accuracy`,
        each in [0, 1].
    """
    both_NC = predicted_NC & target_NC
    size_NC = predicted_NC.astype(np.int64) + target_NC
    return {
        "example_f1": float(_f1(both_NC.sum(axis=1), size_NC.sum(axis=1), of_nothing=1.0).mean()),
        "micro_f1": float(_f1(both_NC.sum(), size_NC.sum(), of_nothing=0.0)),
        "macro_f1": float(_f1(both_NC.sum(axis=0), size_NC.sum(axis=0), of_nothing=0.0).mean()),
        "exact_match": float((predicted_NC == target_NC).all(axis=1).mean()),
        "count_accuracy": float((predicted_NC.sum(axis=1) == target_NC.sum(axis=1)).mean()),
    }


def class_metrics(predicted_NC: Multihot, scores_NC: npt.NDArray[np.floating], target_NC: Multihot) -> dict[str, float]:
    """Where each input, or word, has one label.

    Args:
        predicted_NC: Multi-hot label sets, by default of one label.
        scores_NC: Of the classes; the largest is the class that `accuracy` looks at, whatever the label sets are.
        target_NC: One-hot truth; a row of zeros where it is outside the label space.

    Returns:
        `accuracy`; `top_5_accuracy` where there are more classes than that; `example_f1` (the accuracy, as long as the
        label sets have one label) and `macro_f1` of the label sets. Each in [0, 1].
    """
    # Of no class where the truth is outside the label space: then nothing is right.
    true_score_N = np.where(target_NC, scores_NC, -np.inf).max(axis=1)
    # Classes that tie with the true one count as better: a constant answer must not be right.
    rank_N = np.where(target_NC.any(axis=1), (scores_NC >= true_score_N[:, None]).sum(axis=1), np.inf)
    label_sets = label_set_metrics(predicted_NC, target_NC)
    top_5 = {"top_5_accuracy": float((rank_N <= 5).mean())} if target_NC.shape[1] > 5 else {}
    return {
        "accuracy": float((rank_N == 1).mean()),
        **top_5,
        "example_f1": label_sets["example_f1"],
        "macro_f1": label_sets["macro_f1"],
    }


def mean_average_precision(scores_NC: npt.NDArray[np.floating], target_NC: Multihot) -> float:
    """Mean over the labels of the average precision; labels that no example carries are left out, 0 where all are."""
    carried = target_NC.any(axis=0)
    if not carried.any():
        return 0.0
    return float(average_precision_score(target_NC[:, carried], scores_NC[:, carried], average="macro"))


def example_f1(predicted_NC: Multihot, target_NC: Multihot) -> float:
    """The figure that models are chosen by."""
    return label_set_metrics(predicted_NC, target_NC)["example_f1"]


def best_threshold(scores_NC: npt.NDArray[np.floating], target_NC: Multihot) -> float:
    """The one threshold on the scores with the best example-F1: what a user of sigmoid scores would tune."""
    candidates = np.quantile(scores_NC, np.linspace(0.5, 0.999, 200))
    return float(max(candidates, key=lambda threshold: example_f1(scores_NC > threshold, target_NC)))


def _f1(both: npt.NDArray[np.int64], size: npt.NDArray[np.int64], of_nothing: float) -> npt.NDArray[np.float64]:
    """`2 |A and B| / (|A| + |B|)`, and `of_nothing` where both sets are empty."""
    return np.where(size > 0, 2 * both / np.maximum(size, 1), of_nothing)
