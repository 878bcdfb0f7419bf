"""`synthetic`: documents of made-up words whose classes, labels and length are chosen (r-softmax paper, figure 2).

Each class has a distribution over all words, drawn evenly, and a document draws its words from the mixture of its
labels'. That is hard, and harder with more classes, more labels or shorter documents. The paper feeds the counts of the
words to a network of two layers. Here they are texts, so that everything for texts can be run and served on them.
"""

import numpy as np

from training.data.dataset import DataError, Example, LabelledData
from training.data.split import SHARES, split_by_group

LICENCE = "CC0: made by a program"


def load_synthetic(
    seed: int = 0, *, classes: int = 20, labels: int = 3, length: int = 100, words: int = 200, examples: int = 5000
) -> LabelledData:
    """Make and split the data set.

    Args:
        seed: Of the documents and of the split.
        classes: Of the label space.
        labels: Of a document, on average (Poisson, none and more than `classes` drawn again).
        length: Words of a document, on average (Poisson).
        words: Different words there are.
        examples: Documents, of all sides together.

    Raises:
        DataError: a setting is below 1, or there are more labels than classes.
    """
    settings = {"classes": classes, "labels": labels, "length": length, "words": words, "examples": examples}
    for name, value in settings.items():
        if value < 1:
            raise DataError(f"synthetic: {name} must be at least 1, got {value}")
    if labels > classes:
        raise DataError(f"synthetic: labels must be at most classes, {classes}, got {labels}")
    documents = make_documents(seed, **settings)
    train, validation, test = split_by_group(documents, shares=list(SHARES.values()), seed=seed)
    source = "scikit-learn's make_multilabel_classification with " + ", ".join(f"{k}={v}" for k, v in settings.items())
    label_space = tuple(_name("class", number, classes) for number in range(classes))
    return LabelledData("synthetic", "text", label_space, train, validation, test, LICENCE, source)


def make_documents(seed: int, *, classes: int, labels: int, length: int, words: int, examples: int) -> list[Example]:
    """The documents, their words in random order; arguments are those of `load_synthetic`."""
    from sklearn.datasets import make_multilabel_classification  # here, because it takes a second to import

    counts_BW, targets_BC = make_multilabel_classification(
        n_samples=examples,
        n_features=words,
        n_classes=classes,
        n_labels=labels,
        length=length,
        allow_unlabeled=False,
        random_state=seed,
    )
    order = np.random.default_rng(seed)
    vocabulary = np.array([_name("w", number, words) for number in range(words)])
    documents = []
    for counts_W, targets_C in zip(counts_BW.astype(int), targets_BC, strict=True):
        text = " ".join(order.permutation(np.repeat(vocabulary, counts_W)))
        label_set = tuple(_name("class", int(number), classes) for number in targets_C.nonzero()[0])
        documents.append(Example(label_set, text=text))
    return documents


def _name(kind: str, number: int, count: int) -> str:
    # As many digits for all: sorted by name is sorted by number.
    return f"{kind}{number:0{len(str(count - 1))}d}"
