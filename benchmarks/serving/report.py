"""What the benchmark found, in words: tables, which goals are met, and the section of the page that shows them."""

import json
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.serving import plot
from benchmarks.serving.rounds import Record

PAGE = Path("docs/performance.md")
PLOT = Path("docs/images/serving.png")
RECORDS = Path("docs/performance-serving.json")
BEGIN, END = "<!-- begin: written by benchmarks.serving -->", "<!-- end: written by benchmarks.serving -->"
MANY = (8, 32)


@dataclass(frozen=True)
class Goal:
    """A limit to a figure of every record that it applies to; `figure` gives None where it does not."""

    what: str
    wanted: str
    figure: Callable[["Found"], dict[str, float]]
    is_met: Callable[[float], bool]
    written: str = "{:.2f}"


class Found:
    """The records of a run, by what is asked of them."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records

    def of(self, benchmark: str, **names: object) -> list[Record]:
        """Records of one kind with these values."""
        wanted = {"benchmark": benchmark, **names}
        return [r for r in self.records if all(r.get(name) == value for name, value in wanted.items())]

    def names(self, key: str, benchmark: str = "serving_load") -> list:
        """The values that records have under a key, in the order of their first."""
        return list(dict.fromkeys(record[key] for record in self.of(benchmark)))

    def median(self, key: str, **names: object) -> float | None:
        """The median over the rounds."""
        values = [record[key] for record in self.of("serving_load", **names) if record.get(key) is not None]
        return statistics.median(values) if values else None

    def against(self, peer: str, key: str, model: str, connections: int) -> list[float]:
        """Ours divided by a peer's, round by round."""
        own, other = (
            {record["round"]: record[key] for record in self.of("serving_load", contestant=name, **cell)}
            for cell in ({"model": model, "connections": connections},)
            for name in ("ours", peer)
        )
        return [own[number] / other[number] for number in own if other.get(number)]


def _speed(peer: str, models: Callable[[str], bool], connections: Sequence[int] = MANY) -> Callable[[Found], dict]:
    def figure(found: Found) -> dict[str, float]:
        ratios = {
            f"{model}, {count}": found.against(peer, "per_second", model, count)
            for model in found.names("model")
            for count in connections
            if models(model)
        }
        return {where: statistics.median(own) for where, own in ratios.items() if own}

    return figure


def _p99(found: Found) -> dict[str, float]:
    ratios = {model: found.against("triton", "p99_ms", model, 32) for model in found.names("model")}
    return {f"{model}, 32": statistics.median(own) for model, own in ratios.items() if own}


def _above_bare_work(found: Found) -> dict[str, float]:
    own = {
        model: found.median("p50_ms_above_ceiling", contestant="ours", model=model, connections=1)
        for model in found.names("model")
    }
    return {model: value for model, value in own.items() if value is not None}


def _drill(benchmark: str, key: str) -> Callable[[Found], dict]:
    def figure(found: Found) -> dict[str, float]:
        return {r.get("model", ""): r[key] for r in found.of(benchmark, contestant="ours") if r.get(key) is not None}

    return figure


def _at_least(limit: float) -> Callable[[float], bool]:
    return lambda value: value >= limit


def _at_most(limit: float) -> Callable[[float], bool]:
    return lambda value: value <= limit


def _is(name: str) -> Callable[[str], bool]:
    return lambda model: model == name


