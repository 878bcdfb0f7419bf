"""From a recipe and its data to the parts of a run: preprocessing, network, label space."""

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from model import preprocess
from model.manifest import (
    AudioPreprocessing,
    ImagePreprocessing,
    Preprocessing,
    SparsityPolicy,
    TextPreprocessing,
    WordsPreprocessing,
)
from model.nn.audio import AudioBackbone, load_audio_backbone, new_audio_backbone
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
from training.augment import Augmentation, augmentation
from training.config import (
    AudioInput,
    ConfigError,
    HeadConfig,
    ImageInput,
    NewBackbone,
    PretrainedBackbone,
    Recipe,
    TextInput,
)
from training.data import weights
from training.data.arrays import ArrayDataset
from training.data.dataset import Example, LabelledData, Task
from training.data.token_arrays import TokenDataset
from training.masking import check_skipping
from training.tokenizer import train_tokenizer


@dataclass(frozen=True)
class Parts:
    """What a run is made of; `augment` changes training inputs, None leaves them alone."""

    classifier: Classifier
    preprocessing: Preprocessing
    tokenizer_json: str
    train: ArrayDataset
    validation: ArrayDataset
    test: ArrayDataset
    augment: Augmentation | None = None
    task: Task = "multi_label"

    @property
    def pad_id(self) -> int:
        """What shorter texts are filled up with; 0 where all inputs have one size."""
        return getattr(self.preprocessing, "pad_id", 0)


def build_parts(recipe: Recipe, data: LabelledData) -> Parts:
    """Make the parts of a run. Chance is drawn from torch's generator, which the caller has seeded.

    Raises:
        ConfigError: the recipe is for the other kind of input, or has a setting that this task has no use for.
    """
    if recipe.input.kind != data.modality:
        raise ConfigError(
            f"the recipe {recipe.name} takes {recipe.input.kind}, the data {data.name} is {data.modality}"
        )
    check_skipping(recipe, data.task)
    is_frozen = isinstance(recipe.backbone, PretrainedBackbone) and recipe.backbone.frozen
    if data.task == "token_classification" and is_frozen:
        raise ConfigError("backbone.frozen must be false for token classification: features are kept one an input")
    attention_rate = recipe.backbone.attention.sparsity_rate
    if recipe.input.kind != "text" and attention_rate is not None:
        raise ConfigError(
            f"backbone.attention.sparsity_rate must be unset for {recipe.input.kind}: a ResNet has no attention, "
            f"got {attention_rate}"
        )
    train = _limited(data.train, recipe.data.max_train_examples, recipe.data.split_seed)
    backbone: ImageBackbone | TextBackbone | AudioBackbone
    preprocessing: Preprocessing
    tokenizer_json = ""
    if isinstance(recipe.input, ImageInput):
        backbone = _image_backbone(recipe)
        preprocessing = ImagePreprocessing(height=recipe.input.size, width=recipe.input.size)
    elif isinstance(recipe.input, AudioInput):
        backbone = _audio_backbone(recipe, recipe.input)
        preprocessing = AudioPreprocessing(sample_rate=recipe.input.sample_rate, seconds=recipe.input.seconds)
    else:
        backbone, tokenizer_json = _text_backbone(recipe, recipe.input, train)
        backbone.pooling = "none" if data.task == "token_classification" else "mean"
        described = WordsPreprocessing if data.task == "token_classification" else TextPreprocessing
        preprocessing = described(max_length=recipe.input.max_length, pad_id=backbone.pad_id)
    preprocessor = preprocess.build(preprocessing, tokenizer_json)
    head = LabelSetHead(
        backbone.feature_size,
        len(data.labels),
        _policy(recipe.head, data.task, train, len(data.labels)),
        dropout=recipe.head.dropout,
    )
    rows = TokenDataset if data.task == "token_classification" else ArrayDataset
    return Parts(
        Classifier(backbone, head),
        preprocessing,
        tokenizer_json,
        *(rows(split, data.labels, preprocessor) for split in (train, data.validation, data.test)),
        augment=augmentation(recipe, tokenizer_json),
        task=data.task,
    )


def _limited(examples: Sequence[Example], limit: int | None, seed: int) -> Sequence[Example]:
    if limit is None or limit >= len(examples):
        return examples
    return random.Random(seed).sample(examples, limit)


def _policy(head: HeadConfig, task: Task, train: Sequence[Example], class_count: int) -> SparsityPolicy:
    if head.label_count is not None and head.label_count > class_count:
        raise ConfigError(
            f"head.label_count must be at most {class_count}, the labels there are, got {head.label_count}"
        )
    if task != "multi_label":
        # Every input, or word, has one label: a prediction of that count would be 1 at all times.
        if head.policy in {"predicted_count", "expected_f1", "predicted_f1"}:
            return SparsityPolicy(policy="fixed_count", label_count=1)
        return SparsityPolicy(policy=head.policy, label_count=head.label_count, sparsity_rate=head.sparsity_rate)
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


def _audio_backbone(recipe: Recipe, audio: AudioInput) -> AudioBackbone:
    sample_rate, mel_bands = audio.sample_rate, audio.mel_bands
    if isinstance(recipe.backbone, NewBackbone):
        return new_audio_backbone(recipe.backbone.hidden_sizes, recipe.backbone.depths, sample_rate, mel_bands)
    with _named_source(recipe.backbone.source):
        source = weights.resolve(recipe.backbone.source)
        return load_audio_backbone(source, sample_rate, mel_bands, recipe.backbone.depths)


def _text_backbone(recipe: Recipe, text: TextInput, train: Sequence[Example]) -> tuple[TextBackbone, str]:
    if isinstance(recipe.backbone, NewBackbone):
        tokenizer = train_tokenizer(_Texts(train), text.vocabulary_size)
        pad_id = tokenizer.token_to_id("[PAD]")
        size, layers = recipe.backbone.hidden_size, recipe.backbone.layers
        backbone = new_text_backbone(
            tokenizer.get_vocab_size(), size, layers, text.max_length, pad_id, recipe.backbone.attention.sparsity_rate
        )
        return backbone, tokenizer.to_str()
    with _named_source(recipe.backbone.source):
        source = weights.resolve(recipe.backbone.source)
        rate = recipe.backbone.attention.sparsity_rate
        return load_text_backbone(source, recipe.backbone.layers, rate), _pretrained_tokenizer(source)


@dataclass(frozen=True)
class _Texts:
    """The texts of examples, read anew each time one goes through them: examples on disk stay there."""

    examples: Sequence[Example]

    def __iter__(self) -> Iterator[str]:
        return (example.text or " ".join(example.words or ()) for example in self.examples)


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
