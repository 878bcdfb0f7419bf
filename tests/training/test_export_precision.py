"""float16 and int8 arithmetic: what they change, what they leave alone, and when they are refused."""

import copy
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from model import golden
from model.bundle import CARD, GRAPH, Bundle, GoldenMismatch
from model.predictor import Predictor
from model.sparse_softmax import native
from training.agreement import F1Loss, cost_of_precision
from training.config import ExportConfig
from training.evaluate import Answers
from training.evaluate_bundle import measure_bundle
from training.export import export_bundle
from training.golden_choice import MIN_MARGINS, choose_golden, decision_margin
from training.overrides import override

# By what one knows a graph of int8: of texts dynamic, of pictures and recordings calibrated.
INT8_NODES = {"text": "MatMulInteger", "image": "QuantizeLinear", "audio": "QuantizeLinear"}


def _export(trained, folder, *settings):
    # A copy: the export may round the network in place.
    parts = copy.copy(trained.parts)
    object.__setattr__(parts, "classifier", copy.deepcopy(trained.parts.classifier))
    return export_bundle(
        override(trained.recipe, [f"export.{setting}" for setting in settings]), trained.data, parts, folder
    )


@pytest.fixture(
    scope="module",
    params=["text-float16", "text-int8", "image-int8", "audio-float16", "audio-int8", "tokens-float16"],
)
def reduced(request, tmp_path_factory):
    """A bundle of lower precision beside the float32 one of the same network."""
    kind, arithmetic = request.param.split("-")
    trained = request.getfixturevalue(f"trained_{kind}")
    folder = tmp_path_factory.mktemp("reduced") / request.param
    exported = _export(trained, folder, f"arithmetic={arithmetic}", "max_f1_loss=0.1")
    graph = onnx.load(folder / GRAPH)
    return SimpleNamespace(kind=kind, arithmetic=arithmetic, trained=trained, exported=exported, graph=graph)


def test_the_label_sets_are_nearly_those_of_the_network(reduced):
    cost = reduced.exported.agreement
    assert cost.arithmetic == reduced.arithmetic == reduced.exported.bundle.manifest.arithmetic
    assert cost.examples == reduced.trained.exported.agreement.examples
    assert cost.network_f1 == reduced.trained.exported.metrics["example_f1"]
    assert abs(cost.f1_loss) <= 0.1
    assert cost.same_label_sets >= {"float16": 1.0, "int8": 0.8}[reduced.arithmetic]
    # Not the float32 graph under another name; where label sets have one label, its probability is 1 in both.
    assert cost.largest_difference > 1e-6 or reduced.kind in ("tokens", "text")


def test_the_recorded_metrics_are_those_of_the_graph(reduced):
    exported = reduced.exported
    served = measure_bundle(Predictor.open(exported.bundle.path, device="cpu"), reduced.trained.data.test)
    assert exported.bundle.manifest.metrics == exported.metrics == served
    assert exported.metrics["example_f1"] == exported.agreement.graph_f1
    assert f"| example-F1 | {served['example_f1']:.4f} |" in (exported.bundle.path / CARD).read_text()


def test_the_file_is_smaller(reduced):
    own, before = ((path / GRAPH).stat().st_size for path in (reduced.exported.bundle.path, reduced.trained.bundle))
    assert own < before


def test_the_graph_computes_in_its_arithmetic(reduced):
    kinds = {tensor.data_type for tensor in reduced.graph.graph.initializer if len(tensor.dims) > 1}
    if reduced.arithmetic == "int8":
        assert TensorProto.INT8 in kinds
        assert any(node.op_type == INT8_NODES[reduced.kind] for node in reduced.graph.graph.node)
    else:
        assert TensorProto.FLOAT16 in kinds


