"""Sparsity policies: how a model decides the number of labels when the caller does not (SPEC 2). Plain numpy, no torch.

The head in `model/nn/heads.py` decides the same in training and inside the exported graph; here are the names that both
sides use, and the decisions once more for whoever has the logits of many examples: tests, tables, golden examples.
"""

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

Policy = Literal[
    "predicted_count",
    "expected_f1",
    "predicted_f1",
    "fixed_count",
    "fixed_rate",
    "learned_threshold",
    "positive_logits",
]
CountPolicy = Literal["predicted_count", "expected_f1", "predicted_f1", "positive_logits"]

# What a graph itself can decide: its input `sparsity_policy` holds for each row a position in this tuple. The fixed
# policies need no graph: they are wishes that the session makes for rows whose caller has none. Bundles hold the
# positions, so a new policy goes to the end.
GRAPH_POLICIES: tuple[Policy, ...] = (
    "predicted_count",
    "expected_f1",
    "positive_logits",
    "learned_threshold",
    "predicted_f1",
)


def graph_code(policy: Policy) -> int:
    """What to feed as `sparsity_policy`; -1 for a policy that is none of the graph's business."""
    return GRAPH_POLICIES.index(policy) if policy in GRAPH_POLICIES else -1


def expected_f1_matrix(max_label_count: int) -> npt.NDArray[np.float64]:
    """F1 of the k most probable labels where the true ones are the m most probable: `[m, k]`, each from 0.

    `2 min(k, m) / (k + m)`, and 1 where both are 0. The probabilities of m times this matrix are the expected F1 of k.
    """
    count = np.arange(max_label_count + 1)
    total = count[:, None] + count
    return np.where(total == 0, 1.0, 2 * np.minimum(count[:, None], count) / np.maximum(total, 1))


def expected_f1(count_logits_NK: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Expected F1 of each label count: count logits `[N, K + 1]` -> `[N, K + 1]`."""
    odds_NK = np.exp(count_logits_NK.astype(np.float64) - count_logits_NK.max(axis=1, keepdims=True))
    matrix_KK = expected_f1_matrix(count_logits_NK.shape[1] - 1)
    expected_NK: npt.NDArray[np.float64] = odds_NK / odds_NK.sum(axis=1, keepdims=True) @ matrix_KK
    return expected_NK


def counts_by_policy(
    policy: CountPolicy,
    logits_NC: npt.NDArray[Any],
    count_logits_NK: npt.NDArray[Any],
    f1_logits_NK: npt.NDArray[Any] | None = None,
) -> npt.NDArray[np.int64]:
    """The number of labels of each example, as a policy decides it.

    Args:
        policy: One that follows from logits alone: the fixed ones need a value of their own, `learned_threshold` its t.
        logits_NC: Scores of the classes.
        count_logits_NK: Scores of the counts 0 to K; `positive_logits` does not look at them.
        f1_logits_NK: Scores of the same counts, by the F1 that each would have; only `predicted_f1` looks at them.

    Raises:
        ValueError: another policy, or one whose logits are not there.
    """
    count_N: npt.NDArray[np.int64]
    match policy:
        case "predicted_count":
            count_N = count_logits_NK.argmax(axis=1)
        case "expected_f1":
            count_N = expected_f1(count_logits_NK).argmax(axis=1)
        case "predicted_f1":
            if f1_logits_NK is None:
                raise ValueError("the policy predicted_f1 needs f1_logits_NK, got none")
            count_N = f1_logits_NK.argmax(axis=1)
        case "positive_logits":
            count_N = np.count_nonzero(logits_NC > 0, axis=1)
        case _:
            raise ValueError(f"policy must be one of {get_args(CountPolicy)}, got {policy!r}")
    return count_N
