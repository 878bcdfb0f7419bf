"""The commands of training: `labelset train-and-export`, `evaluate` and `fetch`."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import click

from training.config import Recipe
from training.overrides import named_recipe, override, recipe_names
from training.processes import one_of_several
from training.tracking import TRACKERS, Tracker, check_tracker


@click.command("train-and-export")
@click.option(
    "--recipe", "recipes", multiple=True, help=f"One of {', '.join(recipe_names())}; may be given repeatedly."
)
@click.option("--data", help="Your own data: a JSONL, CSV or Parquet file, a folder, or a data set as hf:NAME.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder that relative picture paths start from.")
@click.option(
    "--on-bad-row",
    type=click.Choice(["error", "skip"]),
    help="Stop at a row that breaks a rule or a file that cannot be decoded, or leave it out and say so.",
)
@click.option("--backbone", help="A name that `labelset fetch` knows, a local folder, or a hub name.")
@click.option("--out", type=click.Path(path_type=Path), help="The bundle's folder. Default: MODELS/NAME/1.")
@click.option("--models", type=click.Path(path_type=Path), default=Path("models"), show_default=True)
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--name", help="The model's name. Default: the recipe's, or the data file's.")
@click.option("--seed", type=int, help="Seed of everything that is drawn by chance.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a setting: optimizer.lr=3e-5.")
@click.option("--restart", is_flag=True, help="Train anew where an earlier run of the same recipe could be resumed.")
@click.option("--log-with", "tracker", type=click.Choice(TRACKERS), default="tensorboard", show_default=True)
@one_of_several()
def train_and_export(
    recipes: tuple[str, ...],
    data: str | None,
    images: Path | None,
    on_bad_row: str | None,
    backbone: str | None,
    out: Path | None,
    models: Path,
    runs: Path,
    name: str | None,
    seed: int | None,
    settings: tuple[str, ...],
    restart: bool,
    tracker: Tracker,
) -> None:
    """Train a classifier, export it as a bundle, verify the bundle.

    With --data, the recipe `text` or `image` is taken according to what the data holds. A run that was cut off goes on
    where it stood.
    """
    if not recipes and data is None:
        raise click.UsageError("give --recipe NAME or --data FILE")
    if out is not None and len(recipes) > 1:
        raise click.UsageError(f"--out is for one recipe, got {len(recipes)}; use --models")
    own = {"data.source": data, "data.images": images and str(images), "data.on_bad_row": on_bad_row}
    own |= {"backbone.source": backbone, "name": name}
    # As JSON, so that a file or a name such as `2024` stays a string.
    overrides = [f"{key}={json.dumps(value)}" for key, value in {**own, "seed": seed}.items() if value is not None]
    check_tracker(tracker)
    chosen = [chosen_recipe(recipe_name, data, images, [*overrides, *settings]) for recipe_name in recipes or (None,)]
    # Here, because they import torch: `--help` and a wrong option must not wait for it.
    from training.data.check import warn_of
    from training.data.configured import load_configured
    from training.report import table
    from training.train_and_export import train_and_export as run

    everything = []
    for recipe in chosen:
        labelled = load_configured(recipe.data)
        click.echo(
            f"{recipe.name}: {len(labelled.train)} training, {len(labelled.validation)} validation and "
            f"{len(labelled.test)} test examples, {len(labelled.labels)} labels"
        )
        warn_of(labelled)
        finished = run(recipe, labelled, out or models / recipe.name / "1", runs, restart, tracker)
        if finished is None:  # the main process exports, and tells
            continue
        everything.append(finished)
        exported = finished.exported
        click.echo(f"{recipe.name}: bundle {exported.bundle.path} verified: {exported.agreement}")
        click.echo(f"{recipe.name}: report {finished.report}")
    if everything:
        click.echo("\n" + table(everything))


def chosen_recipe(name: str | None, data: str | None, images: Path | None, settings: Sequence[str]) -> Recipe:
    """The recipe of that name, or that for a user's own data, with settings applied."""
    if name is None:
        from training.data.registry import modality_of

        assert data is not None
        own_name = re.sub(r"[^a-z0-9]+", "-", Path(data).stem.lower()).strip("-")[:64] or "model"
        return override(named_recipe(modality_of(data, images)), [f"name={json.dumps(own_name)}", *settings])
    return override(named_recipe(name), settings)


@click.command("evaluate")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="A data set's name, or a file or folder of your own.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder that relative picture paths start from.")
@click.option("--split", type=click.Choice(["train", "validation", "test"]), default="test", show_default=True)
def evaluate(bundle: Path, data: str, images: Path | None, split: str) -> None:
    """Measure a bundle on a split of a data set, through the runtime that serves it."""
    from model.predictor import Predictor
    from training.data.configured import load_configured
    from training.evaluate_bundle import measure_bundle

    predictor = Predictor.open(bundle)
    # Split as it was for training: another seed would measure the model on what it has learned from.
    trained_on = Recipe.model_validate_json(predictor.bundle.manifest.provenance.recipe).data
    labelled = load_configured(trained_on.model_copy(update={"source": data, "images": images}))
    for metric, value in measure_bundle(predictor, getattr(labelled, split)).items():
        click.echo(f"{metric:24} {value:.4f}")


@click.command("fetch")
@click.argument("names", nargs=-1, required=True)
def fetch(names: tuple[str, ...]) -> None:
    """Fetch data sets or weights into the cache (LABELSET_CACHE, by default ~/.cache/labelset)."""
    from training.data.registry import fetch_by_name

    for name in names:
        click.echo(fetch_by_name(name))
