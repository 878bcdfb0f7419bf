"""Words as token ids: where each of them begins, what is cut off, and what is refused."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from model import preprocess
from model.manifest import TextPreprocessing, WordsPreprocessing
from model.preprocess import InvalidText, InvalidTokenizer, TextTooLong, WrongInputKind

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "bark", "##ing", "dog", "don", "'", "t", "."]
PAD, UNKNOWN, START, END, THE, BARK, ING, DOG, DON, APOSTROPHE, T, STOP = range(len(PIECES))


def tokenizer_json() -> str:
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", END), ("[CLS]", START))
    return tokenizer.to_str()


def build(max_length=16, **limits):
    params = WordsPreprocessing(max_length=max_length, pad_id=PAD)
    return preprocess.build(params, tokenizer_json(), preprocess.Limits(**limits))


def test_a_word_begins_at_the_first_of_its_tokens_and_nowhere_else():
    array = build()("The barking dog don't.")
    assert array.dtype == np.int64
    assert array.tolist() == [
        [START, -1], [THE, 0], [BARK, 1], [ING, -1], [DOG, 2], [DON, 3], [APOSTROPHE, -1], [T, -1], [STOP, 4], [END, -1]
    ]  # fmt: skip


def test_words_of_the_caller_are_taken_as_they_are():
    array = build()(("the dog", ".", "xyz"))
    assert array.tolist() == [[START, -1], [THE, 0], [DOG, -1], [STOP, 1], [UNKNOWN, 2], [END, -1]]


def test_a_word_of_which_nothing_is_left_begins_nowhere():
    assert build()(("the", "\u200b", "", "dog"))[:, 1].tolist() == [-1, 0, 3, -1]


def test_what_is_beyond_max_length_is_cut_off_between_the_special_tokens():
    array = build(max_length=5)("the barking dog")
    assert array.tolist() == [[START, -1], [THE, 0], [BARK, 1], [ING, -1], [END, -1]]
    # Of a word that is cut in two the first half is enough to answer for it.
    assert build(max_length=4)("the barking dog")[:, 1].tolist() == [-1, 0, 1, -1]


def test_a_batch_says_where_in_the_flattened_token_ids_its_words_begin():
    preprocessor = build()
    feed = preprocessor.collate([preprocessor("dog"), preprocessor("the barking dog")])
    assert feed["token_ids"].tolist() == [[START, DOG, END, PAD, PAD, PAD], [START, THE, BARK, ING, DOG, END]]
    assert feed["word_position"].tolist() == [1, 6 + 1, 6 + 2, 6 + 4]
    assert feed["token_ids"].ravel()[feed["word_position"]].tolist() == [DOG, THE, BARK, DOG]


def test_what_is_no_text_is_refused():
    with pytest.raises(WrongInputKind, match="a token model takes a text or a list of words, got bytes"):
        build()(b"the dog")
    with pytest.raises(InvalidText, match="must have at least one word"):
        build()("\u200b")
    with pytest.raises(InvalidText, match="must have at least one word"):
        build()(("", ""))
    with pytest.raises(InvalidText, match="lone surrogate at character 4"):
        build()(("the", "\ud800"))


def test_the_words_of_a_text_count_with_the_spaces_between_them():
    assert len(build(max_text_chars=7)(("the", "dog"))) == 4
    with pytest.raises(TextTooLong, match="at most 6 characters, got 7"):
        build(max_text_chars=6)(("the", "dog"))


def test_a_max_length_without_room_for_the_special_tokens_is_refused():
    tokenizer = Tokenizer.from_str(tokenizer_json())
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] [CLS] $A [SEP]", special_tokens=[("[CLS]", START), ("[SEP]", END)]
    )
    with pytest.raises(InvalidTokenizer, match="leave room for the 3 special tokens"):
        preprocess.build(WordsPreprocessing(max_length=2, pad_id=PAD), tokenizer.to_str())


def test_a_model_that_labels_whole_texts_takes_no_words():
    texts = preprocess.build(TextPreprocessing(max_length=8, pad_id=PAD), tokenizer_json())
    with pytest.raises(WrongInputKind, match="a text model takes a text, got words"):
        texts(("the", "dog"))
