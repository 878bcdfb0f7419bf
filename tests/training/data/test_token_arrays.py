"""Labels of words as targets of tokens."""

import numpy as np
import torch

from training.build import build_parts
from training.data.arrays import join
from training.data.dataset import Example
from training.data.token_arrays import TokenDataset
from training.objective import IGNORED

EXAMPLES = [
    Example(("DET", "NOUN"), words=("the", "singers")),
    Example(("", "VERB", "OTHER", "MARK"), words=("uh", "chases", "dog", "!")),
]


def dataset(text_recipe, token_data) -> TokenDataset:
    parts = build_parts(text_recipe, token_data)
    return TokenDataset(EXAMPLES, token_data.labels, parts.train.preprocess)


def test_only_the_first_token_of_a_labelled_word_has_a_target(text_recipe, token_data):
    rows = dataset(text_recipe, token_data)
    for row, classes in ((rows[0], {0: 0, 1: 2}), (rows[1], {1: 3, 3: 1})):
        begins = row.array[:, 1]
        # `uh` has no label, and OTHER is none of the model's.
        expected = [classes.get(word, IGNORED) for word in begins.tolist()]
        assert row.targets.tolist() == expected
    assert (rows[0].array[:, 1] == -1).sum() > 2, "singers must have several tokens, or this tests nothing"


def test_a_batch_is_padded_with_tokens_and_targets_that_do_not_count(text_recipe, token_data):
    rows = dataset(text_recipe, token_data)
    batch = rows.collate([rows[0], rows[1]])
    assert batch.inputs.shape == batch.targets.shape == (2, max(len(rows[0].array), len(rows[1].array)))
    for row, inputs, targets in zip((rows[0], rows[1]), batch.inputs, batch.targets, strict=True):
        length = len(row.array)
        assert inputs[:length].tolist() == row.array[:, 0].tolist()
        assert targets[:length].tolist() == row.targets.tolist()
        assert (targets[length:] == IGNORED).all()
    assert batch.index.tolist() == [0, 1]


def test_batches_joined_are_the_batch_of_all_their_rows(text_recipe, token_data):
    rows = dataset(text_recipe, token_data)
    whole = rows.collate([rows[0], rows[1]])
    joined = join([rows.collate([rows[0]]), rows.collate([rows[1]])], pad_id=rows.preprocess._params.pad_id)
    for one, other in zip(joined, whole, strict=True):
        torch.testing.assert_close(one, other)


def test_truth_and_the_answers_that_count_are_those_of_labelled_words(text_recipe, token_data):
    rows = dataset(text_recipe, token_data)
    both = [rows[0], rows[1]]
    assert rows.truth(both).argmax(axis=1).tolist() == [0, 2, 3, 1]
    assert rows.truth(both).sum(axis=1).tolist() == [1, 1, 1, 1]
    answers_to_all_six_words = np.arange(6)[:, None]
    assert rows.counted(both, answers_to_all_six_words).ravel().tolist() == [0, 1, 3, 5]
