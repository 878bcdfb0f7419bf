"""`fashion-mnist`: grey pictures of 28 x 28 pixels of garments, shoes and bags, ten classes (Xiao et al. 2017)."""

import gzip
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from training.data.cache import cached_folder
from training.data.dataset import DataError, Example, LabelledData
from training.data.packages import Package, fetch_package
from training.data.split import split_by_group

PACKAGE = Package(
    client="apt",
    name="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    size_bytes=30_900_652,
)
LICENCE = "MIT (c) 2017 Zalando SE"
SOURCE = "Fashion-MNIST, from the Debian package dataset-fashion-mnist 0.0~git20200523.55506a9-1"

# In the order of their numbers in the files.
CLASSES = (
    *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
SIDE_PIXELS = 28
# The package's two files: its test pictures stay the test, validation is taken from the others.
_FILES = {"train": "train", "test": "t10k"}
_SHARES = (5 / 6, 1 / 6)
_UINT8 = 8


def load_fashion_mnist(seed: int = 0) -> LabelledData:
    """Fetch, draw and split the data set; its test side is the published one, the rest is split by the seed."""
    idx_folder = fetch_package(PACKAGE) / "usr/share/datasets/fashion-mnist"
    entry = f"fashion-mnist-png-{PACKAGE.sha256[:12]}"
    png_folder = cached_folder(entry, lambda folder: draw_pictures(idx_folder, folder))
    examples = {side: read_fashion_mnist(idx_folder, png_folder, side) for side in _FILES}
    train, validation = split_by_group(examples["train"], shares=_SHARES, seed=seed)
    return LabelledData(
        "fashion-mnist",
        "image",
        tuple(sorted(CLASSES)),
        train,
        validation,
        examples["test"],
        LICENCE,
        SOURCE,
        task="multi_class",
    )


def draw_pictures(idx_folder: Path, png_folder: Path) -> None:
    """Write each picture of the package as a PNG file."""
    for side, name in _FILES.items():
        (png_folder / side).mkdir()
        pictures = read_idx(idx_folder / f"{name}-images-idx3-ubyte.gz")
        for number, picture in enumerate(tqdm(pictures, desc=f"draw {side}", unit="picture")):
            Image.fromarray(picture).save(_png_path(png_folder, side, number))


def read_fashion_mnist(idx_folder: Path, png_folder: Path, side: str) -> list[Example]:
    """Read one example for each picture of a side, "train" or "test"."""
    numbers = read_idx(idx_folder / f"{_FILES[side]}-labels-idx1-ubyte.gz")
    return [
        Example((CLASSES[number],), image=_png_path(png_folder, side, position))
        for position, number in enumerate(numbers)
    ]


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of bytes: four bytes of type and rank, the shape in big-endian, the values.

    Raises:
        DataError: the file is of another kind, or too short or long for its shape.
    """
    content = gzip.decompress(path.read_bytes())
    if content[:3] != bytes((0, 0, _UINT8)):
        raise DataError(f"{path.name} must be an IDX file of bytes (000008..), but it starts with {content[:4].hex()}")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], dtype=">u4")
    if len(content) - start != np.prod(shape):
        raise DataError(f"{path.name} must hold {np.prod(shape)} values for its shape, got {len(content) - start}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _png_path(png_folder: Path, side: str, number: int) -> Path:
    return png_folder / side / f"{number:05d}.png"
