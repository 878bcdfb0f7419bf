"""From a trained classifier to a verified bundle."""

import datetime
import importlib.metadata
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from model import bundle, golden
from model.bundle import CARD, GOLDEN, GRAPH, TOKENIZER, Bundle
from model.predictor import Predictor
from training.agreement import Agreement, Cost, compare, cost_of_precision, graph_probabilities
from training.build import Parts
from training.card import model_card
from training.config import ExportConfig, Recipe
from training.data.arrays import raw_input
from training.data.dataset import LabelledData
from training.evaluate import Answers, answer, measure
from training.evaluate_bundle import measure_label_sets
from training.export_graph import WISHES, data_inputs, export_graph
from training.golden_choice import MIN_MARGINS, choose_golden
from training.quantize import round_weights

_PACKAGES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "tokenizers", "pillow", "numpy")


@dataclass(frozen=True)
class Exported:
    """A bundle, its answers and metrics on the test split, and how closely the graph follows the network.

    Where the graph computes in float32, answers and metrics are the network's. Otherwise the label sets are the
    graph's, and so are the metrics; the logits are the network's still.
    """

    bundle: Bundle
    answers: Answers
    metrics: dict[str, float]
    agreement: Agreement | Cost


def export_bundle(recipe: Recipe, data: LabelledData, parts: Parts, folder: Path) -> Exported:
    """Write the bundle of a trained classifier, with its golden examples and its card.

    The answers of the golden examples are the bundle's own: it is written twice, the second time with them.

    Raises:
        Disagreement: the graph does not answer as the network.
        F1Loss: the graph computes in lower precision, and that costs more than the recipe allows.
        GoldenMismatch: the bundle does not repeat its own answers.
    """
    classifier = parts.classifier.cpu().eval()
    if recipe.export.weights == "int8":
        round_weights(classifier)
    answers = answer(classifier, parts.test, "test")
    if recipe.export.arithmetic == "int8":
        # What is multiplied, the conversion rounds itself; tables that are only looked up are left to us.
        for table in (module for module in classifier.modules() if isinstance(module, nn.Embedding)):
            round_weights(table)
    graph = export_graph(classifier, parts, recipe.export)
    manifest = _manifest(recipe, data, parts)
    files = {GRAPH: graph.SerializeToString(), GOLDEN: b"[]\n"}
    if parts.tokenizer_json:
        files[TOKENIZER] = parts.tokenizer_json.encode()
    with tempfile.TemporaryDirectory() as staging:
        predictor = Predictor(bundle.write(Path(staging) / "bundle", manifest, files), device="cpu")
        answers, metrics, agreement = _verified(recipe.export, answers, predictor, parts)
        margin = MIN_MARGINS[recipe.export.arithmetic]
        chosen = choose_golden(answers, parts.test.examples, margin)
        items = [raw_input(parts.test.examples[index]) for index in chosen]
        examples = [golden.example(item, predictor.predict([item])[0]) for item in items]
    files |= {CARD: model_card(recipe, data, metrics).encode(), GOLDEN: golden.dump(examples)}
    written = bundle.write(folder, {**manifest, "metrics": metrics}, files)
    golden.replay(Predictor(written, device="cpu"))
    return Exported(written, answers, metrics, agreement)


def _verified(
    export: ExportConfig, answers: Answers, predictor: Predictor, parts: Parts
) -> tuple[Answers, dict[str, float], Agreement | Cost]:
    """The answers that the bundle gives, their metrics, and how they compare with the float32 network's."""
    if export.arithmetic == "float32":
        return answers, measure(answers, parts.task), compare(answers, predictor, parts.test)
    graph_NC = graph_probabilities(predictor, parts.test)
    cost = cost_of_precision(answers, graph_NC, export)
    metrics = measure_label_sets(graph_NC, answers.targets_NC, parts.task)
    return answers._replace(probabilities_NC=graph_NC), metrics, cost


def _manifest(recipe: Recipe, data: LabelledData, parts: Parts) -> dict[str, Any]:
    rows = "words" if parts.task == "token_classification" else "batch"
    return {
        "name": recipe.name,
        "task": parts.task,
        "arithmetic": recipe.export.arithmetic,
        "labels": data.labels,
        "preprocessing": parts.preprocessing.model_dump(),
        "sparsity": {
            **parts.classifier.head.policy.model_dump(exclude_none=True),
            "selectable": parts.classifier.head.selectable,
        },
        "inputs": [
            *data_inputs(parts),
            *({"name": name, "dtype": dtype, "shape": [rows]} for name, dtype in WISHES.items()),
        ],
        "outputs": [
            {"name": "label_index", "dtype": "int64", "shape": ["labels"]},
            {"name": "label_probability", "dtype": "float32", "shape": ["labels"]},
            {"name": "row_offset", "dtype": "int64", "shape": [f"{rows} + 1"]},
            {"name": "applied_sparsity_rate", "dtype": "float64", "shape": [rows]},
            {"name": "probabilities", "dtype": "float32", "shape": [rows, len(data.labels)]},
        ],
        "provenance": {
            "data_set": data.source,
            "data_license": data.licence,
            "recipe": recipe.model_dump_json(),
            "seed": recipe.seed,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "git_commit": _git_commit(),
            "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        },
    }


def _git_commit() -> str:
    """The commit of this checkout; empty where there is none, with a `+` where files differ from it."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--abbrev=40",
        "--dirty=+",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
