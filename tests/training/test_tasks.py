"""Multi-class and token classification, from data to the answers of the bundle."""

import dataclasses

import numpy as np
import pytest
import torch

from model import bundle, golden
from model.bundle import CARD
from model.labels import LabelSet
from model.predictor import Predictor
from model.session import Sparsity
from training.build import build_parts
from training.config import ConfigError, HeadConfig, PretrainedBackbone
from training.data.token_arrays import TokenDataset
from training.evaluate import answer, measure
from training.evaluate_bundle import measure_bundle
from training.objective import IGNORED, Objective


@pytest.fixture
def class_predictor(trained_class) -> Predictor:
    return Predictor.open(trained_class.bundle, device="cpu")


@pytest.fixture
def token_predictor(trained_tokens) -> Predictor:
    return Predictor.open(trained_tokens.bundle, device="cpu")


def test_both_tasks_are_learned(trained_class, trained_tokens):
    assert trained_class.exported.metrics["accuracy"] > 0.75  # 0.25 by chance
    assert trained_tokens.exported.metrics["accuracy"] > 0.9


def test_the_manifest_names_task_and_policy_and_no_count_head(trained_class, trained_tokens):
    for trained, task in ((trained_class, "multi_class"), (trained_tokens, "token_classification")):
        manifest = trained.exported.bundle.manifest
        assert manifest.task == task
        assert (manifest.sparsity.policy, manifest.sparsity.label_count) == ("fixed_count", 1)
        assert manifest.sparsity.max_label_count is None


@pytest.mark.parametrize("policy", ["fixed_rate", "positive_logits"])
def test_another_policy_than_the_predicted_count_stays_as_it_was_asked_for(text_recipe, class_data, policy):
    recipe = text_recipe.model_copy(update={"head": HeadConfig(policy=policy, sparsity_rate=0.5)})
    assert build_parts(recipe, class_data).classifier.head.policy.policy == policy


def test_one_label_by_r_softmax_is_the_class_of_the_largest_logit(trained_class, class_predictor):
    answers = answer(trained_class.parts.classifier, trained_class.parts.test, "test")
    texts = [example.text for example in trained_class.data.test]
    for logits, given in zip(answers.logits_NC, class_predictor.predict(texts), strict=True):
        assert dict(given.labels) == pytest.approx({trained_class.data.labels[logits.argmax()]: 1.0})


def test_one_tag_by_r_softmax_is_the_tag_of_the_largest_logit(trained_tokens, token_predictor):
    answers = answer(trained_tokens.parts.classifier, trained_tokens.parts.test, "test")
    examples = trained_tokens.data.test
    given = [
        [label for label, _ in found.labels]
        for example, labelled in zip(examples, token_predictor.predict([e.words for e in examples]), strict=True)
        for (_, found), label in zip(labelled.words, example.labels, strict=True)
        if label
    ]
    assert given == [[trained_tokens.data.labels[best]] for best in answers.logits_NC.argmax(axis=1)]


def test_a_caller_may_ask_for_more_labels(trained_class, class_predictor, token_predictor):
    text = trained_class.data.test[0].text
    [two] = class_predictor.predict([text], Sparsity(label_count=2))
    assert two.label_count == 2
    assert sum(probability for _, probability in two.labels) == pytest.approx(1, abs=1e-6)
    [several] = token_predictor.predict([("the", "saw", "saw")], Sparsity(sparsity_rate=0.5))
    assert [found.label_count for _, found in several.words] == [2, 2, 2]
    [none] = token_predictor.predict([("the", "saw")], Sparsity(label_count=0))
    assert [found.labels for _, found in none.words] == [(), ()]


def test_each_text_of_a_batch_has_its_own_wish(token_predictor):
    arrays = [token_predictor.preprocess(text) for text in ("the dog", "the cat hears")]
    one, two = token_predictor.infer(arrays, [Sparsity(label_count=1), Sparsity(label_count=2)])
    assert [len(found.labels) for found in one.values()] == [1, 1]
    assert [len(found.labels) for found in two.values()] == [2, 2, 2]


def test_a_text_is_answered_as_its_words_are(token_predictor):
    [text] = token_predictor.predict(["The  dog hears, uh!"])
    [words] = token_predictor.predict([("The", "dog", "hears", ",", "uh", "!")])
    assert [found for _, found in text.words] == [found for _, found in words.words]
    assert [(word.text, word.start, word.end) for word, _ in text.words][:3] == [
        ("The", 0, 3),
        ("dog", 5, 8),
        ("hears", 9, 14),
    ]


