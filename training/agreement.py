"""Does the exported graph answer as the network did? Torch against onnxruntime, on real test examples."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.errors import LabelsetError
from model.predictor import Predictor
from training.config import ExportConfig
from training.data.arrays import ArrayDataset, batches
from training.evaluate import Answers
from training.golden_choice import decision_margin
from training.metrics import example_f1

PROBABILITY_TOLERANCE = 1e-4
# Below this margin, in logits, two correct implementations may round to different label sets.
UNDECIDED_MARGIN = 1e-4


class Disagreement(LabelsetError):
    """The exported graph does not answer as the network that it was made from."""

    code = "export_disagreement"


class F1Loss(LabelsetError):
    """A graph of lower precision loses more quality than the recipe allows."""

    code = "export_f1_loss"


@dataclass(frozen=True)
class Agreement:
    """How many examples were compared, how many of them were too close to call, and the largest difference."""

    examples: int
    undecided: int
    largest_difference: float

    def __str__(self) -> str:
        return (
            f"torch and onnxruntime agree on {self.examples} test examples ({self.undecided} too close to call), "
            f"largest difference of a probability {self.largest_difference:.1e}"
        )


@dataclass(frozen=True)
class Cost:
    """What lower precision costs on the test split.

    Attributes:
        arithmetic: In which the graph computes.
        examples: How many were compared; of a token classifier, words.
        same_label_sets: The share of them whose label set is that of the float32 network.
        network_f1: example-F1 of that network.
        graph_f1: example-F1 of the graph.
        largest_difference: Of a probability.
    """

    arithmetic: str
    examples: int
    same_label_sets: float
    network_f1: float
    graph_f1: float
    largest_difference: float

    @property
    def f1_loss(self) -> float:
        """Below 0 where the graph is better, which is chance."""
        return self.network_f1 - self.graph_f1

    def __str__(self) -> str:
        return (
            f"{self.arithmetic} against float32 on {self.examples} test examples: example-F1 {self.graph_f1:.4f} "
            f"against {self.network_f1:.4f}, {self.same_label_sets:.1%} of the label sets are the same"
        )


def compare(answers: Answers, predictor: Predictor, dataset: ArrayDataset, limit: int = 512) -> Agreement:
    """Compare the answers of the network with those of its bundle on the first `limit` examples.

    Raises:
        Disagreement: another label set on a decided example, or a probability off by more than the tolerance.
    """
    actual_NC = graph_probabilities(predictor, dataset, limit)
    count = len(actual_NC)
    expected_NC = answers.probabilities_NC[:count]
    decided_N = decision_margin(answers)[:count] > UNDECIDED_MARGIN
    other_set_N = ((actual_NC != 0) != (expected_NC != 0)).any(axis=1) & decided_N
    difference_N = np.abs(actual_NC - expected_NC).max(axis=1)
    off_N = other_set_N | (decided_N & (difference_N > PROBABILITY_TOLERANCE))
    if off_N.any():
        example = int(off_N.argmax())
        raise Disagreement(
            f"the graph must answer as the network within {PROBABILITY_TOLERANCE}; {int(off_N.sum())} of {count} "
            f"examples differ, test example {example} by {difference_N[example]:.2e}"
        )
    return Agreement(count, int((~decided_N).sum()), float(difference_N[decided_N].max(initial=0.0)))


def cost_of_precision(answers: Answers, graph_NC: npt.NDArray[np.float32], export: ExportConfig) -> Cost:
    """Compare the label sets of a float32 network with those of its graph of lower precision.

    Args:
        answers: Of the network, on the whole test split.
        graph_NC: Probabilities of the graph, on the same examples.
        export: Which precision, and what it may cost.

    Raises:
        F1Loss: it costs more than `export.max_f1_loss`, or an answer is no number.
    """
    cost = Cost(
        arithmetic=export.arithmetic,
        examples=len(graph_NC),
        same_label_sets=float(((graph_NC != 0) == (answers.probabilities_NC != 0)).all(axis=1).mean()),
        network_f1=example_f1(answers.probabilities_NC != 0, answers.targets_NC),
        graph_f1=example_f1(graph_NC != 0, answers.targets_NC),
        largest_difference=float(np.abs(graph_NC - answers.probabilities_NC).max(initial=0.0)),
    )
    # NaN != 0: rows of it would count as sets of all labels, and hide behind a high limit.
    if not np.isfinite(graph_NC).all():
        raise F1Loss(f"every probability of the {export.arithmetic} graph must be a number, some are not")
    if cost.f1_loss > export.max_f1_loss:
        raise F1Loss(
            f"{export.arithmetic} may lose {export.max_f1_loss} of the test example-F1 (export.max_f1_loss), it loses "
            f"{cost.f1_loss:.4f}, from {cost.network_f1:.4f} to {cost.graph_f1:.4f}: no bundle is written; allow more "
            "with --set export.max_f1_loss=..., or leave export.arithmetic at float32"
        )
    return cost


def graph_probabilities(
    predictor: Predictor, dataset: ArrayDataset, limit: int | None = None
) -> npt.NDArray[np.float32]:
    """Dense probabilities `[N, C]` of the first `limit` examples, or of all."""
    dense = [
        dataset.counted(rows, predictor.probabilities([row.array for row in rows]))
        for rows in batches(dataset, "torch against onnxruntime", limit=limit)
    ]
    return np.concatenate(dense)
