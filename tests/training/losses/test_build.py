import pytest
import torch

from training.config import LossConfig
from training.losses import as_softmax_multilabel, build, r_softmax_loss
from training.losses.bce import bce
from training.losses.warm_up import delta_at


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.randn(4, 6, generator=generator), torch.rand(4, 6, generator=generator) < 0.4


def test_delta_falls_from_one_to_its_value_and_stays():
    assert [delta_at(progress, 0.1, 0.4) for progress in (0, 0.1, 0.2, 0.3)] == pytest.approx([1, 0.775, 0.55, 0.325])
    assert [delta_at(progress, 0.1, 0.4) for progress in (0.4, 0.7, 1.0)] == [0.1] * 3


def test_without_warm_up_delta_is_its_value_at_once():
    assert delta_at(0.0, 0.1, 0.0) == 0.1


@pytest.mark.parametrize(("name", "loss"), [("r_softmax", r_softmax_loss), ("bce", bce)])
def test_a_recipe_names_its_loss(batch, name, loss):
    torch.testing.assert_close(build(LossConfig(name=name))(*batch, 0.5), loss(*batch, reduction="none"))


@pytest.mark.parametrize(("progress", "delta"), [(0.0, 1.0), (0.25, 0.55), (0.5, 0.1), (1.0, 0.1)])
def test_as_softmax_follows_the_warm_up(batch, progress, delta):
    loss = build(LossConfig(name="as_softmax", delta=0.1, delta_warm_up=0.5))
    torch.testing.assert_close(loss(*batch, progress), as_softmax_multilabel(*batch, delta, reduction="none"))
