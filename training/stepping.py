"""From batches to one optimizer step: plain, accumulated, or without the samples that the loss has masked.

A step is made of a *window* of batches, and its gradient is that of the mean loss over the window, however it is
computed: batch after batch (SPEC 3.5 lets the number of batches grow as more samples are masked), or on the unmasked
samples alone, after a pass without a graph has found them (SPEC 3.6). That pass is made in evaluation mode: without
dropout, and with the batch norms' running statistics, which it leaves as they are. The layers of the count, which mask
nothing, learn from what it sees. Samples that had a loss when last seen are not looked at: most of them have one still.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch import Tensor

from training.config import Recipe
from training.data.arrays import Batch, join
from training.objective import Objective, RowLoss

# A look costs a forward pass, a third of a step: it pays where fewer than two thirds of the samples are active.
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
        active: Positions of those that had one. Both are empty where the loss of a run never masks.
    """

    loss: Tensor
    batches: int
    masked: list[int]
    active: list[int]


@dataclass
class _Window:
    pieces: list[Batch] = field(default_factory=list)
    batches: int = 0
    rows: int = 0
    left: float = 0.0
    weight: float = 0.0
    counts: list[Tensor] = field(default_factory=list)
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
        # Without the wrapper of several processes, which would exchange buffers: not all may have a row to look at.
        self._own_objective = accelerator.unwrap_model(objective)
        self.optimizer = optimizer
        self.recipe = recipe
        self.pad_id = pad_id

    def step(
        self, batches: Iterator[Batch], pace: Pace, progress: float, streak_N: npt.NDArray[np.int64]
    ) -> Step | None:
        """Take one step on the next window; None where no batch is left.

        Args:
            batches: This process's shares of the batches; all processes take the same number of them.
            pace: Brought up to date.
            progress: Part of the run that is done, in [0, 1].
            streak_N: How many times in a row each sample was masked (`Rests.streaks`).
        """
        window = self._collect(batches, pace, progress, streak_N)
        if not window.batches:
            return None
        [window.weight, rows] = self._over_processes(window.weight, float(window.rows))
        loss, masked, active = self._backward(window, progress)
        [active_rows] = self._over_processes(float(len(active)) if self.may_mask else window.left)
        self.accelerator.clip_grad_norm_(self.objective.parameters(), self.recipe.optimizer.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        pace.active_share += _NEWS * (active_rows / max(1.0, rows) - pace.active_share)
        pace.accumulation = self._next_accumulation(pace.accumulation, rows, active_rows)
        return Step(loss, window.batches, window.masked + masked, active)

    def _collect(
        self, batches: Iterator[Batch], pace: Pace, progress: float, streak_N: npt.NDArray[np.int64]
    ) -> _Window:
        """The batches of one window, without the samples that a look has found to be masked."""
        speed, schedule = self.recipe.speed, self.recipe.schedule
        window = _Window()
        by_count = speed.adaptive_accumulation is not None or not speed.skip_masked
        wanted = pace.accumulation if speed.adaptive_accumulation is not None else schedule.accumulation
        batch = None
        for batch in batches:
            window.batches += 1
            real_B = batch.index >= 0
            window.rows += int(real_B.sum())
            window.weight += float(_weights(batch)[real_B].sum())
            looked_B = real_B & self._worth_a_look(batch, pace, streak_N)
            left_B = real_B.clone()
            if looked_B.any():
                left_B[looked_B] = self._look(batch.rows(looked_B), progress, window)
            window.masked += batch.index[real_B & ~left_B].tolist()
            window.pieces.append(batch if left_B.all() else batch.rows(left_B))
            window.left += float(left_B.sum())
            if by_count:
                if window.batches >= wanted:
                    break
                continue
            # As many rows to learn from as `wanted` full batches hold, to the nearest batch.
            total, last = self._over_processes(window.left, float(left_B.sum()))
            if total + last / 2 >= wanted * schedule.batch_size:
                break
        if batch is not None and not any(len(piece.index) for piece in window.pieces):
            # A gradient of zeros is not the same as none: the optimizer's averages move on.
            window.pieces = [batch.rows(slice(1))._replace(index=batch.index.new_tensor([-1]))]
        return window

    def _worth_a_look(self, batch: Batch, pace: Pace, streak_N: npt.NDArray[np.int64]) -> Tensor:
        """Which rows `[B]` are probably masked."""
        if not self.recipe.speed.skip_masked:
            return torch.zeros_like(batch.index, dtype=torch.bool)
        streak_B = torch.from_numpy(streak_N[batch.index.clamp(min=0).numpy(force=True)]).to(batch.index.device)
        return (streak_B > 0) | ((streak_B < 0) & (pace.active_share < _BREAK_EVEN))

    def _look(self, batch: Batch, progress: float, window: _Window) -> Tensor:
        """Which rows have a loss: `[B]`, bool. Of the others the window keeps what their counts say."""
        self.objective.eval()
        row_loss = RowLoss(*self._own_objective(batch.inputs, batch.targets, progress, is_look=True))
        self.objective.train()
        left_B = row_loss.network_B != 0
        if row_loss.count_B.requires_grad:  # there are counts to be learned
            window.counts.append(row_loss.count_B[~left_B])
        return left_B

    def _backward(self, window: _Window, progress: float) -> tuple[Tensor, list[int], list[int]]:
        """Add the gradient of the window's mean loss.

        Returns:
            That loss; the positions of the samples without one, as far as no look has told; of those with one.
        """
        passes = _passes(window.pieces, self.recipe.schedule.batch_size, self.pad_id)
        loss_sum = torch.zeros((), device=self.accelerator.device)
        masked: list[int] = []
        active: list[int] = []
        if window.counts:
            # Into the gradients that the last of the passes exchanges.
            loss_sum += self._add_gradient(torch.cat(window.counts).sum(), window)
        for number, batch in enumerate(passes, start=1):
            with self._synchronised(number == len(passes)):
                row_loss = RowLoss(*self.objective(batch.inputs, batch.targets, progress))
                real_B = batch.index >= 0
                loss_sum += self._add_gradient(torch.where(real_B, row_loss.total(), 0.0).sum(), window)
            if self.may_mask:
                masked += batch.index[real_B & (row_loss.network_B == 0)].tolist()
                active += batch.index[real_B & (row_loss.network_B != 0)].tolist()
        if self.accelerator.num_processes > 1:
            loss_sum = self.accelerator.reduce(loss_sum, "sum")
        return loss_sum, masked, active

    def _add_gradient(self, loss: Tensor, window: _Window) -> Tensor:
        """Add the gradient of a summed loss to the window's; returns its part of the window's mean."""
        loss = loss / max(1.0, window.weight)
        # Gradients are averaged over the processes; the window's mean wants their sum.
        self.accelerator.backward(loss * self.accelerator.num_processes)
        return loss.detach()

    @property
    def may_mask(self) -> bool:
        """Whether the run's loss masks samples: others are never 0, and to look would make a GPU wait."""
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
