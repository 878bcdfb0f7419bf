"""What `benchmarks/op.py` found, in words: tables of ratios, which goals are met, and the page that shows them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import op_plot

PAGE = Path("docs/performance.md")
PLOT = Path("docs/images/op.png")
RECORDS = Path("docs/performance.json")
BEGIN, END = "<!-- begin: written by the benchmark -->", "<!-- end: written by the benchmark -->"
COLUMNS = {
    "native": "ours (p10-p90)",
    "memcpy": "copy",
    "onnx_function": "our ONNX function",
    "torch_softmax": "torch softmax",
    "torch_op": "our torch op",
    "sparsemax": "sparsemax",
    "entmax15": "1.5-entmax",
    "topk": "topk",
}
LEAST_SPEED_UP = 1.7
Record = dict[str, Any]


@dataclass(frozen=True)
class Goal:
    """An upper limit to the ratio to dense Softmax on one thread, over the cells that it applies to."""

    cells: str
    limit: float
    applies: Callable[[Record], bool]
    benchmark: str = "op_forward"
    implementation: str = "native"


VERY_SPARSE = ("r=.9", "r=.99", "k=5")
GOALS = [
    Goal("C ≥ 1000, r ≥ .9 or k = 5", 1.0, lambda r: r["class_count"] >= 1000 and r["sparsity"] in VERY_SPARSE),
    Goal("C ≥ 10 000, k = 5", 0.6, lambda r: r["class_count"] >= 10_000 and r["sparsity"] == "k=5"),
    Goal("C ≥ 1000, r = .5", 1.5, lambda r: r["class_count"] >= 1000 and r["sparsity"] == "r=.5"),
    Goal("20 ≤ C < 1000, at most 5 survivors", 2.0, lambda r: 20 <= r["class_count"] < 1000 and r["survivors"] <= 5),
    Goal("torch, forward and backward, C = 1000", 1.5, lambda _: True, "op_training", "torch_op"),
]


def render(records: list[Record]) -> None:
    """Write the figures into the page, between its two marks; the plot and the records beside it."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    image = f"![Time as a ratio to dense Softmax over the number of classes]({PLOT.relative_to(PAGE.parent)})"
    link = f"Every measurement: [{RECORDS.name}]({RECORDS.relative_to(PAGE.parent)})."
    figures = [circumstances(records), image, goals_table(records), tables(records), link]
    PAGE.write_text(before + "\n\n".join([BEGIN, *figures, END]) + after)
    op_plot.draw(records, PLOT)
    write(records, RECORDS)


