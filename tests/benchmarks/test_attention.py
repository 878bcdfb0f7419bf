"""The benchmarks of attention measure what they say, and write it down."""

import json

import pytest
import torch
from click.testing import CliRunner

from benchmarks import attention, attention_quality
from model.nn.attention import NAME


def test_a_run_writes_a_record_for_each_pass_length_and_contestant(tmp_path):
    threads = torch.get_num_threads()
    small = ["--lengths", "8,16", "--tokens", "32", "--layers", "1", "--rounds", "1"]
    try:
        result = CliRunner().invoke(
            attention.main, [*small, "--json", str(tmp_path / "out.json")], catch_exceptions=False
        )
    finally:
        torch.set_num_threads(threads)
    records = json.loads((tmp_path / "out.json").read_text())
    assert {(r["length"], r["batch_size"]) for r in records} == {(8, 4), (16, 2)}
    contestants = {r["pass"]: {s["contestant"] for s in records if s["pass"] == r["pass"]} for r in records}
    assert contestants[attention.FORWARD] == {attention.SDPA, attention.EAGER, attention.SPARSE}
    assert contestants[attention.STEP] == contestants[attention.FORWARD]
    assert {attention.GRAPH, attention.FUNCTION} <= contestants[attention.SERVED]
    for record in records:
        if record["contestant"] in (attention.SDPA, attention.GRAPH):
            assert record["time_ratio"] == 1
        assert (record["peak_mebibytes"] is None) == (record["pass"] == attention.SERVED)
    assert result.output.count("\n| ") == len(records)


def test_the_contestants_differ_in_their_attention_alone():
    networks = attention.build_networks(rate=0.15, layers=1)
    implementations = [network.network.config._attn_implementation for network in networks.values()]
    assert implementations == ["sdpa", "eager", NAME]
    token_ids_BT = attention.padded_texts(3, 10)
    assert (token_ids_BT != 0).sum(dim=1).tolist()[0] == 10
    assert (token_ids_BT == 0).any()
    with torch.inference_mode():
        sdpa, eager, sparse = (network.eval()(token_ids_BT) for network in networks.values())
    torch.testing.assert_close(sdpa, eager, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(sdpa, sparse, atol=1e-3)


def test_the_peak_is_what_a_call_takes_at_most_and_not_what_it_keeps():
    def call():
        for _ in range(3):
            torch.ones(8, 2**20)  # 32 MiB

    attention.peak_bytes(call)
    assert attention.peak_bytes(call) / 2**20 == pytest.approx(32, abs=4)


def test_differences_to_softmax_are_those_of_the_same_seed():
    rows = [("softmax", 0, 0.5), ("softmax", 1, 0.7), ("0.1", 0, 0.6), ("0.1", 1, 0.6)]
    records = [
        {"rate": rate, "seed": seed, "metric": "example_f1", "validation": 0.5, "test": test}
        for rate, seed, test in rows
    ]
    *_, softmax, sparse = attention_quality.trained_table(records).splitlines()
    assert softmax == "| softmax | 0.5000 ± 0.0000 | 0.6000 ± 0.1414 |  |"
    assert sparse == "| r-softmax, r = 0.1 | 0.5000 ± 0.0000 | 0.6000 ± 0.0000 | +0.1000, -0.1000 |"


def test_features_move_the_more_the_higher_the_rate(text_recipe, text_data):
    low, high = attention_quality.features_moved(text_recipe, text_data, [0.1, 0.9])
    assert high["cosine_mean"] < low["cosine_mean"] < 1
    assert high["cosine_min"] < low["cosine_min"]
    assert high["same_nearest_text"] <= low["same_nearest_text"]
