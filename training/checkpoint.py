"""Checkpoints that survive a kill at any moment: written beside, then renamed; the newest whole one counts."""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from training.resting import Rests
from training.stepping import Pace

_PROGRESS = "progress.json"
_RESTS = "rests.npy"


@dataclass
class Progress:
    """Where a run stands. Everything that is not a weight, an optimizer state or a random state.

    Attributes:
        step: Optimizer steps done.
        epoch: Epoch under way, from 0.
        batch: Batches of it that are done.
        round: Validations done.
        round_loss: Sum of the losses of the steps since the last one; a tensor between two checkpoints.
        round_steps: Steps since the last one.
        seconds: Time spent on training, without validation.
        cpu_seconds: The same, of this process's processors.
        pace: Where the speed-ups stand.
        best_f1: Best validation example-F1 so far, -1 before the first.
        stale_rounds: Validations since the best.
        finished: Whether there is nothing left to do.
        history: Metrics of every validation.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    round: int = 0
    round_loss: Any = 0.0
    round_steps: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    pace: Pace = field(default_factory=Pace)
    best_f1: float = -1.0
    stale_rounds: int = 0
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)


def save(accelerator: Accelerator, run_folder: Path, progress: Progress, rests: Rests) -> None:
    """Write a checkpoint, then drop the older ones."""
    # The round is part of the name, because the last step before a validation is also the first state after it: no name
    # is ever written twice, so that there is no moment without a whole checkpoint.
    final = run_folder / f"checkpoint-{progress.step:08d}-{progress.round:04d}"
    staging = run_folder / f".{final.name}.part"
    shutil.rmtree(staging, ignore_errors=True)
    accelerator.save_state(str(staging))
    np.save(staging / _RESTS, rests.state_2N)
    (staging / _PROGRESS).write_text(json.dumps(asdict(progress)))
    staging.rename(final)
    for old in _checkpoints(run_folder)[:-1]:
        shutil.rmtree(old)


def restore(accelerator: Accelerator, run_folder: Path, rests: Rests) -> Progress:
    """Load the newest checkpoint into the prepared objects; a fresh `Progress` where there is none."""
    checkpoints = _checkpoints(run_folder)
    if not checkpoints:
        return Progress()
    newest = checkpoints[-1]
    accelerator.load_state(str(newest))
    rests.restore(np.load(newest / _RESTS))
    document = json.loads((newest / _PROGRESS).read_text())
    return Progress(**{**document, "pace": Pace(**document["pace"])})


def _checkpoints(run_folder: Path) -> list[Path]:
    return sorted(run_folder.glob("checkpoint-*"))
