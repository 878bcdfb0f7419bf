"""Find pictures that look the same although their bytes differ: another size, another format, saved once more."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from model import preprocess
from model.manifest import ImagePreprocessing
from model.preprocess import InputError

# Bits of 64 in which the outlines of two copies may differ, and how far apart their colours may be on average, as a
# part of the picture's own contrast: small drawings on white are alike in all but the drawing.
_MAX_BITS = 4
_MAX_DIFFERENCE = 0.15
# In levels of 256: what saving once more changes in a picture of hardly any contrast.
_NOISE = 1.0
# Levels from which a cell counts as brighter than the one beside it: below is the noise of a JPEG's flat areas.
_BRIGHTER = 4
_PROBES_AT_ONCE = 64


# Shape suffixes: N pictures; 64 cells of 3 colours.
class Looks:
    """What remains of pictures when details are left out.

    Attributes:
        outlines_N: uint64; of each two cells of a row of an 8 x 9 grid, whether the right one is brighter (dHash).
        colours_NX: uint8 `[N, 192]`, the mean colours of an 8 x 8 grid.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        """Look at files; those that cannot be decoded look like nothing else."""
        decode = preprocess.build(ImagePreprocessing(height=72, width=72, resize="stretch"))
        self.outlines_N = np.zeros(len(files), np.uint64)
        self.colours_NX = np.zeros((len(files), 192), np.uint8)
        self.is_known_N = np.zeros(len(files), np.bool_)
        for number, file in enumerate(tqdm(files, desc="look at pictures", unit="file", leave=False, disable=None)):
            try:
                picture = Image.fromarray(decode(file.read_bytes()))
            except (InputError, OSError):
                continue
            grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX))
            is_brighter = np.diff(grey.astype(np.int16), axis=1) > _BRIGHTER
            self.outlines_N[number] = np.packbits(is_brighter).view(np.uint64)[0]
            self.colours_NX[number] = np.asarray(picture.resize((8, 8), Image.Resampling.BOX)).ravel()
            self.is_known_N[number] = True

    def find_in(self, others: "Looks") -> npt.NDArray[np.int64]:
        """For each picture `[N]`, the position of one among the others that looks the same, or -1."""
        found_N = np.full(len(self.outlines_N), -1, np.int64)
        for start in range(0, len(found_N), _PROBES_AT_ONCE):
            chunk = slice(start, start + _PROBES_AT_ONCE)
            bits = np.bitwise_count(self.outlines_N[chunk, None] ^ others.outlines_N)
            probes, candidates = np.nonzero(bits <= _MAX_BITS)
            probes += start
            known = self.is_known_N[probes] & others.is_known_N[candidates]
            for probe, candidate in zip(probes[known], candidates[known], strict=True):
                if found_N[probe] < 0 and self._looks_as(probe, others, candidate):
                    found_N[probe] = candidate
        return found_N

    def _looks_as(self, own: int, others: "Looks", other: int) -> bool:
        colours_X = self.colours_NX[own].astype(np.float32)
        contrast = np.abs(colours_X - colours_X.mean()).mean()
        difference = np.abs(colours_X - others.colours_NX[other]).mean()
        return bool(difference <= max(_NOISE, _MAX_DIFFERENCE * contrast))
