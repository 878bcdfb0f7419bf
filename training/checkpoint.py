"""Checkpoints that survive a kill at any moment: written beside, then renamed; the newest whole one counts."""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator


@dataclass
class Progress:
    """Where a run stands. Everything that is not a weight, an optimizer state or a random state.

    Attributes:
        step: Optimizer steps done.
        epoch: Epoch under way, from 0.
        batch: Batches of it that are done.
        best_f1: Best validation example-F1 so far, -1 before the first.
        stale_epochs: Epochs since the best.
        finished: Whether there is nothing left to do.
        history: Metrics of every epoch that is done.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best_f1: float = -1.0
    stale_epochs: int = 0
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def save(accelerator: Accelerator, run_folder: Path, progress: Progress) -> None:
    """Write a checkpoint, then drop the older ones."""
    # The epoch is part of the name, because the last step of one epoch is also the first state of the next: no name is
    # ever written twice, so that there is no moment without a whole checkpoint.
    final = run_folder / f"checkpoint-{progress.epoch:04d}-{progress.step:08d}"
    staging = run_folder / f".{final.name}.part"
    shutil.rmtree(staging, ignore_errors=True)
    accelerator.save_state(str(staging))
    (staging / "progress.json").write_text(json.dumps(asdict(progress)))
    staging.rename(final)
    for old in _checkpoints(run_folder)[:-1]:
        shutil.rmtree(old)


def restore(accelerator: Accelerator, run_folder: Path) -> Progress:
    """Load the newest checkpoint into the prepared objects; a fresh `Progress` where there is none."""
    checkpoints = _checkpoints(run_folder)
    if not checkpoints:
        return Progress()
    accelerator.load_state(str(checkpoints[-1]))
    return Progress(**json.loads((checkpoints[-1] / "progress.json").read_text()))


def _checkpoints(run_folder: Path) -> list[Path]:
    return sorted(run_folder.glob("checkpoint-*"))
