"""Quality of label sets: losses x decisions x seeds on one recipe, chosen on validation, reported on test.

    python -m benchmarks.label_sets --recipe attack --frozen --json results.json

Every run is kept under `runs/`, as those of `labelset train-and-export` are: a benchmark that was cut off goes on. A
network is trained once for each loss and seed and read in every way that its logits allow: by its count layers, three
ways, by the loss's own rule, by thresholds, and by the true count, which nobody has when it matters. Thresholds are
tuned on validation, one for all labels or one a label; beside them stands the best threshold of the test split itself,
a bound.
"""

import copy
import functools
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import torch

from model.nn.classifier import Classifier
from model.policies import CountPolicy, counts_by_policy
from training import losses
from training.config import Recipe
from training.data.dataset import LabelledData
from training.data.registry import load
from training.evaluate import Answers, answer
from training.f1_fit import fit_f1
from training.metrics import best_threshold, label_set_metrics
from training.overrides import named_recipe, override
from training.train_and_export import train

# What a recipe changes to train only the head, on features that are computed once.
FROZEN = [
    "backbone.frozen=true",
    "head.dropout=0.3",
    "optimizer.head_lr=3e-3",
    "schedule.epochs=15",
    "schedule.batch_size=64",
    "schedule.patience=5",
]
LOSSES = {
    "softmax": ["loss.name=softmax"],
    "BCE": ["loss.name=bce"],
    "ZLPR": ["loss.name=zlpr"],
    "AS-Softmax, delta .3": ["loss.name=as_softmax", "loss.delta=0.3"],
    "AS-Softmax, delta .1": ["loss.name=as_softmax", "loss.delta=0.1"],
    "AS-Softmax, delta .3 / labels": ["loss.name=as_softmax", "loss.delta=0.3", "loss.delta_scaling=label_count"],
    "r-softmax (eq. 4)": ["loss.name=r_softmax"],
    "sparsemax + Huber": ["loss.name=sparsemax_huber"],
    "sparsemax + hinge": ["loss.name=sparsemax_hinge"],
    "sparsehourglass + hinge": ["loss.name=sparsehourglass_hinge"],
    "entmax-1.5": ["loss.name=entmax15"],
    "label smoothing": ["loss.name=label_smoothing"],
    "AM-softmax": ["loss.name=am_softmax"],
    "T-softmax": ["loss.name=t_softmax", "loss.temperature=2"],
}
COUNTS: dict[str, CountPolicy] = {
    "predicted count": "predicted_count",
    "expected F1": "expected_f1",
    "predicted F1": "predicted_f1",
}
DECISIONS = (
    *COUNTS,
    "own rule",
    "one threshold",
    "a threshold for each label",
    "threshold tuned on test (bound)",
    "true count (bound)",
)
# Parts of validation for a figure of what is fitted to it.
_FOLDS = 5
Record = dict[str, Any]
LabelSets = npt.NDArray[np.bool_]
# What decides the label sets of a split; it may look at another split, as one who tunes a threshold does.
Decide = Callable[[Answers], LabelSets]


@click.command()
@click.option("--recipe", "recipe_name", required=True)
@click.option("--frozen", is_flag=True, help="Train only the head.")
@click.option("--loss", "chosen", multiple=True, default=tuple(LOSSES), type=click.Choice(list(LOSSES)))
@click.option("--seeds", default="0,1,2", show_default=True)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(
    recipe_name: str,
    frozen: bool,
    chosen: tuple[str, ...],
    seeds: str,
    settings: tuple[str, ...],
    runs: Path,
    json_file: Path | None,
) -> None:
    """Train and measure, then print the table."""
    recipe = override(named_recipe(recipe_name), [*(FROZEN if frozen else []), *settings])
    data = load(recipe.data.source)
    records: list[Record] = []
    for seed, loss in itertools.product(map(int, seeds.split(",")), chosen):
        one = override(recipe, [*LOSSES[loss], f"seed={seed}"])
        for decision, figures in decisions(one, data, runs):
            records.append({"recipe": recipe_name, "frozen": frozen, "loss": loss, "seed": seed, "decision": decision})
            records[-1] |= figures
        if json_file:
            json_file.write_text(json.dumps(records, indent=1) + "\n")
    click.echo(table(records))


def decisions(recipe: Recipe, data: LabelledData, runs: Path) -> Iterator[tuple[str, Record]]:
    """Each way of reading label sets off one trained network, with its validation and test figures."""
    parts = train(recipe, data, runs).seen
    validation = answer(parts.classifier, parts.validation, "validation")
    test = answer(parts.classifier, parts.test, "test")
    for name, policy in COUNTS.items():
        decide = functools.partial(_by_count, policy=policy)
        label_sets = _by_crossed_fit(parts.classifier, validation) if policy == "predicted_f1" else decide(validation)
        on_validation = label_set_metrics(label_sets, validation.targets_NC)
        yield name, _record(on_validation, label_set_metrics(decide(test), test.targets_NC))
    yield "true count (bound)", _figures(validation, test, _by_true_count)
    rule = losses.own_decision(recipe.loss.name, "multi_label")
    if rule is None:
        return
    if rule.threshold is not None:
        yield "own rule", _figures(validation, test, lambda split: rule(split.logits_NC))
    if rule.threshold is None or recipe.loss.name == "bce":
        tuned = best_threshold(rule.scores(validation.logits_NC), validation.targets_NC)
        yield "one threshold", _figures(validation, test, lambda split: rule(split.logits_NC, tuned))
        each_C = best_threshold_of_each(rule.scores(validation.logits_NC), validation.targets_NC)
        yield (
            "a threshold for each label",
            _figures(validation, test, lambda split: rule.scores(split.logits_NC) > each_C),
        )
        oracle = best_threshold(rule.scores(test.logits_NC), test.targets_NC)
        on_test = label_set_metrics(rule(test.logits_NC, oracle), test.targets_NC)
        on_validation = label_set_metrics(rule(validation.logits_NC, tuned), validation.targets_NC)
        yield "threshold tuned on test (bound)", _record(on_validation, on_test)


