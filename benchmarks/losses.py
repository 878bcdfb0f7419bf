"""Time and memory of a training step's share of the loss: forward and backward of each, against softmax cross-entropy.

    python -m benchmarks.losses --json losses.json

The contestants take turns in one run, as in `op_training`, on one thread; the clock runs only while that thread does.
Beside eq. 4 of r-softmax stands the same with its pairs written out as a tensor `[B, C, C]`, up to `--pairs-up-to`
classes, timed after the others. Memory is the most that one pass holds at a time beside the logits, as torch's
profiler counts it, in multiples of the logits.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.op_training import take_turns
from model.sparse_softmax.torch_op import r_softmax_count
from training.config import LossConfig, LossName
from training.losses import build

BASELINE = "softmax"
ALL_PAIRS = "r_softmax, all pairs"
LABELS_A_ROW = 5
Record = dict[str, Any]


@click.command()
@click.option("--batch-size", default=64, show_default=True)
@click.option("--classes", default="100,1000,10000", show_default=True)
@click.option("--pairs-up-to", default=1000, show_default=True, help="Most classes for which all pairs are tried.")
@click.option("--rounds", default=50, show_default=True, help="Turns that each contestant takes.")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(batch_size: int, classes: str, pairs_up_to: int, rounds: int, json_file: Path | None) -> None:
    """Print, and write, a record for each loss and number of classes."""
    torch.set_num_threads(1)
    records: list[Record] = []
    for class_count in map(int, classes.split(",")):
        records += compare(batch_size, class_count, class_count <= pairs_up_to, rounds)
    if json_file:
        json_file.write_text(json.dumps(records, indent=1) + "\n")
    click.echo(table(records))


def compare(batch_size: int, class_count: int, with_all_pairs: bool, rounds: int) -> list[Record]:
    """Every loss on one batch."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(batch_size, class_count, generator=generator)
    targets = torch.zeros_like(scores, dtype=torch.bool).scatter(1, scores.topk(LABELS_A_ROW).indices, True)
    logits = (torch.randn(batch_size, class_count, generator=generator) * 3).requires_grad_()
    gradient = torch.full((batch_size,), 1 / batch_size)
    contestants = losses(targets)
    seconds = take_turns(contestants, logits, gradient, rounds, time.thread_time)
    if with_all_pairs:
        contestants[ALL_PAIRS] = lambda x: all_pairs(x, targets)
        # On its own: gigabytes that come and go would slow down whoever is next.
        seconds |= take_turns({ALL_PAIRS: contestants[ALL_PAIRS]}, logits, gradient, rounds, time.thread_time)
    memory = {name: peak_bytes(loss, logits, gradient) for name, loss in contestants.items()}
    records = []
    for name in contestants:
        ratios = [mine / theirs for mine, theirs in zip(seconds[name], seconds[BASELINE], strict=True)]
        quartiles = statistics.quantiles(ratios, n=4)
        records.append(
            {
                "batch_size": batch_size,
                "classes": class_count,
                "loss": name,
                "rounds": rounds,
                "microseconds": statistics.median(seconds[name]) * 1e6,
                "ratio": statistics.median(seconds[name]) / statistics.median(seconds[BASELINE]),
                "ratio_lower_quartile": quartiles[0],
                "ratio_upper_quartile": quartiles[2],
                "peak_bytes": memory[name],
                "memory_in_logits": memory[name] / (logits.numel() * logits.element_size()),
                "memory_ratio": memory[name] / memory[BASELINE],
            }
        )
    return records


def losses(targets: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """Each loss that a recipe may name, on these targets; AS-Softmax with a delta that masks."""

    def on_targets(name: LossName) -> Callable[[Tensor], Tensor]:
        loss = build(LossConfig(name=name, delta=0.3))
        return lambda logits: loss(logits, targets, 1.0)

    return {name: on_targets(name) for name in get_args(LossName)}


def all_pairs(logits: Tensor, targets: Tensor) -> Tensor:
    """Eq. 4 as it is written: the hinge of every pair of classes, and a mask for those of present and absent."""
    eta = 1 / targets.sum(dim=-1, keepdim=True)
    squared = ((r_softmax_count(logits, targets.sum(dim=-1)) - eta).square() * targets).sum(dim=-1)
    hinge = (eta.unsqueeze(-1) - logits.unsqueeze(-1) + logits.unsqueeze(-2)).clamp(min=0)
    return squared + (hinge * (targets.unsqueeze(-1) & ~targets.unsqueeze(-2))).sum(dim=(-1, -2))


def peak_bytes(loss: Callable[[Tensor], Tensor], logits: Tensor, gradient: Tensor) -> int:
    """The most that is allocated at one time during a forward and a backward pass."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        torch.autograd.grad(loss(logits), logits, gradient)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(trace))
        events = [event for event in json.loads(trace.read_text())["traceEvents"] if event.get("name") == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: int(event["args"]["Ev Idx"])):
        held += event["args"]["Bytes"]
        peak = max(peak, held)
    return peak


def table(records: list[Record]) -> str:
    """Markdown: a row a loss; for each number of classes its time, with the middle half of its rounds, and memory."""
    class_counts = sorted({record["classes"] for record in records})
    cells = {(record["loss"], record["classes"]): record for record in records}
    titles = [title for count in class_counts for title in (f"time, C = {count}", "memory")]
    lines = ["| loss | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    for name in dict.fromkeys(record["loss"] for record in records):
        row = [text for count in class_counts for text in _time_and_memory(cells.get((name, count)))]
        lines.append(f"| {name} | {' | '.join(row)} |")
    return "\n".join(lines)


def _time_and_memory(record: Record | None) -> tuple[str, str]:
    if record is None:
        return "", ""
    if record["loss"] == BASELINE:
        return f"{record['microseconds']:,.0f} us", f"{record['memory_in_logits']:.1f} x logits"
    spread = f"{record['ratio_lower_quartile']:.2f}-{record['ratio_upper_quartile']:.2f}"
    return f"{record['ratio']:.2f} ({spread})", f"{record['memory_ratio']:.2f}"


if __name__ == "__main__":
    main()
