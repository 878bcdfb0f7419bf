"""Quality of a bundle on examples, measured through the runtime that serves it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from model.predictor import Predictor
from training.data.arrays import ArrayDataset, batches
from training.data.dataset import Example, Task
from training.data.token_arrays import TokenDataset
from training.metrics import class_metrics, label_set_metrics


def measure_bundle(predictor: Predictor, examples: Sequence[Example]) -> dict[str, float]:
    """Every metric of the label sets that the bundle gives for the examples, or for their words."""
    form = TokenDataset if predictor.labels_words else ArrayDataset
    dataset = form(examples, predictor.bundle.manifest.labels, predictor.preprocess, cache_bytes=0)
    predicted, targets = [], []
    for rows in batches(dataset, "evaluate"):
        predicted.append(dataset.counted(rows, predictor.probabilities([row.array for row in rows])))
        targets.append(dataset.truth(rows))
    return measure_label_sets(np.concatenate(predicted), np.concatenate(targets), predictor.bundle.manifest.task)


def measure_label_sets(
    probabilities_NC: npt.NDArray[np.float32], targets_NC: npt.NDArray[np.bool_], task: Task
) -> dict[str, float]:
    """Every metric of a task that probabilities suffice for: no ranking of the labels outside a label set."""
    if task != "multi_label":
        return class_metrics(probabilities_NC != 0, probabilities_NC, targets_NC)
    return label_set_metrics(probabilities_NC != 0, targets_NC)
