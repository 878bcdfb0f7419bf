"""How figures look: two themes, one size of text, PNG out. Nothing here knows what is drawn.

Figures are made without pyplot, which keeps a global list of them.
"""

import io
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

# 4.8 inches at this density are 768 pixels: sharp on a desktop, and legible when a phone shows them at half the size.
DOTS_PER_INCH = 160
WIDTH = 4.8
FONT_SIZE = 10
LONGEST_NAME = 26


@dataclass(frozen=True)
class Theme:
    """Colours of a figure, those of the page around it."""

    name: str
    card: str
    ink: str
    muted: str
    line: str
    accent: str
    bad: str
    series: tuple[str, ...]

    @property
    def amounts(self) -> LinearSegmentedColormap:
        """From nothing to much."""
        return LinearSegmentedColormap.from_list("amounts", [self.card, self.accent])

    @property
    def differences(self) -> LinearSegmentedColormap:
        """From too few over none to too many."""
        return LinearSegmentedColormap.from_list("differences", [self.bad, self.card, self.accent])


LIGHT = Theme(
    name="light",
    card="#ffffff",
    ink="#1d2125",
    muted="#626a70",
    line="#e3e4df",
    accent="#0d7a70",
    bad="#a4331f",
    series=("#0d7a70", "#c8702a", "#3b6fb5", "#8a4fa3", "#6d7a1f", "#a4331f", "#3c8fa8", "#7a5c3e"),
)
DARK = Theme(
    name="dark",
    card="#191d20",
    ink="#e8ebea",
    muted="#9aa4a6",
    line="#2a3033",
    accent="#5fd3c3",
    bad="#ff9d88",
    series=("#5fd3c3", "#f0a35e", "#83b0f0", "#cf9ae6", "#b9c765", "#ff9d88", "#7ecfe6", "#c9a987"),
)

Paint = Callable[[Axes, Theme], None]


@dataclass(frozen=True)
class Chart:
    """A figure that can be drawn in any theme.

    Attributes:
        name: Of its PNG.
        title: Above it on the page.
        note: What one sees, in a sentence or two.
        paint: Draws it on axes.
        width: In inches.
        height: In inches.
    """

    name: str
    title: str
    note: str
    paint: Paint
    width: float = WIDTH
    height: float = 3.1

    def png(self, theme: Theme) -> bytes:
        """The figure as a file."""
        with matplotlib.rc_context(_settings(theme)), warnings.catch_warnings():
            # A label in a script that the font lacks is drawn as boxes; the tables beside the figure have it right.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            figure = Figure(figsize=(self.width, self.height), layout="constrained")
            self.paint(figure.subplots(), theme)
            stream = io.BytesIO()
            figure.savefig(stream, format="png")
        return stream.getvalue()


@dataclass(frozen=True)
class Figures:
    """A chart, drawn for light and for dark pages."""

    chart: Chart
    light: bytes
    dark: bytes


def drawn(charts: Iterable[Chart]) -> list[Figures]:
    """Charts as PNGs."""
    return [Figures(chart, chart.png(LIGHT), chart.png(DARK)) for chart in charts]


def short(name: str) -> str:
    """A label as an axis has room for it."""
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def _settings(theme: Theme) -> dict[str, object]:
    return {
        "figure.dpi": DOTS_PER_INCH,
        "savefig.dpi": DOTS_PER_INCH,
        "figure.facecolor": theme.card,
        "axes.facecolor": theme.card,
        "axes.edgecolor": theme.line,
        "axes.labelcolor": theme.muted,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "font.family": "DejaVu Sans",
        "font.size": FONT_SIZE,
        "grid.color": theme.line,
        "grid.linewidth": 0.8,
        "legend.frameon": False,
        "legend.labelcolor": theme.ink,
        "legend.fontsize": FONT_SIZE - 1,
        "text.color": theme.ink,
        # A label may hold a dollar sign: it is not a formula.
        "text.parse_math": False,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
    }
