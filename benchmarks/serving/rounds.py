"""The turns: every contestant in every round, in another order each time, so that the machine's moods hit all alike.

Only one server is under load at a time; the others are stopped (SIGSTOP) where they bear it, so that what they do when
idle does not cost the one whose turn it is.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.serving.ceiling import Ceiling
from benchmarks.serving.contestant import Contestant
from benchmarks.serving.environments import PeerUnavailable
from benchmarks.serving.load import Load, LoadFailed
from benchmarks.serving.server import Server
from benchmarks.serving.workloads import Workload

# What a turn is compared with, in the same round.
UNITS = ("ceiling", "triton")
_HEAT_CONNECTIONS = (8, 32)
_HEAT_SECONDS = 2
Record = dict[str, Any]
Say = Callable[[str], None]


def start_all(
    contestants: Sequence[Contestant], workload: Workload, folder: Path, say: Say
) -> Iterator[Server | Record]:
    """Start the contestants, of each its best variant; for one that cannot, a record that says why."""
    for contestant in contestants:
        try:
            server, heats = _best(contestant, workload, folder, say)
        except PeerUnavailable as error:
            say(f"{contestant.name} does not take part: {error}")
            yield _absence(workload, contestant.name, str(error))
            continue
        server.freeze()
        yield from heats
        yield server


def play(
    players: Sequence[Server | Ceiling], workload: Workload, connections: Sequence[int], rounds: int, seconds: int
) -> Iterator[Record]:
    """Let all have their turns; a record each, with ratios to those of the ceiling and of Triton in the same round."""
    shuffled = random.Random(0)
    playing = list(players)
    for number in range(rounds):
        for count in connections:
            turns = {}
            for player in shuffled.sample(playing, len(playing)):
                try:
                    turns[player.name] = player.turn(count, seconds, number)
                except LoadFailed as error:
                    playing.remove(player)
                    yield _absence(workload, player.name, f"it died in round {number}: {error}")
            for player in playing:
                yield {
                    "benchmark": "serving_load",
                    **_names(workload, player.name),
                    "variant": player.variant,
                    "connections": count,
                    "round": number,
                    **_figures(turns[player.name]),
                    **_ratios(turns[player.name], turns),
                }


def _best(contestant: Contestant, workload: Workload, folder: Path, say: Say) -> tuple[Server, list[Record]]:
    """A server of the variant that answers most, and a record of each variant's heat."""
    best: Server | None = None
    fastest = -1.0
    reasons, heats = [], []
    for variant in contestant.variants:
        try:
            server = Server(contestant, variant, workload, folder)
        except PeerUnavailable as error:
            reasons.append(f"{variant}: {error}" if variant else str(error))
            continue
        per_second = _heat(server)
        heats.append(
            {
                "benchmark": "serving_heat",
                **_names(workload, contestant.name),
                "variant": variant,
                "per_second": per_second,
            }
        )
        say(f"{workload.name}, {contestant.name} {variant}: {per_second:.1f} a second")
        if per_second > fastest:
            best, server, fastest = server, best, per_second
        if server:
            server.end()
    if best is None:
        raise PeerUnavailable("; ".join(reasons))
    return best, heats


def _heat(server: Server) -> float:
    """Good answers a second, the geometric mean over the numbers of connections; 0 where it does not survive."""
    try:
        return math.sqrt(math.prod(server.turn(count, _HEAT_SECONDS).per_second for count in _HEAT_CONNECTIONS))
    except LoadFailed:
        return 0.0


def _absence(workload: Workload, name: str, reason: str) -> Record:
    return {"benchmark": "serving_absent", **_names(workload, name), "reason": reason}


def _names(workload: Workload, name: str) -> Record:
    return {"model": workload.name, "contestant": name}


def _figures(load: Load) -> Record:
    return {"per_second": round(load.per_second, 3), "errors": load.errors} | {
        name: value for name, value in asdict(load).items() if name not in ("seconds", "refusals", "broken", "timeouts")
    }


def _ratios(own: Load, turns: dict[str, Load]) -> Record:
    found: Record = {}
    for unit in UNITS:
        if (other := turns.get(unit)) and other.per_second:
            found[f"per_second_to_{unit}"] = own.per_second / other.per_second
            found[f"p99_to_{unit}"] = own.p99_ms / other.p99_ms
    if "ceiling" in turns:
        found["p50_ms_above_ceiling"] = own.p50_ms - turns["ceiling"].p50_ms
    return found
