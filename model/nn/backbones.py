"""Backbones: raw batch -> one feature vector a row. The weights and layers are Hugging Face `transformers`'.

A backbone takes what `model/preprocess` yields (uint8 pixels, token ids), so that cast, mean, std and padding mask are
part of the network and travel inside the exported graph. Knows nothing of labels or losses.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, BertConfig, BertModel, ResNetConfig, ResNetModel
from transformers.utils import cached_file

from model.nn import attention

# Of a text: the mean of its tokens' features, that of its first token, or all of them.
Pooling = Literal["mean", "cls", "none"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A network that gives one feature `[B, feature_size]` a row.

    Attributes:
        input_name: What the graph calls the raw batch.
        feature_size: Width of the feature.
    """

    input_name: str
    feature_size: int


class ImageBackbone(Backbone):
    """A ResNet over uint8 pixels."""

    input_name = "pixels"
    scale: Tensor
    shift: Tensor

    def __init__(self, network: ResNetModel, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.feature_size = network.config.hidden_sizes[-1]
        # Folded to one multiply and one add over values in [0, 255].
        scale = 1.0 / (255.0 * torch.tensor(std, dtype=torch.float32))
        shift = -torch.tensor(mean, dtype=torch.float32) / torch.tensor(std, dtype=torch.float32)
        self.register_buffer("scale", scale.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(1, 3, 1, 1), persistent=False)

    def forward(self, pixels_BHW3: Tensor) -> Tensor:
        """uint8 `[B, H, W, 3]` -> feature `[B, F]`, the mean over all positions."""
        pixels_B3HW = pixels_BHW3.permute(0, 3, 1, 2).to(torch.float32)
        normalised_B3HW = pixels_B3HW * self.scale + self.shift
        hidden: Tensor = self.network(normalised_B3HW).last_hidden_state
        return hidden.mean(dim=(2, 3))


class TextBackbone(Backbone):
    """A BERT over token ids; padding is recognised by its id."""

    input_name = "token_ids"

    def __init__(self, network: BertModel, pooling: Pooling = "mean", attention_rate: float | None = None) -> None:
        """Take a network, with r-softmax of `attention_rate` in its self-attention where there is one."""
        super().__init__()
        self.network = network
        if attention_rate is not None:
            attention.use_r_softmax(network, attention_rate)
        self.pooling = pooling
        self.pad_id: int = network.config.pad_token_id
        self.feature_size = network.config.hidden_size

    def forward(self, token_ids_BT: Tensor) -> Tensor:
        """int64 `[B, T]` -> feature `[B, F]`: the mean over the tokens that are not padding, or the first token's.

        Without pooling the features of all tokens `[B, T, F]`.
        """
        mask_BT = token_ids_BT != self.pad_id
        hidden_BTF: Tensor = self.network(token_ids_BT, attention_mask=mask_BT.to(torch.int64)).last_hidden_state
        if self.pooling == "none":
            return hidden_BTF
        if self.pooling == "cls":
            return hidden_BTF[:, 0]
        weight_BT1 = mask_BT.unsqueeze(-1).to(hidden_BTF.dtype)
        return (hidden_BTF * weight_BT1).sum(dim=1) / weight_BT1.sum(dim=1).clamp(min=1.0)


def load_image_backbone(source: str, depths: Sequence[int] | None = None) -> ImageBackbone:
    """A pre-trained ResNet.

    Args:
        source: A local folder or a hub name.
        depths: Keep only so many blocks of each stage, and only so many stages: a smaller network that starts from
            the same weights.
    """
    config = AutoConfig.from_pretrained(source)
    if depths is not None:
        config.depths = list(depths)
        config.hidden_sizes = config.hidden_sizes[: len(depths)]
    network = _pretrained(ResNetModel, source, config)
    file = cached_file(source, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
    known = json.loads(Path(file).read_text(encoding="utf-8")) if file else {}
    return ImageBackbone(network, known.get("image_mean", IMAGENET_MEAN), known.get("image_std", IMAGENET_STD))


def new_image_backbone(hidden_sizes: Sequence[int], depths: Sequence[int], embedding_size: int = 32) -> ImageBackbone:
    """A small ResNet of basic blocks, from scratch."""
    config = ResNetConfig(
        embedding_size=embedding_size, hidden_sizes=list(hidden_sizes), depths=list(depths), layer_type="basic"
    )
    return ImageBackbone(ResNetModel(config), IMAGENET_MEAN, IMAGENET_STD)


def load_text_backbone(source: str, layers: int | None = None, attention_rate: float | None = None) -> TextBackbone:
    """A pre-trained BERT.

    Args:
        source: A local folder or a hub name.
        layers: Keep only its first so many.
        attention_rate: The sparsity rate of r-softmax in its self-attention; None keeps softmax.
    """
    config = AutoConfig.from_pretrained(source)
    if layers is not None:
        config.num_hidden_layers = layers
    network = _pretrained(BertModel, source, config, add_pooling_layer=False)
    return TextBackbone(network, attention_rate=attention_rate)


def _pretrained(architecture: type[Any], source: str, config: Any, **arguments: Any) -> Any:
    """Load weights; those of layers that `config` leaves out are dropped, one that the network lacks is an error.

    Raises:
        ValueError: the weights at `source` are for another architecture.
    """
    # The library reports dropped weights as a table of warnings; here they are meant, and missing ones are checked.
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()  # a second or less
    try:
        network, loading = architecture.from_pretrained(source, config=config, output_loading_info=True, **arguments)
    finally:
        transformers.logging.set_verbosity(verbosity)
        transformers.logging.enable_progress_bar()
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])
        raise ValueError(f"{source} must hold the weights of a {architecture.__name__}, it lacks {missing[:3]}")
    return network


def new_text_backbone(
    vocabulary_size: int,
    hidden_size: int,
    layers: int,
    max_length: int,
    pad_id: int,
    attention_rate: float | None = None,
) -> TextBackbone:
    """A small BERT, from scratch; `attention_rate` as in `load_text_backbone`."""
    config = BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=hidden_size,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden_size // 32),
        intermediate_size=4 * hidden_size,
        max_position_embeddings=max_length,
        pad_token_id=pad_id,
    )
    return TextBackbone(BertModel(config, add_pooling_layer=False), attention_rate=attention_rate)
