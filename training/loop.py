"""The loop: one run of one recipe, resumable at any step, on whatever device `accelerate` finds.

Knows nothing of bundles or of where data comes from. What a step is stands in `stepping.py`.
"""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast, set_seed
from safetensors.torch import load_model, save_model
from torch.utils.data import DataLoader
from tqdm import tqdm

from training import checkpoint
from training.attention_ramp import follow_ramp
from training.build import Parts
from training.checkpoint import Progress
from training.config import Recipe
from training.data.arrays import Batch
from training.data.batching import epoch_batches, share_of
from training.evaluate import answer_together, measure
from training.f1_fit import fit_f1
from training.metrics import METRIC_TITLES
from training.objective import Objective, class_weights
from training.optimizer import build_optimizer, learning_rate_factor, set_learning_rate
from training.processes import join, leave_out_unused
from training.record import write_history
from training.resources import Clock, keep_freed_memory, peak_memory_bytes
from training.resting import Rests
from training.stepping import Step, Stepper
from training.tracking import Tracker, check_tracker, start_tracker

BEST_WEIGHTS = "best.safetensors"
# Of the metrics that a task has, those that the terminal shows after each validation.
_SHOWN = ("example_f1", "mean_average_precision", "count_accuracy", "accuracy")


class Run:
    """One training run, and the folder that holds all it writes."""

    def __init__(self, recipe: Recipe, parts: Parts, folder: Path, tracker: Tracker = "tensorboard") -> None:
        """Prepare a run; where `folder` holds a checkpoint of it, the run goes on from there."""
        check_tracker(tracker)
        keep_freed_memory()
        self.recipe = recipe
        self.folder = folder
        self.parts = parts
        folder.mkdir(parents=True, exist_ok=True)
        self.accelerator = join(
            mixed_precision(recipe.precision), log_with=None if tracker == "none" else tracker, project_dir=str(folder)
        )
        set_seed(recipe.seed)
        self.classifier = parts.classifier
        objective = Objective(self.classifier, recipe.loss, parts.task, class_weights(recipe.loss, parts.train))
        if self.accelerator.num_processes > 1:
            leave_out_unused(objective, parts.train)
        if recipe.speed.compile:
            objective.compile_network()
        self.objective, self.optimizer = self.accelerator.prepare(
            objective, build_optimizer(self.classifier, recipe.optimizer)
        )
        self.stepper = Stepper(self.accelerator, self.objective, self.optimizer, recipe, parts.pad_id)
        self.lengths = parts.train.lengths() if recipe.speed.length_buckets else None
        self.rests = Rests(len(parts.train), recipe.speed.rest_epochs)
        self.progress = checkpoint.restore(self.accelerator, folder, self.rests)
        if self.accelerator.is_main_process:
            write_history(folder, self.progress.history)  # without what was logged after the checkpoint
        if not self.progress.finished:  # the trackers of a run that is over have all of it
            start_tracker(self.accelerator, tracker, recipe, folder.name)

    def train(self) -> Progress:
        """Train to the end, or to where validation no longer gets better; then load the best weights."""
        schedule, progress = self.recipe.schedule, self.progress
        done = progress.epoch * len(self.parts.train)
        with tqdm(
            total=schedule.epochs * len(self.parts.train),
            initial=done,
            desc=f"train {self.recipe.name}",
            unit="sample",
            unit_scale=True,
            disable=None,
        ) as bar:
            while not progress.finished:
                batches = self._batches_of_epoch()
                self._train_round(bar, batches)
                self._validate(bar)
                if progress.round % schedule.validations_per_epoch == 0:
                    progress.epoch, progress.batch = progress.epoch + 1, 0
                    self.rests.begin(progress.epoch)
                progress.finished = progress.epoch >= schedule.epochs or progress.stale_rounds >= schedule.patience
                self._checkpoint()
        self.accelerator.wait_for_everyone()
        load_model(self.classifier, self.folder / BEST_WEIGHTS)
        self._fit_f1()
        # And no more: `end_training` of accelerate would end the group of processes, before a next run.
        for tracker in self.accelerator.trackers:
            tracker.finish()
        return progress

    def _fit_f1(self) -> None:
        layers = self.classifier.head.count
        if self.parts.task != "multi_label" or layers is None:
            return
        fit_f1(layers, answer_together(self.accelerator, self.classifier, self.parts.validation, "F1 of each count"))
        if self.accelerator.is_main_process:
            self._save_best()

    def _batches_of_epoch(self) -> list[list[int]]:
        recipe, epoch = self.recipe, self.progress.epoch
        return epoch_batches(self.rests.awake(epoch), self.lengths, recipe.schedule.batch_size, recipe.seed, epoch)

    def _train_round(self, bar: "tqdm[Any]", batches: list[list[int]]) -> None:
        """Train to the next validation."""
        progress, schedule = self.progress, self.recipe.schedule
        rounds = schedule.validations_per_epoch
        last_batch = math.ceil(len(batches) * (progress.round % rounds + 1) / rounds)
        self.objective.train()
        source = self._from(batches)
        clock = Clock(progress)
        while progress.batch < last_batch:
            step = self._step(source, len(batches))
            progress.step += 1
            progress.batch += step.batches
            progress.round_loss += step.loss
            progress.round_steps += 1
            self.rests.note(step.masked, step.active, progress.epoch)
            epoch_share = (progress.epoch + progress.batch / len(batches)) * len(self.parts.train)
            bar.update(min(bar.total, int(epoch_share)) - bar.n)
            if progress.step % 10 == 0:
                self._show(bar)
            if progress.step % schedule.checkpoint_steps == 0:
                clock.stop()
                self._checkpoint()
                clock = Clock(progress)
        clock.stop()
        self._exchange_rests()

    def _step(self, source: Iterator[Batch], batch_count: int) -> Step:
        progress, recipe = self.progress, self.recipe
        # All chance of a step is seeded by its number, so that a resumed run draws what the unbroken one draws.
        torch.manual_seed(recipe.seed * 1_000_003 + progress.step + 7919 * self.accelerator.process_index)
        done = (progress.epoch + (progress.batch + 0.5) / batch_count) / recipe.schedule.epochs
        set_learning_rate(self.optimizer, learning_rate_factor(done, recipe.optimizer.warm_up))
        follow_ramp(self.classifier, recipe.backbone.attention, done)
        step = self.stepper.step(source, progress.pace, done, self.rests.streaks)
        assert step is not None, "a round ends with its batches"
        return step

    def _from(self, batches: list[list[int]]) -> Iterator[Batch]:
        """This process's shares of the batches of this epoch that are not done yet, on the device, augmented."""
        rank, processes = self.accelerator.process_index, self.accelerator.num_processes
        todo = batches[self.progress.batch :]
        shares = [share_of(batch, rank, processes) for batch in todo]
        loader: Any = DataLoader(
            self.parts.train,  # type: ignore[arg-type]
            # A process without a share goes through the motions on another's sample, which then does not count.
            batch_sampler=[share or batch[:1] for share, batch in zip(shares, todo, strict=True)],
            collate_fn=self.parts.train.collate,
            num_workers=self.recipe.speed.workers,
            # Without one of its own it would draw from torch's, in the midst of the first step after a resumption.
            generator=torch.Generator(),
        )
        first = self.progress.epoch * 1_000_003 + self.progress.batch
        for number, (batch, share) in enumerate(zip(loader, shares, strict=True), start=first):
            generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + number * processes + rank)
            if self.parts.augment is not None:
                batch = batch._replace(inputs=self.parts.augment(batch.inputs, generator))
            if not share:
                batch = batch._replace(index=torch.full_like(batch.index, -1))
            yield batch.to(self.accelerator.device)

    def _exchange_rests(self) -> None:
        """Tell all processes what has become of the samples that the others have seen since the last exchange."""
        if self.accelerator.num_processes > 1 and self.stepper.may_mask:
            state_12N = torch.from_numpy(self.rests.state_2N)[None].to(self.accelerator.device)
            self.rests.merge(self.accelerator.gather(state_12N).numpy(force=True))

    def _show(self, bar: "tqdm[Any]") -> None:
        best_f1 = f"{self.progress.best_f1:.3f}" if self.progress.best_f1 >= 0 else "-"
        bar.set_postfix(
            epoch=self.progress.epoch + 1,
            loss=f"{self._mean_loss():.3f}",
            best_F1=best_f1,
            active=f"{self.rests.active_share():.0%}",
        )

    def _mean_loss(self) -> float:
        mean_loss = float(self.progress.round_loss) / max(1, self.progress.round_steps)
        if not math.isfinite(mean_loss):
            raise FloatingPointError(f"the loss must be finite, got {mean_loss} before step {self.progress.step}")
        return mean_loss

    def _validate(self, bar: "tqdm[Any]") -> None:
        progress = self.progress
        train_loss = self._mean_loss()
        answers = answer_together(self.accelerator, self.classifier, self.parts.validation, "validate")
        metrics = measure(answers, self.parts.task)
        progress.round += 1
        self._log(
            train_loss=train_loss,
            seconds=progress.seconds,
            cpu_seconds=progress.cpu_seconds,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            active_share=self.rests.active_share(),
            peak_memory_bytes=peak_memory_bytes(),
            **{f"validation_{name}": value for name, value in metrics.items()},
        )
        progress.round_loss, progress.round_steps = 0.0, 0
        if metrics["example_f1"] > progress.best_f1:
            progress.best_f1, progress.stale_rounds = metrics["example_f1"], 0
            if self.accelerator.is_main_process:
                self._save_best()
        else:
            progress.stale_rounds += 1
        row = progress.history[-1]
        text = (
            f"epoch {row['epoch']:g}: loss {row['train_loss']:.3f}, validation "
            + ", ".join(f"{METRIC_TITLES[name]} {metrics[name]:.4f}" for name in _SHOWN if name in metrics)
            + (f", active {row['active_share']:.0%}" if row["active_share"] < 1 else "")
        )
        if self.accelerator.is_main_process:
            bar.write(text, file=sys.stderr)  # where the bar is

    def _save_best(self) -> None:
        unfinished = self.folder / f".{BEST_WEIGHTS}.part"
        save_model(self.classifier, unfinished)
        unfinished.rename(self.folder / BEST_WEIGHTS)

    def _log(self, **values: float) -> None:
        """Append figures to the history, the JSONL file and TensorBoard."""
        progress = self.progress
        epoch = progress.round / self.recipe.schedule.validations_per_epoch
        progress.history.append({"epoch": epoch, "step": progress.step, **values})
        self.accelerator.log(values, step=progress.step)
        if self.accelerator.is_main_process:
            write_history(self.folder, progress.history)

    def _checkpoint(self) -> None:
        progress = self.progress
        self._mean_loss()  # a checkpoint of a broken network could never be resumed
        progress.round_loss = float(progress.round_loss)
        self._exchange_rests()
        # A checkpoint holds the main process's running statistics of the batch norms: a look is to see the same in all.
        broadcast(list(self.classifier.buffers()))
        if self.accelerator.is_main_process:
            checkpoint.save(self.accelerator, self.folder, progress, self.rests)


def mixed_precision(precision: str) -> str:
    """What accelerate calls a recipe's precision; `auto` is bfloat16 where the hardware multiplies matrices in it."""
    if precision == "auto":
        if torch.cuda.is_available():
            return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        return "bf16" if torch.cpu._is_amx_tile_supported() else "no"
    return {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}[precision]
