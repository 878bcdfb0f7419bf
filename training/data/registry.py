"""What `labelset` knows by name (data sets, pre-trained weights), and the one way to load any data."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from training.data.attack import load_attack
from training.data.bad_rows import BadRows, OnBadRow
from training.data.brown import load_brown
from training.data.dataset import DataError, Example, LabelledData, Modality, frequent_labels, keep_labels
from training.data.debtags import load_debtags
from training.data.fashion_mnist import load_fashion_mnist
from training.data.knobs import bind_knobs
from training.data.mosaics import load_mosaics
from training.data.openclipart import load_openclipart
from training.data.rotten_tomatoes import load_rotten_tomatoes
from training.data.sources import is_own_data, open_source
from training.data.spoken import load_spoken
from training.data.stored import StoredExamples
from training.data.streaming import stream_user_data
from training.data.synthetic import load_synthetic
from training.data.user_data import load_user_data
from training.data.weights import WEIGHTS
from training.data.wordnet import load_wordnet

DATA_SETS: dict[str, Callable[..., LabelledData]] = {
    "attack": load_attack,
    "brown": load_brown,
    "debtags": load_debtags,
    "fashion-mnist": load_fashion_mnist,
    "fashion-mosaics": load_mosaics,
    "openclipart": load_openclipart,
    "rotten-tomatoes": load_rotten_tomatoes,
    "spoken": load_spoken,
    "synthetic": load_synthetic,
    "wordnet": load_wordnet,
}

FETCHABLE = (*DATA_SETS, *WEIGHTS)

_log = logging.getLogger(__name__)


class UnknownName(DataError):
    """Neither a known name nor a path that exists."""

    def __init__(self, name: str, known: Collection[str]) -> None:
        nearest = get_close_matches(name, known, n=1)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known names are {', '.join(known)}"
        super().__init__(f"{name!r} is neither a known name nor a path that exists: {hint}")


def load(
    name_or_path: str,
    *,
    images: Path | None = None,
    min_label_count: int = 1,
    seed: int = 0,
    on_bad_row: OnBadRow = "error",
    streaming: bool = False,
) -> LabelledData:
    """Load a data set by name (fetching it when the cache lacks it), or a user's own from a file or a folder.

    Args:
        name_or_path: One of `DATA_SETS`, some with settings (`synthetic?classes=50&labels=5`), else a path.
        images: For a table of images: the folder its paths are relative to, by default its own.
        min_label_count: Labels that fewer examples carry are taken away, with a warning; the examples stay.
        seed: Of the split, where the data has none.
        on_bad_row: Of a user's own: stop at a row that breaks a rule, or count it, say so and leave it out.
        streaming: Of a user's own: keep the examples on disk, for what is larger than memory.

    Raises:
        UnknownName: no data set has that name, and nothing is at that path.
        DataError: the user's data breaks a rule.
    """
    if _base_name(name_or_path) in DATA_SETS:
        data = bind_knobs(name_or_path, DATA_SETS[_base_name(name_or_path)])(seed)
        data = replace(data, name=name_or_path)
    elif is_own_data(name_or_path):
        read = stream_user_data if streaming else load_user_data
        data = read(name_or_path, images=images, seed=seed, on_bad_row=on_bad_row)
    else:
        raise UnknownName(name_or_path, DATA_SETS)
    return _without_rare_labels(data, min_label_count)


def modality_of(name_or_path: str, images: Path | None = None) -> Modality:
    """What a data set holds, of a user's own as its first good row says; arguments and errors are those of `load`."""
    if name_or_path not in DATA_SETS and is_own_data(name_or_path):
        first = next(open_source(name_or_path, images, BadRows("skip")).rows, None)
        if first is not None:
            return first.example.modality
    return load(name_or_path, images=images).modality


def fetch_by_name(name: str) -> str:
    """Bring a data set or weights into the cache.

    Returns:
        One line that says what is there now.

    Raises:
        UnknownName: nothing can be fetched by that name.
    """
    if _base_name(name) in DATA_SETS:
        data = load(name)
        sizes = f"{len(data.train)} train, {len(data.validation)} validation, {len(data.test)} test examples"
        return f"{name}: {sizes}, {len(data.labels)} labels"
    if name in WEIGHTS:
        return f"{name}: {WEIGHTS[name]()}"
    raise UnknownName(name, FETCHABLE)


def _base_name(name: str) -> str:
    """The name of a data set without its settings."""
    return name.partition("?")[0]


def _without_rare_labels(data: LabelledData, min_count: int) -> LabelledData:
    labels = data.labels if min_count == 1 else frequent_labels(data, min_count)
    rare = sorted(set(data.labels) - set(labels))
    if not rare:
        return data
    _log.warning("dropped %d labels that fewer than %d examples carry: %s", len(rare), min_count, ", ".join(rare))
    sides = {side: _keep_labels(getattr(data, side), labels) for side in ("train", "validation", "test")}
    if data.task == "multi_class":
        # An example with none of the classes would be a question without an answer.
        if isinstance(data.train, StoredExamples):
            raise DataError(f"min_label_count must be 1 for streamed data with one label a row, got {min_count}")
        sides = {side: [example for example in examples if example.labels] for side, examples in sides.items()}
        dropped = sum(1 for _ in data) - sum(map(len, sides.values()))
        _log.warning("dropped %d examples with them, because each example has one label", dropped)
    return replace(data, labels=labels, **sides)


def _keep_labels(examples: Sequence[Example], labels: Collection[str]) -> Sequence[Example]:
    return examples.keep_labels(labels) if isinstance(examples, StoredExamples) else keep_labels(examples, labels)
