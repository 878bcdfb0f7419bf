"""The whole line of training: recipe -> data -> run -> bundle."""

import hashlib
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from accelerate.utils import set_seed

from training.build import Parts, build_parts
from training.config import PretrainedBackbone, Recipe
from training.data.dataset import LabelledData, add_identities
from training.export import export_bundle
from training.features import with_cached_features
from training.loop import Run
from training.processes import is_main
from training.record import read_history, write_recipe, write_result
from training.report import Finished, write_report
from training.tracking import Tracker


class Trained(NamedTuple):
    """The parts of a run with the best weights: the whole network, and what the loop trained and measured.

    They are the same, but for a frozen backbone: then the loop saw its features, and `whole` shares the head.
    """

    whole: Parts
    seen: Parts


def train(
    recipe: Recipe, data: LabelledData, runs: Path, restart: bool = False, tracker: Tracker = "tensorboard"
) -> Trained:
    """Train a recipe on its data, or go on where an earlier run was cut off.

    Args:
        recipe: What to train.
        data: The data that the recipe names, read.
        runs: The folder of all runs; this one's is named for recipe and data, so nothing else resumes it.
        restart: Forget what an earlier run of this very recipe left.
        tracker: Where its figures are logged to besides its folder.
    """
    folder = run_folder(recipe, data, runs)
    if is_main():  # the others read the folder once they have met it in `Run`
        if restart:
            shutil.rmtree(folder, ignore_errors=True)
        write_recipe(folder, recipe)
    set_seed(recipe.seed)
    parts = build_parts(recipe, data)
    is_frozen = isinstance(recipe.backbone, PretrainedBackbone) and recipe.backbone.frozen
    seen = with_cached_features(recipe, parts, runs / "features") if is_frozen else parts
    Run(recipe, seen, folder, tracker).train()
    return Trained(parts, seen)


def train_and_export(
    recipe: Recipe,
    data: LabelledData,
    out: Path,
    runs: Path,
    restart: bool = False,
    tracker: Tracker = "tensorboard",
) -> Finished | None:
    """Train as `train` does and write the bundle to the folder `out`; None in all processes but the main one."""
    started = time.perf_counter()
    trained = train(recipe, data, runs, restart, tracker)
    if not is_main():
        return None
    exported = export_bundle(recipe, data, trained.whole, out)
    folder = run_folder(recipe, data, runs)
    result = write_result(folder, data, exported.metrics, exported.bundle.path)
    report = write_report(folder, recipe, data, exported.answers, read_history(folder), result)
    return Finished(exported, report, time.perf_counter() - started)


def run_folder(recipe: Recipe, data: LabelledData, runs: Path) -> Path:
    """Where a run lives: its recipe's name, and a digest of everything that the recipe says and the data holds.

    But for the export: a run is not trained anew for it.
    """
    digest = hashlib.sha256(recipe.model_dump_json(exclude={"export"}).encode())
    for split in (data.train, data.validation, data.test):
        add_identities(digest, split)
    return runs / f"{recipe.name}-{digest.hexdigest()[:10]}"
