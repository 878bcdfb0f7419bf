"""The commands about several runs: `labelset compare` and `sweep`."""

import json
from pathlib import Path

import click

from training.cli import chosen_recipe
from training.overrides import recipe_names
from training.processes import is_main, one_of_several
from training.tracking import TRACKERS, Tracker, check_tracker


@click.command("compare")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="RUN...")
@click.option("--html", type=click.Path(path_type=Path), help="Write the comparison as a page, with the curves of all.")
def compare(folders: tuple[Path, ...], html: Path | None) -> None:
    """Put runs (their folders) and bundles side by side: what differs in their settings, and what they reached."""
    from training.compare import comparison_page, comparison_table, read_sides

    sides = read_sides(folders)
    click.echo(comparison_table(sides))
    if html:
        html.write_text(comparison_page(sides))
        click.echo(f"\npage {html}")


@click.command("sweep")
@click.option("--recipe", "recipe_name", help=f"One of {', '.join(recipe_names())}.")
@click.option("--data", help="Your own data: a JSONL, CSV or Parquet file, or a folder of pictures.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder that relative picture paths start from.")
@click.option("--grid", multiple=True, metavar="KEY=VALUE,VALUE", help="Settings to try; may be given repeatedly.")
@click.option("--seeds", default="0,1,2", show_default=True, help="Each combination is trained with each of them.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Override a setting in all runs.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write one record for each run.")
@click.option("--html", type=click.Path(path_type=Path), help="Write the table as a page, with a figure.")
@click.option("--export-best", type=click.Path(path_type=Path), help="Export the winner's best seed to this folder.")
@click.option("--log-with", "tracker", type=click.Choice(TRACKERS), default="tensorboard", show_default=True)
@one_of_several()
def sweep(
    recipe_name: str | None,
    data: str | None,
    images: Path | None,
    grid: tuple[str, ...],
    seeds: str,
    settings: tuple[str, ...],
    runs: Path,
    json_file: Path | None,
    html: Path | None,
    export_best: Path | None,
    tracker: Tracker,
) -> None:
    """Train every combination of a few settings with every seed, and say which is best on validation.

    The same command goes on where it was cut off: what has been trained is not trained again.
    """
    if (recipe_name is None) == (data is None):
        raise click.UsageError("give either --recipe NAME or --data FILE")
    check_tracker(tracker)
    own = {"data.source": data, "data.images": images and str(images)}
    overrides = [f"{key}={json.dumps(value)}" for key, value in own.items() if value is not None]
    recipe = chosen_recipe(recipe_name, data, images, [*overrides, *settings])
    # Here, because they import torch: `--help` and a wrong option must not wait for it.
    from training.standings import best_trial, records, standings, sweep_page, sweep_table
    from training.sweep import parse_axis, parse_seeds, run_sweep, trials

    outcomes = run_sweep(trials(recipe, [parse_axis(axis) for axis in grid], parse_seeds(seeds)), runs, tracker)
    click.echo(sweep_table(standings(outcomes)))
    if json_file and is_main():
        json_file.write_text(json.dumps(records(outcomes), indent=1) + "\n")
    if html and is_main():
        html.write_text(sweep_page(f"Sweep of {recipe.name}", outcomes))
        click.echo(f"page {html}")
    if export_best:
        from training.data.configured import load_configured
        from training.train_and_export import train_and_export

        best = best_trial(outcomes).recipe
        finished = train_and_export(best, load_configured(best.data), export_best, runs, tracker=tracker)
        if finished is not None:  # the main process exports, and tells
            click.echo(f"bundle {finished.exported.bundle.path}, report {finished.report}")
