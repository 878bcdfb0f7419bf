"""The model card: the README.md of a bundle, generated from what the run knows."""

from training.config import Recipe
from training.data.dataset import LabelledData
from training.metrics import METRIC_TITLES
from training.overrides import recipe_names


def model_card(recipe: Recipe, data: LabelledData, metrics: dict[str, float]) -> str:
    """Markdown: what the model does, what it saw, how good it is, how to make it again."""
    splits = {"training": data.train, "validation": data.validation, "test": data.test}
    rows = "\n".join(f"| {title} | {metrics[name]:.4f} |" for name, title in METRIC_TITLES.items())
    return f"""# {recipe.name}

Gives the label set of {"a picture" if data.modality == "image" else "a text"}: the labels of non-zero probability.
No threshold is needed; the model predicts how many labels there are.

## Data

{data.source}. Licence: {data.licence or "not stated"}.
Examples: {", ".join(f"{len(split)} {name}" for name, split in splits.items())}. Labels: {len(data.labels)}.

## Quality

On the test split, of the network in this folder:

| metric | value |
|---|---|
{rows}

Made, and measured, by `{_command(recipe)}` (loss `{recipe.loss.name}`, sparsity policy `{recipe.head.policy}`; every
setting stands in `bundle.json` under `provenance`).

## Labels

{", ".join(data.labels)}

## Limits

The model knows only these labels and only data like that above; on anything else it still answers.
"""


def _command(recipe: Recipe) -> str:
    what = f"--recipe {recipe.name}" if recipe.name in recipe_names() else f"--data {recipe.data.source}"
    return f"labelset train-and-export {what} --seed {recipe.seed}"
