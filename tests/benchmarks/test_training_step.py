"""The benchmark of a step times contestants that do the same work."""

import json
import math

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks import training_step
from training.overrides import override

CONTESTANTS = {
    "labelset": training_step._ours,
    "bare PyTorch": training_step._bare,
    "Hugging Face Trainer": training_step._trainer,
}


@pytest.fixture
def one_epoch(text_recipe):
    return override(text_recipe, ["schedule.epochs=1", "schedule.batch_size=3", "optimizer.warm_up=0"])


def _parts_without_dropout(recipe, data):
    parts = training_step._parts(recipe, data)
    for module in parts.classifier.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return parts


def _weights(parts):
    trained = (parameter for parameter in parts.classifier.parameters() if parameter.requires_grad)
    return torch.cat([parameter.detach().flatten() for parameter in trained])


def test_a_run_writes_a_record_for_each_contestant_in_multiples_of_the_bare_loop(text_data, tmp_path):
    source, out = tmp_path / "words.jsonl", tmp_path / "out.json"
    source.write_text("".join(json.dumps({"text": e.text, "labels": e.labels}) + "\n" for e in text_data))
    settings = [
        'backbone={"kind": "new", "hidden_size": 32, "layers": 1}',
        f"data.source={source}",
        "input.max_length=16",
        "input.vocabulary_size=120",
        "schedule.batch_size=8",
        "precision=float32",
    ]
    arguments = ["--recipe=text", "--examples=20", "--rounds=2", *(f"--set={setting}" for setting in settings)]
    result = CliRunner().invoke(training_step.main, [*arguments, "--json", str(out)], catch_exceptions=False)
    records = {record["contestant"]: record for record in json.loads(out.read_text())}
    assert list(records) == list(CONTESTANTS)
    assert records["bare PyTorch"]["ratios"] == [1, 1]
    for record in records.values():
        assert len(record["ratios"]) == 2
        assert record["milliseconds_per_sample"] > 0
        assert record["ratio_to_bare"] == pytest.approx(np.median(record["ratios"]), abs=1e-3)
    assert [line.split(" | ")[0] for line in result.output.splitlines() if line.startswith("| ")] == [
        "| contestant",
        *(f"| {name}" for name in CONTESTANTS),
    ]


@pytest.mark.parametrize("name", CONTESTANTS)
def test_every_contestant_learns_once_from_every_text_in_batches_of_the_recipe(one_epoch, text_data, name):
    parts = _parts_without_dropout(one_epoch, text_data)
    batch_sizes = []

    def note(backbone, inputs, _):
        if backbone.training:
            batch_sizes.append(len(inputs[0]))

    parts.classifier.backbone.register_forward_hook(note)
    before = _weights(parts)
    assert CONTESTANTS[name](one_epoch, parts) > 0
    count, size = len(text_data.train), one_epoch.schedule.batch_size
    assert sum(batch_sizes) == count
    assert len(batch_sizes) == math.ceil(count / size)
    assert (_weights(parts) - before).norm() > 1


def test_the_bare_loop_comes_to_the_weights_of_ours(one_epoch, text_data):
    ends = []
    for train in (training_step._ours, training_step._bare):
        parts = _parts_without_dropout(one_epoch, text_data)
        before = _weights(parts)
        train(one_epoch, parts)
        ends.append(_weights(parts) - before)
    ours, bare = ends
    # The learning rate of a step is that of its middle in one loop, of its beginning in the other.
    assert (ours - bare).norm() < 0.15 * ours.norm()
