"""Find the pictures and recordings that cannot be decoded before a training run meets them."""

from collections.abc import Iterator
from functools import cache

from tqdm import tqdm

from model import preprocess
from model.manifest import AudioPreprocessing, ImagePreprocessing
from model.preprocess import InputError, Preprocessor
from training.data.bad_rows import BadRows, Place
from training.data.dataset import Modality
from training.data.row import Row

_NAMES = {"image": "the picture", "audio": "the recording"}


def readable_rows(rows: Iterator[Row], bad_rows: BadRows) -> Iterator[Row]:
    """The rows whose file can be decoded, by the very code that training and service use; texts pass as they are.

    Args:
        rows: Of any kind.
        bad_rows: Is given the others.
    """
    for row in tqdm(rows, desc="check", unit="row", leave=False, disable=None):
        modality, file = row.example.modality, row.example.file
        try:
            if file is not None:
                _decoder(modality)(file.read_bytes())
        except (InputError, OSError) as error:
            bad_rows.add(Place(file).error(_NAMES[modality], "must be one that can be decoded", str(error)))
        else:
            yield row


@cache
def _decoder(modality: Modality) -> Preprocessor:
    if modality == "image":
        return preprocess.build(ImagePreprocessing(height=32, width=32))
    # As long as any model may listen: a shorter one reads less of the file, and so can fail nowhere else.
    return preprocess.build(AudioPreprocessing(sample_rate=16_000, seconds=60))
