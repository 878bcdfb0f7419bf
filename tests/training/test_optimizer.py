import math

import pytest
from torch import nn

from training.config import OptimizerConfig
from training.optimizer import build_optimizer, learning_rate_factor, set_learning_rate


def test_the_learning_rate_rises_linearly_and_falls_as_half_a_cosine():
    factors = [learning_rate_factor(done, 0.2) for done in (0, 0.1, 0.2, 0.6, 1)]
    assert factors == pytest.approx([0, 0.5, 1, 0.5, 0])
    assert all(math.isfinite(learning_rate_factor(0.5, warm_up)) for warm_up in (0, 0.5, 1))


def test_head_and_backbone_have_their_own_rates_and_only_matrices_decay():
    network = nn.ModuleDict({"backbone": nn.Linear(3, 4), "head": nn.Linear(4, 2)})
    optimizer = build_optimizer(network, OptimizerConfig(lr=1, head_lr=2, weight_decay=3))
    assert _settings(optimizer) == {(4, 3): (1, 3), (4,): (1, 0), (2, 4): (2, 3), (2,): (2, 0)}
    set_learning_rate(optimizer, 0.25)
    assert {lr for lr, _ in _settings(optimizer).values()} == {0.25, 0.5}


@pytest.mark.parametrize("blocks", ["layer", "stages"])
def test_each_block_further_from_the_head_learns_slower(blocks):
    encoder = nn.ModuleDict({blocks: nn.ModuleList([nn.Linear(2, width) for width in (3, 4, 5)])})
    network = nn.ModuleDict(
        {"backbone": nn.ModuleDict({"embeddings": nn.Linear(2, 6), "encoder": encoder}), "head": nn.Linear(5, 7)}
    )
    settings = _settings(build_optimizer(network, OptimizerConfig(lr=1, head_lr=2, layer_decay=0.5)))
    assert [settings[width, 2][0] for width in (5, 4, 3, 6)] == [1, 0.5, 0.25, 0.125]
    assert settings[7, 5][0] == 2


def _settings(optimizer):
    return {
        tuple(parameter.shape): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
