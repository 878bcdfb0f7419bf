"""Quality of a bundle on examples, measured through the runtime that serves it."""

from collections.abc import Sequence

import numpy as np

from model.predictor import Predictor
from training.data.arrays import ArrayDataset, batches
from training.data.dataset import Example
from training.metrics import label_set_metrics


def measure_bundle(predictor: Predictor, examples: Sequence[Example]) -> dict[str, float]:
    """Every metric of the label sets that the bundle gives for the examples."""
    dataset = ArrayDataset(examples, predictor.bundle.manifest.labels, predictor.preprocess, cache_bytes=0)
    predicted, targets = [], []
    for rows in batches(dataset, "evaluate"):
        predicted.append(predictor.probabilities([row.array for row in rows]) != 0)
        targets.append(np.stack([row.targets for row in rows]))
    return label_set_metrics(np.concatenate(predicted), np.concatenate(targets))
