"""Sentences as tensors: token ids, and for each token the class of the word that begins there."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from model.words import NO_WORD, words_read
from training.data.arrays import ArrayDataset, Batch, Row
from training.objective import IGNORED


class TokenDataset(ArrayDataset):
    """Sentences of one split; the targets of a row are int64 `[T]`, -100 where nothing is learned.

    Learned from are the first tokens of words that have a label: not the later tokens of a word, nor special tokens,
    padding, words whose label is "" or outside the label space, and words beyond the tokens that the model reads.
    """

    def __getitem__(self, index: int) -> Row:
        array = self._array(index)
        return Row(array, self._classes(index, array), index)

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Rows -> one batch: token ids and targets `[B, T]`, padded to the longest."""
        token_ids = self.preprocess.collate([row.array for row in rows])["token_ids"]
        targets = np.full(token_ids.shape, IGNORED, np.int64)
        for into, row in zip(targets, rows, strict=True):
            into[: len(row.targets)] = row.targets
        return Batch(torch.from_numpy(token_ids), torch.from_numpy(targets), torch.tensor([row.index for row in rows]))

    def truth(self, rows: Sequence[Row]) -> npt.NDArray[np.bool_]:
        """One-hot `[W, C]`, the labelled words of the rows."""
        classes = np.concatenate([row.targets for row in rows])
        return np.eye(len(self.labels), dtype=np.bool_)[classes[classes != IGNORED]]

    def counted(self, rows: Sequence[Row], answers: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Of answers to all words of the rows, those to labelled words."""
        is_word = [row.array[:, 1] != NO_WORD for row in rows]
        return answers[np.concatenate([row.targets[word] for row, word in zip(rows, is_word, strict=True)]) != IGNORED]

    def _classes(self, index: int, array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        labels = self.examples[index].labels
        classes = np.full(len(array), IGNORED, np.int64)
        classes[array[:, 1] != NO_WORD] = [self._index_of.get(labels[word], IGNORED) for word in words_read(array)]
        return classes
