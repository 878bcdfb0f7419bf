"""Text or words -> int64 token ids with the beginnings of the words, by the bundle's own `tokenizer.json`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model.manifest import WordsPreprocessing
from model.preprocess import DEFAULT_LIMITS, InvalidText, Item, Limits, NewArray, WrongInputKind
from model.preprocess.text import check_text, load_tokenizer, pad
from model.words import NO_WORD, words_of


class WordsPreprocessor:
    """Makes the token ids of a text, and says at which of them each word begins: there the model answers for it."""

    def __init__(self, params: WordsPreprocessing, tokenizer_json: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self._params = params
        self._limits = limits
        self._tokenizer = load_tokenizer(params, tokenizer_json)

    def __call__(self, item: Item) -> npt.NDArray[np.int64]:
        """Tokenize a text word by word, with the tokenizer's special tokens, truncated to `max_length`.

        Args:
            item: A text, which is split by `words_of`, or its words.

        Returns:
            int64 `[length, 2]`: the token ids, and the position of the word that begins at each token or -1. A word of
            which the tokenizer makes nothing begins nowhere, and so does one beyond `max_length` tokens.

        Raises:
            WrongInputKind: bytes.
            TextTooLong: more characters than the limits allow.
            InvalidText: not Unicode (a lone surrogate), or no word that the tokenizer can make a token of.
        """
        if isinstance(item, bytes):
            raise WrongInputKind("a token model takes a text or a list of words, got bytes", expected="text")
        check_text(item if isinstance(item, str) else " ".join(item), self._limits)
        encoding = self._tokenizer.encode([word.text for word in words_of(item)], is_pretokenized=True)
        array = np.full((len(encoding.ids), 2), NO_WORD, np.int64)
        array[:, 0] = encoding.ids
        last = NO_WORD
        for row, word in zip(array, encoding.word_ids, strict=True):
            if word is not None and word != last:
                row[1] = last = word
        if last == NO_WORD:
            raise InvalidText("a text must have at least one word, this one has none")
        return array

    def collate(self, arrays: Sequence[npt.NDArray[Any]], empty: NewArray = np.empty) -> dict[str, npt.NDArray[Any]]:
        """The feed of the graph.

        Returns:
            `token_ids`: int64 `[N, T]`, padded with `pad_id` to the longest of the batch. `word_position`: int64 `[W]`,
            where in the flattened `token_ids` the words of the batch begin, text by text.
        """
        token_ids = pad([array[:, 0] for array in arrays], self._params.pad_id, empty)
        width = token_ids.shape[1]
        starts = [row * width + np.flatnonzero(array[:, 1] != NO_WORD) for row, array in enumerate(arrays)]
        return {"token_ids": token_ids, "word_position": np.concatenate(starts)}
