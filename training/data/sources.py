"""Where a user's own data may come from, and which reader reads it: one iterator of rows, whatever it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from training.data.bad_rows import BadRows
from training.data.coco import is_coco, read_coco
from training.data.dataset import DataError, Modality, Task
from training.data.folder import read_folder
from training.data.hugging_face import PREFIX, is_saved_data_set, read_hugging_face
from training.data.readable import readable_rows
from training.data.row import Row
from training.data.table import read_table
from training.data.voc import is_voc, read_voc

Kind = tuple[Modality, Task]


class Source(NamedTuple):
    """Data that is being read.

    Attributes:
        name: What a model card calls it.
        rows: Read as they are asked for.
        licence: As the data states it.
    """

    name: str
    rows: Iterator[Row]
    licence: str = "not stated"


def is_own_data(name_or_path: str) -> bool:
    """Whether that names a user's own data: a path where something is, or a Hugging Face data set."""
    return name_or_path.startswith(PREFIX) or Path(name_or_path).exists()


def open_source(name_or_path: str, images: Path | None, bad_rows: BadRows) -> Source:
    """Begin to read a user's own data by the reader of its layout.

    Args:
        name_or_path: A table, a folder, or `hf:NAME[:CONFIG]`.
        images: What the paths in a table are relative to; by default the folder the table is in.
        bad_rows: Is given the rows that break a rule; where it skips them, also those whose file cannot be decoded.

    Raises:
        DataError: the data as a whole cannot be read; rows raise `RowError`.
    """
    path = Path(name_or_path.removeprefix(PREFIX))
    if name_or_path.startswith(PREFIX) or (path.is_dir() and is_saved_data_set(path)):
        rows, licence = read_hugging_face(name_or_path.removeprefix(PREFIX), bad_rows)
        source = Source(path.name, rows, licence)
    elif not path.is_dir():
        source = Source(path.stem, read_table(path, images or path.parent, bad_rows))
    else:
        read = read_voc if is_voc(path) else read_coco if is_coco(path) else read_folder
        source = Source(path.name, read(path, bad_rows))
    return source._replace(rows=readable_rows(source.rows, bad_rows)) if bad_rows.skips else source


def kind_of(row: Row) -> Kind:
    """What the input of a row is, and what is to be learned."""
    return row.example.modality, row.task


def one_kind(name: str, kinds: set[Kind]) -> Kind:
    """The kind that all rows are of.

    Raises:
        DataError: they are of several, or there are none.
    """
    if len(kinds) != 1:
        found = " and ".join(sorted(f"{modality} with {task}" for modality, task in kinds)) or "no row"
        raise DataError(f"{name} must hold one kind of input and of label, got {found}")
    [kind] = kinds
    return kind


def refuse_half_split(name: str, unassigned: int, total: int) -> None:
    """Raise where some rows name their side of the split and others do not."""
    if 0 < unassigned < total:
        raise DataError(f"{name}: either every row must name its split or none, got {unassigned} that do not")


def refuse_empty_side(name: str, sizes: dict[str, int]) -> None:
    """Raise where a side of the split has no example."""
    for side, size in sizes.items():
        if not size:
            raise DataError(f"{name} must have examples for train, validation and test, got none for {side}")
