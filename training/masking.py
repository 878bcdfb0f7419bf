"""Whether a recipe's loss ever masks a sample, without which there is nothing to skip (SPEC 3.6)."""

from model.manifest import Task
from training.config import ConfigError, Recipe


def check_skipping(recipe: Recipe, task: Task | None = None) -> None:
    """Refuse to skip masked samples where none is ever masked: the setting would do nothing, in silence.

    Args:
        recipe: What to train.
        task: None as long as the data has not been read: then only what holds for all tasks is checked.

    Raises:
        ConfigError: a part of a sample's loss is never 0; it is named.
    """
    needed = _missing(recipe, task)
    if recipe.speed.skip_masked and needed:
        raise ConfigError(f"speed.skip_masked needs {needed}; else no sample is ever masked")


def _missing(recipe: Recipe, task: Task | None) -> str | None:
    """What has to change so that the loss can mask; None where it can."""
    loss = recipe.loss
    if loss.name != "as_softmax":
        return f"loss.name as_softmax, got {loss.name}"
    # Scaled or not: the weakest of n labels has at most the probability 1/n, and no opponent lies further below it.
    if loss.delta == 1:
        return f"loss.delta below 1, got {loss.delta:g}"
    if task in ("multi_label", "multi_class") and recipe.head.policy == "learned_threshold":
        return f"a head.policy without a loss of its own, got {recipe.head.policy}"
    return None
