"""A user's own data that is larger than memory: written to disk once, each example on its side of the split.

Nothing is held of a row that has been written, so the sides cannot be balanced as `split.py` balances them: a row's
side is drawn by a hash of what its duplicates share. Duplicates are on one side, and each side has nearly its share.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tqdm import tqdm

from training.data.bad_rows import BadRows, OnBadRow
from training.data.cache import cached_folder
from training.data.dataset import Example, LabelledData
from training.data.duplicates import duplicate_key
from training.data.sources import Kind, kind_of, one_kind, open_source, refuse_empty_side, refuse_half_split
from training.data.split import SHARES
from training.data.stored import ExampleWriter, StoredExamples

_FACTS = "facts.json"

_log = logging.getLogger(__name__)


def stream_user_data(
    name_or_path: str, *, images: Path | None, seed: int, on_bad_row: OnBadRow = "error"
) -> LabelledData:
    """As `load_user_data`, with sides that lie on disk: in the cache, until the data changes.

    Raises:
        DataError: the data breaks a rule; the message says where.
    """
    key = repr((name_or_path, _state(Path(name_or_path)), images, seed, on_bad_row))
    folder = cached_folder(
        f"stored-{hashlib.sha256(key.encode()).hexdigest()[:20]}",
        lambda partial: _write(partial, name_or_path, images, seed, on_bad_row),
    )
    facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    for line in facts["bad_rows"]:
        _log.warning(line)
    return LabelledData(
        name=facts["name"],
        modality=facts["modality"],
        labels=tuple(facts["labels"]),
        **{side: StoredExamples(_file(folder, side)) for side in SHARES},
        licence=facts["licence"],
        source=f"the user's own {Path(name_or_path).name}",
        task=facts["task"],
    )


def _state(path: Path) -> list[tuple[str, int, int]]:
    """What changes when the files at a path do; nothing for what is no path."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.is_file() else []
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _write(folder: Path, name_or_path: str, images: Path | None, seed: int, on_bad_row: OnBadRow) -> None:
    bad_rows = BadRows(on_bad_row)
    source = open_source(name_or_path, images, bad_rows)
    named: Counter[str | None] = Counter()
    labels: set[str] = set()
    kinds: set[Kind] = set()
    with ExitStack() as stack:
        writers = {side: stack.enter_context(ExampleWriter(_file(folder, side))) for side in SHARES}
        for row in tqdm(source.rows, desc=f"store {source.name}", unit="row", leave=False, disable=None):
            named[row.side] += 1
            kinds.add(kind_of(row))
            labels.update(row.example.labels)
            side = row.side or _draw(row.example, list(SHARES), seed)
            writers[side].write(row.example)
    bad_rows.refuse_too_many(good_count=named.total())
    modality, task = one_kind(name_or_path, kinds)
    refuse_half_split(name_or_path, named[None], named.total())
    if not named[None]:
        _take_from_train(folder, [side for side in SHARES if side != "train" and not named[side]], seed)
    refuse_empty_side(name_or_path, {side: len(StoredExamples(_file(folder, side))) for side in SHARES})
    facts = {
        "name": source.name,
        "modality": modality,
        "task": task,
        "labels": sorted(labels - {""}),
        "licence": source.licence,
        "bad_rows": bad_rows.lines(),
    }
    (folder / _FACTS).write_text(json.dumps(facts), encoding="utf-8")


def _take_from_train(folder: Path, missing: list[str], seed: int) -> None:
    """Deal the training examples out again, where the rows lack a side."""
    if not missing:
        return
    whole = folder / "whole.arrow"
    _file(folder, "train").rename(whole)
    with ExitStack() as stack:
        sides = ["train", *missing]
        writers = {side: stack.enter_context(ExampleWriter(_file(folder, side))) for side in sides}
        for example in StoredExamples(whole):
            writers[_draw(example, sides, seed)].write(example)
    whole.unlink()


def _draw(example: Example, sides: Sequence[str], seed: int) -> str:
    """One of the sides, with the chance of its share; the same for all duplicates of the example."""
    digest = hashlib.blake2b(f"{seed}\n{duplicate_key(example)}".encode(), digest_size=8).digest()
    left = int.from_bytes(digest) / 2**64 * sum(SHARES[side] for side in sides)
    for side in sides:
        left -= SHARES[side]
        if left < 0:
            return side
    return sides[-1]


def _file(folder: Path, side: str) -> Path:
    return folder / f"{side}.arrow"