def _by_count(split: Answers, policy: CountPolicy) -> LabelSets:
    count_N = counts_by_policy(policy, split.logits_NC, split.count_logits_NK, split.f1_logits_NK)
    return top(split.logits_NC, count_N)


def _by_crossed_fit(classifier: Classifier, validation: Answers) -> LabelSets:
    """By the predicted F1 as it would be on data that it was not fitted to: each fifth by a fit to the others."""
    layers = copy.deepcopy(classifier.head.count)
    assert layers is not None
    fold_N = np.random.default_rng(0).permutation(len(validation.targets_NC)) % _FOLDS
    label_sets_NC = np.zeros_like(validation.targets_NC)
    for fold in range(_FOLDS):
        fit_f1(layers, _rows(validation, fold_N != fold))
        held_out = _rows(validation, fold_N == fold)
        with torch.inference_mode():
            seen = layers.f1_inputs(torch.from_numpy(held_out.logits_NC), torch.from_numpy(held_out.count_logits_NK))
            f1_logits_NK = layers.f1(seen).numpy()
        label_sets_NC[fold_N == fold] = _by_count(held_out._replace(f1_logits_NK=f1_logits_NK), "predicted_f1")
    return label_sets_NC


def _rows(answers: Answers, chosen_N: npt.NDArray[np.bool_]) -> Answers:
    return answers._replace(
        logits_NC=answers.logits_NC[chosen_N],
        count_logits_NK=answers.count_logits_NK[chosen_N],
        targets_NC=answers.targets_NC[chosen_N],
    )


def _by_true_count(split: Answers) -> LabelSets:
    return top(split.logits_NC, split.targets_NC.sum(axis=1))


def top(scores_NC: npt.NDArray[np.floating], count_N: npt.NDArray[np.integer]) -> LabelSets:
    """The so many highest scores of each row, as a multi-hot matrix."""
    rank_NC = (-scores_NC).argsort(axis=1, kind="stable").argsort(axis=1)
    return rank_NC < count_N[:, None]


def best_threshold_of_each(scores_NC: npt.NDArray[np.floating], target_NC: LabelSets) -> npt.NDArray[np.floating]:
    """For each label the threshold with its best F1 `[C]`; infinite for a label that never occurs."""
    thresholds_C = np.full(scores_NC.shape[1], np.inf)
    for label in np.flatnonzero(target_NC.any(axis=0)):
        order = np.argsort(-scores_NC[:, label], kind="stable")
        hits = np.cumsum(target_NC[order, label])
        f1 = 2 * hits / (np.arange(1, len(order) + 1) + hits[-1])
        last = int(f1.argmax())
        below = scores_NC[order[min(last + 1, len(order) - 1)], label]
        thresholds_C[label] = (scores_NC[order[last], label] + below) / 2 if last + 1 < len(order) else -np.inf
    return thresholds_C


def _figures(validation: Answers, test: Answers, decide: Decide) -> Record:
    return _record(*(label_set_metrics(decide(split), split.targets_NC) for split in (validation, test)))


def _record(validation: dict[str, float], test: dict[str, float]) -> Record:
    return {"validation_example_f1": validation["example_f1"], **{f"test_{name}": v for name, v in test.items()}}


def table(records: list[Record]) -> str:
    """Markdown: test example-F1 (x100) of each loss and decision, and what wins on validation.

    The losses stand in the order of the best validation figure that a decision without a bound gives them.
    """
    values = {
        (loss, decision): _mean_and_deviation(records, loss, decision)
        for loss, decision in dict.fromkeys((record["loss"], record["decision"]) for record in records)
    }
    fair = {pair: validation for pair, (validation, _) in values.items() if not pair[1].endswith("(bound)")}
    names = sorted(
        dict.fromkeys(loss for loss, _ in values),
        key=lambda name: -max(validation for (loss, _), validation in fair.items() if loss == name),
    )
    lines = [f"| loss | {' | '.join(DECISIONS)} |", "|" + "---|" * (len(DECISIONS) + 1)]
    for loss in names:
        lines.append(f"| {loss} | {' | '.join(values.get((loss, decision), (0, ''))[1] for decision in DECISIONS)} |")
    loss, decision = max(fair, key=lambda pair: fair[pair])
    ours = max((pair for pair in fair if pair[1] in COUNTS), key=lambda pair: fair[pair])
    lines.append(f"\nBest on validation: {loss}, {decision} ({100 * fair[loss, decision]:.1f}).")
    lines.append(f"Best on validation of those without a threshold: {ours[0]}, {ours[1]} ({100 * fair[ours]:.1f}).")
    return "\n".join(lines)


def _mean_and_deviation(records: list[Record], loss: str, decision: str) -> tuple[float, str]:
    """The mean validation F1 over the seeds, and mean and standard deviation of the test F1 as text."""
    rows = [record for record in records if (record["loss"], record["decision"]) == (loss, decision)]
    test = 100 * np.array([row["test_example_f1"] for row in rows])
    return float(np.mean([row["validation_example_f1"] for row in rows])), f"{test.mean():.1f} ± {test.std():.1f}"


if __name__ == "__main__":
    main()
