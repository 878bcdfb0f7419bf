"""Delta warm-up of AS-Softmax (SPEC 3.3)."""


def delta_at(progress: float, delta: float, warm_up: float) -> float:
    """Delta after a part of the run: from 1 down to `delta`, linearly over the first `warm_up` of the steps.

    Args:
        progress: Part of the run that is done, in [0, 1].
        delta: The final value, in (0, 1].
        warm_up: Part of the run in which delta falls, in [0, 1]; 0 starts at `delta`.
    """
    if progress >= warm_up:
        return delta
    return 1.0 + (delta - 1.0) * progress / warm_up
