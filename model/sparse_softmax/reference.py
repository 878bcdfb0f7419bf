"""The sparse probability maps in plain numpy: obvious, not fast; every other implementation is tested against it.

It follows SPEC.md one row at a time and decides which entries are 0 in the type of the logits, as the spec demands;
the rest it computes in float64. It knows no gradient.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]


def weighted_softmax(logits: ArrayLike, weights: ArrayLike) -> Floats:
    """Softmax in which every class counts as often as its weight says (SPEC 1.1).

    Args:
        logits: [..., C] scores; -inf marks a masked class.
        weights: [..., C], finite, at least 0, and not all 0 in a row.

    Returns:
        [..., C], the type of `logits`.

    Raises:
        ValueError: a weight or a row of weights that is not allowed, or another shape.
    """
    scores = _as_logits(logits)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != scores.shape:
        raise ValueError(f"weights must have the shape of the logits, {scores.shape}, got {weights.shape}")
    _require((weights >= 0) & np.isfinite(weights), weights, "weights must be finite and at least 0")
    totals = weights.sum(axis=-1, keepdims=True)
    _require(totals > 0, totals, "the sum of a row's weights must be above 0")
    return _map_rows(lambda _, row_weights: row_weights, scores, weights)


def t_softmax(logits: ArrayLike, t: ArrayLike) -> Floats:
    """Softmax without the classes that lie `t` or more below the maximum (SPEC 1.2).

    Args:
        logits: [..., C] scores; -inf marks a masked class.
        t: Finite and above 0: one value, or one per row.

    Returns:
        [..., C], the type of `logits`.

    Raises:
        ValueError: a `t` that is not allowed, or another number of rows.
    """
    scores = _as_logits(logits)
    with np.errstate(over="ignore"):
        widths = _one_per_row(t, scores, "t").astype(_computed_in(scores))
    _require((widths > 0) & np.isfinite(widths), widths, "t must be finite and above 0")
    return _map_rows(_t_weights, scores, widths)


def r_softmax(logits: ArrayLike, rate: ArrayLike) -> Floats:
    """Softmax in which the lowest classes, the fraction `rate` of the unmasked, are exactly 0 (SPEC 1.3).

    Args:
        logits: [..., C] scores; -inf marks a masked class.
        rate: The sparsity rate r in [0, 1], float64: one value, or one per row.

    Returns:
        [..., C], the type of `logits`; each row sums to 1, or is all zeros where every class is masked.

    Raises:
        ValueError: a rate outside [0, 1], or another number of rows.
    """
    scores = _as_logits(logits)
    rates = _one_per_row(rate, scores, "sparsity rate")
    _require((rates >= 0) & (rates <= 1), rates, "sparsity rate must be in [0, 1]")
    return _map_rows(_r_weights, scores, rates)


def r_softmax_count(logits: ArrayLike, label_count: ArrayLike) -> Floats:
    """r-softmax that leaves at most `label_count` classes (SPEC 1.3).

    Args:
        logits: [..., C] scores; -inf marks a masked class.
        label_count: k, at least 0: one value, or one per row. 0 gives a row of zeros; more than there are unmasked
            classes means all of them.

    Returns:
        [..., C], the type of `logits`.

    Raises:
        ValueError: a negative count, or another number of rows.
    """
    scores = _as_logits(logits)
    counts = _one_per_row(label_count, scores, "label count")
    _require(counts >= 0, counts, "label count must be at least 0")
    unmasked = (scores != -np.inf).sum(axis=-1)
    rates = np.maximum(unmasked - counts, 0) / np.maximum(unmasked, 1)
    probabilities = r_softmax(scores, rates)
    # A product, not a selection: a row of NaN stays NaN at k = 0.
    probabilities *= (counts > 0)[..., np.newaxis]
    return probabilities


def smallest_probability(dtype: np.dtype[Any]) -> float:
    """What a survivor gets whose probability is too small for `dtype` (SPEC 1.4)."""
    return 2.0**-24 if dtype == np.float16 else float(np.finfo(dtype).smallest_normal)


def _r_weights(row: Floats, rate: float) -> Floats:
    ascending = np.sort(row[row != -np.inf]).astype(np.float64)
    position = rate * (len(ascending) - 1)
    lower = int(np.floor(position))
    upper = min(lower + 1, len(ascending) - 1)
    cut = row.dtype.type(_interpolate(ascending[lower], ascending[upper], position - lower))
    if cut >= row.max():
        return np.where(row == row.max(), 1.0, 0.0)
    return _relu(row - cut)


def _t_weights(row: Floats, t: float) -> Floats:
    return _relu(row - row.max() + t)


def _relu(differences: Floats) -> Floats:
    # Two finite entries may lie further apart than the largest number of their type; by then exp is 0 or the tie exact.
    clipped: Floats = np.clip(differences, 0, np.finfo(differences.dtype).max)
    return clipped


def _interpolate(lower: float, upper: float, fraction: float) -> float:
    if np.isinf(upper - lower):  # Only float64 logits lie so far apart.
        return (1 - fraction) * lower + fraction * upper
    return lower + fraction * (upper - lower)


def _weigh(row: Floats, weights: Floats, smallest: float) -> NDArray[np.float64]:
    """The weighted softmax of one row without NaN, +inf or -inf everywhere."""
    support = (weights > 0) & (row != -np.inf)
    logits = row[support].astype(np.float64)
    exponents = logits - logits.max() + np.log(weights[support].astype(np.float64))
    masses = np.exp(exponents - exponents.max())
    probabilities = np.zeros(row.shape)
    probabilities[support] = np.maximum(masses / masses.sum(), smallest)
    return probabilities


def _map_rows(weights_of: Callable[[Floats, Any], Floats], logits: Floats, parameters: Floats) -> Floats:
    """Give every row the weights that `weights_of` finds from the row and its parameter (SPEC 1.4 for whole rows)."""
    probabilities = np.zeros_like(logits)
    smallest = smallest_probability(logits.dtype)
    with np.errstate(over="ignore"):
        for row_index in np.ndindex(logits.shape[:-1]):
            row = logits[row_index].astype(_computed_in(logits))
            if np.isnan(row).any() or (row == np.inf).any():
                probabilities[row_index] = np.nan
            elif (row != -np.inf).any():
                probabilities[row_index] = _weigh(row, weights_of(row, parameters[row_index]), smallest)
    return probabilities


def _computed_in(logits: Floats) -> np.dtype[Any]:
    return np.promote_types(logits.dtype, np.float32)


def _as_logits(logits: ArrayLike) -> Floats:
    scores = np.asarray(logits)
    if scores.dtype not in (np.float16, np.float32, np.float64):
        raise TypeError(f"logits must be float16, float32 or float64, got {scores.dtype}")
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise ValueError(f"logits must have at least one class, got shape {scores.shape}")
    return scores


def _one_per_row(value: ArrayLike, logits: Floats, name: str) -> NDArray[np.float64]:
    values = np.asarray(value, dtype=np.float64)
    if values.shape not in ((), logits.shape[:-1]):
        raise ValueError(f"{name} must be one value or have one per row, {logits.shape[:-1]}, got {values.shape}")
    return np.broadcast_to(values, logits.shape[:-1])


def _require(allowed: NDArray[np.bool_], values: Floats, rule: str) -> None:
    if not allowed.all():
        raise ValueError(f"{rule}, got {values[~allowed][0]}")
