"""The benchmark of exports measures each against the float32 graph of the same network."""

import pytest

from benchmarks.export import EXPORTS, measure
from training.overrides import override


def test_every_export_has_a_record_in_multiples_of_float32(trained_text):
    recipe = override(trained_text.recipe, ["export.max_f1_loss=1"])
    records = measure(recipe, trained_text.data, trained_text.parts, test_limit=8, batches=2)
    assert [(record["weights"], record["arithmetic"]) for record in records] == [
        *EXPORTS,
        ("float32", "float32, fused offline"),
    ]
    for record in records:
        for size in (1, 8):
            expected = record[f"milliseconds_{size}"] / records[0][f"milliseconds_{size}"]
            assert record[f"ratio_{size}"] == pytest.approx(expected)
        assert record["test_examples"] == 8
    assert [record["same_label_sets"] is None for record in records] == [True, True, False, False, True]
    assert all(record["bytes"] < records[0]["bytes"] for record in records[1:4])
    assert records[4]["nodes"] < records[0]["nodes"]