_FAST, _SLOW, _TEXT = "image-4ms", "image-25ms", "text"
GOALS = [
    Goal(f"{_FAST}: throughput, raw ceiling", "≥ 0.90", _speed("ceiling", _is(_FAST)), _at_least(0.90)),
    Goal(f"{_FAST}: throughput, Triton", "≥ 1.0", _speed("triton", _is(_FAST)), _at_least(1.0)),
    Goal(f"{_FAST}: throughput, MLServer", "≥ 1.3", _speed("mlserver", _is(_FAST)), _at_least(1.3)),
    Goal(f"{_FAST}: throughput, BentoML", "≥ 1.3", _speed("bentoml", _is(_FAST)), _at_least(1.3)),
    Goal(f"{_FAST}: throughput, LitServe", "≥ 1.5", _speed("litserve", _is(_FAST)), _at_least(1.5)),
    Goal(f"{_FAST}: throughput, Ray Serve", "≥ 3", _speed("ray", _is(_FAST)), _at_least(3.0)),
    Goal(f"{_SLOW}: throughput, raw ceiling", "≥ 0.95", _speed("ceiling", _is(_SLOW)), _at_least(0.95)),
    # At its best batch: as many at a time as there are.
    Goal("text: throughput, raw ceiling", "≥ 0.95", _speed("ceiling", _is(_TEXT), (32,)), _at_least(0.95)),
    Goal("text: throughput, Triton", "≥ 1.2", _speed("triton", _is(_TEXT), (32,)), _at_least(1.2)),
    Goal("1 connection: p50 above the bare work, ms", "≤ 1", _above_bare_work, _at_most(1.0)),
    Goal("32 connections: p99, Triton", "≤ 1.3", _p99, _at_most(1.3)),
    Goal("idle: share of a core", "≤ 0.01", _drill("serving_rest", "idle_cpu"), _at_most(0.01), "{:.4f}"),
    Goal("memory on the demo models, PSS", "≤ 170 MB", _drill("serving_rest", "pss_bytes"), _at_most(170e6), "{:.3g}"),
    Goal("a broken request among eight: lost", "0", _drill("serving_poison", "lost"), _at_most(0), "{:.0f}"),
    Goal(
        "10 times overload: slowest refusal, ms", "< 50", _drill("serving_overload", "refusal_max_ms"), _at_most(49.99)
    ),
    Goal("10 times overload: goodput, peak", "≥ 0.9", _drill("serving_overload", "goodput_to_peak"), _at_least(0.9)),
    Goal("new versions under load: errors", "0", _drill("serving_reload", "errors"), _at_most(0), "{:.0f}"),
    Goal("new versions under load: p99, without", "≤ 2", _drill("serving_reload", "p99_to_calm"), _at_most(2.0)),
]


def render(records: list[Record]) -> None:
    """Write the figures into the page, between its two marks; the plot and the records beside it."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    image = f"![Throughput as a ratio to the raw ceiling]({PLOT.relative_to(PAGE.parent)})"
    link = f"Every turn: [{RECORDS.name}]({RECORDS.relative_to(PAGE.parent)})."
    figures = [circumstances(records), image, goals_table(records), tables(records), link]
    PAGE.write_text(before + "\n\n".join([BEGIN, *figures, END]) + after)
    plot.draw(records, PLOT)
    write(records, RECORDS)


def write(records: list[Record], file: Path) -> None:
    """Write JSON, a line for a record."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("[\n" + ",\n".join(json.dumps(record) for record in records) + "\n]\n")


def circumstances(records: list[Record]) -> str:
    """The machine, the versions, and who did not take part."""
    found = Found(records)
    parts = []
    for machine in found.of("serving_machine"):
        versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
        settings = ", ".join(f"{name}={value}" for name, value in machine["settings"].items()) or "its defaults"
        parts.append(f"{machine['cpu']}, {machine['cores']} cores. {versions}. Ours with {settings}.")
    parts.extend(f"{r['contestant']} did not serve {r['model']}: {r['reason']}." for r in found.of("serving_absent"))
    return " ".join(parts)


def goals_table(records: list[Record]) -> str:
    """Markdown: every goal, the worst figure of those that it applies to, and whether all meet it."""
    return _markdown(["goal", "wanted", "worst", ""], [_judged(goal, Found(records)) for goal in GOALS])


