"""Recipes by name, and `section.key=value` settings applied to them."""

import difflib
import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from training import recipes
from training.config import ConfigError, HeadConfig, LossName, Recipe
from training.masking import check_skipping


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
            policy without the value that it fixes, samples to be skipped that the loss never masks.
    """
    for setting in settings:
        recipe = _override_one(recipe, setting)
    _check_head(recipe.head, recipe.loss.name)
    check_skipping(recipe)
    return recipe


def flat_settings(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings of a recipe's document by their dotted keys: `{"loss.delta": 1.0, ...}`."""
    flat: dict[str, Any] = {}
    for name, value in document.items():
        flat |= flat_settings(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _check_head(head: HeadConfig, loss: LossName) -> None:
    # Not a rule of the section itself: the policy and what it needs come as two settings, in any order.
    needed = {"fixed_count": "label_count", "fixed_rate": "sparsity_rate"}.get(head.policy)
    if needed and getattr(head, needed) is None:
        raise ConfigError(f"head.policy {head.policy} needs head.{needed}, got none: add --set head.{needed}=VALUE")
    # The other losses leave all logits of a row free to move together: their signs say nothing.
    if head.policy == "positive_logits" and loss not in ("as_softmax", "zlpr", "bce"):
        raise ConfigError(f"head.policy positive_logits needs a loss with a zero (as_softmax, zlpr, bce), got {loss}")


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
            raise ConfigError(f"there is no setting {key!r}{_nearest(key, flat_settings(document))}")
    if last not in place:
        raise ConfigError(f"there is no setting {key!r}{_nearest(key, flat_settings(document))}")
    place[last] = value


def _parse(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _nearest(name: str, names: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=0.4)
    return f"; did you mean {found[0]!r}?" if found else ""
