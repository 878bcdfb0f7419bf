"""A user's own data as `LabelledData`, held in memory; `streaming.py` is for what does not fit."""

from collections.abc import Sequence
from pathlib import Path

from training.data.bad_rows import BadRows, OnBadRow
from training.data.dataset import Example, LabelledData, frequent_labels
from training.data.duplicates import group_duplicates
from training.data.row import Row
from training.data.sources import kind_of, one_kind, open_source, refuse_empty_side, refuse_half_split
from training.data.split import SHARES, split_by_group


def load_user_data(
    name_or_path: str, *, images: Path | None, seed: int, on_bad_row: OnBadRow = "error"
) -> LabelledData:
    """Read a user's own data, and split it as far as it is not split already.

    Args:
        name_or_path: A table, a folder, or `hf:NAME[:CONFIG]`.
        images: What the paths in a table are relative to; by default the folder the table is in.
        seed: Of the split.
        on_bad_row: Stop at a row that breaks a rule, or count it, say so and leave it out.

    Raises:
        DataError: the data breaks a rule; the message says where.
    """
    bad_rows = BadRows(on_bad_row)
    source = open_source(name_or_path, images, bad_rows)
    rows = list(source.rows)
    bad_rows.report(good_count=len(rows))
    modality, task = one_kind(name_or_path, {kind_of(row) for row in rows})
    sides = _complete_split(name_or_path, rows, seed)
    return LabelledData(
        name=source.name,
        modality=modality,
        labels=frequent_labels([row.example for row in rows], min_count=1),
        train=sides["train"],
        validation=sides["validation"],
        test=sides["test"],
        licence=source.licence,
        source=f"the user's own {Path(name_or_path).name}",
        task=task,
    )


def _complete_split(name: str, rows: Sequence[Row], seed: int) -> dict[str, list[Example]]:
    """Keep the sides that the rows name; take what is missing from train, or from all where they name none."""
    sides = {side: [row.example for row in rows if row.side == side] for side in SHARES}
    unassigned = [row.example for row in rows if row.side is None]
    refuse_half_split(name, len(unassigned), len(rows))
    missing = [side for side in SHARES if side == "train" or not sides[side]]
    shares = [SHARES[side] for side in missing]
    dealt = split_by_group(
        group_duplicates(unassigned or sides["train"]), shares=[share / sum(shares) for share in shares], seed=seed
    )
    sides |= zip(missing, dealt, strict=True)
    refuse_empty_side(name, {side: len(examples) for side, examples in sides.items()})
    return sides
