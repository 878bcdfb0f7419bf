"""Measure the service against its peers, and write what was found.

    python -m benchmarks.serving --json runs/serving.json
    python -m benchmarks.serving --render runs/serving.json
    python -m benchmarks.serving --tune --json runs/serving-tune.json

The second command writes the figures into docs/performance-serving.md, which tells the method, and draws its plot; the
third measures ours alone over its own settings. The load comes from `wrk` (apt-get install wrk). The machine must have
nothing else to do.
"""

import importlib.metadata
import itertools
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from benchmarks.serving import drills, report
from benchmarks.serving.ceiling import Ceiling
from benchmarks.serving.contestant import Contestant
from benchmarks.serving.goals import goals_table
from benchmarks.serving.load import require_wrk
from benchmarks.serving.ours import Ours
from benchmarks.serving.peers import PEERS
from benchmarks.serving.rounds import Record, Say, play, start_all
from benchmarks.serving.server import Server
from benchmarks.serving.workloads import WORKLOADS, Workload
from service.settings import Settings

NAMES = ("ours", *PEERS)
# Times that eight requests with a broken one among them are sent to each.
_POISONED = 10
_TUNED = {"runners": (1, 2), "runtime_threads": (1, 2), "decode_threads": (1, 2)}


@click.command()
@click.option("--model", "models", multiple=True, type=click.Choice(list(WORKLOADS)), help="Default: all.")
@click.option(
    "--contestant", "names", multiple=True, type=click.Choice(NAMES), help="Beside the ceiling. Default: all."
)
@click.option("--connections", default="1,8,32", show_default=True)
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=6, show_default=True, type=click.IntRange(1), help="Of a turn; whole ones.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting of ours, as runners=2.")
@click.option("--tune", is_flag=True, help="Ours alone, over its own settings.")
@click.option("--drills/--no-drills", "with_drills", default=True, show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the records.")
@click.option("--render", type=click.Path(path_type=Path, exists=True), help="Only write the page from such JSON.")
def main(
    models: tuple[str, ...],
    names: tuple[str, ...],
    connections: str,
    rounds: int,
    seconds: int,
    settings: tuple[str, ...],
    tune: bool,
    with_drills: bool,
    json_file: Path | None,
    render: Path | None,
) -> None:
    """Measure, then print the tables."""
    if render:
        report.render(json.loads(render.read_text()))
        return
    require_wrk()
    # As Ctrl-C does: the servers must not outlive the benchmark.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    own = dict(_setting(text) for text in settings)
    workloads = [WORKLOADS[name] for name in models or WORKLOADS]
    counts = [int(count) for count in connections.split(",")]
    contestants = _tuned(own) if tune else _chosen(names or NAMES, own)
    with_drills = with_drills and not tune
    records = [_machine(own)]
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for workload in workloads:
            for record in measure(workload, contestants, own, Path(folder), counts, rounds, seconds, with_drills, _say):
                records.append(record)
                if json_file:
                    report.write(records, json_file)
        if with_drills and "ours" in (names or NAMES):
            _say("ours at rest")
            records.append(drills.rest(own, Path(folder) / "rest"))
    if json_file:
        report.write(records, json_file)
    click.echo(report.tables(records))
    if not tune:
        click.echo(f"\n{goals_table(records)}\n\n{report.circumstances(records)}")


def measure(
    workload: Workload,
    contestants: Sequence[Contestant],
    settings: dict[str, str],
    folder: Path,
    connections: Sequence[int],
    rounds: int,
    seconds: int,
    with_drills: bool,
    say: Say,
) -> Iterator[Record]:
    """The records of one model: heats, rounds and, of our own service by the name of `ours`, drills."""
    say(f"{workload.name}: starting")
    ceiling = Ceiling(workload, folder / f"{workload.name}-ceiling", _threads(settings))
    players: list[Server | Ceiling] = [ceiling]
    servers: list[Server] = []
    try:
        for started in start_all(contestants, workload, folder, say):
            if isinstance(started, Server):
                servers.append(started)
                players.append(started)
            else:
                yield started
        for record in play(players, workload, connections, rounds, seconds):
            if record["benchmark"] == "serving_load":
                turn = f"round {record['round']}, {record['contestant']} at {record['connections']}"
                say(f"{workload.name}, {turn}: {record['per_second']:.1f} a second")
            yield record
        if with_drills and not workload.is_text:
            for server in servers:
                if server.processes.alive:
                    yield drills.poison(server, _POISONED)
        ours = next((server for server in servers if server.name == "ours" and server.processes.alive), None)
        if with_drills and ours:
            say(f"{workload.name}: overload, new versions")
            yield drills.overload(ours, seconds)
            ours.end()
            yield drills.reload(workload, settings, folder / f"{workload.name}-reload", 2 * seconds)
    finally:
        for player in players:
            player.end()


def _chosen(names: Sequence[str], settings: dict[str, str]) -> list[Contestant]:
    return [Ours(settings) if name == "ours" else PEERS[name]() for name in NAMES if name in names]


def _tuned(settings: dict[str, str]) -> list[Contestant]:
    contestants: list[Contestant] = []
    for values in itertools.product(*_TUNED.values()):
        own = dict(zip(_TUNED, map(str, values), strict=True))
        name = ", ".join(f"{key} {value}" for key, value in own.items())
        contestants.append(Ours({**settings, **own}, name))
    return contestants


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or key not in Settings.model_fields:
        raise click.UsageError(f"--set takes KEY=VALUE with a setting of the service as the key, got {text}")
    return key, value


def _threads(settings: dict[str, str]) -> int:
    """Threads within an operator: the bare work is done with as many as ours does it with."""
    return Settings(**settings).load_settings(["cpu"]).threads


def _machine(settings: dict[str, str]) -> Record:
    """What the figures depend on besides the code."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    cpus = [line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")]
    requirements = [requirement.partition("==") for name in PEERS for requirement in PEERS[name].requirements[:1]]
    return {
        "benchmark": "serving_machine",
        "cpu": cpus[0] if cpus else platform.machine(),
        "cores": os.cpu_count(),
        "settings": settings,
        "versions": {
            **{name: importlib.metadata.version(name) for name in ("onnxruntime", "pillow", "tokenizers")},
            **{name: version for name, _, version in requirements},
        },
    }


def _say(message: str) -> None:
    click.echo(message, err=True)


if __name__ == "__main__":
    main()
