"""The models that every contestant serves, and the inputs that they are asked.

The models are exported by the project itself and untrained, where that takes no quality but speed: a small ResNet, a
larger one, and the six layers of MiniLM. They and the inputs are made once, into the cache.
"""

import hashlib
import io
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from model.bundle import Bundle
from model.labels import LabelSet
from model.predictor import Predictor
from training.config import DataConfig, HeadConfig, ImageInput, NewBackbone, PretrainedBackbone, Recipe, TextInput
from training.data.cache import cached_folder
from training.data.dataset import Example, LabelledData

# More than are ever in flight at once: ours computes identical inputs in flight only once, and must not gain by that.
INPUT_COUNT = 512
# Answers of every contestant that are compared with the model's own.
_CHECKED_COUNT = 5
LABELS = tuple(f"label-{number:02}" for number in range(40))
_PICTURE_SIZE = (480, 360)
# Of an untrained network the number of labels would be anybody's guess, often none.
_THREE_LABELS = HeadConfig(policy="fixed_count", label_count=3)
_WORDS = (
    "the a of and to in with for that is was on as by at it from are this be which not or have has its an group "
    "attackers system files network users data server process account remote malware used access command control "
    "information credentials service windows registry execution code tool password email web domain actor victim"
)


@dataclass(frozen=True)
class Workload:
    """A model and how it is asked.

    Attributes:
        name: What it is called in options and records.
        recipe: What its network is built from.
        inputs: Makes its distinct inputs.
    """

    name: str
    recipe: Recipe
    inputs: Callable[[], Sequence[bytes] | Sequence[str]]

    @property
    def is_text(self) -> bool:
        """Whether it takes texts rather than pictures."""
        return self.recipe.input.kind == "text"

    @property
    def bundle(self) -> Path:
        """The folder of its bundle, exported when the cache lacks it."""
        digest = hashlib.sha256(self.recipe.model_dump_json().encode()).hexdigest()[:12]
        return cached_folder(f"serving-{self.name}-{digest}", self._export) / "bundle"

    @cached_property
    def items(self) -> Sequence[bytes] | Sequence[str]:
        """Distinct inputs, the same in every run."""
        return self.inputs()

    @cached_property
    def expected(self) -> list[list[str]]:
        """The label names that belong to the first inputs."""
        predictor = Predictor(Bundle.open(self.bundle), "cpu", threads=1)
        answers = [predictor.predict([item])[0] for item in self.items[:_CHECKED_COUNT]]
        return [[label for label, _ in answer.labels] for answer in answers if isinstance(answer, LabelSet)]

    def _export(self, folder: Path) -> None:
        # Here, because they import torch: a run that finds the bundle in the cache does without.
        import torch

        from training.build import build_parts
        from training.export import export_bundle

        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as pictures:
            data = _data(self, Path(pictures))
            export_bundle(self.recipe, data, build_parts(self.recipe, data), folder / "bundle")


def _pictures() -> list[bytes]:
    def draw(folder: Path) -> None:
        for number, content in enumerate(_drawn(INPUT_COUNT)):
            (folder / f"{number:03}.jpg").write_bytes(content)

    return [file.read_bytes() for file in sorted(cached_folder("serving-pictures-1", draw).iterdir())]


def _drawn(count: int) -> list[bytes]:
    """JPEG files of about 20 kB, with the detail of a photo: noise of several scales."""
    generator = np.random.default_rng(0)
    files = []
    for _ in range(count):
        layers = [
            np.asarray(
                Image.fromarray(generator.integers(0, 256, (size * 3 // 4, size, 3), np.uint8)).resize(
                    _PICTURE_SIZE, Image.Resampling.BICUBIC
                ),
                np.float32,
            )
            for size in (4, 16, 64)
        ]
        mixed = np.average(layers, axis=0, weights=(6, 3, 1)).astype(np.uint8)
        picture = Image.fromarray(mixed).filter(ImageFilter.SHARPEN)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def _sentences() -> list[str]:
    """Texts of 4 to 60 words, short ones more often than long ones."""
    chance, words = random.Random(0), _WORDS.split()
    return [" ".join(chance.choices(words, k=round(4 * 15 ** chance.random()))) + f" {n}." for n in range(INPUT_COUNT)]


def _data(workload: Workload, folder: Path) -> LabelledData:
    """Enough examples for an export: it needs inputs to trace, and golden examples."""
    chance = random.Random(0)
    examples = []
    for number, item in enumerate(workload.items[:40]):
        labels = tuple(sorted(chance.sample(LABELS, 2)))
        if isinstance(item, str):
            examples.append(Example(labels, text=item))
        else:
            image = folder / f"{number}.jpg"
            image.write_bytes(item)
            examples.append(Example(labels, image=image))
    modality = workload.recipe.input.kind
    return LabelledData(
        workload.name, modality, LABELS, examples[:20], examples[20:30], examples[30:], "CC0", "made by the benchmark"
    )


def _picture_model(name: str, size: int, hidden_sizes: tuple[int, ...], depths: tuple[int, ...]) -> Workload:
    backbone = NewBackbone(hidden_sizes=hidden_sizes, depths=depths)
    source = DataConfig(source=name)
    recipe = Recipe(name=name, data=source, input=ImageInput(size=size), backbone=backbone, head=_THREE_LABELS)
    return Workload(name, recipe, _pictures)


WORKLOADS = {
    workload.name: workload
    for workload in (
        # Some 4 and 27 ms a picture on one thread of a server of 2020.
        _picture_model("image-4ms", 176, (32, 64, 128, 256), (1, 1, 1, 1)),
        _picture_model("image-25ms", 224, (64, 128, 256, 512), (2, 2, 2, 2)),
        Workload(
            "text",
            Recipe(
                name="text",
                data=DataConfig(source="text"),
                input=TextInput(max_length=64),
                backbone=PretrainedBackbone(source="minilm-l6"),
                head=_THREE_LABELS,
            ),
            _sentences,
        ),
    )
}