def write(records: list[Record], file: Path) -> None:
    """Write JSON, a line for a record."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n")


def circumstances(records: list[Record]) -> str:
    """The machine, the versions, and what a call costs by itself."""
    machine = records[0]
    call = min(record["median_ns_per_row"] for record in records if record["benchmark"] == "op_call")
    return (
        f"{machine['cpu']}, {machine['cores']} cores; our kernel on its {machine['cpu_path']} path; "
        f"onnxruntime {machine['onnxruntime']}, torch {machine['torch']}. "
        f"A call of a session takes {_time(call)} by itself, and every figure of a session contains it."
    )


def tables(records: list[Record]) -> str:
    """Markdown: a table for every number of threads, and one for training."""
    parts = []
    for threads in sorted({record["threads"] for record in records}):
        forward = [r for r in records if (r["benchmark"], r["threads"]) == ("op_forward", threads)]
        title = f"Forward, {_threads(threads)}: time as a ratio to onnxruntime's Softmax, medians. {_spread(forward)}"
        parts.append(f"{title}\n\n{_forward_table(forward)}")
    training = [r for r in records if (r["benchmark"], r["implementation"]) == ("op_training", "torch_op")]
    if training:
        rows = [[r["sparsity"], str(r["threads"]), _ratio_and_spread(r)] for r in training]
        title = "Forward and backward in torch, C = 1000: time as a ratio to torch's softmax and its backward, medians."
        parts.append(f"{title}\n\n{_markdown(['sparsity', 'threads', 'our torch op (p10-p90)'], rows)}")
    return "\n\n".join(parts)


def _spread(records: list[Record]) -> str:
    widths = [
        (record["p90_ratio_to_softmax"] - record["p10_ratio_to_softmax"]) / record["median_ratio_to_softmax"]
        for record in records
        if record["implementation"] in COLUMNS
    ]
    half, most = np.percentile(widths, [50, 90])
    return f"p10 and p90 are apart by {half:.0%} of the median in the middle cell, by {most:.0%} in one of ten."


def _forward_table(records: list[Record]) -> str:
    by_cell: dict[tuple[int, str], dict[str, Record]] = {}
    for record in records:
        by_cell.setdefault((record["class_count"], record["sparsity"]), {})[record["implementation"]] = record
    names = [name for name in COLUMNS if any(name in cell for cell in by_cell.values())]
    rows = []
    for (class_count, sparsity), cell in by_cell.items():
        ratios = [_ratio_and_spread(cell[name]) if name == "native" else _ratio(cell[name]) for name in names]
        rows.append([_grouped(class_count), sparsity, _time(cell["ort_softmax"]["median_ns_per_row"]), *ratios])
    return _markdown(["C", "sparsity", "Softmax, a row", *(COLUMNS[name] for name in names)], rows)


def goals_table(records: list[Record]) -> str:
    """Markdown: every goal, the worst of the cells that it applies to, and whether all meet it."""
    rows = [_check(goal, records) for goal in GOALS]
    return _markdown(["one thread, if not said otherwise", "goal", "worst cell", ""], [*rows, _check_threads(records)])


def _check(goal: Goal, records: list[Record]) -> list[str]:
    wanted = (goal.benchmark, goal.implementation, 1)
    cells = [r for r in records if (r["benchmark"], r["implementation"], r["threads"]) == wanted and goal.applies(r)]
    limit = f"≤ {goal.limit:.1f}"
    if not cells:
        return [goal.cells, limit, "not measured", ""]
    worst = max(cells, key=lambda record: record["median_ratio_to_softmax"])
    missed_count = sum(record["median_ratio_to_softmax"] > goal.limit for record in cells)
    found = f"{_ratio(worst)} at C = {_grouped(worst['class_count'])}, {worst['sparsity']}"
    return [goal.cells, limit, found, f"missed in {missed_count} of {len(cells)} cells" if missed_count else "met"]


def _check_threads(records: list[Record]) -> list[str]:
    """Two threads against one, for our kernel on [400, 1000]."""
    goal = ["two threads, [400, 1000]", f"≥ {LEAST_SPEED_UP} times the speed of one"]
    cells = [r for r in records if (r["implementation"], r["class_count"]) == ("native", 1000)]
    times = {
        threads: {record["sparsity"]: record["median_ns_per_row"] for record in cells if record["threads"] == threads}
        for threads in (1, 2)
    }
    speed_ups = {sparsity: times[1][sparsity] / times[2][sparsity] for sparsity in times[1] if sparsity in times[2]}
    if not speed_ups:
        return [*goal, "not measured", ""]
    worst = min(speed_ups, key=lambda sparsity: speed_ups[sparsity])
    missed_count = sum(speed_up < LEAST_SPEED_UP for speed_up in speed_ups.values())
    verdict = f"missed in {missed_count} of {len(speed_ups)} cells" if missed_count else "met"
    return [*goal, f"{speed_ups[worst]:.2f} at {worst}", verdict]


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table that reads well in a terminal, too."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    lines = [" | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    lines.insert(1, " | ".join("-" * (width - 1) + ":" for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _ratio(record: Record, share: str = "median") -> str:
    ratio = record[f"{share}_ratio_to_softmax"]
    return f"{ratio:.{3 if ratio < 0.1 else 2 if ratio < 10 else 0}f}"


def _ratio_and_spread(record: Record) -> str:
    return f"{_ratio(record)} ({_ratio(record, 'p10')}-{_ratio(record, 'p90')})"


def _time(nanoseconds: float) -> str:
    unit, size = next((unit, size) for unit, size in (("ms", 1e6), ("µs", 1e3), ("ns", 0)) if nanoseconds >= size)
    return f"{nanoseconds / (size or 1):.3g} {unit}"


def _grouped(count: int) -> str:
    return f"{count:,}".replace(",", " ") if count >= 10_000 else str(count)


def _threads(count: int) -> str:
    return {1: "one thread", 2: "two threads"}.get(count, f"{count} threads")
