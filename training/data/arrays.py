"""Examples as tensors: preprocessed once, kept in memory as far as there is room, collated as the service does it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from model.preprocess import Preprocessor
from training.data.dataset import Example

CACHE_BYTES = 2 * 1024**3


class Row(NamedTuple):
    """One preprocessed example: the array of its input, multi-hot targets `[C]`, and its position in the data set."""

    array: npt.NDArray[np.generic]
    targets: npt.NDArray[np.bool_]
    index: int = -1


class Batch(NamedTuple):
    """Pixels `[B, H, W, 3]` (uint8) or token ids `[B, T]` (int64), multi-hot targets `[B, C]`, positions `[B]`."""

    inputs: Tensor
    targets: Tensor
    index: Tensor


class ArrayDataset(Dataset[Row]):
    """Examples of one split, preprocessed by the very code that serves."""

    def __init__(
        self,
        examples: Sequence[Example],
        labels: Sequence[str],
        preprocess: Preprocessor,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.examples = examples
        self.labels = labels
        self.preprocess = preprocess
        self._index_of = {label: index for index, label in enumerate(labels)}
        self._cache: dict[int, npt.NDArray[np.generic]] = {}
        self._room_bytes = cache_bytes

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Row:
        return Row(self._array(index), self.targets(index), index)

    def targets(self, index: int) -> npt.NDArray[np.bool_]:
        """Multi-hot labels `[C]` of one example; labels outside the label space do not count."""
        targets = np.zeros(len(self._index_of), dtype=np.bool_)
        targets[[self._index_of[label] for label in self.examples[index].labels if label in self._index_of]] = True
        return targets

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Rows -> one batch, padded exactly as the service pads."""
        (inputs,) = self.preprocess.collate([row.array for row in rows]).values()
        targets = torch.from_numpy(np.stack([row.targets for row in rows]))
        return Batch(torch.from_numpy(inputs), targets, torch.tensor([row.index for row in rows]))

    def _array(self, index: int) -> npt.NDArray[np.generic]:
        if index not in self._cache:
            array = self.preprocess(raw_input(self.examples[index]))
            if array.nbytes > self._room_bytes:
                return array
            self._room_bytes -= array.nbytes
            self._cache[index] = array
        return self._cache[index]


def batches(dataset: ArrayDataset, title: str, batch_size: int = 32, limit: int | None = None) -> Iterator[list[Row]]:
    """The rows of a data set in order, `batch_size` at a time, with a progress bar called `title`.

    Only the first `limit` rows where one is given.
    """
    count = len(dataset) if limit is None else min(limit, len(dataset))
    for start in tqdm(range(0, count, batch_size), desc=title, unit="batch", leave=False, disable=None):
        yield [dataset[index] for index in range(start, min(start + batch_size, count))]


def raw_input(example: Example) -> bytes | str:
    """What a caller of the service would send: the encoded picture, or the text."""
    if example.image is not None:
        return example.image.read_bytes()
    if example.text is not None:
        return example.text
    raise ValueError(f"an example must have a text or an image, got {example}")
