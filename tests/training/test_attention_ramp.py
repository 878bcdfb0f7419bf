import pytest
import torch

from model.nn.attention import BUFFER
from training.attention_ramp import follow_ramp, rate_at
from training.build import build_parts
from training.config import AttentionConfig, ConfigError
from training.loop import Run
from training.overrides import override


@pytest.mark.parametrize(
    ("progress", "rate"), [(0.0, 0.0), (0.125, 0.05), (0.25, 0.1), (0.5, 0.2), (0.75, 0.2), (1.0, 0.2)]
)
def test_the_rate_rises_linearly_to_the_target_and_stays(progress, rate):
    assert rate_at(progress, target=0.2, ramp=0.5) == pytest.approx(rate, abs=1e-12)


def test_without_a_ramp_the_rate_is_the_target_from_the_start():
    assert rate_at(0.0, target=0.2, ramp=0.0) == 0.2


def _rates(network):
    return [value.item() for name, value in network.named_buffers() if name.endswith(BUFFER)]


def test_a_recipe_that_keeps_softmax_is_left_alone(text_recipe, text_data):
    classifier = build_parts(text_recipe, text_data).classifier
    follow_ramp(classifier, AttentionConfig(), 0.5)
    assert _rates(classifier) == []


def test_a_network_starts_at_the_target_so_that_frozen_features_have_it(text_recipe, text_data):
    recipe = override(text_recipe, ["backbone.attention.sparsity_rate=0.15"])
    assert _rates(build_parts(recipe, text_data).classifier) == [0.15]


def test_the_loop_raises_the_rate_step_by_step(text_recipe, text_data, tmp_path):
    recipe = override(
        text_recipe,
        ["backbone.attention.sparsity_rate=0.4", "backbone.attention.ramp=0.5", "schedule.epochs=2"],
    )
    parts = build_parts(recipe, text_data)
    run = Run(recipe, parts, tmp_path)
    seen = []
    parts.classifier.backbone.register_forward_pre_hook(
        lambda backbone, _: seen.extend(_rates(backbone)) if torch.is_grad_enabled() else None
    )
    run.train()
    # Two epochs of five steps: as many of them rise as stay.
    assert len(seen) == 10
    assert seen == sorted(seen)
    assert 0 <= seen[0] < 0.1
    assert seen[2] == pytest.approx(0.4 * 0.5, abs=0.06)
    assert seen[5:] == [0.4] * 5


def test_attention_of_a_network_without_any_is_refused(image_recipe, image_data):
    recipe = override(image_recipe, ["backbone.attention.sparsity_rate=0.15"])
    with pytest.raises(ConfigError, match=r"must be unset for image: a ResNet has no attention, got 0\.15"):
        build_parts(recipe, image_data)
