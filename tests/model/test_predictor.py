import math

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model import golden
from model.bundle import GOLDEN, GRAPH, Bundle
from model.predictor import InvalidModelOutput, Predictor
from model.preprocess import ImageCorrupt, InputError, WrongInputKind
from model.session import InvalidSparsity, Sparsity


@pytest.fixture(params=["text", "image"])
def predictor(request) -> Predictor:
    return request.getfixturevalue(f"{request.param}_predictor")


def test_golden_examples_are_answered_as_on_the_day_of_export(predictor):
    examples = golden.load(predictor)
    assert len(golden.replay(predictor)) == len(examples) > 1
    assert golden.dump(examples) == predictor.bundle.file(GOLDEN).read_bytes()


def test_golden_examples_have_different_label_sets(predictor):
    examples = golden.load(predictor)
    assert len({frozenset(label.label for label in example.labels) for example in examples}) == len(examples)


def test_an_answer_is_the_same_alone_and_in_a_batch(predictor):
    items = [example.item for example in golden.load(predictor)]
    for item, together in zip(items, predictor.predict(items), strict=True):
        [alone] = predictor.predict([item])
        assert [label for label, _ in alone.labels] == [label for label, _ in together.labels]
        for (_, one), (_, other) in zip(alone.labels, together.labels, strict=True):
            assert one == pytest.approx(other, abs=1e-6)


def test_labels_come_in_descending_probability_and_sum_to_one(predictor):
    item = golden.load(predictor)[0].item
    [answer] = predictor.predict([item], Sparsity(label_count=3))
    probabilities = [probability for _, probability in answer.labels]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1, abs=1e-6)


def test_no_input_gives_no_answer(predictor):
    assert predictor.infer([]) == []
    assert predictor.predict([]) == []


def test_an_input_of_the_other_kind_is_refused(text_predictor, image_predictor):
    with pytest.raises(WrongInputKind):
        text_predictor.predict([b"bytes"])
    with pytest.raises(WrongInputKind):
        image_predictor.predict(["a text"])


def test_an_input_that_cannot_be_read_is_refused(image_predictor):
    picture = golden.load(image_predictor)[0].item
    with pytest.raises(ImageCorrupt):
        image_predictor.predict([picture, picture[: len(picture) // 2]])
    assert issubclass(ImageCorrupt, InputError)


def test_a_wish_out_of_range_is_refused(predictor):
    item = golden.load(predictor)[0].item
    with pytest.raises(InvalidSparsity, match="got 99"):
        predictor.predict([item], Sparsity(label_count=99))


@pytest.fixture
def predictor_with_a_poisoned_word(bundle_copy) -> Predictor:
    """The text model after a bit error: the embedding of `rain` is not a number."""
    opened = Predictor.open(bundle_copy.folder, device="cpu")
    poisoned = int(opened.preprocess("rain")[1])
    graph = onnx.load(bundle_copy.folder / GRAPH)
    [embedding] = [tensor for tensor in graph.graph.initializer if "word_embeddings" in tensor.name]
    values = numpy_helper.to_array(embedding).copy()
    values[poisoned] = math.nan
    embedding.CopyFrom(numpy_helper.from_array(values, embedding.name))
    bundle_copy.replace(GRAPH, graph.SerializeToString())
    return Predictor(Bundle.open(bundle_copy.folder), device="cpu")


def test_a_row_that_is_not_a_number_fails_alone(predictor_with_a_poisoned_word, text_predictor):
    predictor = predictor_with_a_poisoned_word
    texts = ["a goal", "rain today", "the choir"]
    arrays = [predictor.preprocess(text) for text in texts]
    first, broken, last = predictor.infer(arrays)
    assert isinstance(broken, InvalidModelOutput)
    assert [first, last] == [text_predictor.infer(arrays)[i] for i in (0, 2)]


@pytest.mark.parametrize("wish", [Sparsity(label_count=0), Sparsity(label_count=2), Sparsity(sparsity_rate=1.0)])
def test_a_row_that_is_not_a_number_fails_whatever_the_wish(predictor_with_a_poisoned_word, wish):
    with pytest.raises(InvalidModelOutput, match="not finite numbers"):
        predictor_with_a_poisoned_word.predict(["rain"], wish)


def test_an_array_is_what_the_manifest_says(predictor):
    array = predictor.preprocess(golden.load(predictor)[0].item)
    [(name, batch)] = predictor.preprocess.collate([array]).items()
    [spec] = [spec for spec in predictor.bundle.manifest.inputs if spec.name == name]
    assert batch.dtype == np.dtype(spec.dtype)
    assert all(size == wanted for size, wanted in zip(batch.shape, spec.shape, strict=True) if isinstance(wanted, int))
