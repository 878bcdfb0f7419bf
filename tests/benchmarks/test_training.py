"""The benchmark of training tells time to a target as its page says."""

import math

from benchmarks.training import table, time_to

SKIPPING = "AS-Softmax, skipping"


def _record(contestant, seed, *history):
    rows = [
        {"cpu_seconds": seconds, "validation_example_f1": f1, "active_share": active} for seconds, f1, active in history
    ]
    return {"recipe": "words", "contestant": contestant, "seed": seed, "history": rows}


def test_time_runs_to_the_first_validation_that_reached_the_target():
    history = _record("softmax", 0, (10.0, 0.4, 1), (20.0, 0.5, 1), (30.0, 0.45, 1), (40.0, 0.6, 1))["history"]
    assert [time_to(history, f1) for f1 in (0.3, 0.45, 0.5, 0.51)] == [10, 20, 20, 40]
    assert time_to(history, 0.61) == math.inf


def test_each_seed_is_compared_with_the_faster_baseline_on_the_way_to_the_better_ones_f1():
    records = [
        # The target is softmax's 0.5; ZLPR is the first at 99 % of it, and never comes to all of it.
        _record("softmax", 0, (10.0, 0.4, 1.0), (20.0, 0.5, 1.0)),
        _record("ZLPR", 0, (16.0, 0.497, 1.0), (32.0, 0.48, 1.0)),
        _record(SKIPPING, 0, (8.0, 0.496, 0.5), (10.0, 0.52, 0.3)),
        # Here it is ZLPR's 0.8, which the third reaches only at its end.
        _record("softmax", 1, (30.0, 0.7, 1.0)),
        _record("ZLPR", 1, (24.0, 0.8, 1.0)),
        _record(SKIPPING, 1, (6.0, 0.795, 0.2), (12.0, 0.8, 0.1)),
    ]
    lines = table("words", records).splitlines()
    assert lines[1] == "words"
    assert lines[3] == "| contestant | best F1 | seconds | times faster to 99% | times faster to 100% | active |"
    assert lines[5:] == [
        "| softmax | 0.6000 (0.5000 to 0.7000) | 25 (20 to 30) | 0.40 (0.00 to 0.80) | 0.50 (0.00 to 1.00) "
        "| 100% (100% to 100%) |",
        "| ZLPR | 0.6485 (0.4970 to 0.8000) | 28 (24 to 32) | 1.00 (1.00 to 1.00) | 0.50 (0.00 to 1.00) "
        "| 100% (100% to 100%) |",
        f"| {SKIPPING} | 0.6600 (0.5200 to 0.8000) | 11 (10 to 12) | 3.00 (2.00 to 4.00) | 2.00 (2.00 to 2.00) "
        "| 20% (10% to 30%) |",
    ]


def test_seeds_are_not_mixed():
    # Seed 1 is the easier: its target is out of reach of seed 0, whose own is not.
    records = [
        _record("softmax", 0, (10.0, 0.5, 1.0)),
        _record(SKIPPING, 0, (5.0, 0.5, 1.0)),
        _record("softmax", 1, (40.0, 0.9, 1.0)),
        _record(SKIPPING, 1, (10.0, 0.9, 1.0)),
    ]
    assert "| 3.00 (2.00 to 4.00) | 3.00 (2.00 to 4.00) |" in table("words", records).splitlines()[-1]
