"""The recipe: everything that decides what a training run does, typed, and overridable from the command line."""

import difflib
import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from model.errors import LabelsetError
from model.manifest import Frozen
from training import recipes


class ConfigError(LabelsetError):
    """A recipe or an override that makes no sense."""

    code = "config_invalid"


class DataConfig(Frozen):
    """What to train on: the name of a fetched set, or a file or folder of one's own."""

    source: str
    images: Path | None = None
    min_label_count: int = Field(default=1, ge=1, description="labels that fewer examples carry are dropped")
    max_train_examples: int | None = Field(default=None, ge=1)
    split_seed: int = 0


class ImageInput(Frozen):
    """How pictures enter: their size, and the training-time augmentation."""

    kind: Literal["image"] = "image"
    size: int = Field(default=128, ge=16, le=1024)
    augment: bool = True


class TextInput(Frozen):
    """How texts enter; `vocabulary_size` only where the tokenizer is made from the training texts."""

    kind: Literal["text"] = "text"
    max_length: int = Field(default=64, ge=2, le=512)
    vocabulary_size: int = Field(default=4000, ge=100)


class PretrainedBackbone(Frozen):
    """A network with its weights: a name that `labelset fetch` knows, a local folder, or a hub name."""

    kind: Literal["pretrained"] = "pretrained"
    source: str
    depths: tuple[int, ...] | None = Field(default=None, description="ResNet: blocks kept of each stage kept")
    layers: int | None = Field(default=None, ge=1, description="BERT: layers kept")
    frozen: bool = Field(default=False, description="train only the head, on features that are computed once")


class NewBackbone(Frozen):
    """A small network from scratch."""

    kind: Literal["new"] = "new"
    hidden_sizes: tuple[int, ...] = Field(default=(32, 64, 128, 256), description="ResNet: channels of each stage")
    depths: tuple[int, ...] = Field(default=(1, 1, 1, 1), description="ResNet: blocks of each stage")
    hidden_size: int = Field(default=128, ge=32, description="BERT: width")
    layers: int = Field(default=2, ge=1, description="BERT: layers")


class HeadConfig(Frozen):
    """How the served model decides how many labels there are (SPEC 2)."""

    policy: Literal["predicted_count", "fixed_count", "fixed_rate"] = "predicted_count"
    label_count: int | None = Field(default=None, ge=0)
    sparsity_rate: float | None = Field(default=None, ge=0, le=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class LossConfig(Frozen):
    """The classification loss; the cross-entropy on the label count is added to each."""

    name: Literal["as_softmax_multilabel", "r_softmax", "bce"] = "as_softmax_multilabel"
    delta: float = Field(default=1.0, gt=0, le=1, description="AS-Softmax: 1 keeps every opponent")
    delta_warm_up: float = Field(
        default=0.3, ge=0, le=1, description="fraction of the steps in which delta falls to it"
    )
    count_weight: float = Field(default=1.0, ge=0)


class OptimizerConfig(Frozen):
    """AdamW with linear warm-up and cosine decay."""

    lr: float = Field(default=5e-5, gt=0)
    head_lr: float = Field(default=1e-3, gt=0, description="the head starts from nothing and may go faster")
    weight_decay: float = Field(default=0.01, ge=0)
    warm_up: float = Field(default=0.1, ge=0, le=1, description="fraction of the steps")
    clip_norm: float = Field(default=1.0, gt=0)


class Schedule(Frozen):
    """How long."""

    epochs: int = Field(default=3, ge=1)
    batch_size: int = Field(default=32, ge=1)
    patience: int = Field(default=3, ge=1, description="epochs without a better validation example-F1 before the end")
    checkpoint_steps: int = Field(default=100, ge=1, description="steps between two checkpoints")


class ExportConfig(Frozen):
    """How the bundle is written."""

    weights: Literal["float32", "int8"] = Field(
        default="float32", description="int8: matrices are stored in int8, computed in float32; a quarter of the size"
    )


class Recipe(Frozen):
    """One training run."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    data: DataConfig
    input: Annotated[ImageInput | TextInput, Field(discriminator="kind")]
    backbone: Annotated[PretrainedBackbone | NewBackbone, Field(discriminator="kind")]
    head: HeadConfig = HeadConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: Schedule = Schedule()
    export: ExportConfig = ExportConfig()
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="auto: bfloat16 where the device multiplies matrices in it, else float32"
    )


def recipe_names() -> list[str]:
    """Names of the recipes that the project brings."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(recipes.__path__))


def named_recipe(name: str) -> Recipe:
    """A recipe that the project brings.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in recipe_names():
        raise ConfigError(f"recipe must be one of {recipe_names()}, got {name!r}{_nearest(name, recipe_names())}")
    recipe: Recipe = importlib.import_module(f"training.recipes.{name.replace('-', '_')}").RECIPE
    return recipe


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """A recipe with `section.key=value` settings applied.

    Raises:
        ConfigError: a setting without `=`, an unknown key (the nearest is named), a value that its key refuses, or a
            policy without the value that it fixes.
    """
    for setting in settings:
        recipe = _override_one(recipe, setting)
    _check_head(recipe.head)
    return recipe


def _check_head(head: HeadConfig) -> None:
    # Not a rule of the section itself: the policy and what it needs come as two settings, in any order.
    needed = {"fixed_count": "label_count", "fixed_rate": "sparsity_rate"}.get(head.policy)
    if needed and getattr(head, needed) is None:
        raise ConfigError(f"head.policy {head.policy} needs head.{needed}, got none: add --set head.{needed}=VALUE")


def _override_one(recipe: Recipe, setting: str) -> Recipe:
    key, separator, value = setting.partition("=")
    if not separator:
        raise ConfigError(f"a setting must read section.key=value, got {setting!r}")
    document = recipe.model_dump()
    _assign(document, key, _parse(value))
    try:
        # After each setting, so that the next one finds the keys of a section that was replaced as a whole.
        return Recipe.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {first['msg']}, got {first['input']!r}") from None


def _assign(document: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    place: Any = document
    for part in sections:
        if isinstance(place, Mapping) and part in place and isinstance(place[part], dict):
            place = place[part]
        else:
            raise ConfigError(f"there is no setting {key!r}{_nearest(key, _keys(document))}")
    if last not in place:
        raise ConfigError(f"there is no setting {key!r}{_nearest(key, _keys(document))}")
    place[last] = value


def _keys(document: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for name, value in document.items():
        keys += _keys(value, f"{prefix}{name}.") if isinstance(value, dict) else [prefix + name]
    return keys


def _parse(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _nearest(name: str, names: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.4)
    return f"; did you mean {found[0]!r}?" if found else ""
