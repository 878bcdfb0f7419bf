"""`fashion-mosaics`: pictures of Fashion-MNIST laid on a grid, so that the number of labels is known and chosen."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from training.data.cache import cached_folder
from training.data.dataset import DataError, Example, LabelledData
from training.data.fashion_mnist import CLASSES, LICENCE, PACKAGE, SIDE_PIXELS, SOURCE, load_fashion_mnist
from training.data.split import SHARES

# So that each side gets one.
_FEWEST = 10


def load_mosaics(
    seed: int = 0, *, examples: int = 6000, rows: int = 3, columns: int = 3, most_labels: int = 5
) -> LabelledData:
    """Fetch the pictures and lay the mosaics; each side's parts come from that side of `fashion-mnist`.

    Args:
        seed: Of the split and of the mosaics.
        examples: Mosaics, of all sides together.
        rows: Of the grid.
        columns: Of the grid; a cell is 28 pixels wide and high.
        most_labels: A mosaic has 1 to this many pictures, each number as often, and no two of one class.

    Raises:
        DataError: the grid or the classes cannot hold that many pictures, or there are too few to have all sides.
    """
    if examples < _FEWEST:
        raise DataError(f"fashion-mosaics: examples must be at least {_FEWEST}, got {examples}")
    most_possible = min(rows * columns, len(CLASSES))
    if not 1 <= most_labels <= most_possible:
        raise DataError(f"fashion-mosaics: most_labels must be between 1 and {most_possible}, got {most_labels}")
    entry = f"fashion-mosaics-{examples}-{rows}x{columns}-{most_labels}-seed{seed}-{PACKAGE.sha256[:12]}"

    def build(folder: Path) -> None:
        parts = load_fashion_mnist(seed)
        # A stream for each side: more mosaics of one side leave the other sides as they are.
        streams = np.random.default_rng(seed).spawn(len(SHARES))
        for (side, share), chance in zip(SHARES.items(), streams, strict=True):
            (folder / side).mkdir()
            count = round(examples * share)
            lay_mosaics(getattr(parts, side), count, (rows, columns), most_labels, chance, folder / side)

    folder = cached_folder(entry, build)
    train, validation, test = (read_mosaics(folder / side) for side in SHARES)
    source = f"mosaics of {rows} x {columns} cells with 1 to {most_labels} pictures of {SOURCE}"
    return LabelledData("fashion-mosaics", "image", tuple(sorted(CLASSES)), train, validation, test, LICENCE, source)


def lay_mosaics(
    pictures: list[Example], count: int, grid: tuple[int, int], most_labels: int, chance: np.random.Generator, to: Path
) -> None:
    """Draw `count` mosaics of `pictures` into the folder `to`, with their labels in `labels.json`."""
    of_class = {name: [picture for picture in pictures if picture.labels == (name,)] for name in CLASSES}
    labels: dict[str, list[str]] = {}
    for number in tqdm(range(count), desc=f"lay {to.name}", unit="mosaic"):
        label_count = chance.integers(1, most_labels, endpoint=True)
        classes = sorted(str(name) for name in chance.choice(CLASSES, label_count, replace=False))
        cells = chance.choice(grid[0] * grid[1], label_count, replace=False)
        mosaic = Image.new("L", (grid[1] * SIDE_PIXELS, grid[0] * SIDE_PIXELS))
        for name, cell in zip(classes, cells, strict=True):
            part = of_class[name][chance.integers(len(of_class[name]))].image
            assert part is not None
            row, column = divmod(int(cell), grid[1])
            with Image.open(part) as picture:
                mosaic.paste(picture, (column * SIDE_PIXELS, row * SIDE_PIXELS))
        file = f"{number:05d}.png"
        mosaic.save(to / file)
        labels[file] = classes
    (to / "labels.json").write_text(json.dumps(labels, indent=0), encoding="utf-8")


def read_mosaics(folder: Path) -> list[Example]:
    """Read one example for each mosaic of a side."""
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    return [Example(tuple(classes), image=folder / file) for file, classes in labels.items()]
