import numpy as np
import pytest

from training.build import build_parts
from training.config import ConfigError
from training.overrides import override
from training.tokenizer import train_tokenizer

TEXTS = ["Rain and storm", "the violin, the choir", "snowstorm", "a race in the rain"] * 3


def test_the_same_texts_train_the_same_tokenizer():
    first, second = train_tokenizer(TEXTS, 120), train_tokenizer(TEXTS, 120)
    assert first.to_str() == second.to_str()


def test_a_tokenizer_knows_the_words_it_was_trained_on():
    tokenizer = train_tokenizer(TEXTS, 200)
    assert tokenizer.encode("The RAIN").tokens == ["[CLS]", "the", "rain", "[SEP]"]
    assert tokenizer.encode("storms").tokens[1:-1] != ["[UNK]"]
    assert tokenizer.encode("π").tokens[1:-1] == ["[UNK]"]
    assert [tokenizer.token_to_id(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")] == [0, 1, 2, 3]


def test_only_the_four_special_tokens_are_special_in_a_text():
    tokenizer = train_tokenizer(TEXTS, 200)
    assert "##i" not in tokenizer.encode("r ##i n").tokens
    assert tokenizer.encode("rain [SEP]").tokens == ["[CLS]", "rain", "[SEP]", "[SEP]"]


def test_data_of_the_other_kind_is_refused(text_recipe, image_data):
    with pytest.raises(ConfigError, match="the recipe tiny-text takes text, the data shapes is image"):
        build_parts(text_recipe, image_data)


def test_the_head_can_count_to_the_most_labels_of_a_training_example(trained_text, trained_image):
    for trained in (trained_text, trained_image):
        most = max(len(example.labels) for example in trained.data.train)
        assert trained.parts.classifier.head.policy.max_label_count == most


def test_training_may_be_limited_to_a_seeded_sample(text_recipe, text_data):
    def taken(*settings):
        parts = build_parts(override(text_recipe, ["data.max_train_examples=10", *settings]), text_data)
        return [example.text for example in parts.train.examples]

    assert len(taken()) == 10
    assert taken() == taken()
    assert taken() != taken("data.split_seed=1")
    assert set(taken()) <= {example.text for example in text_data.train}


@pytest.mark.parametrize(
    ("setting", "policy"),
    [('head={"policy":"fixed_count","label_count":2}', "fixed_count"), ("head.dropout=0.5", "predicted_f1")],
)
def test_the_head_is_the_recipes(text_recipe, text_data, setting, policy):
    recipe = override(text_recipe, [setting])
    head = build_parts(recipe, text_data).classifier.head
    assert head.policy.policy == policy
    assert head.dropout.p == recipe.head.dropout


def test_more_labels_than_there_are_cannot_be_asked_of_the_head(text_recipe, text_data):
    recipe = override(text_recipe, ['head={"policy":"fixed_count","label_count":5}'])
    with pytest.raises(ConfigError, match=r"head\.label_count must be at most 4, .* got 5"):
        build_parts(recipe, text_data)


def test_weights_that_cannot_be_had_are_named_in_one_line(image_recipe, image_data, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')  # and no weights beside it
    recipe = override(image_recipe, [f'backbone={{"kind":"pretrained","source":"{tmp_path}"}}'])
    with pytest.raises(ConfigError, match=r"backbone\.source must be one of minilm-l3, .* got .*: ") as caught:
        build_parts(recipe, image_data)
    assert len(str(caught.value).splitlines()) == 1


def test_targets_are_multi_hot_in_the_order_of_the_label_space(trained_image):
    dataset = trained_image.parts.train
    for index, example in enumerate(trained_image.data.train):
        expected = [label in example.labels for label in trained_image.data.labels]
        np.testing.assert_array_equal(dataset[index].targets, expected)
