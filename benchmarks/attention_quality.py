"""What r-softmax in self-attention does to quality: features as they are, and a short fine-tuning, against softmax.

    python -m benchmarks.attention_quality --json runs/attention-quality.json

First the pre-trained network is left as it is, and only its attention is replaced: how far do the features of real
texts move? Then each rate is trained, with the ramp of SPEC 4, from the same weights on the same examples. Every run is
one of `labelset train-and-export`'s, kept under `runs/`, so a benchmark that was cut off goes on.
"""

import dataclasses
import json
import random
import statistics
from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from model.nn.attention import set_rate
from training.build import Parts, build_parts
from training.config import Recipe
from training.data.arrays import batches
from training.data.dataset import Example, LabelledData
from training.data.registry import load
from training.evaluate import answer, measure
from training.metrics import METRIC_TITLES
from training.overrides import named_recipe, override
from training.train_and_export import train

METRICS = {"multi_label": "example_f1", "multi_class": "accuracy"}
Record = dict[str, Any]


@click.command()
@click.option("--data", "source", default="attack", show_default=True)
@click.option("--train", "train_count", default=1500, show_default=True, help="Training examples.")
@click.option(
    "--test", "test_count", default=1000, show_default=True, help="Test examples, and as many validation ones."
)
@click.option("--rates", default="softmax,0,0.05,0.1,0.2,0.5", show_default=True)
@click.option("--ramp", default=0.5, show_default=True)
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--epochs", default=2, show_default=True)
@click.option("--features-only", is_flag=True, help="Nothing is trained.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(
    source: str,
    train_count: int,
    test_count: int,
    rates: str,
    ramp: float,
    seeds: str,
    epochs: int,
    features_only: bool,
    runs: Path,
    json_file: Path | None,
) -> None:
    """Measure, then print the two tables."""
    settings = [f"data.source={source}", f"data.max_train_examples={train_count}", f"schedule.epochs={epochs}"]
    recipe = override(named_recipe("attack"), [*settings, "name=attention", "schedule.batch_size=32"])
    data = shortened(load(source), test_count)
    sparse = [float(rate) for rate in rates.split(",") if rate != "softmax"]
    moved = features_moved(recipe, data, sparse)
    click.echo(moved_table(moved))
    if features_only:
        return
    trained: list[Record] = []
    for seed in map(int, seeds.split(",")):
        for rate in rates.split(","):
            trained.append({"rate": rate, "seed": seed, **fine_tuned(recipe, data, rate, ramp, seed, runs)})
            if json_file:
                json_file.write_text(json.dumps({"features": moved, "fine_tuned": trained}, indent=1) + "\n")
    click.echo("\n" + trained_table(trained))


def shortened(data: LabelledData, count: int) -> LabelledData:
    """The data with fewer validation and test examples: all rates are measured on the same."""

    def some(examples: list[Example]) -> list[Example]:
        return random.Random(0).sample(examples, min(count, len(examples)))

    return dataclasses.replace(data, validation=some(data.validation), test=some(data.test))


def features_moved(recipe: Recipe, data: LabelledData, rates: list[float]) -> list[Record]:
    """How features of test texts differ from those of softmax when nothing but the map is another."""
    torch.manual_seed(recipe.seed)
    before_NF = _features(build_parts(recipe, data))
    torch.manual_seed(recipe.seed)  # a network from scratch has to be the same again
    parts = build_parts(override(recipe, ["backbone.attention.sparsity_rate=0"]), data)
    records = []
    for rate in rates:
        set_rate(parts.classifier, rate)
        features_NF = _features(parts)
        cosine_N = cosine_similarity(before_NF, features_NF)
        kept = (_nearest(features_NF) == _nearest(before_NF)).float().mean().item()
        records.append(
            {
                "rate": rate,
                "cosine_mean": cosine_N.mean().item(),
                "cosine_min": cosine_N.min().item(),
                "same_nearest_text": kept,
            }
        )
    return records


def _features(parts: Parts) -> Tensor:
    backbone = parts.classifier.backbone.eval()
    with torch.inference_mode():
        return torch.cat(
            [backbone(parts.test.collate(rows).inputs) for rows in batches(parts.test, "features", batch_size=64)]
        )


def _nearest(features_NF: Tensor) -> Tensor:
    """Which other text is closest to each, by cosine."""
    unit_NF = torch.nn.functional.normalize(features_NF)
    return (unit_NF @ unit_NF.T).fill_diagonal_(-1).argmax(dim=1)


def fine_tuned(recipe: Recipe, data: LabelledData, rate: str, ramp: float, seed: int, runs: Path) -> Record:
    """Validation and test figures of one run."""
    own = [f"seed={seed}"]
    if rate != "softmax":
        own += [f"backbone.attention.sparsity_rate={rate}", f"backbone.attention.ramp={ramp}"]
    parts = train(override(recipe, own), data, runs).seen
    metric = METRICS[data.task]
    return {
        "metric": metric,
        "validation": measure(answer(parts.classifier, parts.validation, "validation"), data.task)[metric],
        "test": measure(answer(parts.classifier, parts.test, "test"), data.task)[metric],
    }


def moved_table(records: list[Record]) -> str:
    """Markdown."""
    lines = ["| r | cosine, mean | cosine, least | same nearest text |", "|---:|---:|---:|---:|"]
    for r in records:
        lines.append(
            f"| {r['rate']:g} | {r['cosine_mean']:.3f} | {r['cosine_min']:.3f} | {r['same_nearest_text']:.0%} |"
        )
    return "\n".join(lines)


def trained_table(records: list[Record]) -> str:
    """Markdown: mean and standard deviation over the seeds, and the difference to softmax of the same seed."""
    softmax = {r["seed"]: r["test"] for r in records if r["rate"] == "softmax"}
    metric = METRIC_TITLES[records[0]["metric"]]
    lines = [f"| attention | validation {metric} | test {metric} | less softmax, by seed |", "|---|---|---|---|"]
    for rate in dict.fromkeys(r["rate"] for r in records):
        own = [r for r in records if r["rate"] == rate]
        differences = ", ".join(f"{r['test'] - softmax[r['seed']]:+.4f}" for r in own if r["seed"] in softmax)
        name = "softmax" if rate == "softmax" else f"r-softmax, r = {rate}"
        figures = " | ".join(_mean([r[split] for r in own]) for split in ("validation", "test"))
        lines.append(f"| {name} | {figures} | {'' if rate == 'softmax' else differences} |")
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.4f} ± {spread:.4f}"


if __name__ == "__main__":
    main()
