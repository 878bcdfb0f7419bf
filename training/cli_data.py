"""The command that looks at data: `labelset check-data`."""

from pathlib import Path

import click


@click.command("check-data")
@click.option("--data", required=True, help="A data set's name, or data of your own, as train-and-export takes it.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder that relative picture paths start from.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the split, where the data names none.")
def check_data(data: str, images: Path | None, seed: int) -> None:
    """Say what is in data before training on it.

    Sizes, labels and how often they occur, rare labels, examples that repeat others (with other labels, or on another
    side of the split), rows that break a rule, and files that cannot be decoded.
    """
    from training.data.check import describe
    from training.data.registry import load

    for line in describe(load(data, images=images, seed=seed, on_bad_row="skip")):
        click.echo(line)
