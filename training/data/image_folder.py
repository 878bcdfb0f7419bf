"""A user's own images in a folder: a table in it says their labels, or else the sub-folder they are in does."""

from pathlib import Path

from training.data.dataset import DataError, Example
from training.data.table import SPLIT_NAMES, read_table

# The first two are the names that Hugging Face's `imagefolder` reads.
TABLES = ("metadata.jsonl", "metadata.csv", "labels.jsonl", "labels.csv")
IMAGE_ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def read_image_folder(folder: Path) -> list[tuple[Example, str | None]]:
    """Read a folder of images as examples and the side each belongs to ("train", "validation", "test" or None).

    Either the folder holds one of `TABLES`, or it has a sub-folder for each label (`cat/1.jpg`). Where every sub-folder
    is named after a side of a split, the labels come below (`train/cat/1.jpg`).

    Raises:
        DataError: the folder has neither form.
    """
    for table in TABLES:
        if (folder / table).is_file():
            return read_table(folder / table, image_folder=folder)
    subfolders = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    if subfolders and all(path.name in SPLIT_NAMES for path in subfolders):
        examples: list[tuple[Example, str | None]] = [
            (example, SPLIT_NAMES[path.name]) for path in subfolders for example in _read_label_folders(path)
        ]
    else:
        examples: list[tuple[Example, str | None]] = [(example, None) for example in _read_label_folders(folder)]
    if not examples:
        raise DataError(
            f"a folder must hold {', '.join(TABLES)}, or a sub-folder of images for each label, got neither in {folder}"
        )
    return examples


def _read_label_folders(folder: Path) -> list[Example]:
    return [
        Example((image.relative_to(folder).parts[0],), image=image)
        for image in sorted(folder.rglob("*"))
        if image.suffix.lower() in IMAGE_ENDINGS and image.parent != folder
    ]
