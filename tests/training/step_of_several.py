"""What `test_processes.py` starts twice: one step, for which only the processes that are named have rows to look at."""

import sys

import click
import numpy as np
import torch

from model.manifest import SparsityPolicy
from model.nn.classifier import Classifier
from model.nn.heads import LabelSetHead
from training.data.arrays import Batch
from training.features import CachedFeatures
from training.objective import Objective
from training.overrides import named_recipe, override
from training.processes import join, one_of_several
from training.stepping import Pace, Stepper

FEATURES, CLASSES, BATCH = 6, 5, 8
SETTINGS = [
    "loss.delta=0.2",
    "loss.delta_warm_up=0",
    f"schedule.batch_size={BATCH}",
    "speed.skip_masked=true",
]


@one_of_several()
def main(looking: list[int]) -> None:
    recipe = override(named_recipe("text"), SETTINGS)
    accelerator = join("no", log_with=None, project_dir=".")
    torch.manual_seed(0)
    head = LabelSetHead(FEATURES, CLASSES, SparsityPolicy(policy="predicted_f1", max_label_count=2), dropout=0.0)
    objective = Objective(Classifier(CachedFeatures(FEATURES), head), recipe.loss)
    optimizer = torch.optim.SGD(objective.parameters(), lr=0.1)
    stepper = Stepper(accelerator, *accelerator.prepare(objective, optimizer), recipe, pad_id=0)
    streak_N = np.full(2 * BATCH, 1 if accelerator.process_index in looking else 0)
    generator = torch.Generator().manual_seed(accelerator.process_index)
    for _ in range(3):
        features_BF = torch.randn(BATCH // 2, FEATURES, generator=generator)
        targets_BC = torch.arange(CLASSES).expand(BATCH // 2, -1) < 2
        batch = Batch(features_BF, targets_BC, torch.arange(BATCH // 2))
        step = stepper.step(iter([batch]), Pace(), 1.0, streak_N)
    click.echo(f"{float(step.loss):.6f}")


if __name__ == "__main__":
    main([int(rank) for rank in sys.argv[1:]])