def test_what_decides_stays_in_float32(reduced):
    model = reduced.graph
    [node] = [node for node in model.graph.node if node.op_type == "RSoftmax"]
    assert node.domain == "ai.labelset"
    assert [(function.domain, function.name) for function in model.functions] == [("ai.labelset", "RSoftmax")]
    head = [
        tensor
        for tensor in model.graph.initializer
        if tensor.name.startswith(("classifier.head.logits.weight", "classifier.head.expected_f1"))
    ]
    assert len(head) == (1 if reduced.kind == "tokens" else 2)
    assert {tensor.data_type for tensor in head} == {TensorProto.FLOAT}
    spectrogram = [tensor for tensor in model.graph.initializer if "spectrogram" in tensor.name]
    assert len(spectrogram) == (2 if reduced.kind == "audio" else 0)
    assert all(tensor.data_type == TensorProto.FLOAT for tensor in spectrogram)


def test_the_graph_names_no_folder_and_no_source_line(reduced):
    content = (reduced.exported.bundle.path / GRAPH).read_bytes()
    assert b"site-packages" not in content
    assert b"/" + b"training/" not in content


def test_the_function_of_the_file_gives_the_same_label_sets_as_the_kernel(reduced, monkeypatch):
    arrays = [reduced.trained.parts.test[index].array for index in range(len(reduced.trained.parts.test))]
    with_kernel = Predictor.open(reduced.exported.bundle.path, device="cpu").probabilities(arrays)
    monkeypatch.setenv(native.ENVIRONMENT_VARIABLE, "off")
    by_function = Predictor.open(reduced.exported.bundle.path, device="cpu").probabilities(arrays)
    assert np.array_equal(with_kernel != 0, by_function != 0)
    np.testing.assert_allclose(with_kernel, by_function, atol=1e-5)


def test_golden_examples_have_margins_as_wide_as_the_rounding_asks_for(reduced):
    bundle, dataset = reduced.exported.bundle, reduced.trained.parts.test
    examples = golden.replay(Predictor(bundle, device="cpu"))
    chosen = choose_golden(reduced.exported.answers, dataset.examples, MIN_MARGINS[reduced.arithmetic])
    assert len(examples) == len(chosen)
    if reduced.kind != "tokens":  # whose margins are of words
        # Of the graph's label sets, in the network's logits.
        assert (decision_margin(reduced.exported.answers)[chosen] >= MIN_MARGINS[reduced.arithmetic]).all()


def test_int8_weights_and_float16_arithmetic_go_together(trained_text, tmp_path):
    exported = _export(trained_text, tmp_path / "both", "weights=int8", "arithmetic=float16")
    graph = onnx.load(tmp_path / "both" / GRAPH).graph
    assert {TensorProto.INT8, TensorProto.FLOAT16} <= {tensor.data_type for tensor in graph.initializer}
    assert exported.agreement.same_label_sets == 1.0


def test_attention_with_r_softmax_keeps_it_in_float32(text_recipe, text_data, tmp_path):
    from training.train_and_export import train

    recipe = override(
        text_recipe, ["schedule.epochs=1", "backbone.attention.sparsity_rate=0.15", "backbone.attention.ramp=0"]
    )
    parts = train(recipe, text_data, tmp_path / "runs").whole
    for arithmetic in ("float16", "int8"):
        own = override(recipe, [f"export.arithmetic={arithmetic}", "export.max_f1_loss=0.5"])
        export_bundle(own, text_data, parts, tmp_path / arithmetic)
        model = onnx.load(tmp_path / arithmetic / GRAPH)
        nodes = [node for node in model.graph.node if node.op_type == "RSoftmax"]
        assert len(nodes) == 2
        types = {
            value.name: value.type.tensor_type.elem_type
            for value in onnx.shape_inference.infer_shapes(model).graph.value_info
        }
        assert {types[name] for node in nodes for name in (node.input[0], node.output[0])} == {TensorProto.FLOAT}


