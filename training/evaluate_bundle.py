"""Quality of a bundle on examples, measured through the runtime that serves it."""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from model.predictor import Predictor
from training.data.arrays import ArrayDataset
from training.data.dataset import Example
from training.metrics import label_set_metrics

_BATCH_SIZE = 32


def measure_bundle(predictor: Predictor, examples: Sequence[Example]) -> dict[str, float]:
    """Every metric of the label sets that the bundle gives for the examples."""
    dataset = ArrayDataset(examples, predictor.bundle.manifest.labels, predictor.preprocess, cache_bytes=0)
    predicted, targets = [], []
    for start in tqdm(range(0, len(dataset), _BATCH_SIZE), desc="evaluate", unit="batch", disable=None):
        rows = [dataset[index] for index in range(start, min(start + _BATCH_SIZE, len(dataset)))]
        feed = predictor.preprocess.collate([row.array for row in rows])
        dense = predictor.session.run(feed, dense=True)[1]
        assert dense is not None
        predicted.append(dense != 0)
        targets.append(np.stack([row.targets for row in rows]))
    return label_set_metrics(np.concatenate(predicted), np.concatenate(targets))
