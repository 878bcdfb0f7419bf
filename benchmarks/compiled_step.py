"""A training step of MiniLM-L6 on sentences, with and without torch.compile: `python -m benchmarks.compiled_step`."""

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import torch

from training.build import build_parts
from training.data import load
from training.loop import Run
from training.overrides import named_recipe, override

STEPS = 30
# Steps that are not counted: the first compiles, those after it warm caches.
FIRST = 10


def measure(compiled: bool, folder: Path) -> dict[str, Any]:
    """Seconds of the first step, and of a later one in the middle."""
    settings = ["precision=float32", "schedule.batch_size=16", f"speed.compile={str(compiled).lower()}"]
    recipe = override(named_recipe("attack"), settings)
    run = Run(recipe, build_parts(recipe, load("attack")), folder, tracker="none")
    batches = run._batches_of_epoch()
    run.objective.train()
    source = run._from(batches)
    seconds = []
    for _ in range(STEPS):
        started = time.perf_counter()
        run._step(source, len(batches))
        run.progress.step, run.progress.batch = run.progress.step + 1, run.progress.batch + 1
        seconds.append(time.perf_counter() - started)
    name = "compiled" if compiled else "as it is"
    return {"network": name, "first_step_seconds": seconds[0], "step_seconds": statistics.median(seconds[FIRST:])}


@click.command(help=__doc__)
@click.option("--threads", default=1, show_default=True, help="Of an operator.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures.")
def main(threads: int, json_file: Path | None) -> None:
    """Print a line for each, and the steps after which compiling has paid."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        plain, compiled = records = [measure(compiled, Path(folder) / str(compiled)) for compiled in (False, True)]
    for record in records:
        first, later = record["first_step_seconds"], record["step_seconds"]
        click.echo(f"{record['network']:10} first {first:6.1f} s, later {later:.3f} s")
    saved = plain["step_seconds"] - compiled["step_seconds"]
    compiled["speed_up"] = plain["step_seconds"] / compiled["step_seconds"]
    paid = f" and pays after {compiled['first_step_seconds'] / saved:.0f} steps" if saved > 0 else ""
    click.echo(f"compiled is {compiled['speed_up']:.2f} times as fast{paid}")
    if json_file:
        json_file.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
