"""What one should know of data before training on it: `labelset check-data` prints it all, a run warns of the worst."""

import logging
from collections import Counter
from collections.abc import Iterator

import numpy as np

from training.data.dataset import LabelledData, label_counts
from training.data.leaks import exact_digests, find_leaks

# Of a label with fewer training examples a network learns little but its name.
RARE_LABEL_COUNT = 10
# Beyond these a run does not look for what is nearly the same: it would hold its beginning up for minutes.
_MAX_TEXTS, _MAX_PICTURES = 300_000, 20_000
_RARE_SHOWN = 10

_log = logging.getLogger(__name__)


def warn_of(data: LabelledData) -> None:
    """Log what may spoil a training run: rare labels, and examples that both sides of the split hold."""
    rare = rare_labels(data)
    if rare:
        _log.warning(rare)
    size = len(data.train) + len(data.validation) + len(data.test)
    is_small = size <= (_MAX_PICTURES if data.modality == "image" else _MAX_TEXTS)
    for leak in find_leaks(data, near=is_small):
        _log.warning(str(leak))
    if not is_small:
        _log.warning("%d examples are not searched for near repeats: `labelset check-data` does it", size)


def rare_labels(data: LabelledData) -> str | None:
    """One line about the labels that few training examples carry; None where there is no such label."""
    counts = label_counts(data.train)
    rare = sorted((counts[label], label) for label in data.labels if counts[label] < RARE_LABEL_COUNT)
    if not rare:
        return None
    shown = ", ".join(f"{label} ({count})" for count, label in rare[:_RARE_SHOWN])
    more = f" and {len(rare) - _RARE_SHOWN} more" if len(rare) > _RARE_SHOWN else ""
    return (
        f"{len(rare)} of {len(data.labels)} labels have fewer than {RARE_LABEL_COUNT} training examples: {shown}{more}"
        "; data.min_label_count drops such labels, loss.label_weights=inverse_frequency weighs them more"
    )


def describe(data: LabelledData) -> Iterator[str]:
    """All there is to say, line by line: sizes, repeats, labels and how often they occur, leaks between the sides."""
    sides = {"train": data.train, "validation": data.validation, "test": data.test}
    digests = exact_digests(sides)
    yield f"{data.name}: {data.modality}, {data.task}, {len(data.labels)} labels"
    for name, side in sides.items():
        unlabelled = sum(not any(example.labels) for example in side)
        repeated = len(side) - len(np.unique(digests[name]))
        yield f"{name:12}{len(side):8} examples, {unlabelled} without a label, {repeated} repeat another of this side"
    yield f"{_contradictions(data, np.concatenate(list(digests.values())))} examples repeat another with other labels"
    yield ""
    counts = {name: label_counts(side) for name, side in sides.items()}
    in_all = sum(counts.values(), Counter())
    width = max(map(len, [*data.labels, "label"]))
    yield f"{'label':{width}}" + "".join(f"{name:>12}" for name in sides)
    for label in sorted(data.labels, key=lambda label: (-in_all[label], label)):
        yield f"{label:{width}}" + "".join(f"{counts[name][label]:12}" for name in sides)
    yield ""
    yield rare_labels(data) or f"every label has at least {RARE_LABEL_COUNT} training examples"
    leaks = find_leaks(data)
    yield from map(str, leaks)
    if not leaks:
        yield "no example repeats one of another side"


def _contradictions(data: LabelledData, digests_N: np.ndarray) -> int:
    """How many examples have other labels than the first that is the same."""
    first: dict[int, tuple[str, ...]] = {}
    return sum(
        first.setdefault(digest, example.labels) != example.labels
        for digest, example in zip(digests_N.tolist(), data, strict=True)
    )
