"""From batches to one optimizer step: plain, accumulated, or without the samples that the loss has masked.

A step is made of a *window* of batches, and its gradient is that of the mean loss over the window, however it is
computed: batch after batch (SPEC 3.5 lets the number of batches grow as more samples are masked), or on the unmasked
samples alone, after a pass without a graph has found them (SPEC 3.6). That pass is made in evaluation mode: without
dropout, and with the batch norms' running statistics, which it leaves as they are.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from training.config import Recipe
from training.data.arrays import Batch, join
from training.objective import Objective, RowLoss

# Looking first costs a forward pass, a third of a step: it pays where fewer than two thirds of the samples are left.
_BREAK_EVEN = 0.6
# Pieces of a window are joined for one pass as long as that pads them by no more than this.
_MAX_PADDING = 1.25
# What one window says about the share of active samples; the rest is what the windows before it said.
_NEWS = 0.2


@dataclass
class Pace:
    """How far the speed-ups have come; part of a checkpoint.

    Attributes:
        active_share: Part of the samples looked at that still have a loss, averaged over the last windows.
        accumulation: Batches in the next window (AS-Speed).
    """

    active_share: float = 1.0
    accumulation: int = 1


@dataclass
class Step:
    """What one step did.

    Attributes:
        loss: Mean over the window, on the device.
        batches: Batches of the window.
        masked: Positions, in the data set, of this process's samples that had no loss.
    """

    loss: Tensor
    batches: int
    masked: list[int]


@dataclass
class _Window:
    pieces: list[Batch] = field(default_factory=list)
    batches: int = 0
    rows: int = 0
    active: float = 0.0
    weight: float = 0.0
    looked: bool = False
    masked: list[int] = field(default_factory=list)


class Stepper:
    """Takes steps on one objective; knows nothing of epochs, validation or checkpoints."""

    def __init__(
        self, accelerator: Accelerator, objective: Objective, optimizer: Any, recipe: Recipe, pad_id: int
    ) -> None:
        """Make a stepper.

        Args:
            accelerator: Device, precision and processes.
            objective: Prepared by the accelerator.
            optimizer: Prepared by the accelerator.
            recipe: Says how windows are made.
            pad_id: What shorter texts are filled up with.
        """
        self.accelerator = accelerator
        self.objective = objective
        self.optimizer = optimizer
        self.recipe = recipe
        self.pad_id = pad_id

    def step(self, batches: Iterator[Batch], pace: Pace, progress: float) -> Step | None:
        """Take one step on the next window; None where no batch is left.

        Args:
            batches: This process's shares of the batches; all processes take the same number of them.
            pace: Brought up to date.
            progress: Part of the run that is done, in [0, 1].
        """
        window = self._collect(batches, pace, progress)
        if not window.batches:
            return None
        [window.weight, rows] = self._over_processes(window.weight, float(window.rows))
        loss, masked, active = self._backward(window, progress)
        [window.active] = self._over_processes(window.active if window.looked else active)
        self.accelerator.clip_grad_norm_(self.objective.parameters(), self.recipe.optimizer.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        pace.active_share += _NEWS * (window.active / max(1.0, rows) - pace.active_share)
        pace.accumulation = self._next_accumulation(pace.accumulation, rows, window.active)
        return Step(loss, window.batches, window.masked + masked)

    def _collect(self, batches: Iterator[Batch], pace: Pace, progress: float) -> _Window:
        """The batches of one window, or, where looking first pays, what is left of them to learn from."""
        speed, schedule = self.recipe.speed, self.recipe.schedule
        window = _Window(looked=speed.skip_masked and pace.active_share < _BREAK_EVEN)
        by_count = speed.adaptive_accumulation is not None or not speed.skip_masked
        wanted = pace.accumulation if speed.adaptive_accumulation is not None else schedule.accumulation
        batch = None
        for batch in batches:
            window.batches += 1
            real_B = batch.index >= 0
            window.rows += int(real_B.sum())
            window.weight += float(_weights(batch)[real_B].sum())
            active = real_B.sum() * pace.active_share
            if window.looked:
                active_B = self._look(batch, progress) & real_B
                window.masked += batch.index[real_B & ~active_B].tolist()
                window.pieces.append(batch.rows(active_B))
                active = active_B.sum()
            else:
                window.pieces.append(batch)
            window.active += float(active)
            if by_count:
                if window.batches >= wanted:
                    break
                continue
            # As many unmasked samples as `wanted` full batches hold, to the nearest batch.
            total, last = self._over_processes(window.active, float(active))
            if total + last / 2 >= wanted * schedule.batch_size:
                break
        if batch is not None and not any(len(piece.index) for piece in window.pieces):
            # A gradient of zeros is not the same as none: the optimizer's averages move on.
            window.pieces = [batch.rows(slice(1))._replace(index=batch.index.new_tensor([-1]))]
        return window

    def _look(self, batch: Batch, progress: float) -> Tensor:
        """Which rows have a loss: `[B]`, bool."""
        self.objective.eval()
        with torch.no_grad():
            row_loss = RowLoss(*self.objective(batch.inputs, batch.targets, progress))
        self.objective.train()
        return row_loss.loss_B > 0

    def _backward(self, window: _Window, progress: float) -> tuple[Tensor, list[int], float]:
        """Add the gradient of the window's mean loss.

        Returns:
            That loss; the positions of the samples without one, as far as no first look has told; how many had one.
        """
        passes = _passes(window.pieces, self.recipe.schedule.batch_size, self.pad_id)
        loss_sum = torch.zeros((), device=self.accelerator.device)
        masked: list[int] = []
        active = 0.0
        for number, batch in enumerate(passes, start=1):
            with self._synchronised(number == len(passes)):
                loss_B = RowLoss(*self.objective(batch.inputs, batch.targets, progress)).loss_B
                real_B = batch.index >= 0
                loss = torch.where(real_B, loss_B, 0.0).sum() / max(1.0, window.weight)
                # Gradients are averaged over the processes; the window's mean wants their sum.
                self.accelerator.backward(loss * self.accelerator.num_processes)
            loss_sum += loss.detach()
            if not window.looked and self._may_mask:
                masked += batch.index[real_B & (loss_B == 0)].tolist()
                active += float((loss_B[real_B] > 0).sum())
            else:
                active += float(real_B.sum())
        if self.accelerator.num_processes > 1:
            loss_sum = self.accelerator.reduce(loss_sum, "sum")
        return loss_sum, masked, active

    @property
    def _may_mask(self) -> bool:
        # Other losses are never 0, and to look would make a GPU wait.
        loss = self.recipe.loss
        return loss.name == "as_softmax" and (loss.delta < 1 or loss.delta_scaling == "label_count")

    def _next_accumulation(self, current: int, rows: float, active: float) -> int:
        speed = self.recipe.speed
        if speed.adaptive_accumulation is None:
            return current
        wanted = round(speed.adaptive_accumulation * rows / active) if active else speed.max_accumulation
        return max(1, min(wanted, speed.max_accumulation, current + 1))

    def _synchronised(self, is_last: bool) -> contextlib.AbstractContextManager[Any]:
        """Several passes of one step exchange gradients once, at the last."""
        return contextlib.nullcontext() if is_last else self.accelerator.no_sync(self.objective)

    def _over_processes(self, *values: float) -> list[float]:
        """Sums over all processes."""
        if self.accelerator.num_processes == 1:
            return list(values)
        summed = self.accelerator.reduce(
            torch.tensor(values, dtype=torch.float64, device=self.accelerator.device), "sum"
        )
        return [float(value) for value in summed]


def _weights(batch: Batch) -> Tensor:
    """Terms of each row's loss `[B]`: 1, or its labelled tokens."""
    if batch.targets.dtype == torch.bool:
        return torch.ones(len(batch.targets), device=batch.targets.device)
    return (batch.targets >= 0).sum(dim=-1).to(torch.float32)


def _passes(pieces: Sequence[Batch], batch_size: int, pad_id: int) -> list[Batch]:
    """Pieces joined to passes of at most `batch_size` rows or one piece, those of similar length together."""
    filled = sorted((piece for piece in pieces if len(piece.index)), key=_length)
    groups: list[list[Batch]] = []
    for piece in filled:
        group = groups[-1] if groups else []
        rows = sum(len(member.index) for member in group) + len(piece.index)
        cells = sum(len(member.index) * _length(member) for member in group) + len(piece.index) * _length(piece)
        if group and rows <= batch_size and rows * _length(piece) <= _MAX_PADDING * cells:
            group.append(piece)
        else:
            groups.append([piece])
    return [join(group, pad_id) for group in groups]


def _length(batch: Batch) -> int:
    return batch.inputs.shape[1]
