"""A user's own pictures or recordings in a folder: a table in it says their labels, or else their sub-folder does."""

from collections.abc import Iterator
from pathlib import Path

from model.preprocess.audio_formats import AUDIO_ENDINGS
from training.data.bad_rows import BadRows
from training.data.dataset import DataError
from training.data.row import IMAGE_ENDINGS, SPLIT_NAMES, Row, file_example
from training.data.table import read_table

# The first two are the names that Hugging Face's `imagefolder` reads.
TABLES = ("metadata.jsonl", "metadata.csv", "labels.jsonl", "labels.csv")


def read_folder(folder: Path, bad_rows: BadRows) -> Iterator[Row]:
    """Read a folder of pictures or recordings.

    Either the folder holds one of `TABLES`, or it has a sub-folder for each label (`cat/1.jpg`), and every file has
    exactly that label. Where every sub-folder is named after a side of a split, the labels come below
    (`train/cat/1.jpg`).

    Raises:
        DataError: the folder has neither form.
    """
    for table in TABLES:
        if (folder / table).is_file():
            yield from read_table(folder / table, folder, bad_rows)
            return
    subfolders = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    is_split = bool(subfolders) and all(path.name in SPLIT_NAMES for path in subfolders)
    is_empty = True
    for root in subfolders if is_split else [folder]:
        for file in _files_below(root):
            is_empty = False
            label = file.relative_to(root).parts[0]
            side = SPLIT_NAMES[root.name] if is_split else None
            yield Row(file_example((label,), file), side, "multi_class")
    if is_empty:
        raise DataError(
            f"a folder must hold {', '.join(TABLES)}, or a sub-folder of pictures or recordings for each label, "
            f"got neither in {folder}"
        )


def _files_below(root: Path) -> list[Path]:
    endings = IMAGE_ENDINGS | AUDIO_ENDINGS
    return [file for file in sorted(root.rglob("*")) if file.suffix.lower() in endings and file.parent != root]
