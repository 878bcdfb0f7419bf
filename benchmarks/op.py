"""Speed of the r-softmax op: our kernel, dense Softmax, a copy, and their peers, compared in one run.

    python -m benchmarks.op --goals --json runs/op.json
    python -m benchmarks.op --render runs/op.json

Contestants take turns within a cell (class count x sparsity x threads), in another order every round, so that whatever
else the machine does hits all alike; each turn is compared with the turn of dense Softmax in the same round. The second
command writes the figures into docs/performance.md, which tells the method, and draws its plot.
"""

import ctypes
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import onnxruntime
import torch
from tqdm import tqdm

from benchmarks import op_plot, op_report
from benchmarks.op_contestants import ENTRANTS, Call, Cell, contestants
from model.sparse_softmax import native

CLASS_COUNTS = "5,20,80,300,1000,4000,10000,100000,1000000"
SPARSITIES = "r=0,r=.5,r=.9,r=.99,k=5"
TRAINING_CLASS_COUNT = 1000
LOGITS_PER_CELL = 400_000

MIN_ROUNDS, MAX_ROUNDS = 3, 50
CALLS_PER_TURN, SECONDS_PER_TURN = 10, 0.005
# The workers of onnxruntime and of OpenMP await more work spinning, up to 25 ms, on cores that the next turn needs.
SPINNING_SECONDS = 0.04
# After such a pause a core sleeps, and more so a virtual one: calls that do not count bring it back.
WAKING_SECONDS = 0.02
Record = dict[str, Any]


@click.command()
@click.option("--classes", default=CLASS_COUNTS, show_default=True, help="Class counts C.")
@click.option("--rates", default=SPARSITIES, show_default=True, help="Sparsity rates r and label counts k.")
@click.option("--threads", default="1,2", show_default=True)
@click.option("--only", metavar="NAME,...", help="These contestants beside the dense one.")
@click.option("--seconds-per-cell", default=4.0, show_default=True, help="Slow contestants get fewer rounds.")
@click.option("--cpu-path", help="avx512, avx2, portable: not the best that this CPU has.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the records.")
@click.option("--plot", "plot_file", type=click.Path(path_type=Path), help="Draw the ratios on one thread.")
@click.option("--goals", is_flag=True, help="Also print which goals are met.")
@click.option("--render", type=click.Path(path_type=Path, exists=True), help="Only write page and plot from such JSON.")
def main(
    classes: str,
    rates: str,
    threads: str,
    only: str | None,
    seconds_per_cell: float,
    cpu_path: str | None,
    json_file: Path | None,
    plot_file: Path | None,
    goals: bool,
    render: Path | None,
) -> None:
    """Measure, then print the table."""
    if render:
        op_report.render(json.loads(render.read_text()))
        return
    chosen = _chosen(only)
    machine = _machine(cpu_path)
    records: list[Record] = []
    for cell in tqdm(cells(classes, rates, threads), unit="cell"):
        records.extend({**record, **machine} for record in measure(cell, chosen, seconds_per_cell))
        if json_file:
            op_report.write(records, json_file)
    click.echo(op_report.tables(records))
    if goals:
        click.echo(op_report.goals_table(records))
    if plot_file:
        op_plot.draw(records, plot_file)


