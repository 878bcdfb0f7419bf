"""Time of r-softmax on a GPU beside torch's softmax and a copy within the device, in one run.

    python benchmarks/op_gpu.py --json op_gpu.json

Every figure is a median over CUDA events. Each run works on another of several batches, together larger than the
cache. Bytes are those that must move, each logit in once and each probability out once, so a copy sets the mark.
"""

import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor

from model.sparse_softmax import torch_native

CLASSES = (1000, 4000, 32_000, 100_000, 1_000_000)
RATES = (0.5, 0.9, 0.99)
DTYPES = {"float32": torch.float32, "float16": torch.float16}
Record = dict[str, Any]


@click.command()
@click.option("--megabytes", default="64,512", show_default=True, help="Sizes of a batch, one after the other.")
@click.option("--runs", default=100, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(megabytes: str, runs: int, json_file: Path | None) -> None:
    """Measure, then print the table."""
    if not torch.cuda.is_available():
        raise click.ClickException("torch.cuda.is_available() must be true, got false")
    if not torch_native.serves(torch.empty(0, device="cuda")):
        raise click.ClickException("the compiled r-softmax must have CUDA kernels: make native CUDA=1")
    records: list[Record] = []
    for size in map(int, megabytes.split(",")):
        for classes in CLASSES:
            for dtype in DTYPES:
                records += _compare(size, classes, dtype, runs)
    if json_file:
        json_file.write_text(json.dumps(records, indent=1) + "\n")
    click.echo(_table(records))


def _compare(megabytes: int, classes: int, dtype: str, runs: int) -> list[Record]:
    element = DTYPES[dtype]
    rows = max(1, megabytes * 2**20 // (classes * element.itemsize))
    batches = [torch.randn(rows, classes, device="cuda", dtype=element) for _ in range(max(2, 512 // megabytes))]
    result = torch.empty_like(batches[0])
    contestants: dict[str, Callable[[Tensor], Any]] = {
        "copy": result.copy_,
        "softmax": lambda logits: torch.softmax(logits, -1),
    }
    for rate in RATES:
        given = torch.tensor(rate, dtype=torch.float64, device="cuda")
        contestants[f"r-softmax {rate}"] = lambda logits, given=given: torch_native.probabilities(logits, given)
    seconds = {name: _median_seconds(function, batches, runs) for name, function in contestants.items()}
    moved = 2 * rows * classes * element.itemsize
    return [
        {
            "megabytes": megabytes,
            "classes": classes,
            "rows": rows,
            "dtype": dtype,
            "contestant": name,
            "seconds": taken,
            "gigabytes_per_second": moved / taken / 1e9,
            "of_copy_bandwidth": seconds["copy"] / taken,
            "ratio_to_softmax": taken / seconds["softmax"],
        }
        for name, taken in seconds.items()
    ]


def _median_seconds(function: Callable[[Tensor], Any], batches: list[Tensor], runs: int) -> float:
    for batch in batches:
        function(batch)
    pairs = []
    for run in range(runs):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        function(batches[run % len(batches)])
        end.record()
        pairs.append((begin, end))
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in pairs) / 1000


def _table(records: list[Record]) -> str:
    lines = ["|  MB | classes | type | | GB/s | of copy | time / softmax |", "|---|---|---|---|---|---|---|"]
    for record in records:
        shape = f"| {record['megabytes']} | {record['classes']} | {record['dtype']} | {record['contestant']} "
        speed = f"| {record['gigabytes_per_second']:.0f} | {record['of_copy_bandwidth']:.0%} "
        lines.append(shape + speed + f"| {record['ratio_to_softmax']:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
