"""The benchmark of the losses measures what it says, and writes it down."""

import json
from typing import get_args

import pytest
import torch
from click.testing import CliRunner

from benchmarks import losses
from training.config import LossName
from training.losses import r_softmax_loss


def test_a_run_writes_a_record_for_each_loss_and_all_pairs_only_where_they_fit(tmp_path):
    threads = torch.get_num_threads()
    arguments = ["--batch-size", "2", "--classes", "10,20", "--pairs-up-to", "10", "--rounds", "3"]
    try:
        result = CliRunner().invoke(
            losses.main, [*arguments, "--json", str(tmp_path / "out.json")], catch_exceptions=False
        )
    finally:
        torch.set_num_threads(threads)
    records = json.loads((tmp_path / "out.json").read_text())
    named = [(record["classes"], record["loss"]) for record in records]
    names = get_args(LossName)
    assert named == [*((10, name) for name in names), (10, losses.ALL_PAIRS), *((20, name) for name in names)]
    for record in records:
        [baseline] = [r for r in records if (r["classes"], r["loss"]) == (record["classes"], losses.BASELINE)]
        assert record["ratio"] == pytest.approx(record["microseconds"] / baseline["microseconds"])
        assert record["memory_ratio"] == pytest.approx(record["peak_bytes"] / baseline["peak_bytes"])
        assert record["memory_in_logits"] * record["classes"] * 2 * 4 == pytest.approx(record["peak_bytes"])
    assert result.output.count("\n| ") == len(names) + 1


def test_all_pairs_written_out_are_the_same_loss():
    generator = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(4, 9, generator=generator), torch.rand(4, 9, generator=generator) < 0.4
    torch.testing.assert_close(losses.all_pairs(logits, targets), r_softmax_loss(logits, targets, reduction="none"))


def test_peak_memory_counts_what_is_held_at_a_time_and_not_all_that_was_ever_taken():
    def two_then_one(logits):
        doubled = [logits.detach() * 2, logits.detach() * 3]
        del doubled
        return logits.detach() * 4 + logits

    logits = torch.zeros(1000, requires_grad=True)
    # The product, and the sum that is made while it is still there, beside a few scalars.
    assert losses.peak_bytes(two_then_one, logits, torch.ones(1000)) == pytest.approx(2 * 4000, abs=100)
