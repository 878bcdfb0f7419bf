"""Text -> int64 token ids, by the bundle's own `tokenizer.json`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from model.manifest import TextPreprocessing, WordsPreprocessing
from model.preprocess import (
    DEFAULT_LIMITS,
    InvalidText,
    InvalidTokenizer,
    Item,
    Limits,
    NewArray,
    WrongInputKind,
    check_length,
)


class TextPreprocessor:
    """Makes the token ids of a text.

    Texts are encoded one at a time, which leaves the tokenizer's own thread pool (`TOKENIZERS_PARALLELISM`) unused:
    the callers' threads are the parallelism, and a process may fork afterwards without a warning.
    """

    def __init__(self, params: TextPreprocessing, tokenizer_json: str, limits: Limits = DEFAULT_LIMITS) -> None:
        self._params = params
        self._limits = limits
        self._tokenizer = load_tokenizer(params, tokenizer_json)

    def __call__(self, item: Item) -> npt.NDArray[np.int64]:
        """Tokenize a text, with the tokenizer's special tokens, truncated to `max_length`.

        Returns:
            int64 `[length]`, 1 to `max_length` token ids.

        Raises:
            WrongInputKind: bytes, or words.
            TextTooLong: more characters than the limits allow.
            InvalidText: not Unicode (a lone surrogate), or no token at all.
        """
        if not isinstance(item, str):
            got = "bytes" if isinstance(item, bytes) else "words"
            raise WrongInputKind(f"a text model takes a text, got {got}", expected="text")
        check_text(item, self._limits)
        token_ids = self._tokenizer.encode(item).ids
        if not token_ids:
            raise InvalidText("a text must have at least one token, this one has none")
        return np.array(token_ids, np.int64)

    def collate(self, arrays: Sequence[npt.NDArray[Any]], empty: NewArray = np.empty) -> dict[str, npt.NDArray[Any]]:
        """`token_ids`: int64 `[N, T]`, padded with `pad_id` to the longest of the batch."""
        return {"token_ids": pad(arrays, self._params.pad_id, empty)}


def load_tokenizer(params: TextPreprocessing | WordsPreprocessing, tokenizer_json: str) -> Tokenizer:
    """The tokenizer of a bundle, which truncates to `params.max_length` and never pads.

    Raises:
        InvalidTokenizer: it cannot be loaded, or its special tokens alone are longer than `max_length`.
    """
    try:
        tokenizer: Tokenizer = Tokenizer.from_str(tokenizer_json)
        # A tokenizer.json often carries the padding and truncation of the day it was trained; the manifest decides.
        tokenizer.no_padding()
        tokenizer.enable_truncation(params.max_length)
    except Exception as error:  # tokenizers raises plain Exception
        raise InvalidTokenizer(f"{params.tokenizer} cannot be used: {error}") from error
    special_tokens = tokenizer.num_special_tokens_to_add(is_pair=False)
    if special_tokens > params.max_length:  # tokenizers would then truncate nothing at all
        raise InvalidTokenizer(
            f"max_length must leave room for the {special_tokens} special tokens of {params.tokenizer}, "
            f"got {params.max_length}",
            special_tokens=special_tokens,
            max_length=params.max_length,
        )
    return tokenizer


def check_text(text: str, limits: Limits) -> None:
    """Refuse a text before a tokenizer sees it.

    Raises:
        TextTooLong: more characters than the limits allow.
        InvalidText: not Unicode (a lone surrogate).
    """
    check_length(text, limits)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidText(
            f"a text must be Unicode, got a lone surrogate at character {error.start}", position=error.start
        ) from None


def pad(rows: Sequence[npt.NDArray[Any]], fill: int, empty: NewArray = np.empty) -> npt.NDArray[np.int64]:
    """Token ids of several texts -> int64 `[N, T]`, filled up to the longest."""
    padded = empty((len(rows), max(map(len, rows))), np.int64)
    padded.fill(fill)
    for into, row in zip(padded, rows, strict=True):
        into[: len(row)] = row
    return padded
