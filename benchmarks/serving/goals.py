"""The goals of the service's speed, and which of them a run has met."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.serving.rounds import Record

_FAST, _SLOW, _TEXT = "image-4ms", "image-25ms", "text"
_MANY = (8, 32)
# Of a goal, by where it was measured.
Figures = dict[str, float]


class Found:
    """The records of a run, by what is asked of them."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def of(self, benchmark: str, **values: object) -> list[Record]:
        """Records of one kind with these values."""
        wanted = {"benchmark": benchmark, **values}
        return [r for r in self.records if all(r.get(name) == value for name, value in wanted.items())]

    def names(self, key: str, **values: object) -> list:
        """What the turns have under a key, in the order of the first."""
        return list(dict.fromkeys(record[key] for record in self.of("serving_load", **values)))

    def ratio(self, peer: str, key: str, model: str, connections: int) -> Figures:
        """The median over the rounds of ours divided by a peer's; empty where one of them has no turn."""
        cell = {"model": model, "connections": connections}
        own, other = (
            {turn["round"]: turn[key] for turn in self.of("serving_load", contestant=name, **cell)}
            for name in ("ours", peer)
        )
        ratios = [own[number] / other[number] for number in own if other.get(number)]
        return {f"{model}, {connections} connections": statistics.median(ratios)} if ratios else {}


@dataclass(frozen=True)
class Goal:
    """A limit to some figures.

    Attributes:
        what: In words; a ratio is named by what is divided by.
        relation: In which they must all stand to the limit.
        limit: As it is written.
        figures: Finds them in the records; none where nothing of the kind was measured.
    """

    what: str
    relation: Literal["≥", "≤"]
    limit: float
    figures: Callable[[Found], Figures]

    def is_met(self, value: float) -> bool:
        """Whether a figure is."""
        return value >= self.limit if self.relation == "≥" else value <= self.limit


def _speed(peer: str, model: str, connections: Sequence[int] = _MANY) -> Callable[[Found], Figures]:
    def figures(found: Found) -> Figures:
        ratios = [found.ratio(peer, "per_second", model, count) for count in connections]
        return {where: ratio for cell in ratios for where, ratio in cell.items()}

    return figures


def _p99(found: Found) -> Figures:
    ratios = [found.ratio("triton", "p99_ms", model, 32) for model in found.names("model")]
    return {where: ratio for cell in ratios for where, ratio in cell.items()}


def _above_bare_work(found: Found) -> Figures:
    figures = {}
    for model in found.names("model"):
        turns = found.of("serving_load", contestant="ours", model=model, connections=1)
        if turns:
            figures[model] = statistics.median(turn["p50_ms_above_ceiling"] for turn in turns)
    return figures


def _drill(name: str, key: str, unit: float = 1) -> Callable[[Found], Figures]:
    def figures(found: Found) -> Figures:
        drills = found.of(f"serving_{name}", contestant="ours")
        return {drill.get("model", "demo models"): drill[key] / unit for drill in drills if key in drill}

    return figures


GOALS = [
    Goal(f"{_FAST}, 8 and 32 connections: throughput / raw ceiling", "≥", 0.9, _speed("ceiling", _FAST)),
    Goal("… / Triton", "≥", 1.0, _speed("triton", _FAST)),
    Goal("… / MLServer", "≥", 1.3, _speed("mlserver", _FAST)),
    Goal("… / BentoML", "≥", 1.3, _speed("bentoml", _FAST)),
    Goal("… / LitServe", "≥", 1.5, _speed("litserve", _FAST)),
    Goal("… / Ray Serve", "≥", 3.0, _speed("ray", _FAST)),
    Goal(f"{_SLOW}, 8 and 32 connections: throughput / raw ceiling", "≥", 0.95, _speed("ceiling", _SLOW)),
    # At its best batch: as many at a time as there are.
    Goal("text, 32 connections: throughput / raw ceiling", "≥", 0.95, _speed("ceiling", _TEXT, (32,))),
    Goal("… / Triton", "≥", 1.2, _speed("triton", _TEXT, (32,))),
    Goal("1 connection: p50 above that of the bare work, ms", "≤", 1.0, _above_bare_work),
    Goal("32 connections: p99 / Triton", "≤", 1.3, _p99),
    Goal("idle: share of a core", "≤", 0.01, _drill("rest", "idle_cpu")),
    Goal("memory, MB PSS", "≤", 170, _drill("rest", "pss_bytes", 1e6)),
    Goal("a broken request among eight: good ones lost", "≤", 0, _drill("poison", "lost")),
    Goal("ten times overload: slowest refusal, ms", "≤", 50, _drill("overload", "refusal_max_ms")),
    Goal("ten times overload: goodput / peak", "≥", 0.9, _drill("overload", "goodput_to_peak")),
    Goal("new versions under load: errors", "≤", 0, _drill("reload", "errors")),
    Goal("new versions under load: p99 / without them", "≤", 2.0, _drill("reload", "p99_to_calm")),
]


def goals_table(records: list[Record]) -> str:
    """Markdown: every goal, the worst figure of those that it applies to, and whether all meet it."""
    return markdown(["", "goal", "worst", "where", ""], [_judged(goal, Found(records)) for goal in GOALS])


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table that reads well in a terminal, too."""
    widths = [max(2, *map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [" | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    lines.insert(1, " | ".join("-" * (width - 1) + ":" for width in widths))
    return "\n".join(f"| {line} |" for line in lines)


def _judged(goal: Goal, found: Found) -> list[str]:
    wanted = f"{goal.relation} {goal.limit:g}"
    figures = goal.figures(found)
    if not figures:
        return [goal.what, wanted, "not measured", "", ""]
    worst = (min if goal.relation == "≥" else max)(figures, key=lambda where: figures[where])
    missed_count = sum(not goal.is_met(value) for value in figures.values())
    verdict = f"missed in {missed_count} of {len(figures)}" if missed_count else "met"
    return [goal.what, wanted, f"{figures[worst]:.3g}", worst, verdict]