def test_an_answer_is_the_same_alone_and_beside_a_longer_text(trained_tokens, token_predictor):
    texts = [example.words for example in trained_tokens.data.test]
    for text, together in zip(texts, token_predictor.predict(texts, Sparsity(label_count=2)), strict=True):
        [alone] = token_predictor.predict([text], Sparsity(label_count=2))
        for (_, one), (_, other) in zip(alone.words, together.words, strict=True):
            assert dict(one.labels) == pytest.approx(dict(other.labels), abs=1e-5)


def test_words_beyond_the_models_length_have_no_labels_and_the_answer_says_so(trained_tokens, token_predictor):
    max_length = trained_tokens.recipe.input.max_length
    [whole] = token_predictor.predict([("dog",) * (max_length - 2)])
    [cut] = token_predictor.predict([("dog",) * max_length])
    assert not whole.truncated
    assert cut.truncated
    assert [found is None for _, found in cut.words] == [False] * (max_length - 2) + [True] * 2


@pytest.mark.parametrize("name", ["trained_class", "trained_tokens"])
def test_the_bundle_has_the_metrics_of_the_network(request, name):
    trained = request.getfixturevalue(name)
    predictor = Predictor.open(trained.bundle, device="cpu")
    metrics = trained.exported.metrics
    assert metrics == measure(answer(trained.parts.classifier, trained.parts.test, "test"), trained.data.task)
    assert measure_bundle(predictor, trained.data.test) == pytest.approx(metrics)
    assert f"| accuracy | {metrics['accuracy']:.4f} |" in (trained.bundle / CARD).read_text()


def test_the_golden_sentences_are_right_whole_and_labelled_throughout(trained_tokens, token_predictor):
    examples = golden.load(token_predictor)
    assert len(examples) > 1
    truth = {example.words: example.labels for example in trained_tokens.data.test}
    for example in examples:
        assert tuple(found[0].label for found in example.word_labels) == truth[example.item]


def test_a_golden_word_with_another_tag_is_noticed(token_predictor, tmp_path):
    first, *others = golden.load(token_predictor)
    labels = (first.word_labels[0], (golden.GoldenLabel(label="MARK", probability=1.0),), *first.word_labels[2:])
    changed = golden.dump([first.model_copy(update={"word_labels": labels}), *others])
    opened = token_predictor.bundle
    files = {name: opened.file(name).read_bytes() for name in opened.manifest.files}
    written = bundle.write(tmp_path / "changed", opened.manifest.model_dump(), {**files, bundle.GOLDEN: changed})
    with pytest.raises(bundle.GoldenMismatch, match=r"golden example 0, word 1 must have the labels \['MARK'\], got"):
        golden.replay(Predictor(written, device="cpu"))


def test_the_loss_of_a_sentence_is_that_of_its_labelled_words(trained_tokens):
    classifier = trained_tokens.parts.classifier.eval()
    objective = Objective(classifier, trained_tokens.recipe.loss, "token_classification").eval()
    dataset: TokenDataset = trained_tokens.parts.train
    rows = [dataset[index] for index in range(6)]
    assert any("" in dataset.examples[index].labels for index in range(6))
    batch = dataset.collate(rows)
    loss_B, _, weight_B = objective(batch.inputs, batch.targets, progress=1.0)
    logits_BTC = classifier(batch.inputs).logits_BC
    expected_B = torch.nn.functional.cross_entropy(
        logits_BTC.transpose(1, 2), batch.targets, ignore_index=IGNORED, reduction="none"
    ).sum(dim=1)
    torch.testing.assert_close(loss_B, expected_B, rtol=1e-4, atol=1e-5)
    assert weight_B.tolist() == [sum(label != "" for label in dataset.examples[index].labels) for index in range(6)]


def test_a_label_more_or_less_on_a_word_that_is_ignored_changes_nothing(trained_tokens):
    dataset: TokenDataset = trained_tokens.parts.test
    uh = next(index for index, example in enumerate(dataset.examples) if "" in example.labels)
    example = dataset.examples[uh]
    other = dataclasses.replace(example, labels=tuple(label or "NOT A LABEL" for label in example.labels))
    changed = TokenDataset([other], dataset.labels, dataset.preprocess)
    np.testing.assert_array_equal(changed[0].targets, dataset[uh].targets)


def test_a_frozen_backbone_is_refused_for_tokens(text_recipe, token_data):
    recipe = text_recipe.model_copy(update={"backbone": PretrainedBackbone(source="minilm-l3", frozen=True)})
    with pytest.raises(ConfigError, match=r"backbone\.frozen must be false for token classification"):
        build_parts(recipe, token_data)


def test_a_multi_class_answer_is_a_plain_label_set(class_predictor):
    [given] = class_predictor.predict(["we saw bread and soup"])
    assert isinstance(given, LabelSet)
    assert [label for label, _ in given.labels] == ["food"]
