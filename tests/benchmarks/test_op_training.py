"""The training benchmark measures what it says, and writes it down."""

import json

import pytest
import torch
from click.testing import CliRunner

from benchmarks import op_training


def test_a_run_writes_a_record_for_each_shape_and_request(tmp_path):
    threads = torch.get_num_threads()
    arguments = ["--batch-sizes", "1,3", "--classes", "7,20", "--rounds", "5", "--json", str(tmp_path / "out.json")]
    try:
        result = CliRunner().invoke(op_training.main, arguments, catch_exceptions=False)
    finally:
        torch.set_num_threads(threads)
    records = json.loads((tmp_path / "out.json").read_text())
    assert {(r["classes"], r["batch_size"]) for r in records} == {(7, 1), (7, 3), (20, 1), (20, 3)}
    assert len(records) == 4 * len(op_training.REQUESTS)
    for record in records:
        assert record["ratio"] == pytest.approx(record["microseconds"] / record["softmax_microseconds"])
        assert record["ratio_lower_quartile"] <= record["ratio_upper_quartile"]
        assert record["threads"] == 1
    assert result.output.count("\n| ") == len(records)


def test_a_turn_is_a_forward_and_a_backward_pass():
    calls = []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, logits):
            calls.append("forward")
            return logits * 1

        @staticmethod
        def backward(ctx, gradient):
            calls.append("backward")
            return gradient

    logits = torch.zeros(2, 3, requires_grad=True)
    seconds = op_training.take_turns({"watched": Watched.apply}, logits, torch.ones(2, 3), rounds=4)
    assert calls == ["forward", "backward"] * (3 + 4)
    assert len(seconds["watched"]) == 4
