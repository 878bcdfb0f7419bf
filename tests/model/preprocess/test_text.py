"""Tokenization: special tokens, truncation, padding by the batch, and what is refused."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from model import preprocess
from model.errors import LabelsetError
from model.manifest import TextPreprocessing

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "A tool that converts pictures and plays music.",
    "Adversaries may steal passwords from the memory of a process.",
]
PAD, UNKNOWN, START, END = range(4)


def train_tokenizer(single="[CLS] $A [SEP]"):
    """A small real WordPiece tokenizer with the padding and truncation that published ones carry."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES * 4, trainer)
    if single:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=[("[CLS]", START), ("[SEP]", END)]
        )
    tokenizer.enable_padding(length=128, pad_id=PAD, pad_token="[PAD]")
    tokenizer.enable_truncation(128, stride=16)
    return tokenizer


TOKENIZER_JSON = train_tokenizer().to_str()


def build(max_length=16, pad_id=PAD, tokenizer_json=TOKENIZER_JSON, **limits):
    params = TextPreprocessing(max_length=max_length, pad_id=pad_id)
    return preprocess.build(params, tokenizer_json, preprocess.Limits(**limits))


def refusal(item, **limits):
    with pytest.raises(LabelsetError) as caught:
        build(**limits)(item)
    return caught.value


def test_a_text_becomes_its_tokens_between_the_special_ones():
    ids = build()("The lazy dog")
    assert ids.dtype == np.int64
    vocabulary = Tokenizer.from_str(TOKENIZER_JSON).get_vocab()
    np.testing.assert_array_equal(ids, [START, vocabulary["the"], vocabulary["lazy"], vocabulary["dog"], END])


def test_the_tokenizer_s_own_padding_is_switched_off():
    assert json.loads(TOKENIZER_JSON)["padding"]["strategy"] == {"Fixed": 128}
    assert len(Tokenizer.from_str(TOKENIZER_JSON).encode("the dog").ids) == 128
    assert len(build(max_length=128)("the dog")) == 4


@pytest.mark.parametrize("max_length", [2, 3, 16, 500])
def test_the_manifest_s_max_length_takes_the_place_of_the_tokenizer_s(max_length):
    ids = build(max_length=max_length)("the dog " * 300)
    assert len(ids) == max_length
    assert (ids[0], ids[-1]) == (START, END)


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\0", "\u200b\ufeff"])
def test_a_text_of_nothing_still_has_the_special_tokens(text):
    np.testing.assert_array_equal(build()(text), [START, END])


def test_a_nul_character_does_not_end_a_text():
    np.testing.assert_array_equal(build()("the\0 dog"), build()("the dog"))


def test_what_the_vocabulary_lacks_becomes_the_unknown_token():
    np.testing.assert_array_equal(build()("\U0001f600"), [START, UNKNOWN, END])


def test_a_text_that_yields_no_token_at_all_is_refused():
    preprocessor = build(tokenizer_json=train_tokenizer(single=None).to_str())
    assert len(preprocessor("the dog")) == 2
    with pytest.raises(preprocess.InvalidText, match="at least one token") as caught:
        preprocessor("")
    assert caught.value.code == "invalid_text"


@pytest.mark.parametrize("text", ["\ud800", "fine until \udfff here"])
def test_a_lone_surrogate_is_invalid_text(text):
    error = refusal(text)
    assert error.code == "invalid_text"
    assert "\ud800" <= text[error.detail["position"]] <= "\udfff"
    assert error.message.isascii(), "the message must itself be encodable"


def test_the_limit_counts_characters_not_bytes():
    assert len(build(max_text_chars=3)("äöü")) > 2
    error = refusal("äöüß", max_text_chars=3)
    assert error.code == "text_too_long"
    assert error.detail == {"limit": 3, "value": 4}


def test_bytes_are_of_the_wrong_kind():
    assert refusal(b"the dog").code == "wrong_input_kind"


@pytest.mark.parametrize("tokenizer_json", ["", "not json", "{}", '{"model": {"type": "Unheard"}}'])
def test_a_tokenizer_that_cannot_be_loaded_is_refused_when_building(tokenizer_json):
    with pytest.raises(preprocess.InvalidTokenizer) as caught:
        build(tokenizer_json=tokenizer_json)
    assert caught.value.code == "invalid_tokenizer"


def test_a_max_length_below_the_special_tokens_is_refused_when_building():
    tokenizer_json = train_tokenizer(single="[CLS] [CLS] $A [SEP]").to_str()
    with pytest.raises(preprocess.InvalidTokenizer, match="3 special tokens"):
        build(max_length=2, tokenizer_json=tokenizer_json)
    assert len(build(max_length=3, tokenizer_json=tokenizer_json)("the dog")) == 3


def test_collate_pads_with_the_manifest_s_id_to_the_longest_of_the_batch():
    preprocessor = build(pad_id=7)
    arrays = [preprocessor(text) for text in ("the", "the lazy dog", "")]
    batch = preprocessor.collate(arrays)
    assert list(batch) == ["token_ids"]
    assert batch["token_ids"].dtype == np.int64
    assert batch["token_ids"].shape == (3, 5)
    for row, array in zip(batch["token_ids"], arrays, strict=True):
        np.testing.assert_array_equal(row[: len(array)], array)
        assert (row[len(array) :] == 7).all()


def test_the_same_text_gives_the_same_tokens_in_every_thread():
    preprocessor = build()
    alone = [preprocessor(text) for text in SENTENCES]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(preprocessor, SENTENCES * 50))
    for array, expected in zip(together, alone * 50, strict=True):
        np.testing.assert_array_equal(array, expected)


@given(st.text(st.characters(codec=None), max_size=200))
def test_any_text_gives_tokens_or_one_of_our_errors(text):
    preprocessor = build()
    try:
        ids = preprocessor(text)
    except preprocess.InvalidText:
        assert any("\ud800" <= character <= "\udfff" for character in text)
    else:
        assert 2 <= len(ids) <= 16
        assert (ids[0], ids[-1]) == (START, END)
