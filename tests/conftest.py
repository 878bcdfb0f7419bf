"""What tests of more than one package need: a real service in a process of its own, and two small models.

The small models are trained and exported by the real code, once a session. What imports torch does so inside a fixture,
because the tests of the service do without.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import hypothesis
import numpy as np
import pytest
import soundfile
from PIL import Image, ImageDraw

from training.config import (
    AudioInput,
    DataConfig,
    HeadConfig,
    ImageInput,
    NewBackbone,
    OptimizerConfig,
    Recipe,
    Schedule,
    TextInput,
)
from training.data.dataset import Example, LabelledData
from training.overrides import override

if TYPE_CHECKING:
    from training.build import Parts
    from training.checkpoint import Progress
    from training.export import Exported

# The models of the tests are so small that threads within an operator would only wait for each other. Before torch and
# onnxruntime are imported, and inherited by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Time is measured elsewhere: here the first example of a test may be the one that loads a library.
hypothesis.settings.register_profile("labelset", deadline=None)
hypothesis.settings.load_profile("labelset")

REPOSITORY_ROOT = Path(__file__).parents[1]
START_TIMEOUT_SECONDS = 60


@dataclass
class ServiceProcess:
    """A running service."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


Serve = Callable[..., ServiceProcess]


@pytest.fixture(scope="session")
def bundles() -> Path:
    """The embedded demo bundles: a repository of one image and one text model."""
    return REPOSITORY_ROOT / "bundles"


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Start services; keyword arguments are settings: `serve(max_batch_size=8)`."""
    running: list[subprocess.Popen[bytes]] = []

    def start(**settings: object) -> ServiceProcess:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = tmp_path_factory.mktemp("service") / "log"
        variables = {f"LABELSET_{name.upper()}": str(value) for name, value in settings.items()}
        command = [sys.executable, "-m", "labelset", "serve", "--port", str(port)]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                command,
                cwd=REPOSITORY_ROOT,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )
        running.append(process)
        service = ServiceProcess(f"http://127.0.0.1:{port}", process, log)
        _wait_until_ready(service)
        return service

    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(timeout=30)


def _wait_until_ready(service: ServiceProcess) -> None:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while service.process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(f"{service.url}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the service did not become ready:\n{service.log.read_text()}")


@dataclass(frozen=True)
class Trained:
    """A small run from end to end, and all that it left."""

    recipe: Recipe
    data: LabelledData
    parts: Parts
    run_folder: Path
    progress: Progress
    exported: Exported

    @property
    def bundle(self) -> Path:
        return self.exported.bundle.path


@pytest.fixture(scope="session")
def text_data() -> LabelledData:
    """60 sentences; each label has words of its own, and some sentences carry none."""
    words = {
        "food": ("bread", "soup", "cheese"),
        "music": ("violin", "choir", "drum"),
        "sport": ("goal", "race", "tennis"),
        "weather": ("rain", "storm", "snow"),
    }
    chance = random.Random(0)
    examples = []
    for _ in range(60):
        labels = tuple(sorted(chance.sample(sorted(words), chance.choice([0, 1, 1, 2, 2]))))
        tokens = [word for label in labels for word in chance.sample(words[label], 2)]
        tokens += chance.choices(("the", "a", "today", "we", "saw"), k=chance.randint(2, 5))
        chance.shuffle(tokens)
        examples.append(Example(labels, text=" ".join(tokens)))
    return LabelledData(
        "words", "text", tuple(words), examples[:40], examples[40:50], examples[50:], "CC0", "made by a test"
    )


@pytest.fixture(scope="session")
def image_data(tmp_path_factory: pytest.TempPathFactory) -> LabelledData:
    """40 pictures of one or two coloured shapes on white; the labels are the colours and shapes that are there."""
    colours = {"blue": (40, 60, 210), "green": (30, 150, 60), "red": (220, 40, 40)}
    folder = tmp_path_factory.mktemp("pictures")
    chance = random.Random(0)
    examples = []
    for number in range(40):
        picture = Image.new("RGB", (48, 40), "white")
        draw = ImageDraw.Draw(picture)
        labels = set()
        for left in chance.sample((2, 26), chance.choice([1, 2])):
            colour, shape = chance.choice(sorted(colours)), chance.choice(["circle", "square"])
            top = chance.randint(2, 18)
            (draw.ellipse if shape == "circle" else draw.rectangle)((left, top, left + 19, top + 19), colours[colour])
            labels |= {colour, shape}
        # Both kinds of file that are seen most; JPEG decodes at reduced scale where the picture is large enough.
        image = folder / f"{number}.{'jpg' if number % 2 else 'png'}"
        picture.resize((288, 240), Image.Resampling.NEAREST).save(image)
        examples.append(Example(tuple(sorted(labels)), image=image))
    space = tuple(sorted({"circle", "square", *colours}))
    return LabelledData(
        "shapes", "image", space, examples[:26], examples[26:32], examples[32:], "CC0", "drawn by a test"
    )


@pytest.fixture(scope="session")
def audio_data(tmp_path_factory: pytest.TempPathFactory) -> LabelledData:
    """80 recordings of faint noise with some of three tones in it; the labels are the tones that sound."""
    tones_hz = {"high": 2200, "low": 300, "middle": 900}
    folder = tmp_path_factory.mktemp("recordings")
    chance = np.random.default_rng(0)
    examples = []
    for number in range(80):
        # Every kind of file, some at another rate than the model's, some in stereo, some longer than it hears.
        ending, sample_rate = ("wav", "flac", "ogg")[number % 3], (8_000, 22_050)[number % 2]
        seconds = np.arange(int(sample_rate * chance.uniform(0.3, 0.7))) / sample_rate
        labels = sorted(chance.choice(sorted(tones_hz), size=chance.integers(0, 4), replace=False).tolist())
        sound = chance.normal(0, 0.003, len(seconds))
        for label in labels:
            cycles = tones_hz[label] * chance.uniform(0.95, 1.05) * seconds + chance.random()
            sound += 0.2 * np.sin(2 * np.pi * cycles)
        audio = folder / f"{number}.{ending}"
        soundfile.write(audio, np.stack([sound] * (1 + number % 4 // 3), axis=1), sample_rate)
        examples.append(Example(tuple(labels), audio=audio))
    return LabelledData(
        "tones", "audio", tuple(tones_hz), examples[:56], examples[56:68], examples[68:], "CC0", "made by a test"
    )


@pytest.fixture(scope="session")
def class_data() -> LabelledData:
    """60 sentences, each of them about one of four things."""
    words = {
        "food": ("bread", "soup", "cheese"),
        "music": ("violin", "choir", "drum"),
        "sport": ("goal", "race", "tennis"),
        "weather": ("rain", "storm", "snow"),
    }
    chance = random.Random(0)
    examples = []
    for number in range(60):
        label = sorted(words)[number % 4]
        tokens = [*chance.sample(words[label], 2), *chance.choices(("the", "a", "today", "we", "saw"), k=3)]
        chance.shuffle(tokens)
        examples.append(Example((label,), text=" ".join(tokens)))
    return LabelledData(
        "topics",
        "text",
        tuple(words),
        examples[:40],
        examples[40:48],
        examples[48:],
        "CC0",
        "made by a test",
        "multi_class",
    )


@pytest.fixture(scope="session")
def token_data() -> LabelledData:
    """80 sentences with parts of speech; `saw` and `duck` are nouns or verbs by their place, `uh` has no label."""
    nouns, verbs = ("dog", "cat", "saw", "duck", "singer"), ("saw", "chases", "duck", "hears")
    chance = random.Random(0)
    examples = []
    for _ in range(80):
        tagged = [("the", "DET"), (chance.choice(nouns), "NOUN"), (chance.choice(verbs), "VERB")]
        if chance.random() < 0.7:
            tagged += [(chance.choice(("a", "the")), "DET"), (chance.choice(nouns), "NOUN")]
        if chance.random() < 0.3:
            tagged.insert(chance.randint(0, len(tagged)), ("uh", ""))
        tagged.append((chance.choice(".!"), "MARK"))
        words, labels = zip(*tagged, strict=True)
        examples.append(Example(labels, words=words))
    return LabelledData(
        "grammar",
        "text",
        ("DET", "MARK", "NOUN", "VERB"),
        examples[:56],
        examples[56:66],
        examples[66:],
        "CC0",
        "made by a test",
        "token_classification",
    )


@pytest.fixture(scope="session")
def text_recipe() -> Recipe:
    return Recipe(
        name="tiny-text",
        data=DataConfig(source="words"),
        input=TextInput(max_length=16, vocabulary_size=120),
        backbone=NewBackbone(hidden_size=32, layers=1),
        head=HeadConfig(dropout=0.2),
        optimizer=OptimizerConfig(lr=5e-3, head_lr=1e-2),
        schedule=Schedule(epochs=8, batch_size=8),
        precision="float32",
    )


@pytest.fixture(scope="session")
def image_recipe() -> Recipe:
    return Recipe(
        name="tiny-image",
        data=DataConfig(source="shapes"),
        input=ImageInput(size=32),
        backbone=NewBackbone(hidden_sizes=(8, 16), depths=(1, 1)),
        optimizer=OptimizerConfig(lr=1e-2, head_lr=1e-2),
        schedule=Schedule(epochs=8, batch_size=4, patience=8),
        seed=1,
        precision="float32",
    )


@pytest.fixture(scope="session")
def audio_recipe() -> Recipe:
    return Recipe(
        name="tiny-audio",
        data=DataConfig(source="tones"),
        input=AudioInput(sample_rate=8_000, seconds=0.5, mel_bands=16),
        backbone=NewBackbone(hidden_sizes=(8, 16), depths=(1, 1)),
        optimizer=OptimizerConfig(lr=1e-2, head_lr=1e-2),
        schedule=Schedule(epochs=10, batch_size=8, patience=10),
        precision="float32",
    )


@pytest.fixture(scope="session")
def bundle_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of the small models; it holds those that a test has asked for."""
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="session")
def trained_text(
    text_recipe: Recipe, text_data: LabelledData, bundle_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    # Long enough, and with a start, for label sets of several sizes: of ten examples F1 goes up and down.
    recipe = override(text_recipe, ["schedule.epochs=16", "schedule.patience=16", "seed=2"])
    return _train(recipe, text_data, bundle_root, tmp_path_factory.mktemp("text-run"))


@pytest.fixture(scope="session")
def trained_image(
    image_recipe: Recipe, image_data: LabelledData, bundle_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    return _train(image_recipe, image_data, bundle_root, tmp_path_factory.mktemp("image-run"))


@pytest.fixture(scope="session")
def trained_audio(
    audio_recipe: Recipe, audio_data: LabelledData, bundle_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    return _train(audio_recipe, audio_data, bundle_root, tmp_path_factory.mktemp("audio-run"))


@pytest.fixture(scope="session")
def trained_class(
    text_recipe: Recipe, class_data: LabelledData, bundle_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    recipe = text_recipe.model_copy(update={"name": "tiny-class"})
    return _train(recipe, class_data, bundle_root, tmp_path_factory.mktemp("class-run"))


@pytest.fixture(scope="session")
def trained_tokens(
    text_recipe: Recipe, token_data: LabelledData, bundle_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Trained:
    recipe = text_recipe.model_copy(update={"name": "tiny-tokens"})
    return _train(recipe, token_data, bundle_root, tmp_path_factory.mktemp("token-run"))


def _train(recipe: Recipe, data: LabelledData, bundle_root: Path, run_folder: Path) -> Trained:
    from accelerate.utils import set_seed

    from training.build import build_parts
    from training.export import export_bundle
    from training.loop import Run

    set_seed(recipe.seed)
    parts = build_parts(recipe, data)
    progress = Run(recipe, parts, run_folder).train()
    exported = export_bundle(recipe, data, parts, bundle_root / recipe.name / "1")
    return Trained(recipe, data, parts, run_folder, progress, exported)