def cells(classes: str, sparsities: str, threads: str) -> list[Cell]:
    """All that is measured, in order."""
    found = []
    for thread_count in map(int, threads.split(",")):
        found.append(Cell("op_call", 1, 1, "r=0", thread_count))
        for class_count in map(int, classes.split(",")):
            rows = max(1, LOGITS_PER_CELL // class_count)
            benchmarks = ["op_forward"] + ["op_training"] * (class_count == TRAINING_CLASS_COUNT)
            for benchmark in benchmarks:
                for sparsity in sparsities.split(","):
                    found.append(Cell(benchmark, class_count, rows, sparsity, thread_count))
    return found


def measure(cell: Cell, chosen: set[str], seconds: float) -> Iterator[Record]:
    """The records of one cell."""
    torch.set_num_threads(cell.threads)
    with torch.inference_mode(cell.benchmark != "op_training"):
        calls = contestants(cell, chosen)
        rounds = _play(calls, seconds, cell.threads > 1)
    dense = next(iter(calls))
    for name in calls:
        played = [turns for turns in rounds if name in turns]
        nanoseconds = [turns[name] / cell.rows for turns in played]
        ratios = [turns[name] / turns[dense] for turns in played]
        yield {
            "benchmark": cell.benchmark,
            "implementation": name,
            "class_count": cell.class_count,
            "rows": cell.rows,
            "sparsity": cell.sparsity,
            "survivors": cell.survivor_count,
            "threads": cell.threads,
            "rounds": len(played),
            **_spread("ns_per_row", nanoseconds),
            **_spread("ratio_to_softmax", ratios),
        }


def _play(calls: dict[str, Call], seconds: float, is_threaded: bool) -> list[dict[str, float]]:
    """Let every contestant have its turn, round after round, until the time is up.

    Returns:
        By round and name, nanoseconds a call. The first contestant has a turn in every round; one that has used up its
        share of the time has no more.
    """
    shuffled = random.Random(0)
    dense, *others = calls
    spent = dict.fromkeys(calls, 0.0)
    rounds: list[dict[str, float]] = []
    begin = time.perf_counter()
    while len(rounds) < MIN_ROUNDS or (len(rounds) < MAX_ROUNDS and time.perf_counter() - begin < seconds):
        playing = [name for name in others if len(rounds) < MIN_ROUNDS or spent[name] < seconds / len(calls)]
        turns = {}
        for name in shuffled.sample([dense, *playing], len(playing) + 1):
            if is_threaded:
                time.sleep(SPINNING_SECONDS)
            turn_begin = time.perf_counter()
            turns[name] = _turn(calls[name], WAKING_SECONDS if is_threaded else 0)
            spent[name] += time.perf_counter() - turn_begin
        rounds.append(turns)
    return rounds


def _turn(call: Call, waking_seconds: float) -> float:
    """The median of some calls, in nanoseconds, after those that wake the threads and fill the caches."""
    begin = time.perf_counter()
    call()
    while time.perf_counter() - begin < waking_seconds:
        call()
    durations: list[int] = []
    while len(durations) < CALLS_PER_TURN and sum(durations) < SECONDS_PER_TURN * 1e9:
        begin = time.perf_counter_ns()
        call()
        durations.append(time.perf_counter_ns() - begin)
    return statistics.median(durations)


def _spread(name: str, values: list[float]) -> Record:
    p10, median, p90 = (float(f"{value:.4g}") for value in np.percentile(values, [10, 50, 90]))
    return {f"median_{name}": median, f"p10_{name}": p10, f"p90_{name}": p90}


def _chosen(only: str | None) -> set[str]:
    known = {name for entrants in ENTRANTS.values() for name in entrants}
    chosen = set(only.split(",")) if only else known
    if unknown := chosen - known:
        raise click.UsageError(f"--only must name contestants of {sorted(known)}, got {sorted(unknown)}")
    if "native" in chosen and native.library_path() is None:
        raise click.ClickException("there is no compiled library: run `make native`, or leave native out with --only")
    return chosen


def _machine(cpu_path: str | None) -> Record:
    """What the figures depend on besides the code; chooses the kernel's instructions where some are asked for."""
    if path := native.library_path():
        library = ctypes.CDLL(str(path))
        library.labelset_cpu_path.restype = ctypes.c_char_p
        if cpu_path and library.labelset_set_cpu_path(cpu_path.encode()) != 0:
            raise click.UsageError(f"--cpu-path must name what the library and this CPU have, got {cpu_path}")
        cpu_path = library.labelset_cpu_path().decode()
    return {
        "cpu_path": cpu_path,
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
    }


def _cpu_model() -> str:
    models = [line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


if __name__ == "__main__":
    main()
