"""A WordPiece tokenizer from the training texts, for networks that start from nothing."""

from collections.abc import Iterable

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

_SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> Tokenizer:
    """A WordPiece tokenizer, made from the training texts as BERT's was from its own; the same texts give the same.

    Args:
        texts: Gone through twice, and not kept.
        vocabulary_size: Pieces at most.
    """
    draft = _wordpiece({})
    # The trainer numbers the pieces of one letter in the order of a hash table, which is another in every run, and its
    # merges follow from the numbers. Those that it is given keep theirs.
    letters = sorted({f"##{letter}" for text in texts for word in _words(draft, text) for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size, special_tokens=[*_SPECIAL_TOKENS, *letters], show_progress=False
    )
    draft.train_from_iterator(iter(texts), trainer)
    # To the draft the pieces of one letter are special, to be found anywhere in a text: take its vocabulary alone.
    tokenizer = _wordpiece(draft.get_vocab())
    tokenizer.add_special_tokens(_SPECIAL_TOKENS)
    cls, sep = ((token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.BertProcessing(sep, cls)
    return tokenizer


def _wordpiece(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _words(tokenizer: Tokenizer, text: str) -> list[str]:
    return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))]
