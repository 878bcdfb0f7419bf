"""What lower precision saves and costs: one trained network, exported in each arithmetic, measured side by side.

    .venv/bin/python -m benchmarks.export --recipe attack --set schedule.epochs=1 --json export.json

The network is trained once (a run that is there is taken up). Times are of one thread, without preprocessing, the
exports taking turns; the ratio is to the float32 graph of the same run.
"""

import copy
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import onnx
from onnxruntime.transformers.optimizer import optimize_model

from model import bundle
from model.bundle import GRAPH, Bundle
from model.nn.backbones import TextBackbone
from model.predictor import Predictor
from training.agreement import Cost
from training.build import Parts
from training.config import Recipe
from training.data.configured import load_configured
from training.data.dataset import LabelledData
from training.export import export_bundle
from training.overrides import named_recipe, override
from training.report.terminal import aligned
from training.train_and_export import train

# Weights and arithmetic.
EXPORTS = (("float32", "float32"), ("int8", "float32"), ("float32", "float16"), ("float32", "int8"))
BATCH_SIZES = (1, 8)

Record = dict[str, Any]


@click.command()
@click.option("--recipe", default="attack", show_default=True)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE")
@click.option("--test", "test_limit", type=int, help="Measure quality on so many test examples. Default: all.")
@click.option("--batches", default=20, show_default=True, help="Batches timed of each size, five times.")
@click.option("--runs", type=click.Path(path_type=Path), default=Path("runs"), show_default=True)
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(
    recipe: str, settings: tuple[str, ...], test_limit: int | None, batches: int, runs: Path, json_file: Path | None
) -> None:
    """Train, export four times, measure, print."""
    chosen = override(named_recipe(recipe), [*settings, "export.max_f1_loss=1"])
    data = load_configured(chosen.data)
    records = measure(chosen, data, train(chosen, data, runs).whole, test_limit, batches)
    click.echo(aligned([list(_row(records[0])), *(list(_row(record).values()) for record in records)]))
    if json_file:
        json_file.write_text(json.dumps(records, indent=1) + "\n")


def measure(
    recipe: Recipe, data: LabelledData, parts: Parts, test_limit: int | None = None, batches: int = 20
) -> list[Record]:
    """One record an export; of a BERT one more, of the graph that onnxruntime's optimizer makes of the float32 one."""
    test = type(parts.test)(parts.test.examples[:test_limit], data.labels, parts.test.preprocess)
    records, predictors = [], []
    with tempfile.TemporaryDirectory() as folder:
        for weights, arithmetic in EXPORTS:
            own = override(recipe, [f"export.weights={weights}", f"export.arithmetic={arithmetic}"])
            # A copy: the export rounds weights in place.
            copied = dataclasses.replace(parts, classifier=copy.deepcopy(parts.classifier), test=test)
            exported = export_bundle(own, data, copied, Path(folder) / f"{weights}-{arithmetic}")
            name = {"recipe": recipe.name, "weights": weights, "arithmetic": arithmetic}
            cost = exported.agreement if isinstance(exported.agreement, Cost) else None
            quality = {
                "example_f1": exported.metrics["example_f1"],
                "same_label_sets": cost.same_label_sets if cost else None,
                "test_examples": len(test),
            }
            records.append({**name, **_size(exported.bundle), **quality})
            predictors.append(Predictor(exported.bundle, device="cpu", threads=1))
        if isinstance(parts.classifier.backbone, TextBackbone):
            fused = _fused_offline(predictors[0].bundle, parts.classifier.backbone, Path(folder) / "fused")
            records.append({**records[0], "arithmetic": "float32, fused offline", **_size(fused)})
            predictors.append(Predictor(fused, device="cpu", threads=1))
        for size in BATCH_SIZES:
            seconds = _seconds(predictors, copied, size, batches)
            for record, own_seconds in zip(records, seconds, strict=True):
                record[f"milliseconds_{size}"] = own_seconds * 1e3
                record[f"ratio_{size}"] = own_seconds / seconds[0]
    return records


def _size(exported: Bundle) -> Record:
    file = exported.file(GRAPH)
    return {"nodes": len(onnx.load(file).graph.node), "bytes": file.stat().st_size}


def _fused_offline(exported: Bundle, backbone: TextBackbone, folder: Path) -> Bundle:
    """The bundle with the graph that onnxruntime's optimizer for BERT makes of its own."""
    config = backbone.network.config
    graph = optimize_model(
        str(exported.file(GRAPH)),
        model_type="bert",
        num_heads=config.num_attention_heads,
        hidden_size=config.hidden_size,
        opt_level=0,
    ).model
    files = {name: exported.file(name).read_bytes() for name in exported.manifest.files}
    manifest = exported.manifest.model_dump(exclude={"files"})
    return bundle.write(folder, manifest, {**files, GRAPH: graph.SerializeToString()})


def _seconds(predictors: list[Predictor], parts: Parts, size: int, batches: int) -> list[float]:
    """The median time of a batch of each; they take turns, so that what slows the machine slows all."""
    count = len(parts.test)
    feeds = []
    for batch in range(batches):
        arrays = [parts.test[(batch * size + row) % count].array for row in range(size)]
        feeds.append(parts.test.preprocess.collate(arrays))
    taken: list[list[float]] = [[] for _ in predictors]
    for feed in feeds * 5:
        for times, predictor in zip(taken, predictors, strict=True):
            started = time.perf_counter()
            predictor.session.run(feed)
            times.append(time.perf_counter() - started)
    return [statistics.median(times) for times in taken]


def _row(record: Record) -> dict[str, str]:
    same = record["same_label_sets"]
    return {
        "weights / arithmetic": f"{record['weights']} / {record['arithmetic']}",
        "nodes": str(record["nodes"]),
        "MB": f"{record['bytes'] / 1e6:.1f}",
        **{f"time, batch {size}": f"{record[f'ratio_{size}']:.2f}" for size in BATCH_SIZES},
        "example-F1": f"{record['example_f1']:.4f}",
        "same label sets": "" if same is None else f"{same:.1%}",
    }


if __name__ == "__main__":
    main()
