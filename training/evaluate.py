"""A classifier's answers on a split, and how good they are."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from model.nn.classifier import Classifier
from training.data.arrays import ArrayDataset, batches
from training.metrics import label_set_metrics, mean_average_precision

EVALUATION_BATCH_SIZE = 64


class Answers(NamedTuple):
    """A classifier's answers on N examples: float32 logits, count logits and probabilities, and the truth."""

    logits_NC: npt.NDArray[np.float32]
    count_logits_NK: npt.NDArray[np.float32]
    probabilities_NC: npt.NDArray[np.float32]
    targets_NC: npt.NDArray[np.bool_]


def answer(
    classifier: Classifier, dataset: ArrayDataset, title: str, batch_size: int = EVALUATION_BATCH_SIZE
) -> Answers:
    """Answer every example of a split, in order, in float32: in bfloat16 neighbouring logits would tie at the cut."""
    device = next(classifier.parameters()).device
    was_training = classifier.training
    classifier.eval()
    parts: list[tuple[npt.NDArray[np.generic], ...]] = []
    with torch.inference_mode():
        for rows in batches(dataset, title, batch_size):
            batch = dataset.collate(rows)
            output = classifier(batch.inputs.to(device))
            probabilities_BC = classifier.head.probabilities(output).probabilities_BC
            tensors = (output.logits_BC, output.count_logits_BK, probabilities_BC, batch.targets)
            parts.append(tuple(tensor.cpu().numpy() for tensor in tensors))
    classifier.train(was_training)
    return Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def measure(answers: Answers) -> dict[str, float]:
    """Every metric of the label sets and of the ranking behind them."""
    metrics = label_set_metrics(answers.probabilities_NC != 0, answers.targets_NC)
    return {**metrics, "mean_average_precision": mean_average_precision(answers.logits_NC, answers.targets_NC)}
