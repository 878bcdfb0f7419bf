"""The sparsity rate of self-attention over a run: it rises linearly from 0, then stays (SPEC 4)."""

from torch import nn

from model.nn.attention import set_rate
from training.config import AttentionConfig


def follow_ramp(network: nn.Module, config: AttentionConfig, progress: float) -> None:
    """Set the rate for the step that comes next; where attention is softmax, nothing happens.

    Args:
        network: Holds the blocks.
        config: The target, and the part of the run in which it is reached.
        progress: Part of the run that is done, in [0, 1].
    """
    if config.sparsity_rate is not None:
        set_rate(network, rate_at(progress, config.sparsity_rate, config.ramp))


def rate_at(progress: float, target: float, ramp: float) -> float:
    """The rate after `progress` of a run, where `target` is reached after `ramp` of it."""
    return target if progress >= ramp else target * progress / ramp
