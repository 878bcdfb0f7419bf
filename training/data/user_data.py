"""A user's own data, from a table, a folder, a VOC devkit or COCO's annotations, as `LabelledData`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from training.data.bad_rows import BadRows, OnBadRow
from training.data.coco import is_coco, read_coco
from training.data.dataset import DataError, Example, LabelledData, Modality, Task, frequent_labels
from training.data.duplicates import group_duplicates
from training.data.folder import read_folder
from training.data.row import Row
from training.data.split import SHARES, split_by_group
from training.data.table import read_table
from training.data.voc import is_voc, read_voc


def load_user_data(path: Path, *, images: Path | None, seed: int, on_bad_row: OnBadRow = "error") -> LabelledData:
    """Read `path`, and split it as far as it is not split already.

    Args:
        path: A table (.jsonl, .csv, .parquet), or a folder that `read_rows` knows.
        images: What the paths in a table are relative to; by default the folder the table is in.
        seed: Of the split.
        on_bad_row: Stop at a row that breaks a rule, or count it and leave it out.

    Raises:
        DataError: the data breaks a rule; the message says where.
    """
    bad_rows = BadRows(on_bad_row)
    rows = list(read_rows(path, images, bad_rows))
    bad_rows.report(good_count=len(rows))
    modality, task = one_kind(path, {kind_of(row) for row in rows})
    sides = _complete_split(path, rows, seed)
    return LabelledData(
        name=path.stem,
        modality=modality,
        labels=frequent_labels([row.example for row in rows], min_count=1),
        train=sides["train"],
        validation=sides["validation"],
        test=sides["test"],
        licence="not stated",
        source=f"the user's own {path.name}",
        task=task,
    )


def read_rows(path: Path, images: Path | None, bad_rows: BadRows) -> Iterator[Row]:
    """The rows of a file or folder, read one by one by the reader of its layout; errors are the reader's."""
    if not path.is_dir():
        return read_table(path, images or path.parent, bad_rows)
    if is_voc(path):
        return read_voc(path, bad_rows)
    if is_coco(path):
        return read_coco(path, bad_rows)
    return read_folder(path, bad_rows)


Kind = tuple[Modality, Task]


def kind_of(row: Row) -> Kind:
    """What the input of a row is, and what is to be learned."""
    return row.example.modality, row.task


def one_kind(path: Path, kinds: set[Kind]) -> Kind:
    """The kind that all rows are of.

    Raises:
        DataError: they are of several, or there are none.
    """
    if len(kinds) != 1:
        found = " and ".join(sorted(f"{modality} with {task}" for modality, task in kinds)) or "no row"
        raise DataError(f"{path} must hold one kind of input and of label, got {found}")
    [kind] = kinds
    return kind


def _complete_split(path: Path, rows: Sequence[Row], seed: int) -> dict[str, list[Example]]:
    """Keep the sides that the rows name; take what is missing from train, or from all where they name none."""
    sides = {name: [row.example for row in rows if row.side == name] for name in SHARES}
    unassigned = [row.example for row in rows if row.side is None]
    if unassigned and len(unassigned) < len(rows):
        raise DataError(f"{path}: either every row must name its split or none, got {len(unassigned)} that do not")
    missing = [name for name in SHARES if name == "train" or not sides[name]]
    shares = [SHARES[name] for name in missing]
    dealt = split_by_group(
        group_duplicates(unassigned or sides["train"]), shares=[share / sum(shares) for share in shares], seed=seed
    )
    sides |= zip(missing, dealt, strict=True)
    for name, side in sides.items():
        if not side:
            raise DataError(f"{path} must have examples for train, validation and test, got none for {name}")
    return sides
