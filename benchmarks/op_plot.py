"""The plot of `benchmarks/op.py`: time as a ratio to dense Softmax over the number of classes, a panel per sparsity."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, NullLocator

# Name at the line, meaning in the key, colour (Okabe and Ito's, which colour-blind readers tell apart), dashes.
LINES = {
    "native": ("ours", "ours: the compiled kernel in onnxruntime", "#D55E00", "-"),
    "onnx_function": ("ONNX function", "the same op as a function of standard ONNX ops", "#E69F00", "-"),
    "torch_op": ("torch op", "the same op in torch", "#CC79A7", "-"),
    "topk": ("topk", "torch.topk: selection alone", "#009E73", "-"),
    "sparsemax": ("sparsemax", "sparsemax (entmax, torch)", "#0072B2", "-"),
    "entmax15": ("1.5-entmax", "1.5-entmax (entmax, torch)", "#56B4E9", "-"),
    "memcpy": ("copy", "a copy of the logits", "#777777", "--"),
}
OURS_WIDTH, WIDTH = 3.0, 1.6
INK = "#333333"
STYLE = {
    "font.size": 10,
    "axes.edgecolor": "#BBBBBB",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
COLUMN_COUNT = 3
LEAST_LABEL_GAP = 0.15  # in decades of the ratio
LABEL_ROOM = 0.42  # of the decades of the classes
Record = dict[str, Any]
Curves = dict[str, tuple[list[int], list[float]]]


def draw(records: list[Record], file: Path) -> None:
    """Draw the forward ratios on the smallest number of threads that was measured."""
    threads = min(record["threads"] for record in records)
    forward = [r for r in records if (r["benchmark"], r["threads"]) == ("op_forward", threads)]
    shown = [record for record in forward if record["implementation"] in LINES]
    sparsities = list(dict.fromkeys(record["sparsity"] for record in shown))
    ratios = [record["median_ratio_to_softmax"] for record in shown]
    row_count = -(-(len(sparsities) + 1) // COLUMN_COUNT)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * COLUMN_COUNT, 4.1 * row_count), layout="constrained")
        panels = list(figure.subplots(row_count, COLUMN_COUNT, squeeze=False).flat)
        for panel, sparsity in zip(panels, sparsities, strict=False):
            panel.set_title(sparsity.replace("=", " = "), loc="left", fontsize=11, fontweight="bold")
            _draw_curves(panel, _curves([record for record in shown if record["sparsity"] == sparsity]))
            panel.set_ylim(min(0.15, *ratios) / 1.3, max(2.0, *ratios) * 1.4)
        for panel in panels[len(sparsities) :]:
            panel.set_axis_off()
        _draw_key(panels[len(sparsities)], threads)
        figure.savefig(file, dpi=120)


def _curves(records: list[Record]) -> Curves:
    """Class counts and ratios of every line that has any."""
    curves: Curves = {}
    for name in LINES:
        own = sorted((r for r in records if r["implementation"] == name), key=lambda record: record["class_count"])
        if own:
            curves[name] = [r["class_count"] for r in own], [r["median_ratio_to_softmax"] for r in own]
    return curves


def _draw_curves(panel: Axes, curves: Curves) -> None:
    panel.set_xscale("log")
    panel.set_yscale("log")
    class_counts = sorted({count for counts, _ in curves.values() for count in counts})
    ends = [class_counts[0] / 1.5, class_counts[-1]]
    panel.fill_between(ends, 1e-3, 1, color="#009E73", alpha=0.07, linewidth=0)
    panel.plot(ends, [1, 1], color=INK, linewidth=1.4)
    for name, points in reversed(curves.items()):
        _, _, colour, dashes = LINES[name]
        width = OURS_WIDTH if name == "native" else WIDTH
        panel.plot(*points, dashes, color=colour, linewidth=width, marker="o", markersize=1.5 * width)
    _label(panel, curves, class_counts[-1])
    room = (class_counts[-1] / class_counts[0]) ** LABEL_ROOM
    panel.set_xlim(ends[0], ends[1] * room * 1.5)
    panel.set_xlabel("classes")
    panel.xaxis.set_major_locator(FixedLocator([10.0**power for power in range(1, 7)]))
    panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panel.yaxis.set_major_locator(FixedLocator([m * 10.0**power for power in range(-2, 4) for m in (1, 2, 5)]))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    for axis in (panel.xaxis, panel.yaxis):
        axis.set_minor_locator(NullLocator())
    panel.grid(axis="y", color="#E5E5E5", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _label(panel: Axes, curves: Curves, last_class_count: int) -> None:
    """Name the lines where they end, moved apart as far as legible."""
    ends = {name: (class_counts[-1], ratios[-1]) for name, (class_counts, ratios) in curves.items()}
    ends["dense"] = (last_class_count, 1.0)
    names = sorted(ends, key=lambda name: ends[name][1])
    heights = np.log10([ends[name][1] for name in names])
    for _ in range(200):
        for low in range(len(heights) - 1):
            overlap = max(0.0, LEAST_LABEL_GAP - (heights[low + 1] - heights[low]))
            heights[low : low + 2] += [-overlap / 2, overlap / 2]
    for name, height in zip(names, heights, strict=True):
        label, _, colour, _ = LINES.get(name, ("dense Softmax", "", INK, ""))
        panel.annotate(
            label,
            ends[name],
            (last_class_count * 2, 10**height),
            color=colour,
            verticalalignment="center",
            fontweight="bold" if name == "native" else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3},
        )


def _draw_key(panel: Axes, threads: int) -> None:
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1)
    text = (
        "Time as a ratio to onnxruntime's dense Softmax\n"
        f"on the same logits; threads: {threads}; medians.\n"
        "Shaded: sparse costs less than dense.\n"
        "r: the share of the classes that is zero;\nk: how many are not."
    )
    panel.text(0, 0.95, text, verticalalignment="top", linespacing=1.5)
    for position, (name, (_, meaning, colour, dashes)) in enumerate(LINES.items()):
        height = 0.53 - 0.08 * position
        width = OURS_WIDTH if name == "native" else WIDTH
        panel.plot([0, 0.08], [height, height], dashes, color=colour, linewidth=width)
        panel.text(0.11, height, meaning, verticalalignment="center")
