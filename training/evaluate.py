"""A classifier's answers on a split, and how good they are."""

from collections.abc import Iterable
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast, gather_object

from model.nn.classifier import Classifier
from model.nn.heads import HeadOutput
from model.policies import Policy
from training.data.arrays import ArrayDataset, Row, batches
from training.data.dataset import Task
from training.metrics import class_metrics, label_set_metrics, mean_average_precision
from training.objective import IGNORED

EVALUATION_BATCH_SIZE = 64


class Answers(NamedTuple):
    """A classifier's answers on N examples: float32 logits, count logits and probabilities, and the truth.

    Of a token classifier the rows are the labelled words, and `example_N` says to which example each belongs. `t_N` is
    there where the policy is `learned_threshold`, `f1_logits_NK` where the head counts.
    """

    logits_NC: npt.NDArray[np.float32]
    count_logits_NK: npt.NDArray[np.float32]
    probabilities_NC: npt.NDArray[np.float32]
    targets_NC: npt.NDArray[np.bool_]
    example_N: npt.NDArray[np.int64] | None = None
    t_N: npt.NDArray[np.float32] | None = None
    f1_logits_NK: npt.NDArray[np.float32] | None = None
    policy: Policy = "predicted_count"


def answer(
    classifier: Classifier, dataset: ArrayDataset, title: str, batch_size: int = EVALUATION_BATCH_SIZE
) -> Answers:
    """Answer every example of a split, in order, in float32: in bfloat16 neighbouring logits would tie at the cut."""
    return _joined(classifier, _answers(classifier, dataset, batches(dataset, title, batch_size)))


def answer_together(accelerator: Accelerator, classifier: Classifier, dataset: ArrayDataset, title: str) -> Answers:
    """As `answer`, the batches shared among the processes: each has all answers in the end, and all have the same."""
    rank, processes = accelerator.process_index, accelerator.num_processes
    if processes == 1:
        return answer(classifier, dataset, title)
    # Each process has its own running statistics of the batch norms; those that are kept are the main one's.
    broadcast(list(classifier.buffers()))
    mine = _answers(classifier, dataset, batches(dataset, title, EVALUATION_BATCH_SIZE, share=(rank, processes)))
    numbered = gather_object([(rank + number * processes, answers) for number, answers in enumerate(mine)])
    return _joined(classifier, [answers for _, answers in sorted(numbered, key=itemgetter(0))])


_Arrays = tuple[npt.NDArray[np.generic] | None, ...]


def _answers(classifier: Classifier, dataset: ArrayDataset, row_batches: Iterable[list[Row]]) -> list[_Arrays]:
    """The columns of `Answers`, for each batch."""
    device = next(classifier.parameters()).device
    was_training = classifier.training
    classifier.eval()
    parts: list[_Arrays] = []
    with torch.inference_mode():
        for rows in row_batches:
            batch = dataset.collate(rows)
            output: HeadOutput = classifier(batch.inputs.to(device))
            example_B = batch.index
            if output.logits_BC.ndim == 3:  # one row a token: keep those of labelled words
                learned_BT = batch.targets != IGNORED
                output = output.of_rows(learned_BT.to(device))
                example_B = batch.index[learned_BT.nonzero()[:, 0]]
            probabilities_BC = classifier.head.probabilities(output).probabilities_BC
            tensors = (output.logits_BC, output.count_logits_BK, probabilities_BC)
            arrays = (tensor.cpu().numpy() for tensor in tensors)
            some = (_numpy(output.t_B), _numpy(output.f1_logits_BK))
            parts.append((*arrays, dataset.truth(rows), example_B.numpy(), *some))
    classifier.train(was_training)
    return parts


def _joined(classifier: Classifier, parts: list[_Arrays]) -> Answers:
    columns: list[Any] = [_stacked(column) for column in zip(*parts, strict=True)]
    return Answers(*columns, policy=classifier.head.policy.policy)


def _numpy(tensor: torch.Tensor | None) -> npt.NDArray[np.generic] | None:
    return None if tensor is None else tensor.cpu().numpy()


def _stacked(column: Iterable[npt.NDArray[np.generic] | None]) -> npt.NDArray[np.generic] | None:
    """One array of all batches; None where these have none."""
    arrays = [array for array in column if array is not None]
    return np.concatenate(arrays) if arrays else None


def measure(answers: Answers, task: Task = "multi_label") -> dict[str, float]:
    """Every metric that a task has, of the label sets and of the ranking behind them."""
    if task != "multi_label":
        return class_metrics(answers.probabilities_NC != 0, answers.logits_NC, answers.targets_NC)
    metrics = label_set_metrics(answers.probabilities_NC != 0, answers.targets_NC)
    return {**metrics, "mean_average_precision": mean_average_precision(answers.logits_NC, answers.targets_NC)}
