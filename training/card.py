"""The model card: the README.md of a bundle, generated from what the run knows."""

from training.config import Recipe
from training.data.dataset import LabelledData, Task
from training.metrics import METRIC_TITLES
from training.overrides import recipe_names

_GIVES: dict[Task, str] = {
    "multi_label": """Gives the label set of {}: the labels of non-zero probability.
No threshold is needed; the model decides how many labels there are.""",
    "multi_class": """Gives the label of {}.
Whoever wants more of them asks for a label count or a sparsity rate, and gets the most probable ones.""",
    "token_classification": """Gives the label of each word of {}.
Whoever wants more of them asks for a label count or a sparsity rate, and gets the most probable ones of each word.""",
}


def model_card(recipe: Recipe, data: LabelledData, metrics: dict[str, float]) -> str:
    """Markdown: what the model does, what it saw, how good it is, how to make it again."""
    splits = {"training": data.train, "validation": data.validation, "test": data.test}
    rows = "\n".join(f"| {title} | {metrics[name]:.4f} |" for name, title in METRIC_TITLES.items() if name in metrics)
    return f"""# {recipe.name}

{_GIVES[data.task].format({"image": "a picture", "text": "a text", "audio": "a recording"}[data.modality])}

## Data

{data.source}. Licence: {data.licence or "not stated"}.
Examples: {", ".join(f"{len(split)} {name}" for name, split in splits.items())}. Labels: {len(data.labels)}.

## Quality

On the test split, of the network in this folder:

| metric | value |
|---|---|
{rows}

Made, and measured, by `{_command(recipe)}` (loss `{recipe.loss.name}`; every setting stands in `bundle.json` under
`provenance`, and how the number of labels is decided under `sparsity`).

## Labels

{", ".join(data.labels)}

## Limits

The model knows only these labels and only data like that above; on anything else it still answers.
"""


def _command(recipe: Recipe) -> str:
    what = f"--recipe {recipe.name}" if recipe.name in recipe_names() else f"--data {recipe.data.source}"
    return f"labelset train-and-export {what} --seed {recipe.seed}"
