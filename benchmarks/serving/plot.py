"""The plot of `benchmarks.serving`: throughput as a ratio to the raw ceiling, a panel for each model."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.op_plot import STYLE
from benchmarks.serving.rounds import Record

# Okabe and Ito's colours, which colour-blind readers tell apart.
COLOURS = {
    "ours": "#D55E00",
    "triton": "#009E73",
    "mlserver": "#0072B2",
    "litserve": "#56B4E9",
    "bentoml": "#CC79A7",
    "ray": "#777777",
}
_BAR_WIDTH = 0.8


def draw(records: list[Record], file: Path) -> None:
    """Draw medians over the rounds, and from the least to the most."""
    turns = [r for r in records if r["benchmark"] == "serving_load" and "per_second_to_ceiling" in r]
    turns = [record for record in turns if record["contestant"] in COLOURS]
    models = list(dict.fromkeys(record["model"] for record in turns))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * max(1, len(models)), 4.1), layout="constrained")
        panels = figure.subplots(1, max(1, len(models)), squeeze=False)[0]
        for panel, model in zip(panels, models, strict=False):
            _draw_panel(panel, [record for record in turns if record["model"] == model])
            panel.set_title(model, loc="left", fontsize=11, fontweight="bold")
        panels[0].set_ylabel("throughput / raw ceiling")
        # Not every contestant has played every model.
        shown = {name: bar for panel in panels for bar, name in zip(*panel.get_legend_handles_labels(), strict=True)}
        figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=6, frameon=False)
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, dpi=120)


def _draw_panel(panel: Axes, turns: list[Record]) -> None:
    groups = sorted({record["connections"] for record in turns})
    names = [name for name in COLOURS if any(record["contestant"] == name for record in turns)]
    width = _BAR_WIDTH / max(1, len(names))
    for place, name in enumerate(names):
        values = [
            [r["per_second_to_ceiling"] for r in turns if (r["contestant"], r["connections"]) == (name, count)]
            for count in groups
        ]
        positions = np.arange(len(groups)) + (place - (len(names) - 1) / 2) * width
        medians = np.array([np.median(own) if own else np.nan for own in values])
        spread = [[np.min(own) if own else np.nan, np.max(own) if own else np.nan] for own in values]
        errors = np.abs(np.array(spread).T - medians)
        panel.bar(positions, medians, width * 0.9, color=COLOURS[name], label=name)
        panel.errorbar(positions, medians, errors, fmt="none", ecolor="#333333", elinewidth=1)
    panel.axhline(1, color="#333333", linewidth=1, linestyle="--")
    panel.set_xticks(range(len(groups)), [f"{count} connection{'s' * (count > 1)}" for count in groups])
    panel.spines[["top", "right"]].set_visible(False)
