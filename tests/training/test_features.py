import json

import numpy as np
import pytest
import torch
from transformers import ResNetConfig, ResNetModel

from model.predictor import Predictor
from training.evaluate import answer
from training.evaluate_bundle import measure_bundle
from training.overrides import override
from training.train_and_export import train, train_and_export


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    network = ResNetModel(ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"))
    network.save_pretrained(tmp_path / "weights")
    return network.state_dict(), tmp_path / "weights"


@pytest.fixture
def recipe(image_recipe, weights):
    backbone = f'backbone={{"kind": "pretrained", "source": "{weights[1]}", "frozen": true}}'
    return override(image_recipe, [backbone, "schedule.epochs=3", "optimizer.head_lr=0.05"])


def test_a_frozen_backbone_keeps_its_weights_and_the_head_learns(recipe, weights, image_data, tmp_path):
    trained = train(recipe, image_data, tmp_path / "runs")
    for name, value in trained.whole.classifier.backbone.network.state_dict().items():
        assert torch.equal(value, weights[0][name]), name
    losses = [row["train_loss"] for row in trained_history(tmp_path / "runs")]
    assert losses[-1] < losses[0]


def test_the_whole_network_answers_as_the_head_did_on_its_features(recipe, image_data, tmp_path):
    trained = train(recipe, image_data, tmp_path / "runs")
    whole = answer(trained.whole.classifier, trained.whole.test, "whole")
    seen = answer(trained.seen.classifier, trained.seen.test, "seen")
    np.testing.assert_allclose(whole.logits_NC, seen.logits_NC, atol=1e-4)
    np.testing.assert_array_equal(whole.targets_NC, seen.targets_NC)


def test_features_are_computed_once_for_all_seeds_and_anew_for_another_input(recipe, image_data, tmp_path):
    def files():
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs/features").glob("*.npy")}

    train(recipe, image_data, tmp_path / "runs")
    first = files()
    assert len(first) == 3
    train(override(recipe, ["seed=1"]), image_data, tmp_path / "runs")
    assert files() == first
    train(override(recipe, ["input.size=24"]), image_data, tmp_path / "runs")
    assert len(files()) == 6


def test_the_bundle_of_a_frozen_backbone_takes_pictures(recipe, image_data, tmp_path):
    finished = train_and_export(recipe, image_data, tmp_path / "bundle", tmp_path / "runs")
    predictor = Predictor.open(tmp_path / "bundle", device="cpu")
    measured = measure_bundle(predictor, image_data.test)
    assert measured["example_f1"] == pytest.approx(finished.exported.metrics["example_f1"])


def test_the_features_of_recordings_are_kept_too_and_the_bundle_takes_recordings(
    audio_recipe, weights, audio_data, tmp_path
):
    backbone = f'backbone={{"kind": "pretrained", "source": "{weights[1]}", "frozen": true}}'
    recipe = override(audio_recipe, [backbone, "schedule.epochs=2"])
    finished = train_and_export(recipe, audio_data, tmp_path / "bundle", tmp_path / "runs")
    assert len(list((tmp_path / "runs/features").glob("*.npy"))) == 3
    predictor = Predictor.open(tmp_path / "bundle", device="cpu")
    samples = predictor.bundle.manifest.inputs[0]
    assert (samples.name, samples.dtype) == ("samples", "int16")
    measured = measure_bundle(predictor, audio_data.test)
    assert measured["example_f1"] == pytest.approx(finished.exported.metrics["example_f1"])


def trained_history(runs):
    (log,) = runs.glob("*/metrics.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [row for row in rows if "train_loss" in row]