def _judged(goal: Goal, found: Found) -> list[str]:
    figures = goal.figure(found)
    if not figures:
        return [goal.what, goal.wanted, "not measured", ""]
    worst = (min if goal.wanted.startswith("≥") else max)(figures, key=lambda where: figures[where])
    missed_count = sum(not goal.is_met(value) for value in figures.values())
    place = f" ({worst} connections)" if "," in worst else f" ({worst})" if worst and len(figures) > 1 else ""
    verdict = "met" if not missed_count else f"missed in {missed_count} of {len(figures)}"
    return [goal.what, goal.wanted, goal.written.format(figures[worst]) + place, verdict]


def tables(records: list[Record]) -> str:
    """Markdown: a table for every model, and one for the drills."""
    found = Found(records)
    parts = [_model_table(found, model) for model in found.names("model")]
    if found.of("serving_poison"):
        rows = [
            [r["contestant"], r["variant"], f"{r['lost']} of {r['good']}", f"{r['answered_4xx']} of {r['broken']}"]
            for r in found.of("serving_poison")
        ]
        header = ["", "variant", "good requests lost", "broken ones answered 4xx"]
        parts.append(f"Eight requests at once, one of them half a picture:\n\n{_markdown(header, rows)}")
    parts.extend(_drills(found))
    return "\n\n".join(parts)


def _model_table(found: Found, model: str) -> str:
    names = list(dict.fromkeys(record["contestant"] for record in found.of("serving_load", model=model)))
    rows = [
        row
        for connections in found.names("connections")
        for name in names
        if (row := _row(found, model, name, connections))
    ]
    ratios = ["to the ceiling (min-max)", "to Triton (min-max)"]
    header = ["connections", "", "a second", *ratios, "p50, ms", "p99, ms", "errors"]
    rounds = len({record["round"] for record in found.of("serving_load", model=model)})
    return f"{model}: medians of {rounds} rounds.\n\n{_markdown(header, rows)}"


def _row(found: Found, model: str, name: str, connections: int) -> list[str] | None:
    turns = found.of("serving_load", model=model, contestant=name, connections=connections)
    if not turns:
        return None
    speed, p50, p99 = (statistics.median(turn[key] for turn in turns) for key in ("per_second", "p50_ms", "p99_ms"))
    variant = f", {turns[0]['variant']}" if turns[0]["variant"] else ""
    errors = str(sum(turn["errors"] for turn in turns))
    ratios = [_spread([turn.get(f"per_second_to_{unit}") for turn in turns]) for unit in ("ceiling", "triton")]
    return [str(connections), f"{name}{variant}", f"{speed:.1f}", *ratios, f"{p50:.2f}", f"{p99:.2f}", errors]


def _drills(found: Found) -> Iterator[str]:
    for r in found.of("serving_rest"):
        yield (
            f"Ours with the two demo models: {r['pss_bytes'] / 1e6:.0f} MB (PSS of {r['processes']} processes); "
            f"idle, {r['idle_cpu']:.2%} of a core."
        )
    for r in found.of("serving_overload"):
        yield (
            f"Ours ({r['model']}), asked {r['asked_per_second']:.0f} times a second: "
            f"goodput {r['goodput_to_peak']:.2f} of the peak; "
            f"{r['refusals']} refusals, p50 {r.get('refusal_p50_ms', 0):.1f} ms, "
            f"at most {r.get('refusal_max_ms', 0):.1f} ms; other failures {r['others']}; "
            f"`/readyz` p99 {r.get('readyz_p99_ms', 0):.1f} ms (the client itself was late by {r['sent_late_p99_ms']:.1f} ms)."
        )
    for r in found.of("serving_reload"):
        yield (
            f"Ours ({r['model']}), {r['versions']} new versions under load: {r['errors']} errors, "
            f"p99 {r['p99_ms']:.1f} ms ({r['p99_to_calm']:.2f} of that without), "
            f"throughput {r['per_second_to_calm']:.2f} of that without."
        )


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return f"{np.median(known):.2f} ({min(known):.2f}-{max(known):.2f})"


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table that reads well in a terminal, too."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [" | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [header, *rows]]
    lines.insert(1, " | ".join("-" * max(width - 1, 2) + ":" for width in widths))
    return "\n".join(f"| {line} |" for line in lines)
