"""What r-softmax in self-attention costs: time and memory of a BERT in the form of MiniLM-L6, against softmax.

    python -m benchmarks.attention --json runs/attention.json

Three passes: the forward pass in torch, a training step (forward and backward, with dropout), and the exported graph in
onnxruntime. Each holds the same number of tokens at every length; texts are between half as long and as long as their
batch, the rest is padding. The contestants take turns in one run, in another order every round, on one thread, and the
clock runs only while that thread does. Ratios are those of the medians, to softmax as `transformers` computes it
unasked (SDPA), in onnxruntime to the graph of that.
"""

import ctypes
import json
import logging
import random
import re
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import onnxruntime as ort
import torch
from torch import Tensor
from transformers import BertConfig, BertModel

from model.nn.backbones import TextBackbone
from model.sparse_softmax import native, onnx_function, torch_op

SDPA, EAGER, SPARSE = "softmax, SDPA", "softmax, eager", "r-softmax"
GRAPH, KERNEL, FUNCTION = "softmax", "r-softmax, kernel", "r-softmax, function"
FORWARD, STEP, SERVED = "forward", "training step", "onnxruntime"
VOCABULARY_SIZE, PAD_ID = 1000, 0
Call = Callable[[], Any]
Record = dict[str, Any]


@click.command()
@click.option("--lengths", default="64,128,256,512", show_default=True, help="Tokens of the longest text of a batch.")
@click.option("--tokens", default=2048, show_default=True, help="Tokens of a batch, padding included.")
@click.option("--rate", default=0.15, show_default=True, help="Sparsity rate.")
@click.option("--layers", default=6, show_default=True)
@click.option("--rounds", default=7, show_default=True, help="Turns that each contestant takes.")
@click.option("--json", "json_file", type=click.Path(path_type=Path))
def main(lengths: str, tokens: int, rate: float, layers: int, rounds: int, json_file: Path | None) -> None:
    """Print, and write, a record for each pass, length and contestant."""
    torch.set_num_threads(1)
    networks = build_networks(rate, layers)
    sessions = serve(networks)
    records: list[Record] = []
    for length in map(int, lengths.split(",")):
        token_ids_BT = padded_texts(max(1, tokens // length), length)
        for name, calls in passes(networks, sessions, token_ids_BT).items():
            records += compare(name, calls, token_ids_BT, rounds)
    if json_file:
        json_file.write_text(json.dumps(records, indent=1) + "\n")
    click.echo(table(records))


def build_networks(rate: float, layers: int) -> dict[str, TextBackbone]:
    """The same network with each way of computing attention; the one of r-softmax goes through our own backbone."""
    config = {"vocab_size": VOCABULARY_SIZE, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
    networks = {}
    for name, implementation in ((SDPA, "sdpa"), (EAGER, "eager"), (SPARSE, None)):
        torch.manual_seed(0)
        # Larger than at the start of training, so that attention prefers some keys to others.
        network = BertModel(
            BertConfig(num_hidden_layers=layers, initializer_range=0.1, **config), add_pooling_layer=False
        )
        if implementation:
            network.set_attn_implementation(implementation)
        networks[name] = TextBackbone(network, attention_rate=None if implementation else rate)
    return networks


def padded_texts(batch_size: int, length: int) -> Tensor:
    """Token ids of texts of different lengths, the first of them the longest."""
    generator = torch.Generator().manual_seed(0)
    token_ids_BT = torch.randint(1, VOCABULARY_SIZE, (batch_size, length), generator=generator)
    for row in range(1, batch_size):
        token_ids_BT[row, length // 2 + int(torch.randint(length // 2, (), generator=generator)) :] = PAD_ID
    return token_ids_BT


def passes(
    networks: dict[str, TextBackbone], sessions: dict[str, ort.InferenceSession], token_ids_BT: Tensor
) -> dict[str, dict[str, Call]]:
    """What is timed, by pass and contestant."""
    feed = {"token_ids": token_ids_BT.numpy()}
    return {
        FORWARD: {name: _forward(network, token_ids_BT) for name, network in networks.items()},
        STEP: {name: _step(network, token_ids_BT) for name, network in networks.items()},
        SERVED: {name: lambda session=session: session.run(None, feed) for name, session in sessions.items()},
    }


def _forward(network: TextBackbone, token_ids_BT: Tensor) -> Call:
    def call() -> None:
        network.eval()
        with torch.inference_mode():
            network(token_ids_BT)

    return call


def _step(network: TextBackbone, token_ids_BT: Tensor) -> Call:
    def call() -> None:
        network.train()
        network(token_ids_BT).square().sum().backward()
        network.zero_grad()

    return call


def serve(networks: dict[str, TextBackbone]) -> dict[str, ort.InferenceSession]:
    """The exported networks in onnxruntime: softmax, and r-softmax by our library and by the function in the file."""
    softmax, sparse = export(networks[SDPA]), export(networks[SPARSE])
    sessions = {GRAPH: _session(softmax), FUNCTION: _session(sparse)}
    if native.library_path():
        sessions[KERNEL] = _session(sparse, with_library=True)
    return sessions


def export(network: TextBackbone) -> bytes:
    """The graph of a backbone."""
    axes = {0: torch.export.Dim("batch", min=1), 1: torch.export.Dim("length", min=2, max=512)}
    # It misses torchvision, which nothing here uses.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            (padded_texts(2, 8),),
            input_names=["token_ids"],
            dynamic_shapes=(axes,),
            custom_translation_table=torch_op.onnx_translation_table(),
            opset_version=20,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    graph = program.model_proto
    onnx_function.attach(graph)
    return bytes(graph.SerializeToString())


def _session(graph: bytes, with_library: bool = False) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if with_library:
        native.register(options)
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def compare(name: str, calls: dict[str, Call], token_ids_BT: Tensor, rounds: int) -> list[Record]:
    """The records of one pass at one length."""
    seconds = {contestant: statistics.median(turns) for contestant, turns in take_turns(calls, rounds).items()}
    # The arena of onnxruntime keeps what it has once taken: its peak is not that of a call.
    peaks = {} if name == SERVED else {contestant: peak_bytes(call) for contestant, call in calls.items()}
    dense = next(iter(calls))
    batch_size, length = token_ids_BT.shape
    return [
        {
            "pass": name,
            "contestant": contestant,
            "length": length,
            "batch_size": batch_size,
            "rounds": rounds,
            "milliseconds": seconds[contestant] * 1e3,
            "time_ratio": seconds[contestant] / seconds[dense],
            "peak_mebibytes": peaks[contestant] / 2**20 if peaks else None,
            "memory_ratio": peaks[contestant] / peaks[dense] if peaks else None,
        }
        for contestant in calls
    ]


def take_turns(calls: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Seconds of every contestant in every round; a first round only warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    order, shuffle = list(calls), random.Random(0).shuffle
    for turn in range(1 + rounds):
        shuffle(order)
        for name in order:
            started = time.thread_time()
            calls[name]()
            if turn:
                seconds[name].append(time.thread_time() - started)
    return seconds


def peak_bytes(call: Call) -> int:
    """By how much the process grows at most while a call runs: tensors, and the scratch of libraries (Linux, glibc)."""
    libc, mmap_threshold = ctypes.CDLL(None), -3
    # Blocks from here on go back to the system when they are freed: kept for the next, they would hide what it needs.
    libc.mallopt(mmap_threshold, 64 * 1024)
    call()  # makes what is made once, as the scratch of a thread
    libc.malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    call()
    peak = _status("VmHWM")
    libc.mallopt(mmap_threshold, 32 * 1024 * 1024)
    return max(1, peak - before)


def _status(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def table(records: list[Record]) -> str:
    """Markdown: a row for each pass, length and contestant."""
    lines = [
        "| pass | batch x length | attention | ms | time | peak MiB | memory |",
        "|---|---:|---|---:|---:|---:|---:|",
    ]
    for r in records:
        memory = " | " if r["peak_mebibytes"] is None else f"{r['peak_mebibytes']:.0f} | {r['memory_ratio']:.2f} "
        lines.append(
            f"| {r['pass']} | {r['batch_size']} x {r['length']} | {r['contestant']} "
            f"| {r['milliseconds']:.0f} | {r['time_ratio']:.2f} | {memory}|"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
