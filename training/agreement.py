"""Does the exported graph answer as the network did? Torch against onnxruntime, on real test examples."""

from dataclasses import dataclass

import numpy as np

from model.errors import LabelsetError
from model.predictor import Predictor
from training.data.arrays import ArrayDataset, batches
from training.evaluate import Answers
from training.golden_choice import decision_margin

PROBABILITY_TOLERANCE = 1e-4
# Below this margin, in logits, two correct implementations may round to different label sets.
UNDECIDED_MARGIN = 1e-4


class Disagreement(LabelsetError):
    """The exported graph does not answer as the network that it was made from."""

    code = "export_disagreement"


@dataclass(frozen=True)
class Agreement:
    """How many examples were compared, how many of them were too close to call, and the largest difference."""

    examples: int
    undecided: int
    largest_difference: float


def compare(answers: Answers, predictor: Predictor, dataset: ArrayDataset, limit: int = 512) -> Agreement:
    """Compare the answers of the network with those of its bundle on the first `limit` examples.

    Raises:
        Disagreement: another label set on a decided example, or a probability off by more than the tolerance.
    """
    dense = [
        dataset.counted(rows, predictor.probabilities([row.array for row in rows]))
        for rows in batches(dataset, "torch against onnxruntime", limit=limit)
    ]
    actual_NC = np.concatenate(dense)
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
