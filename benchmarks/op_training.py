"""Time a training step's share of the op: forward and backward of r-softmax, against those of torch.softmax.

    python -m benchmarks.op_training --json training.json

The contestants take turns in one run, in another order every round, so that a busy moment of the machine meets them
alike. A ratio is that of the medians; its spread is the middle half of the ratios of single rounds. With
LABELSET_NATIVE_LIBRARY=off it is plain torch that is timed.
"""

import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from model.sparse_softmax.torch_op import implementation, r_softmax, r_softmax_count

SOFTMAX = "torch.softmax"
REQUESTS: dict[str, Callable[[Tensor], Tensor]] = {
    "r = 0.5": lambda logits: r_softmax(logits, 0.5),
    "r = 0.9": lambda logits: r_softmax(logits, 0.9),
    "r = 0.9, exact": lambda logits: r_softmax(logits, 0.9, "exact"),
    "r = 0.99": lambda logits: r_softmax(logits, 0.99),
    "k = 5": lambda logits: r_softmax_count(logits, 5),
    "k = 5 of each row": lambda logits: r_softmax_count(logits, torch.full(logits.shape[:-1], 5)),
}
Record = dict[str, Any]


@click.command()
@click.option("--batch-sizes", default="1,64,256,1024", show_default=True)
@click.option("--classes", default="1000", show_default=True)
@click.option("--rounds", default=200, show_default=True, help="Turns that each contestant takes.")
@click.option("--threads", default=1, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(batch_sizes: str, classes: str, rounds: int, threads: int, json_file: Path | None) -> None:
    """Print, and write, a record for each shape and request."""
    torch.set_num_threads(threads)
    records: list[Record] = []
    for class_count in map(int, classes.split(",")):
        for batch_size in map(int, batch_sizes.split(",")):
            records += compare(batch_size, class_count, rounds)
    if json_file:
        json_file.write_text(json.dumps(records, indent=1) + "\n")
    click.echo(table(records))


def compare(batch_size: int, class_count: int, rounds: int) -> list[Record]:
    """Forward and backward of every request on one batch, and of softmax."""
    generator = torch.Generator().manual_seed(0)
    logits = (torch.randn(batch_size, class_count, generator=generator) * 3).requires_grad_()
    gradient = torch.randn(batch_size, class_count, generator=generator)
    seconds = take_turns({SOFTMAX: lambda x: x.softmax(dim=-1), **REQUESTS}, logits, gradient, rounds)
    softmax = seconds.pop(SOFTMAX)
    records = []
    for request, own in seconds.items():
        quartiles = statistics.quantiles([mine / theirs for mine, theirs in zip(own, softmax, strict=True)], n=4)
        records.append(
            {
                "batch_size": batch_size,
                "classes": class_count,
                "request": request,
                "implementation": implementation(logits),
                "threads": torch.get_num_threads(),
                "rounds": rounds,
                "microseconds": statistics.median(own) * 1e6,
                "softmax_microseconds": statistics.median(softmax) * 1e6,
                "ratio": statistics.median(own) / statistics.median(softmax),
                "ratio_lower_quartile": quartiles[0],
                "ratio_upper_quartile": quartiles[2],
            }
        )
    return records


def take_turns(
    contestants: dict[str, Callable[[Tensor], Tensor]],
    logits: Tensor,
    gradient: Tensor,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every contestant in every round; the first rounds only warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    warm_up = max(3, rounds // 20)
    order, shuffle = list(contestants), random.Random(0).shuffle
    for turn in range(warm_up + rounds):
        shuffle(order)
        for name in order:
            started = clock()
            torch.autograd.grad(contestants[name](logits), logits, gradient)
            if turn >= warm_up:
                seconds[name].append(clock() - started)
    return seconds


def table(records: list[Record]) -> str:
    """Markdown; a ratio with the middle half of its rounds."""
    lines = [
        "| classes | batch | request | implementation | us | softmax us | ratio |",
        "|---:|---:|---|---|---:|---:|---:|",
    ]
    for r in records:
        spread = f"{r['ratio']:.2f} ({r['ratio_lower_quartile']:.2f}-{r['ratio_upper_quartile']:.2f})"
        name = f"| {r['classes']} | {r['batch_size']} | {r['request']} | {r['implementation']} "
        lines.append(f"{name}| {r['microseconds']:.0f} | {r['softmax_microseconds']:.0f} | {spread} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
