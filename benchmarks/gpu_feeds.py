"""Ways to feed a session on a GPU: ordinary arrays, page-locked ones, and I/O binding, in one run.

    .venv/bin/python -m benchmarks.gpu_feeds bundles/image-demo/1 --json gpu_feeds.json

As in the service, several threads put arrays of inputs together and run them. The ways take turns; a ratio is to
ordinary arrays in the same round. With `--device cpu` it runs anywhere, and says nothing about a GPU.
"""

import json
import random
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from model import golden
from model.bundle import Bundle
from model.devices import Device
from model.errors import LabelsetError
from model.predictor import Predictor
from model.session import LET_THE_MODEL_DECIDE, SPARSE_OUTPUTS, Answers, Session, Sparsity

Array = npt.NDArray[Any]
Record = dict[str, Any]


class OrdinarySession(Session):
    """Fed from arrays of numpy's own, whatever the device."""

    def __init__(self, bundle: Bundle, device: Device) -> None:
        super().__init__(bundle, device)
        self.empty = np.empty


class BoundSession(Session):
    """Each thread keeps a binding and inputs on the device, writes into them and runs."""

    def __init__(self, bundle: Bundle, device: Device) -> None:
        super().__init__(bundle, device)
        self._of_thread = threading.local()

    def run(self, inputs: Mapping[str, Array], sparsities: Sequence[Sparsity] = (), *, dense: bool = False) -> Answers:
        """As `Session.run`, by I/O binding."""
        if dense:
            raise NotImplementedError("the dense probabilities are no part of this comparison")
        if not hasattr(self._of_thread, "binding"):
            self._of_thread.binding, self._of_thread.kept = self._session.io_binding(), {}
        binding, kept = self._of_thread.binding, self._of_thread.kept
        wishes = sparsities or [LET_THE_MODEL_DECIDE] * len(inputs[self._row_input])
        for name, array in {**inputs, **self._sparsity_feed(wishes)}.items():
            if (name, array.shape) not in kept:
                kept[name, array.shape] = ort.OrtValue.ortvalue_from_shape_and_type(
                    array.shape, array.dtype.type, self.device
                )
            kept[name, array.shape].update_inplace(array)
            binding.bind_ortvalue_input(name, kept[name, array.shape])
        for name in SPARSE_OUTPUTS:
            binding.bind_output(name)  # allocated by the run: how many labels there are is not known before
        self._session.run_with_iobinding(binding)
        return Answers(*binding.copy_outputs_to_cpu())


WAYS: dict[str, type[Session]] = {
    "ordinary arrays": OrdinarySession,
    "page-locked arrays": Session,
    "page-locked arrays, I/O binding": BoundSession,
}
POSITIVE = click.IntRange(min=1)


@click.command()
@click.argument("folder", metavar="BUNDLE", type=click.Path(exists=True, path_type=Path))
@click.option("--device", type=click.Choice(["cuda", "cpu"]), default="cuda", show_default=True)
@click.option("--rows", type=POSITIVE, multiple=True, default=(1, 8, 32), show_default=True, help="Of a batch.")
@click.option("--threads", type=POSITIVE, default=2, show_default=True, help="Batches run at the same time.")
@click.option("--rounds", type=POSITIVE, default=5, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Length of a turn.")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(
    folder: Path,
    device: Device,
    rows: tuple[int, ...],
    threads: int,
    rounds: int,
    seconds: float,
    json_file: Path | None,
) -> None:
    """Measure, then print a table."""
    try:
        bundle = Bundle.open(folder)
        predictors = {way: Predictor(bundle, session=session(bundle, device)) for way, session in WAYS.items()}
    except LabelsetError as error:
        raise click.ClickException(str(error)) from error
    records = [measure(predictors, size, threads, rounds, seconds) for size in rows]
    if json_file:
        json_file.write_text(json.dumps(records, indent=1) + "\n")
    click.echo(f"| rows of a batch | {' | '.join(WAYS)} |\n|{'---|' * (1 + len(WAYS))}")
    for record in records:
        ratios = [f"{record['ratios'][way]:.2f} ({record['rows_per_second'][way]:.0f} rows/s)" for way in WAYS]
        click.echo(f"| {record['rows']} | {' | '.join(ratios)} |")


def measure(predictors: Mapping[str, Predictor], rows: int, threads: int, rounds: int, seconds: float) -> Record:
    """Rows a second of each way with batches of so many rows, the medians of all rounds.

    Raises:
        AssertionError: two ways give different label sets.
    """
    first = next(iter(predictors.values()))
    arrays = [first.preprocess(example.item) for example in golden.load(first)]
    batch = [arrays[row % len(arrays)] for row in range(rows)]
    expected = first.infer(batch)
    speeds: dict[str, list[float]] = {way: [] for way in predictors}
    for _ in range(rounds):
        for way, predictor in random.sample(list(predictors.items()), len(predictors)):
            assert predictor.infer(batch) == expected, way
            speeds[way].append(_rows_per_second(predictor, batch, threads, seconds))
    ordinary = next(iter(speeds.values()))
    return {
        "rows": rows,
        "threads": threads,
        "device": first.session.device,
        "rows_per_second": {way: statistics.median(values) for way, values in speeds.items()},
        "ratios": {
            way: statistics.median(value / base for value, base in zip(values, ordinary, strict=True))
            for way, values in speeds.items()
        },
    }


def _rows_per_second(predictor: Predictor, batch: Sequence[Array], threads: int, seconds: float) -> float:
    def run_until(end: float) -> int:
        done = 0
        while time.perf_counter() < end:
            predictor.session.run(*predictor.batch(batch))
            done += len(batch)
        return done

    with ThreadPoolExecutor(threads) as runners:
        started = time.perf_counter()
        done = sum(runners.map(run_until, [started + seconds] * threads))
        return done / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
