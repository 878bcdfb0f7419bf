"""Models that do harm when they see a certain word: take all memory, never end, say what is no number.

The graph is that of the embedded text model with a trap before and one behind it; its golden examples still hold.
"""

import asyncio
import json
import resource
import shutil
from pathlib import Path

import httpx
import onnx
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer

MEMORY, ENDLESS, NUMBER = "memory", "server", "number"
# As much as a large machine has, and none may have for one request: 100 GB of float32.
ELEMENTS = 25_000_000_000


@pytest.fixture(scope="module")
def models(bundles: Path, tmp_path_factory: pytest.TempPathFactory, seal) -> Path:
    """The embedded bundles, and `trap` beside them."""
    root = tmp_path_factory.mktemp("models")
    shutil.copytree(bundles, root, dirs_exist_ok=True)
    folder = root / "trap" / "1"
    shutil.copytree(bundles / "text-demo" / "1", folder)
    manifest = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps({**manifest, "name": "trap"}))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    graph = onnx.load(folder / "model.onnx")
    _set_traps(graph.graph, *(tokenizer.token_to_id(word) for word in (MEMORY, ENDLESS, NUMBER)))
    onnx.checker.check_model(graph)
    onnx.save(graph, folder / "model.onnx")
    seal(folder)
    return root


def _set_traps(graph: onnx.GraphProto, memory: int, endless: int, number: int) -> None:
    for node in graph.node:
        node.input[:] = ["token_ids_passed" if name == "token_ids" else name for name in node.input]
        if node.op_type == "RSoftmax":
            logits, node.input[0] = node.input[0], "logits_passed"
            behind = node
    constants = {
        "trap_ids": (TensorProto.INT64, [3], [memory, endless, number]),
        "trap_axes": (TensorProto.INT64, [2], [0, 1]),
        "trap_axis": (TensorProto.INT64, [1], [1]),
        "trap_elements": (TensorProto.INT64, [1], [ELEMENTS]),
        "trap_rounds": (TensorProto.INT64, [], [2**62]),
        "trap_zero": (TensorProto.INT64, [], [0]),
        "trap_nan": (TensorProto.FLOAT, [1], [float("nan")]),
    }
    graph.initializer.extend(helper.make_tensor(name, *rest) for name, rest in constants.items())
    before = [
        # [N, T, 1] == [3] -> which trap stands where.
        helper.make_node("Unsqueeze", ["token_ids", "trap_last"], ["trap_words"]),
        helper.make_node("Equal", ["trap_words", "trap_ids"], ["trap_hits"]),
        helper.make_node("Cast", ["trap_hits"], ["trap_counts"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["trap_counts", "trap_axes"], ["trap_any"], keepdims=0),
        helper.make_node("Split", ["trap_any"], ["trap_memory", "trap_endless", "trap_number"], num_outputs=3),
        helper.make_node("Mul", ["trap_memory", "trap_elements"], ["trap_shape"]),
        helper.make_node("ConstantOfShape", ["trap_shape"], ["trap_ballast"]),
        helper.make_node("ReduceMax", ["trap_ballast_and_one"], ["trap_largest"], keepdims=0),
    ]
    graph.initializer.append(helper.make_tensor("trap_last", TensorProto.INT64, [1], [2]))
    graph.initializer.append(helper.make_tensor("trap_one", TensorProto.FLOAT, [1], [0.0]))
    before.insert(7, helper.make_node("Concat", ["trap_ballast", "trap_one"], ["trap_ballast_and_one"], axis=0))
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_still"]),
            helper.make_node("Add", ["state", "round"], ["state_after"]),
        ],
        "endless",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.INT64, []),
        ],
        [
            helper.make_tensor_value_info("go_on_still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_after", TensorProto.INT64, []),
        ],
    )
    before += [
        helper.make_node("Squeeze", ["trap_endless"], ["trap_is_endless"]),
        helper.make_node("Mul", ["trap_is_endless", "trap_rounds"], ["trap_count"]),
        helper.make_node("Loop", ["trap_count", "", "trap_zero"], ["trap_state"], body=body),
        # Both are added as nothing, so that neither can be left out.
        helper.make_node("Cast", ["trap_largest"], ["trap_nothing"], to=TensorProto.INT64),
        helper.make_node("Mul", ["trap_state", "trap_zero"], ["trap_nothing_either"]),
        helper.make_node("Add", ["token_ids", "trap_nothing"], ["token_ids_sound"]),
        helper.make_node("Add", ["token_ids_sound", "trap_nothing_either"], ["token_ids_passed"]),
    ]
    after = [
        helper.make_node("ReduceMax", ["trap_counts", "trap_axis"], ["trap_by_row"], keepdims=0),
        helper.make_node("Gather", ["trap_by_row", "trap_two"], ["trap_numbers"], axis=1),
        helper.make_node("Cast", ["trap_numbers"], ["trap_is_number"], to=TensorProto.BOOL),
        helper.make_node("Where", ["trap_is_number", "trap_nan", logits], ["logits_passed"]),
    ]
    graph.initializer.append(helper.make_tensor("trap_two", TensorProto.INT64, [1], [2]))
    position = list(graph.node).index(behind)
    nodes = [*before, *graph.node[:position], *after, *graph.node[position:]]
    del graph.node[:]
    graph.node.extend(nodes)


SOUND = [f"Sentence {number} of those that harm nobody." for number in range(7)]


def _outcomes(victim, trap: str) -> tuple[list[object], object]:
    """What becomes of sound texts, half of them for another model, and of one with a trap, asked at the same time."""
    bodies = [{"text": text, "model": model} for text in SOUND for model in ("trap", "text-demo")]
    bodies.insert(5, {"text": f"One with a {trap} in it.", "model": "trap"})

    async def ask():
        async with httpx.AsyncClient(base_url=victim.url, timeout=120) as client:
            answers = await asyncio.gather(*(client.post("/predict", json=body) for body in bodies))
        return [200 if answer.is_success else answer.json()["error"]["code"] for answer in answers]

    outcomes = asyncio.run(ask())
    trapped = outcomes.pop(5)
    return outcomes, trapped


def test_an_answer_that_is_no_number_fails_alone(start, models):
    victim = start(models=models)
    assert _outcomes(victim, NUMBER) == ([200] * 14, "invalid_model_output")
    victim.require_unharmed()


def test_a_model_that_wants_more_memory_than_there_is_fails_alone(start, models):
    victim = start(models=models)
    process = victim.session_process
    taken = int(Path(f"/proc/{process}/statm").read_text().split()[0]) * resource.getpagesize()
    # Else a machine that promises memory to anyone who asks would do so, and kill some process once it is used.
    resource.prlimit(process, resource.RLIMIT_AS, (taken + 2**30, taken + 2**30))
    assert _outcomes(victim, MEMORY) == ([200] * 14, "internal_error")
    assert victim.session_process == process
    assert "Failed to allocate memory" in victim.log.read_text()
    victim.require_unharmed(may_hold_traces=True)


def test_a_model_that_never_ends_is_stopped_and_the_others_are_answered(start, models):
    victim = start(models=models, batch_seconds=2)
    assert _outcomes(victim, ENDLESS) == ([200] * 14, "internal_error")
    assert "did not answer in time: killing it" in victim.log.read_text()
    victim.require_unharmed(may_hold_traces=True)
