"""The whole line of training: recipe -> data -> run -> bundle."""

import hashlib
import shutil
import time
from pathlib import Path

from accelerate.utils import set_seed

from training.build import Parts, build_parts
from training.config import Recipe
from training.data.dataset import LabelledData
from training.export import export_bundle
from training.loop import Run
from training.report import Finished


def train(recipe: Recipe, data: LabelledData, runs: Path, restart: bool = False) -> Parts:
    """Train a recipe on its data, or go on where an earlier run was cut off; gives the parts with the best weights.

    Args:
        recipe: What to train.
        data: The data that the recipe names, read.
        runs: The folder of all runs; this one's is named for recipe and data, so nothing else resumes it.
        restart: Forget what an earlier run of this very recipe left.
    """
    folder = run_folder(recipe, data, runs)
    if restart:
        shutil.rmtree(folder, ignore_errors=True)
    set_seed(recipe.seed)
    parts = build_parts(recipe, data)
    Run(recipe, parts, folder).train()
    return parts


def train_and_export(recipe: Recipe, data: LabelledData, out: Path, runs: Path, restart: bool = False) -> Finished:
    """Train as `train` does and write the bundle to the folder `out`."""
    started = time.perf_counter()
    exported = export_bundle(recipe, data, train(recipe, data, runs, restart), out)
    return Finished(exported, time.perf_counter() - started)


def run_folder(recipe: Recipe, data: LabelledData, runs: Path) -> Path:
    """Where a run lives: its recipe's name, and a digest of everything that the recipe says and the data holds."""
    digest = hashlib.sha256(recipe.model_dump_json().encode())
    for split in (data.train, data.validation, data.test):
        digest.update(repr([(example.text or str(example.image), example.labels) for example in split]).encode())
    return runs / f"{recipe.name}-{digest.hexdigest()[:10]}"
