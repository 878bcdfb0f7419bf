"""The benchmark of policies compares graphs that do what their names say."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import policies
from model.policies import GRAPH_POLICIES


def test_a_run_writes_a_record_for_each_policy_in_multiples_of_the_one_built_in(tmp_path):
    arguments = ["--batch-size", "3", "--classes", "20", "--rounds", "3", "--json", str(tmp_path / "out.json")]
    result = CliRunner().invoke(policies.main, arguments, catch_exceptions=False)
    records = {record["policy"]: record for record in json.loads((tmp_path / "out.json").read_text())}
    assert sorted(records) == sorted([policies.BUILT_IN, *GRAPH_POLICIES])
    for record in records.values():
        assert record["ratio"] == pytest.approx(record["microseconds"] / records[policies.BUILT_IN]["microseconds"])
    assert result.output.count("\n| ") == 1 + len(records)


def test_the_graph_that_is_told_a_policy_answers_as_the_one_that_has_it_built_in():
    runs = policies.contestants(batch_size=5, class_count=30)
    built_in, told, other = (
        session.run(["label_index"], feed)[0]
        for session, feed in (runs[name] for name in (policies.BUILT_IN, "predicted_count", "positive_logits"))
    )
    np.testing.assert_array_equal(built_in, told)
    assert built_in.tolist() != other.tolist()
