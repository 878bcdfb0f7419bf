"""Small models, trained and exported by the real code, once a session.

What imports torch does so inside a fixture, because the tests of the service do without.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

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
from training.data.dataset import LabelledData
from training.overrides import override

if TYPE_CHECKING:
    from training.build import Parts
    from training.checkpoint import Progress
    from training.export import Exported


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
