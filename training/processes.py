"""Several processes that train one network together, as `torchrun` or `accelerate launch` start them.

Says who is the main one, which alone writes, prints and exports, makes the `Accelerator` that joins them, and readies a
network for their exchange of gradients.
"""

import contextlib
import datetime
import io
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # they import torch, for which no command's help should wait
    from accelerate import Accelerator

    from training.data.arrays import ArrayDataset
    from training.objective import Objective

# The main process exports while the others wait for the next run. Where one has died, its launcher ends the others.
_LONGEST_WAIT = datetime.timedelta(days=1)


def is_main() -> bool:
    """Whether this process is the one that writes; so is one that was started alone."""
    return int(os.environ.get("RANK", "0")) == 0


@contextlib.contextmanager
def one_of_several() -> Iterator[None]:
    """Around a command: all processes but the main one say nothing but errors, and the group ends in good order."""
    if not is_main():
        logging.disable(logging.WARNING)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (as long as the process)
        sys.stderr = _NoTerminal(sys.stderr.buffer, write_through=True)
    yield
    # Not after an error: the others may be in the midst of an exchange, and are ended by their launcher.
    if "torch" in sys.modules:
        from torch import distributed

        if distributed.is_initialized():
            distributed.destroy_process_group()


class _NoTerminal(io.TextIOWrapper):
    """Standard error, on which no progress bar is drawn."""

    def isatty(self) -> bool:
        return False


def join(mixed_precision: str, log_with: str | None, project_dir: str) -> "Accelerator":
    """Join the processes that were started together; alone where there is one.

    Args:
        mixed_precision: As accelerate calls it.
        log_with: Where figures are logged to.
        project_dir: Where TensorBoard's are.
    """
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import InitProcessGroupKwargs

    # Several runs of one process may differ in precision, which accelerate keeps for the whole process.
    AcceleratorState._reset_state()
    return Accelerator(
        # Where there is no device, accelerate joins processes only if it is told so; else each would train alone.
        cpu=not torch.accelerator.is_available(),
        mixed_precision=mixed_precision,
        log_with=log_with,
        project_dir=project_dir,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=_LONGEST_WAIT)],
    )


def leave_out_unused(objective: "Objective", train: "ArrayDataset") -> None:
    """Take parameters that the loss does not depend on out of training: the exchange waits for every gradient."""
    batch = train.collate([train[0]])
    objective.eval()
    objective(batch.inputs, batch.targets, 0.0).total().sum().backward()
    for parameter in objective.parameters():
        parameter.requires_grad_(parameter.grad is not None)
        parameter.grad = None
