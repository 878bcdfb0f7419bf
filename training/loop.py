"""The loop: one run of one recipe, resumable at any step, on whatever device `accelerate` finds.

Knows nothing of bundles or of where data comes from.
"""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
from safetensors.torch import load_model, save_model
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader
from tqdm import tqdm

from model.nn.classifier import Classifier
from training import checkpoint
from training.augment import augment_images
from training.build import Parts
from training.checkpoint import Progress
from training.config import ImageInput, OptimizerConfig, Recipe
from training.data.arrays import Batch
from training.evaluate import answer, measure
from training.objective import Objective

BEST_WEIGHTS = "best.safetensors"
LOG = "metrics.jsonl"


class Run:
    """One training run, and the folder that holds all it writes."""

    def __init__(self, recipe: Recipe, parts: Parts, folder: Path) -> None:
        """Prepare a run; where `folder` holds a checkpoint of it, the run goes on from there."""
        self.recipe = recipe
        self.folder = folder
        self.parts = parts
        folder.mkdir(parents=True, exist_ok=True)
        self.accelerator = Accelerator(
            mixed_precision=mixed_precision(recipe.precision),
            log_with="tensorboard",
            project_dir=str(folder),
            dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True, data_seed=recipe.seed),
        )
        self.accelerator.init_trackers("tensorboard")
        set_seed(recipe.seed)
        self.classifier = parts.classifier
        loader: Any = DataLoader(
            parts.train,  # type: ignore[arg-type]
            batch_size=recipe.schedule.batch_size,
            shuffle=True,
            collate_fn=parts.train.collate,
        )
        optimizer = build_optimizer(self.classifier, recipe.optimizer)
        # accelerate advances the schedule once for each process, so it is written in steps of a single one.
        schedule_steps = recipe.schedule.epochs * len(loader)
        scheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(step, schedule_steps, recipe.optimizer))
        self.objective, self.optimizer, self.loader, self.scheduler = self.accelerator.prepare(
            Objective(self.classifier, recipe.loss), optimizer, loader, scheduler
        )
        self.total_steps = recipe.schedule.epochs * len(self.loader)
        self.progress = checkpoint.restore(self.accelerator, folder)

    def train(self) -> Progress:
        """Train to the end, or to where validation no longer gets better; then load the best weights."""
        schedule = self.recipe.schedule
        with tqdm(
            total=self.total_steps,
            initial=self.progress.step,
            desc=f"train {self.recipe.name}",
            unit="step",
            disable=None,
        ) as bar:
            while not self.progress.finished:
                self._train_epoch(bar)
                self._validate(bar)
                done = self.progress.epoch >= schedule.epochs or self.progress.stale_epochs >= schedule.patience
                self.progress.finished = done
                self._checkpoint()
        self.accelerator.wait_for_everyone()
        load_model(self.classifier, self.folder / BEST_WEIGHTS)
        self.accelerator.end_training()
        return self.progress

    def _train_epoch(self, bar: "tqdm[Any]") -> None:
        self.objective.train()
        started, first_step = time.perf_counter(), self.progress.step
        loss_sum = torch.zeros((), device=self.accelerator.device)
        for batch in self._rest_of_epoch():
            loss_sum += self._step(batch)
            self.progress.step += 1
            self.progress.batch += 1
            bar.update()
            if self.progress.step % 10 == 0:
                self._show(bar, self._mean_loss(loss_sum, first_step))
            if self.progress.step % self.recipe.schedule.checkpoint_steps == 0:
                self._mean_loss(loss_sum, first_step)  # a checkpoint of a broken network could never be resumed
                self._checkpoint()
        self.progress.epoch, self.progress.batch = self.progress.epoch + 1, 0
        self._log(train_loss=self._mean_loss(loss_sum, first_step), seconds=time.perf_counter() - started)

    def _mean_loss(self, loss_sum: Tensor, first_step: int) -> float:
        mean_loss = loss_sum.item() / max(1, self.progress.step - first_step)
        if not math.isfinite(mean_loss):
            raise FloatingPointError(f"the loss must be finite, got {mean_loss} before step {self.progress.step}")
        return mean_loss

    def _show(self, bar: "tqdm[Any]", mean_loss: float) -> None:
        best_f1 = f"{self.progress.best_f1:.3f}" if self.progress.best_f1 >= 0 else "-"
        bar.set_postfix(epoch=self.progress.epoch + 1, loss=f"{mean_loss:.3f}", best_F1=best_f1)

    def _rest_of_epoch(self) -> Iterator[Batch]:
        """The batches of this epoch that are not done yet, in the order that its number and the seed give."""
        self.loader.set_epoch(self.progress.epoch)
        loader = self.loader
        if self.progress.batch:
            loader = self.accelerator.skip_first_batches(loader, self.progress.batch)
        for batch in loader:
            yield Batch(*batch)

    def _step(self, batch: Batch) -> Tensor:
        # All chance of a step is seeded by its number, so that a resumed run draws what the unbroken one draws.
        seed = self.recipe.seed * 1_000_003 + self.progress.step
        torch.manual_seed(seed + 7919 * self.accelerator.process_index)
        inputs = batch.inputs
        is_picture = inputs.dtype == torch.uint8  # and not the cached feature of one
        if is_picture and isinstance(self.recipe.input, ImageInput) and self.recipe.input.augment:
            inputs = augment_images(inputs, torch.Generator().manual_seed(seed))
        loss: Tensor = self.objective(inputs, batch.targets, self.progress.step / self.total_steps)
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.objective.parameters(), self.recipe.optimizer.clip_norm)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def _validate(self, bar: "tqdm[Any]") -> None:
        metrics = measure(answer(self.classifier, self.parts.validation, "validate"))
        self._log(**{f"validation_{name}": value for name, value in metrics.items()})
        if metrics["example_f1"] > self.progress.best_f1:
            self.progress.best_f1, self.progress.stale_epochs = metrics["example_f1"], 0
            if self.accelerator.is_main_process:
                save_model(self.classifier, self.folder / BEST_WEIGHTS)
        else:
            self.progress.stale_epochs += 1
        bar.write(
            f"epoch {self.progress.epoch}: loss {self.progress.history[-1]['train_loss']:.3f}, validation "
            f"example-F1 {metrics['example_f1']:.4f}, mAP {metrics['mean_average_precision']:.4f}, "
            f"label count right {metrics['count_accuracy']:.3f}"
        )

    def _log(self, **values: float) -> None:
        """Append figures to this epoch's row of the history, the JSONL file and TensorBoard."""
        history = self.progress.history
        if not history or history[-1]["epoch"] != self.progress.epoch:
            history.append({"epoch": self.progress.epoch, "step": self.progress.step})
        history[-1].update(values)
        self.accelerator.log(values, step=self.progress.step)
        with (self.folder / LOG).open("a") as stream:
            stream.write(json.dumps({"step": self.progress.step, "epoch": self.progress.epoch, **values}) + "\n")

    def _checkpoint(self) -> None:
        if self.accelerator.is_main_process:
            checkpoint.save(self.accelerator, self.folder, self.progress)


def build_optimizer(classifier: Classifier, config: OptimizerConfig) -> AdamW:
    """AdamW with two learning rates, and no decay on biases and norms."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in classifier.named_parameters():
        groups.setdefault((name.startswith("head."), parameter.ndim > 1), []).append(parameter)
    return AdamW(
        [
            {
                "params": parameters,
                "lr": config.head_lr if is_head else config.lr,
                "weight_decay": config.weight_decay if decays else 0.0,
            }
            for (is_head, decays), parameters in groups.items()
        ]
    )


def learning_rate_factor(step: int, total_steps: int, config: OptimizerConfig) -> float:
    """Linear warm-up, then half a cosine down to 0."""
    warm_up_steps = round(config.warm_up * total_steps)
    if step < warm_up_steps:
        return (step + 1) / warm_up_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up_steps) / max(1, total_steps - warm_up_steps)))


def mixed_precision(precision: str) -> str:
    """What accelerate calls a recipe's precision; `auto` is bfloat16 where the hardware multiplies matrices in it."""
    if precision == "auto":
        if torch.cuda.is_available():
            return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
        return "bf16" if torch.cpu._is_amx_tile_supported() else "no"
    return {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}[precision]
