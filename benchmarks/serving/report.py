"""What the benchmark found, in words: tables, and the section of the page that shows them."""

import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.serving import plot
from benchmarks.serving.goals import Found, goals_table, markdown
from benchmarks.serving.rounds import Record

PAGE = Path("docs/performance-serving.md")
PLOT = Path("docs/images/serving.png")
RECORDS = Path("docs/performance-serving.json")
BEGIN, END = "<!-- begin: written by benchmarks.serving -->", "<!-- end: written by benchmarks.serving -->"


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


def tables(records: list[Record]) -> str:
    """Markdown: a table for every model, and one for the drills."""
    found = Found(records)
    parts = [_model_table(found, model) for model in found.names("model")]
    if found.of("serving_poison"):
        rows = [
            [r["model"], _full_name(r), f"{r['lost']} of {r['good']}", f"{r['answered_4xx']} of {r['broken']}"]
            for r in found.of("serving_poison")
        ]
        header = ["model", "", "good requests lost", "broken ones answered 4xx"]
        parts.append(f"Eight requests at once, one of them half a picture:\n\n{markdown(header, rows)}")
    parts.extend(_drills(found))
    return "\n\n".join(parts)


def _model_table(found: Found, model: str) -> str:
    names = found.names("contestant", model=model)
    rows = [
        row
        for connections in found.names("connections")
        for name in names
        if (row := _row(found, model, name, connections))
    ]
    ratios = ["to the ceiling (min-max)", "to Triton (min-max)"]
    header = ["connections", "", "a second", *ratios, "p50, ms", "p99, ms", "errors"]
    rounds = len(found.names("round", model=model))
    return f"{model}: medians of {rounds} rounds.\n\n{markdown(header, rows)}"


def _row(found: Found, model: str, name: str, connections: int) -> list[str] | None:
    turns = found.of("serving_load", model=model, contestant=name, connections=connections)
    if not turns:
        return None
    speed, p50, p99 = (statistics.median(turn[key] for turn in turns) for key in ("per_second", "p50_ms", "p99_ms"))
    errors = str(sum(turn["errors"] for turn in turns))
    ratios = [_spread([turn.get(f"per_second_to_{unit}") for turn in turns]) for unit in ("ceiling", "triton")]
    return [str(connections), _full_name(turns[0]), f"{speed:.1f}", *ratios, f"{p50:.2f}", f"{p99:.2f}", errors]


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
            f"`/readyz` p99 {r.get('readyz_p99_ms', 0):.1f} ms, failures {r.get('readyz_failures', 'not counted')}. "
            f"The client itself took {r['client_cores']:.2f} of a core and sent late by {r['sent_late_p99_ms']:.1f} ms "
            "(p99)."
        )
    for r in found.of("serving_reload"):
        yield (
            f"Ours ({r['model']}), {r['versions']} new versions under load: {r['errors']} errors, "
            f"p99 {r['p99_ms']:.1f} ms ({r['p99_to_calm']:.2f} of that without), "
            f"throughput {r['per_second_to_calm']:.2f} of that without."
        )


def _full_name(record: Record) -> str:
    return f"{record['contestant']}, {record['variant']}" if record["variant"] else record["contestant"]


def _spread(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    return f"{np.median(known):.2f} ({min(known):.2f}-{max(known):.2f})"
