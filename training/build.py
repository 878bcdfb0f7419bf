"""From a recipe and its data to the parts of a run: preprocessing, network, label space."""

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from model import preprocess
from model.manifest import ImagePreprocessing, SparsityPolicy, TextPreprocessing
from model.nn.backbones import (
    ImageBackbone,
    TextBackbone,
    load_image_backbone,
    load_text_backbone,
    new_image_backbone,
    new_text_backbone,
)
from model.nn.classifier import Classifier
from model.nn.heads import LabelSetHead
from training.config import ConfigError, HeadConfig, ImageInput, NewBackbone, Recipe, TextInput
from training.data import weights
from training.data.arrays import ArrayDataset
from training.data.dataset import Example, LabelledData

_SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


@dataclass(frozen=True)
class Parts:
    """What a run is made of."""

    classifier: Classifier
    preprocessing: ImagePreprocessing | TextPreprocessing
    tokenizer_json: str
    train: ArrayDataset
    validation: ArrayDataset
    test: ArrayDataset


def build_parts(recipe: Recipe, data: LabelledData) -> Parts:
    """Make the parts of a run. Chance is drawn from torch's generator, which the caller has seeded.

    Raises:
        ConfigError: the recipe is for the other kind of input.
    """
    if recipe.input.kind != data.modality:
        raise ConfigError(
            f"the recipe {recipe.name} takes {recipe.input.kind}, the data {data.name} is {data.modality}"
        )
    train = _limited(data.train, recipe.data.max_train_examples, recipe.data.split_seed)
    backbone: ImageBackbone | TextBackbone
    preprocessing: ImagePreprocessing | TextPreprocessing
    tokenizer_json = ""
    if isinstance(recipe.input, ImageInput):
        backbone = _image_backbone(recipe)
        preprocessing = ImagePreprocessing(height=recipe.input.size, width=recipe.input.size)
    else:
        backbone, tokenizer_json = _text_backbone(recipe, recipe.input, train)
        preprocessing = TextPreprocessing(max_length=recipe.input.max_length, pad_id=backbone.pad_id)
    preprocessor = preprocess.build(preprocessing, tokenizer_json)
    head = LabelSetHead(
        backbone.feature_size,
        len(data.labels),
        _policy(recipe.head, train, len(data.labels)),
        dropout=recipe.head.dropout,
    )
    return Parts(
        Classifier(backbone, head),
        preprocessing,
        tokenizer_json,
        *(ArrayDataset(split, data.labels, preprocessor) for split in (train, data.validation, data.test)),
    )


def _limited(examples: list[Example], limit: int | None, seed: int) -> list[Example]:
    if limit is None or limit >= len(examples):
        return examples
    return random.Random(seed).sample(examples, limit)


def _policy(head: HeadConfig, train: list[Example], class_count: int) -> SparsityPolicy:
    if head.label_count is not None and head.label_count > class_count:
        raise ConfigError(
            f"head.label_count must be at most {class_count}, the labels there are, got {head.label_count}"
        )
    return SparsityPolicy(
        policy=head.policy,
        label_count=head.label_count,
        sparsity_rate=head.sparsity_rate,
        max_label_count=max(len(example.labels) for example in train),
    )


def _image_backbone(recipe: Recipe) -> ImageBackbone:
    if isinstance(recipe.backbone, NewBackbone):
        return new_image_backbone(recipe.backbone.hidden_sizes, recipe.backbone.depths)
    with _named_source(recipe.backbone.source):
        return load_image_backbone(weights.resolve(recipe.backbone.source), recipe.backbone.depths)


def _text_backbone(recipe: Recipe, text: TextInput, train: list[Example]) -> tuple[TextBackbone, str]:
    if isinstance(recipe.backbone, NewBackbone):
        tokenizer = train_tokenizer([example.text or "" for example in train], text.vocabulary_size)
        pad_id = tokenizer.token_to_id("[PAD]")
        size, layers = recipe.backbone.hidden_size, recipe.backbone.layers
        backbone = new_text_backbone(tokenizer.get_vocab_size(), size, layers, text.max_length, pad_id)
        return backbone, tokenizer.to_str()
    with _named_source(recipe.backbone.source):
        source = weights.resolve(recipe.backbone.source)
        return load_text_backbone(source, recipe.backbone.layers), _pretrained_tokenizer(source)


@contextlib.contextmanager
def _named_source(source: str) -> Iterator[None]:
    """Turn what the library says of weights that it cannot find or use into one line about the setting."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"backbone.source must be one of {', '.join(weights.WEIGHTS)}, a local folder or a hub name, "
            f"got {source!r}: {str(error).splitlines()[0]}"
        ) from error


def _pretrained_tokenizer(source: str) -> str:
    local = Path(source) / "tokenizer.json"
    if local.is_file():
        return local.read_text(encoding="utf-8")
    return Tokenizer.from_pretrained(source).to_str()


def train_tokenizer(texts: list[str], vocabulary_size: int) -> Tokenizer:
    """A WordPiece tokenizer, made from the training texts as BERT's was from its own; the same texts give the same."""
    draft = _wordpiece({})
    # The trainer numbers the pieces of one letter in the order of a hash table, which is another in every run, and its
    # merges follow from the numbers. Those that it is given keep theirs.
    letters = sorted({f"##{letter}" for text in texts for word in _words(draft, text) for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size, special_tokens=[*_SPECIAL_TOKENS, *letters], show_progress=False
    )
    draft.train_from_iterator(texts, trainer)
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
