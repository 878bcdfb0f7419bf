"""Time of a step: our loop, a bare PyTorch loop, and Hugging Face's `Trainer`, on the same network and the same texts.

    python -m benchmarks.training_step --json runs/training_step.json

Each contestant trains the recipe for one epoch from the same weights, with the same loss, precision, batch size and
optimizer, texts of similar length in a batch. They take turns; time is that of the processors, of training alone.
"""

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from accelerate.utils import set_seed
from torch import Tensor, nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from training.build import Parts, build_parts
from training.config import Recipe
from training.data.batching import epoch_batches
from training.data.dataset import LabelledData
from training.data.registry import load
from training.loop import Run, mixed_precision
from training.objective import Objective
from training.optimizer import build_optimizer, learning_rate_factor, set_learning_rate
from training.overrides import named_recipe, override


@click.command()
@click.option("--recipe", "name", default="attack", show_default=True)
@click.option("--examples", default=1000, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(name: str, examples: int, rounds: int, settings: tuple[str, ...], json_file: Path | None) -> None:
    """Time the contestants in turns, then print the table."""
    one_epoch = [f"data.max_train_examples={examples}", "schedule.epochs=1", "schedule.checkpoint_steps=100000"]
    recipe = override(named_recipe(name), [*one_epoch, *settings])
    data = load(recipe.data.source)
    contestants: dict[str, Callable[[Recipe, Parts], float]] = {
        "labelset": _ours,
        "bare PyTorch": _bare,
        "Hugging Face Trainer": _trainer,
    }
    seconds: dict[str, list[float]] = {contestant: [] for contestant in contestants}
    for turn in range(rounds + 1):
        for contestant, train in contestants.items():
            taken = train(recipe, _parts(recipe, data))
            if turn:  # the first one warms up
                seconds[contestant].append(taken)
    records = [
        {
            "recipe": name,
            "contestant": contestant,
            "milliseconds_per_sample": 1000 * float(np.median(taken)) / examples,
            "ratio_to_bare": float(np.median(np.divide(taken, seconds["bare PyTorch"]))),
            "ratios": np.divide(taken, seconds["bare PyTorch"]).round(3).tolist(),
        }
        for contestant, taken in seconds.items()
    ]
    if json_file:
        json_file.write_text(json.dumps(records, indent=1) + "\n")
    click.echo("| contestant | ms a sample | ratio to bare PyTorch (spread) |\n|---|---|---|")
    for record in records:
        spread = f"{min(record['ratios']):.2f} to {max(record['ratios']):.2f}"
        milliseconds = f"{record['milliseconds_per_sample']:.1f}"
        click.echo(f"| {record['contestant']} | {milliseconds} | {record['ratio_to_bare']:.2f} ({spread}) |")


def _parts(recipe: Recipe, data: LabelledData) -> Parts:
    set_seed(recipe.seed)
    parts = build_parts(recipe, data)
    for index in range(len(parts.train)):  # tokenized and kept, for all alike
        parts.train[index]
    return parts


def _ours(recipe: Recipe, parts: Parts) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return float(Run(recipe, parts, Path(folder)).train().cpu_seconds)


def _bare(recipe: Recipe, parts: Parts) -> float:
    objective = Objective(parts.classifier, recipe.loss).train()
    optimizer = build_optimizer(parts.classifier, recipe.optimizer)
    positions = np.arange(len(parts.train))
    batches = epoch_batches(positions, parts.train.lengths(), recipe.schedule.batch_size, recipe.seed, 0)
    started = time.process_time()
    for number, positions_of_batch in enumerate(batches):
        batch = parts.train.collate([parts.train[position] for position in positions_of_batch])
        set_learning_rate(optimizer, learning_rate_factor(number / len(batches), recipe.optimizer.warm_up))
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed_precision(recipe.precision) == "bf16"):
            loss = objective(batch.inputs, batch.targets, number / len(batches)).total().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), recipe.optimizer.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - started


class _ForTrainer(nn.Module):
    """An objective in the form that `Trainer` asks of a model."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"loss": self.objective(inputs, targets, 1.0).total().mean()}


class _Clock(TrainerCallback):
    seconds = 0.0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.seconds = -time.process_time()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.seconds += time.process_time()


class _Texts(torch.utils.data.Dataset[dict[str, Any]]):
    """The training split, with the length by which `Trainer` groups."""

    def __init__(self, parts: Parts) -> None:
        self.rows = parts.train

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        return {"row": row, "input_ids": row.array}


def _trainer(recipe: Recipe, parts: Parts) -> float:
    def collate(items: list[dict[str, Any]]) -> dict[str, Tensor]:
        batch = parts.train.collate([item["row"] for item in items])
        return {"inputs": batch.inputs, "targets": batch.targets}

    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=recipe.schedule.batch_size,
            num_train_epochs=1,
            bf16=mixed_precision(recipe.precision) == "bf16",
            use_cpu=True,
            train_sampling_strategy="group_by_length",
            lr_scheduler_type="cosine",
            max_grad_norm=recipe.optimizer.clip_norm,
            logging_strategy="no",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        )
        objective = _ForTrainer(Objective(parts.classifier, recipe.loss))
        optimizer = build_optimizer(parts.classifier, recipe.optimizer)
        trainer = Trainer(
            objective,
            arguments,
            data_collator=collate,
            train_dataset=_Texts(parts),
            optimizers=(optimizer, None),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.seconds


if __name__ == "__main__":
    main()
