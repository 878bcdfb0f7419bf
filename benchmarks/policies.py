"""What it costs that a graph can follow several sparsity policies: the head alone, by policy, against one built in.

    python -m benchmarks.policies --json policies.json

Each graph takes features and gives label sets, as the end of an exported graph does: linear layers, decision,
r-softmax, compaction. They take turns in one run, on one thread, with the compiled r-softmax where there is one;
the clock runs only while that thread does.
"""

import json
import logging
import random
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

from model.manifest import SparsityPolicy
from model.nn.backbones import Backbone
from model.nn.classifier import Classifier, ServedClassifier
from model.nn.heads import LabelSetHead
from model.policies import graph_code
from model.sparse_softmax import native, onnx_function, torch_op

FEATURE_SIZE = 384
MAX_LABEL_COUNT = 10
BUILT_IN = "predicted_count, built in"
Feed = dict[str, npt.NDArray[Any]]
Record = dict[str, Any]


class Features(Backbone):
    """No backbone: what comes in are features."""

    input_name = "features"

    def forward(self, feature_BF: Tensor) -> Tensor:
        """Features, as they are."""
        return feature_BF


class BuiltIn(nn.Module):
    """A served classifier that decides by its head's policy and cannot be told another."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.served = ServedClassifier(classifier)

    def forward(self, batch: Tensor, label_count_B: Tensor, sparsity_rate_B: Tensor) -> tuple[Tensor, ...]:
        """As `ServedClassifier.forward`."""
        return self.served(batch, label_count_B, sparsity_rate_B, None)


@click.command()
@click.option("--batch-size", default=32, show_default=True)
@click.option("--classes", default="100,1000,10000", show_default=True)
@click.option("--rounds", default=200, show_default=True, help="Turns that each contestant takes.")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(batch_size: int, classes: str, rounds: int, json_file: Path | None) -> None:
    """Print, and write, a record for each policy and number of classes."""
    records = [record for count in map(int, classes.split(",")) for record in compare(batch_size, count, rounds)]
    if json_file:
        json_file.write_text(json.dumps(records, indent=1) + "\n")
    click.echo(f"r-softmax: {native.implementation('cpu')}; batch of {batch_size}, one thread\n\n{table(records)}")


def compare(batch_size: int, class_count: int, rounds: int) -> list[Record]:
    """Every contestant on one batch."""
    torch.manual_seed(0)
    runs = contestants(batch_size, class_count)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds):
        # Each goes first, and after each other, equally often: who comes next finds another cache.
        for name, (session, feed) in random.Random(turn).sample(list(runs.items()), len(runs)):
            start = time.thread_time()
            session.run(["label_index", "label_probability"], feed)
            seconds[name].append(time.thread_time() - start)
    return [
        {
            "batch_size": batch_size,
            "classes": class_count,
            "policy": name,
            "rounds": rounds,
            "microseconds": statistics.median(seconds[name]) * 1e6,
            "ratio": statistics.median(seconds[name]) / statistics.median(seconds[BUILT_IN]),
        }
        for name in runs
    ]


def contestants(batch_size: int, class_count: int) -> dict[str, tuple[ort.InferenceSession, Feed]]:
    """A session and its inputs for one policy built in, for each that can be told, and for those with a learned t."""
    feature = np.random.default_rng(0).standard_normal((batch_size, FEATURE_SIZE), np.float32)
    feed = {"features": feature, "label_count": np.full(batch_size, -1), "sparsity_rate": np.full(batch_size, -1.0)}
    runs: dict[str, tuple[ort.InferenceSession, Feed]] = {}
    for policy in ("predicted_count", "learned_threshold"):
        sparsity = SparsityPolicy(policy=policy, max_label_count=MAX_LABEL_COUNT)
        head = LabelSetHead(FEATURE_SIZE, class_count, sparsity)
        # Counts that are seen: a few labels an input.
        nn.init.constant_(head.logits.bias, -1.5)
        classifier = Classifier(Features(), head).eval()
        if policy == "predicted_count":
            runs[BUILT_IN] = session(BuiltIn(classifier), ["features", "label_count", "sparsity_rate"]), feed
        told = session(ServedClassifier(classifier), [*feed, "sparsity_policy"])
        for name in head.selectable if policy == "predicted_count" else (policy,):
            runs[name] = told, {**feed, "sparsity_policy": np.full(batch_size, graph_code(name))}
    return runs


def session(module: nn.Module, input_names: list[str]) -> ort.InferenceSession:
    """A module as the exporter would write it, in the runtime."""
    undecided = torch.full((2,), -1)
    values = [torch.zeros(2, FEATURE_SIZE), undecided, undecided.double(), torch.zeros_like(undecided)]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        program = torch.onnx.export(
            module,
            tuple(values[: len(input_names)]),
            input_names=input_names,
            output_names=["label_index", "label_probability"],
            dynamic_shapes=tuple({0: torch.export.Dim("batch", min=1)} for _ in input_names),
            custom_translation_table=torch_op.onnx_translation_table(),
            opset_version=20,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    graph: onnx.ModelProto = program.model_proto
    onnx_function.attach(graph)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    native.register(options)
    return ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])


def table(records: list[Record]) -> str:
    """Markdown: a row a policy, its time in multiples of the one built in."""
    class_counts = sorted({record["classes"] for record in records})
    cells = {(record["policy"], record["classes"]): record for record in records}
    lines = ["| policy | " + " | ".join(f"C = {count}" for count in class_counts) + " |"]
    lines.append("|---|" + "---:|" * len(class_counts))
    for name in dict.fromkeys(record["policy"] for record in records):
        found = [cells[name, count] for count in class_counts]
        texts = [f"{cell['microseconds']:,.0f} us" if name == BUILT_IN else f"{cell['ratio']:.2f}" for cell in found]
        lines.append(f"| {name} | {' | '.join(texts)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
