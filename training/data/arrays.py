"""Examples as tensors: preprocessed once, kept in memory as far as there is room, collated as the service does it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset
from tqdm import tqdm

from model.preprocess import InputError, Item, Preprocessor
from training.data.dataset import DataError, Example

CACHE_BYTES = 2 * 1024**3


class Row(NamedTuple):
    """One preprocessed example: the array of its input, multi-hot targets `[C]`, and its position in the data set."""

    array: npt.NDArray[np.generic]
    targets: npt.NDArray[np.bool_]
    index: int


class Batch(NamedTuple):
    """Inputs, multi-hot targets `[B, C]`, positions `[B]`.

    Inputs are pixels `[B, H, W, 3]` (uint8), samples `[B, S]` (int16) or token ids `[B, T]` (int64).
    """

    inputs: Tensor
    targets: Tensor
    index: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))

    def rows(self, chosen: Tensor | slice) -> "Batch":
        """Some of its rows."""
        return Batch(*(tensor[chosen] for tensor in self))


def join(pieces: Sequence[Batch], pad_id: int) -> Batch:
    """Several batches as one; texts, and the targets of their tokens, are filled up to the longest."""
    if len(pieces) == 1:
        return pieces[0]
    length = max(piece.inputs.shape[1] for piece in pieces)
    return Batch(
        torch.cat([_filled(piece.inputs, length, pad_id) for piece in pieces]),
        torch.cat(
            [
                piece.targets if piece.targets.dtype == torch.bool else _filled(piece.targets, length, -100)
                for piece in pieces
            ]
        ),
        torch.cat([piece.index for piece in pieces]),
    )


def _filled(tensor: Tensor, length: int, value: int) -> Tensor:
    missing = length - tensor.shape[1]
    return functional.pad(tensor, (0, missing), value=value) if missing else tensor


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

    def lengths(self) -> npt.NDArray[np.int32] | None:
        """About how long each text is `[N]`, in characters; None where all inputs have one size."""
        if not self.examples or self.examples[0].file is not None:
            return None
        lengths = (sum(map(len, example.words or (example.text or "",))) for example in self.examples)
        return np.fromiter(lengths, np.int32, len(self.examples))

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Rows -> one batch, padded exactly as the service pads."""
        (inputs,) = self.preprocess.collate([row.array for row in rows]).values()
        targets = torch.from_numpy(np.stack([row.targets for row in rows]))
        return Batch(torch.from_numpy(inputs), targets, torch.tensor([row.index for row in rows]))

    def truth(self, rows: Sequence[Row]) -> npt.NDArray[np.bool_]:
        """Multi-hot `[R, C]`: what the model should answer to rows, one row an answer."""
        return np.stack([row.targets for row in rows])

    def counted(self, rows: Sequence[Row], answers: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Of the answers to rows, those that `truth` is about: all."""
        return answers

    def _array(self, index: int) -> npt.NDArray[np.generic]:
        if index not in self._cache:
            array = _preprocessed(self.examples[index], self.preprocess)
            if array.nbytes > self._room_bytes:
                return array
            self._room_bytes -= array.nbytes
            self._cache[index] = array
        return self._cache[index]


def batches(
    dataset: ArrayDataset,
    title: str,
    batch_size: int = 32,
    limit: int | None = None,
    share: tuple[int, int] = (0, 1),
) -> Iterator[list[Row]]:
    """The rows of a data set in order, `batch_size` at a time, with a progress bar called `title`.

    Args:
        dataset: Where they are.
        title: What the bar says.
        batch_size: Rows at a time.
        limit: Only the first `limit` rows where one is given.
        share: `(i, n)` is every n-th batch, from the i-th.
    """
    count = len(dataset) if limit is None else min(limit, len(dataset))
    starts = range(0, count, batch_size)[share[0] :: share[1]]
    for start in tqdm(starts, desc=title, unit="batch", leave=False, disable=None):
        yield [dataset[index] for index in range(start, min(start + batch_size, count))]


def _preprocessed(example: Example, preprocess: Preprocessor) -> npt.NDArray[np.generic]:
    try:
        return preprocess(raw_input(example))
    except InputError as error:
        name = example.file or f"the text {(example.text or ' '.join(example.words or ()))[:80]!r}"
        raise DataError(f"{name} cannot be used: {error.message}") from error


def raw_input(example: Example) -> Item:
    """What a caller of the service would send: the encoded picture or recording, the text, or its words."""
    if example.file is not None:
        return example.file.read_bytes()
    if example.text is not None:
        return example.text
    if example.words is not None:
        return example.words
    raise ValueError(f"an example must have a text, words, an image or a recording, got {example}")
