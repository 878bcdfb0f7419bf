"""A user's own data, from a table or a folder of images, as `LabelledData`."""

from pathlib import Path

from training.data.dataset import DataError, Example, LabelledData, frequent_labels
from training.data.duplicates import group_duplicates
from training.data.image_folder import read_image_folder
from training.data.split import SHARES, split_by_group
from training.data.table import read_table


def load_user_data(path: Path, *, images: Path | None, seed: int) -> LabelledData:
    """Read `path`, and split it as far as it is not split already.

    Args:
        path: A table (.jsonl, .csv, .parquet), or a folder of images.
        images: What the image paths of a table are relative to; by default the folder the table is in.
        seed: Of the split.

    Raises:
        DataError: the data breaks a rule; the message says where.
    """
    rows = read_image_folder(path) if path.is_dir() else read_table(path, images or path.parent)
    examples = [example for example, _ in rows]
    modality = examples[0].modality
    if any(example.modality != modality for example in examples):
        raise DataError(f"{path} must have only texts or only images, got both")
    sides = _complete_split(path, rows, seed)
    return LabelledData(
        name=path.stem,
        modality=modality,
        labels=frequent_labels(examples, min_count=1),
        train=sides["train"],
        validation=sides["validation"],
        test=sides["test"],
        licence="not stated",
        source=f"the user's own {path.name}",
    )


def _complete_split(path: Path, rows: list[tuple[Example, str | None]], seed: int) -> dict[str, list[Example]]:
    """Keep the sides that the rows name; take what is missing from train, or from all where they name none."""
    sides = {name: [example for example, side in rows if side == name] for name in SHARES}
    unassigned = [example for example, side in rows if side is None]
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
