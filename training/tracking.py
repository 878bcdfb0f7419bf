"""Where a run's figures go as they come, besides its own folder: TensorBoard, wandb or mlflow, through accelerate."""

import importlib.util
from typing import TYPE_CHECKING, Literal, get_args

from training.config import ConfigError

if TYPE_CHECKING:  # it imports torch, for which no command's help should wait
    from accelerate import Accelerator

Tracker = Literal["tensorboard", "wandb", "mlflow", "none"]
TRACKERS: tuple[Tracker, ...] = get_args(Tracker)


def check_tracker(tracker: Tracker) -> None:
    """Fail where a tracker's package is missing; accelerate would go on without it, in silence.

    Raises:
        ConfigError: names the package.
    """
    if tracker != "none" and importlib.util.find_spec(tracker) is None:
        raise ConfigError(f"--log-with {tracker} needs the package {tracker}, which is not installed")


def start_tracker(accelerator: "Accelerator", tracker: Tracker, run: str) -> None:
    """Begin to log: TensorBoard into `tensorboard/` of the run's folder, the others into the project `labelset`."""
    project = "tensorboard" if tracker == "tensorboard" else "labelset"
    accelerator.init_trackers(project, init_kwargs={"wandb": {"name": run}, "mlflow": {"run_name": run}})
