"""What skipping needs of a loss: the rule, and that it is true of the loss itself."""

import pytest
import torch
from torch import nn

from model.nn.heads import HeadOutput
from training.build import build_parts
from training.config import ConfigError
from training.masking import check_skipping
from training.objective import Objective
from training.overrides import override

SKIP = "speed.skip_masked=true"
LEARNED = "head.policy=learned_threshold"
ALL_BELOW_1 = ["loss.delta=0.3", "loss.delta_warm_up=0"]


class _Right(nn.Module):
    """A classifier that is right of every row, by far; its head is one for the recipe's policy and task."""

    def __init__(self, recipe, task):
        super().__init__()
        self.counted = task == "multi_label"
        self.learned = recipe.head.policy == "learned_threshold"
        self.backbone = nn.Identity()

    def head(self, inputs):
        of_class, of_count = torch.tensor([[8.0, 8.0, -8.0]]), torch.tensor([[-8.0, -8.0, 8.0]])
        if not self.counted:
            of_class, of_count = torch.tensor([[8.0, -8.0, -8.0]]), torch.empty(1, 0)
        t_B = torch.tensor([8.0]) if self.learned else None
        if inputs.ndim == 2:  # texts of one token
            return HeadOutput(of_class[:, None], of_count[:, None], t_B)
        return HeadOutput(of_class, of_count, t_B)


@pytest.mark.parametrize(
    ("task", "settings", "needed"),
    [
        ("multi_label", ALL_BELOW_1, None),
        ("multi_class", ALL_BELOW_1, None),
        ("token_classification", ALL_BELOW_1, None),
        ("token_classification", [*ALL_BELOW_1, LEARNED], None),
        ("multi_label", [*ALL_BELOW_1, "loss.name=zlpr"], "loss.name as_softmax, got zlpr"),
        ("multi_class", [*ALL_BELOW_1, "loss.name=softmax"], "loss.name as_softmax, got softmax"),
        ("multi_class", ["loss.delta=1"], "loss.delta below 1, got 1"),
        (
            "multi_label",
            [*ALL_BELOW_1, "loss.delta=1", "loss.delta_scaling=label_count"],
            "loss.delta below 1, got 1",
        ),
        ("multi_class", [*ALL_BELOW_1, LEARNED], "a head.policy without a loss of its own, got learned_threshold"),
    ],
)
def test_skipping_is_refused_where_even_a_right_answer_by_far_has_a_loss(text_recipe, task, settings, needed):
    recipe = override(text_recipe, settings)
    inputs, targets = torch.empty(1), torch.tensor([[True, task == "multi_label", False]])
    if task == "token_classification":
        inputs, targets = torch.empty(1, 1), torch.tensor([[0]])
    [loss] = Objective(_Right(recipe, task), recipe.loss, task)(inputs, targets, 1.0).network_B.tolist()
    assert (loss == 0) == (needed is None)

    check_skipping(recipe, task)  # nothing is skipped
    skipping = recipe.model_copy(update={"speed": recipe.speed.model_copy(update={"skip_masked": True})})
    if needed is None:
        check_skipping(skipping, task)
    else:
        with pytest.raises(ConfigError, match=f"^speed.skip_masked needs {needed}; else no sample is ever masked$"):
            check_skipping(skipping, task)


def test_what_no_task_allows_is_refused_with_the_settings_in_any_order(text_recipe):
    for settings in ([SKIP], [SKIP, "loss.delta=0.3", "loss.name=bce"]):
        with pytest.raises(ConfigError, match=r"speed\.skip_masked needs loss\."):
            override(text_recipe, settings)
    assert override(text_recipe, [SKIP, "loss.delta=0.3"]) == override(text_recipe, ["loss.delta=0.3", SKIP])


def test_what_the_datas_task_does_not_allow_is_refused_before_anything_is_built(text_recipe, text_data):
    recipe = override(text_recipe, [SKIP, "loss.delta=0.3"])
    with pytest.raises(ConfigError, match=r"speed\.skip_masked needs a head\.policy without a loss of its own"):
        build_parts(override(recipe, [LEARNED]), text_data)
    assert build_parts(recipe, text_data).task == "multi_label"
