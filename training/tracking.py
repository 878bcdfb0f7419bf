"""Where a run's figures go as they come, besides its own folder: TensorBoard, wandb or mlflow, through accelerate."""

import importlib.util
from typing import TYPE_CHECKING, Literal, get_args

from training.config import ConfigError, Recipe
from training.overrides import flat_settings

if TYPE_CHECKING:  # it imports torch, for which no command's help should wait
    from accelerate import Accelerator

Tracker = Literal["tensorboard", "wandb", "mlflow", "none"]
TRACKERS: tuple[Tracker, ...] = get_args(Tracker)


def check_tracker(tracker: Tracker) -> None:
    """Fail where a tracker's package is missing; accelerate would go on without it, in silence.

    Raises:
        ConfigError: names the package.
    """
    if tracker == "none":
        return
    found = importlib.util.find_spec(tracker)
    # Without an origin it is but a folder of that name, such as the one in which wandb keeps runs.
    if found is None or found.origin is None:
        raise ConfigError(f"--log-with {tracker} needs the package {tracker}, which is not installed")


def start_tracker(accelerator: "Accelerator", tracker: Tracker, recipe: Recipe, run: str) -> None:
    """Begin to log: TensorBoard into `tensorboard/` of the run's folder, the others into the project `labelset`.

    The others are given the recipe's settings, too; beside TensorBoard's files they stand in `recipe.json`.

    Raises:
        ConfigError: the tracker cannot begin, say for want of a key or of a server.
    """
    is_local = tracker == "tensorboard"
    try:
        accelerator.init_trackers(
            "tensorboard" if is_local else "labelset",
            config=None if is_local else flat_settings(recipe.model_dump(mode="json")),
            init_kwargs={"wandb": {"name": run}, "mlflow": {"run_name": run}},
        )
    except Exception as error:  # each package has errors of its own
        message = str(error).strip() or type(error).__name__
        raise ConfigError(f"--log-with {tracker} cannot begin: {message.splitlines()[0]}") from error
