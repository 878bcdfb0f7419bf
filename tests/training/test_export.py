import copy
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from model import golden
from model.bundle import CARD, GRAPH
from model.predictor import Predictor
from training.agreement import UNDECIDED_MARGIN, Disagreement, compare
from training.config import Recipe
from training.data.arrays import raw_input
from training.evaluate import Answers, answer, measure
from training.export import export_bundle
from training.golden_choice import GOLDEN_COUNT, MIN_MARGIN, choose_golden, decision_margin
from training.overrides import override


@pytest.fixture(params=["text", "image", "audio", "class", "tokens"])
def trained(request):
    return request.getfixturevalue(f"trained_{request.param}")


def test_the_manifest_describes_the_graph(trained):
    graph = onnx.load(trained.bundle / GRAPH).graph
    for described, actual in (
        (trained.exported.bundle.manifest.inputs, graph.input),
        (trained.exported.bundle.manifest.outputs, graph.output),
    ):
        assert [spec.name for spec in described] == [value.name for value in actual]
        for spec, value in zip(described, actual, strict=True):
            dtype = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            assert spec.dtype == np.dtype(dtype).name
            sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            assert sizes == [size if isinstance(size, int) else 0 for size in spec.shape]


def test_the_graph_holds_one_bare_node_and_the_function_that_means_it(trained):
    model = onnx.load(trained.bundle / GRAPH)
    assert [node.domain for node in model.graph.node if node.op_type == "RSoftmax"] == ["ai.labelset"]
    assert [(function.domain, function.name) for function in model.functions] == [("ai.labelset", "RSoftmax")]


def test_a_bundle_names_no_folder_of_the_machine_that_made_it(trained):
    for file in trained.bundle.iterdir():
        content = file.read_bytes()
        for folder in (Path(__file__).parents[2], Path(sys.prefix), Path.home(), trained.bundle.parents[1]):
            assert f"{folder}/".encode() not in content, file.name
        assert b"site-packages" not in content
        assert b"stack_trace" not in content


def test_the_recorded_metrics_are_those_of_the_network_in_the_bundle(trained):
    measured = measure(answer(trained.parts.classifier, trained.parts.test, "test"), trained.data.task)
    assert trained.exported.bundle.manifest.metrics == measured == trained.exported.metrics
    card = (trained.bundle / CARD).read_text()
    assert f"| example-F1 | {measured['example_f1']:.4f} |" in card


def test_the_provenance_is_enough_to_make_the_bundle_again(trained):
    provenance = trained.exported.bundle.manifest.provenance
    assert Recipe.model_validate(json.loads(provenance.recipe)) == trained.recipe
    assert provenance.seed == trained.recipe.seed
    assert provenance.data_set == trained.data.source
    assert {"torch", "transformers", "onnx", "onnxruntime"} <= provenance.packages.keys()


def test_graph_and_network_agree_on_every_test_example(trained):
    agreement = trained.exported.agreement
    # Of a token classifier, on every word that has a label.
    of_words = trained.data.task == "token_classification"
    labelled = [label for example in trained.data.test for label in example.labels if label]
    assert agreement.examples == len(labelled if of_words else trained.data.test)
    assert agreement.undecided < agreement.examples
    assert agreement.largest_difference < 1e-5


def test_a_network_that_is_not_the_one_of_the_graph_disagrees(trained):
    other = copy.deepcopy(trained.parts.classifier)
    with torch.no_grad():
        other.head.logits.bias[0] += 10.0
    answers = answer(other, trained.parts.test, "test")
    with pytest.raises(Disagreement, match=r"the graph must answer as the network within 0\.0001"):
        compare(answers, Predictor.open(trained.bundle, device="cpu"), trained.parts.test)


def test_the_first_examples_are_compared_where_there_are_many(trained):
    answers = answer(trained.parts.classifier, trained.parts.test, "test")
    predictor = Predictor.open(trained.bundle, device="cpu")
    assert compare(answers, predictor, trained.parts.test, limit=3).examples == (answers.example_N < 3).sum()


def test_answers_do_not_depend_on_the_batch_size(trained):
    whole = answer(trained.parts.classifier, trained.parts.test, "test")
    parted = answer(trained.parts.classifier, trained.parts.test, "test", batch_size=3)
    for name in ("logits_NC", "count_logits_NK", "probabilities_NC", "targets_NC", "example_N"):
        np.testing.assert_allclose(getattr(whole, name), getattr(parted, name), atol=1e-5)


def test_an_int8_bundle_is_smaller_and_answers_as_its_rounded_network(trained_text, tmp_path):
    # A copy: rounding changes the network in place.
    parts = copy.copy(trained_text.parts)
    object.__setattr__(parts, "classifier", copy.deepcopy(trained_text.parts.classifier))
    recipe = override(trained_text.recipe, ["export.weights=int8"])
    exported = export_bundle(recipe, trained_text.data, parts, tmp_path / "int8")
    assert exported.agreement.largest_difference < 1e-5
    own_bytes, bytes_before = ((folder / GRAPH).stat().st_size for folder in (tmp_path / "int8", trained_text.bundle))
    assert own_bytes < 0.7 * bytes_before
    assert golden.replay(Predictor.open(tmp_path / "int8", device="cpu"))


def _answers(logits, count_logits, present, targets=None):
    present = np.array(present, bool)
    return Answers(
        np.array(logits, np.float32),
        np.array(count_logits, np.float32),
        present.astype(np.float32),
        present if targets is None else np.array(targets, bool),
    )


def test_the_margin_is_the_smaller_of_the_gaps_between_labels_and_between_counts():
    answers = _answers(
        logits=[[3, 1, 0], [3, 1, 0], [3, 1, 0], [3, 1, 0]],
        count_logits=[[0, 5, 1], [0, 5, 4.5], [5, 0, 1], [0, 0, 0]],
        present=[[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]],
    )
    assert decision_margin(answers).tolist() == [2, 0.5, 4, 0]


def test_without_a_count_head_only_the_labels_decide():
    assert decision_margin(_answers([[3, 1, 0]], [[7]], [[1, 1, 0]])).tolist() == [1]


def test_golden_examples_are_right_have_wide_margins_and_different_label_sets(text_data):
    answers = _answers(
        logits=[[2, 0, 0, 0], [3, 0, 0, 0], [9, 9, 0, 0], [0, 4, 0, 0], [1, 1, 0.999, 0]],
        count_logits=[[0]] * 5,
        present=[[1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0]],
        targets=[[1, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [1, 1, 0, 0]],
    )
    # Several right labels first; of two with one label set the wider margin; the wrong answer last.
    assert choose_golden(answers, text_data.test[:5]) == [2, 1, 3]


def test_no_golden_example_stands_so_close_that_another_processor_may_round_it_away(text_data):
    answers = _answers([[1, 1 - MIN_MARGIN / 2], [1, 1 - 2 * MIN_MARGIN]], [[0], [0]], [[1, 0], [1, 0]])
    assert choose_golden(answers, text_data.test[:2]) == [1]
    assert MIN_MARGIN > UNDECIDED_MARGIN


def test_the_golden_examples_of_a_bundle_are_those_that_were_chosen(trained):
    examples = golden.load(Predictor.open(trained.bundle, device="cpu"))
    assert 1 < len(examples) <= GOLDEN_COUNT
    chosen = choose_golden(answer(trained.parts.classifier, trained.parts.test, "test"), trained.data.test)
    assert [example.item for example in examples] == [raw_input(trained.data.test[index]) for index in chosen]
