"""A frozen backbone: its features are computed once and kept, and only the head is trained, in seconds.

The head sees features instead of pictures or texts; everything else of a run stays as it is.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.nn.backbones import Backbone
from model.nn.classifier import Classifier
from training.build import Parts
from training.config import Recipe
from training.data.arrays import ArrayDataset, Batch, Row, batches
from training.data.cache import only_one_process
from training.data.dataset import add_identities


class CachedFeatures(Backbone):
    """Stands where the backbone was: what comes in are features already."""

    input_name = "features"

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        self.feature_size = feature_size

    def forward(self, feature_BF: Tensor) -> Tensor:
        """Features `[B, F]`, as they are."""
        return feature_BF


class FeatureDataset(ArrayDataset):
    """The examples of a split, each as its feature."""

    def __init__(self, examples: ArrayDataset, features_NF: npt.NDArray[np.float32]) -> None:
        super().__init__(examples.examples, examples.labels, examples.preprocess, cache_bytes=0)
        self.features_NF = features_NF

    def __getitem__(self, index: int) -> Row:
        return Row(self.features_NF[index], self.targets(index), index)

    def lengths(self) -> None:
        """Features have one size."""

    def collate(self, rows: Sequence[Row]) -> Batch:
        """Rows -> one batch of features `[B, F]`."""
        return Batch(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))


def with_cached_features(recipe: Recipe, parts: Parts, folder: Path) -> Parts:
    """The parts of a run whose backbone is frozen: the same head, on features that `folder` keeps.

    Args:
        recipe: Says what the features depend on.
        parts: The parts with the whole network; their head is the one that is trained.
        folder: Where features lie, in one file for each backbone, input and split.
    """
    return dataclasses.replace(
        parts,
        augment=None,
        classifier=Classifier(CachedFeatures(parts.classifier.backbone.feature_size), parts.classifier.head),
        **{
            name: FeatureDataset(dataset, _features(recipe, parts.classifier.backbone, dataset, name, folder))
            for name, dataset in (("train", parts.train), ("validation", parts.validation), ("test", parts.test))
        },
    )


def _features(
    recipe: Recipe, backbone: Backbone, dataset: ArrayDataset, split: str, folder: Path
) -> npt.NDArray[np.float32]:
    digest = hashlib.sha256(f"({recipe.backbone!r}, {recipe.input!r}, ".encode())
    add_identities(digest, dataset.examples)
    digest.update(b")")
    file = folder / f"{split}-{digest.hexdigest()[:16]}.npy"
    folder.mkdir(parents=True, exist_ok=True)
    if not file.is_file():
        with only_one_process(folder / f".{file.name}.lock"):
            if not file.is_file():  # else another process computed them while this one waited
                unfinished = file.with_suffix(".part.npy")
                np.save(unfinished, _compute(backbone, dataset, split))
                unfinished.rename(file)
    features: npt.NDArray[np.float32] = np.load(file)
    return features


def _compute(backbone: Backbone, dataset: ArrayDataset, split: str) -> npt.NDArray[np.float32]:
    """In float32: the served network computes its features so, and the head has to fit those."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone = backbone.to(device).eval()
    parts = []
    with torch.inference_mode():
        for rows in batches(dataset, f"features of {split}"):
            parts.append(backbone(dataset.collate(rows).inputs.to(device)).cpu().numpy())
    return np.concatenate(parts)