def test_a_graph_that_loses_more_than_the_limit_is_refused_and_what_stood_there_stays(trained_text, tmp_path):
    folder = tmp_path / "bundle"
    _export(trained_text, folder)
    before = Bundle.open(folder).digest
    # No graph of a test's size loses anything for certain; a limit that none can meet is refused the same way.
    recipe = trained_text.recipe.model_copy(
        update={"export": ExportConfig.model_construct(arithmetic="int8", max_f1_loss=-1.0)}
    )
    parts = copy.copy(trained_text.parts)
    object.__setattr__(parts, "classifier", copy.deepcopy(trained_text.parts.classifier))
    with pytest.raises(F1Loss, match=r"export\.max_f1_loss"):
        export_bundle(recipe, trained_text.data, parts, folder)
    assert Bundle.open(folder).digest == before


def _answers(present):
    present = np.array(present, bool)
    return Answers(
        present.astype(np.float32), np.zeros((len(present), 1), np.float32), present.astype(np.float32), present
    )


def test_the_cost_is_the_loss_of_f1_and_the_share_of_label_sets_that_stay():
    answers = _answers([[1, 0], [1, 0], [0, 1], [1, 1]])
    graph_NC = np.array([[1, 0], [0, 1], [0, 1], [0.6, 0.4]], np.float32)
    cost = cost_of_precision(answers, graph_NC, ExportConfig(arithmetic="int8", max_f1_loss=0.25))
    assert (cost.examples, cost.same_label_sets, cost.network_f1, cost.graph_f1) == (4, 0.75, 1.0, 0.75)
    assert cost.f1_loss == 0.25
    assert cost.largest_difference == 1.0


def test_the_refusal_says_what_was_lost_and_how_to_allow_it():
    graph_NC = np.array([[1, 0], [0, 1]], np.float32)
    with pytest.raises(F1Loss) as refusal:
        cost_of_precision(_answers([[1, 0], [1, 0]]), graph_NC, ExportConfig(arithmetic="int8", max_f1_loss=0.49))
    assert str(refusal.value) == (
        "int8 may lose 0.49 of the test example-F1 (export.max_f1_loss), it loses 0.5000, from 1.0000 to 0.5000: no "
        "bundle is written; allow more with --set export.max_f1_loss=..., or leave export.arithmetic at float32"
    )


def test_a_graph_that_answers_what_is_no_number_is_refused_whatever_the_limit():
    graph_NC = np.array([[1, 0], [np.nan, np.nan]], np.float32)
    with pytest.raises(F1Loss, match="every probability of the float16 graph must be a number"):
        cost_of_precision(_answers([[1, 0], [1, 1]]), graph_NC, ExportConfig(arithmetic="float16", max_f1_loss=1))


def test_only_graphs_of_lower_precision_may_answer_their_golden_examples_a_little_otherwise(trained_text, tmp_path):
    from model import bundle

    folder = trained_text.bundle
    manifest = Bundle.open(folder).manifest.model_dump(exclude={"files"})
    files = {name: (folder / name).read_bytes() for name in Bundle.open(folder).manifest.files}
    examples = golden.load(Predictor.open(folder, device="cpu"))
    moved = [
        example.model_copy(
            update={
                "labels": tuple(
                    label.model_copy(update={"probability": label.probability - 0.01}) for label in example.labels
                )
            }
        )
        for example in examples
    ]
    files["golden.json"] = golden.dump(moved)
    for arithmetic in ("float16", "int8"):
        written = bundle.write(tmp_path / arithmetic, {**manifest, "arithmetic": arithmetic}, files)
        assert golden.replay(Predictor(written, device="cpu"))
    with pytest.raises(GoldenMismatch, match=r"within 0\.0001"):
        golden.replay(Predictor(bundle.write(tmp_path / "float32", manifest, files), device="cpu"))


def test_attention_is_exported_as_products_and_a_softmax_and_the_network_keeps_its_own(trained_text):
    nodes = [node.op_type for node in onnx.load(trained_text.bundle / GRAPH).graph.node]
    # torch's fused attention would bring a check for rows of which everything is masked, and take shapes apart.
    assert "IsNaN" not in nodes
    assert nodes.count("Slice") == 3
    assert trained_text.parts.classifier.backbone.network.config._attn_implementation == "sdpa"
