"""The recipe: everything that decides what a training run does, typed. `overrides.py` finds and changes recipes."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from model.errors import LabelsetError
from model.manifest import Frozen
from model.policies import Policy

LossName = Literal[
    "as_softmax",
    "zlpr",
    "r_softmax",
    "softmax",
    "bce",
    "label_smoothing",
    "am_softmax",
    "t_softmax",
    "sparsemax_huber",
    "sparsemax_hinge",
    "sparsehourglass_hinge",
    "entmax15",
]


class ConfigError(LabelsetError):
    """A recipe or an override that makes no sense."""

    code = "config_invalid"


class DataConfig(Frozen):
    """What to train on: the name of a fetched set, or a file or folder of one's own."""

    source: str
    images: Path | None = None
    on_bad_row: Literal["error", "skip"] = Field(
        default="error", description="of a file of one's own: stop at a row that breaks a rule, or count it and go on"
    )
    streaming: bool = Field(default=False, description="keep the examples on disk: for files larger than memory")
    min_label_count: int = Field(default=1, ge=1, description="labels that fewer examples carry are dropped")
    max_train_examples: int | None = Field(default=None, ge=1)
    split_seed: int = 0


class ImageInput(Frozen):
    """How pictures enter: their size, and the training-time augmentation."""

    kind: Literal["image"] = "image"
    size: int = Field(default=128, ge=16, le=1024)
    augment: bool = True


class TextInput(Frozen):
    """How texts enter; `vocabulary_size` only where the tokenizer is made from the training texts."""

    kind: Literal["text"] = "text"
    max_length: int = Field(default=64, ge=2, le=512)
    vocabulary_size: int = Field(default=4000, ge=100)
    word_dropout: float = Field(default=0.0, ge=0, lt=1, description="part of the tokens hidden in training")


class AudioInput(Frozen):
    """How recordings enter: mono at `sample_rate`, cut or padded to `seconds`, then `mel_bands` log-mel bands."""

    kind: Literal["audio"] = "audio"
    sample_rate: int = Field(default=16_000, ge=4_000, le=48_000)
    seconds: float = Field(default=2.0, gt=0, le=60)
    mel_bands: int = Field(default=64, ge=16, le=256)
    augment: bool = True


class AttentionConfig(Frozen):
    """What BERT's self-attention spreads its weight with (SPEC 4)."""

    sparsity_rate: float | None = Field(default=None, ge=0, le=1, description="r-softmax of this rate; none: softmax")
    ramp: float = Field(default=0.5, ge=0, le=1, description="fraction of the steps in which the rate rises from 0")


class PretrainedBackbone(Frozen):
    """A network with its weights: a name that `labelset fetch` knows, a local folder, or a hub name."""

    kind: Literal["pretrained"] = "pretrained"
    source: str
    depths: tuple[int, ...] | None = Field(default=None, description="ResNet: blocks kept of each stage kept")
    layers: int | None = Field(default=None, ge=1, description="BERT: layers kept")
    frozen: bool = Field(default=False, description="train only the head, on features that are computed once")
    attention: AttentionConfig = AttentionConfig()


class NewBackbone(Frozen):
    """A small network from scratch."""

    kind: Literal["new"] = "new"
    hidden_sizes: tuple[int, ...] = Field(default=(32, 64, 128, 256), description="ResNet: channels of each stage")
    depths: tuple[int, ...] = Field(default=(1, 1, 1, 1), description="ResNet: blocks of each stage")
    hidden_size: int = Field(default=128, ge=32, description="BERT: width")
    layers: int = Field(default=2, ge=1, description="BERT: layers")
    attention: AttentionConfig = AttentionConfig()


class HeadConfig(Frozen):
    """How the served model decides how many labels there are (SPEC 2)."""

    policy: Policy = "predicted_f1"
    label_count: int | None = Field(default=None, ge=0)
    sparsity_rate: float | None = Field(default=None, ge=0, le=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)


class LossConfig(Frozen):
    """The classification loss, by its name in `training/losses`; for multi-label data the count's is added to it."""

    name: LossName = "as_softmax"
    delta: float = Field(default=1.0, gt=0, le=1, description="AS-Softmax: 1 keeps every opponent")
    delta_warm_up: float = Field(
        default=0.3, ge=0, le=1, description="AS-Softmax: fraction of the steps in which delta falls to it"
    )
    delta_scaling: Literal["none", "label_count"] = Field(
        default="none", description="AS-Softmax, multi-label: delta as it is, or divided by a row's number of labels"
    )
    temperature: float = Field(default=1.0, gt=0, description="t_softmax")
    margin: float = Field(default=0.35, ge=0, description="am_softmax: taken off the logits of present labels")
    scale: float = Field(default=1.0, gt=0, description="am_softmax: of the logits, after the margin")
    smoothing: float = Field(default=0.1, ge=0, lt=1, description="label_smoothing")
    label_weights: Literal["none", "inverse_frequency"] = Field(
        default="none", description="inverse_frequency: rare labels weigh more"
    )
    count_weight: float = Field(default=1.0, ge=0, description="of the count's loss, which only its layers learn from")

    @field_validator("name", mode="before")
    @classmethod
    def _earlier_name(cls, name: Any) -> Any:
        # So it stands in bundles that were exported before the losses were named alike for all tasks.
        return "as_softmax" if name == "as_softmax_multilabel" else name


class OptimizerConfig(Frozen):
    """AdamW with linear warm-up and cosine decay."""

    lr: float = Field(default=5e-5, gt=0)
    head_lr: float = Field(default=1e-3, gt=0, description="the head starts from nothing and may go faster")
    weight_decay: float = Field(default=0.01, ge=0)
    warm_up: float = Field(default=0.1, ge=0, le=1, description="fraction of the steps")
    clip_norm: float = Field(default=1.0, gt=0)
    layer_decay: float = Field(
        default=1.0, gt=0, le=1, description="each layer further from the head learns slower by this factor"
    )


class Schedule(Frozen):
    """How long."""

    epochs: int = Field(default=3, ge=1)
    batch_size: int = Field(default=32, ge=1)
    validations_per_epoch: int = Field(default=1, ge=1)
    patience: int = Field(default=3, ge=1, description="validations without a better example-F1 before the end")
    checkpoint_steps: int = Field(default=100, ge=1, description="steps between two checkpoints")
    accumulation: int = Field(default=1, ge=1, description="batches whose gradients are summed before a step")


class SpeedConfig(Frozen):
    """What makes a run faster and leaves what it learns alone, or nearly so."""

    length_buckets: bool = Field(default=True, description="texts of similar length share a batch: less padding")
    skip_masked: bool = Field(
        default=False,
        description="no backward pass for samples the loss has masked (SPEC 3.6): AS-Softmax with a delta below 1",
    )
    rest_epochs: int = Field(
        default=0,
        ge=0,
        description="with skip_masked: epochs that a masked sample is not looked at; twice as many when masked again",
    )
    adaptive_accumulation: float | None = Field(
        default=None, gt=0, description="AS-Speed: lambda of SPEC 3.5; none: `schedule.accumulation` all along"
    )
    max_accumulation: int = Field(default=8, ge=1, description="AS-Speed: most batches of one step")
    compile: bool = Field(default=False, description="torch.compile the network")
    workers: int = Field(default=0, ge=0, description="processes that read ahead; 0 reads in the training process")


class ExportConfig(Frozen):
    """How the bundle is written."""

    weights: Literal["float32", "int8"] = Field(
        default="float32", description="int8: matrices are stored in int8, computed in float32; a quarter of the size"
    )
    arithmetic: Literal["float32", "float16", "int8"] = Field(
        default="float32", description="float16 for GPUs; int8: dynamic for texts, calibrated for pictures and audio"
    )
    max_f1_loss: float = Field(
        default=0.01, ge=0, le=1, description="test example-F1 that float16 or int8 may lose before they are refused"
    )


class Recipe(Frozen):
    """One training run."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    data: DataConfig
    input: Annotated[ImageInput | TextInput | AudioInput, Field(discriminator="kind")]
    backbone: Annotated[PretrainedBackbone | NewBackbone, Field(discriminator="kind")]
    head: HeadConfig = HeadConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: Schedule = Schedule()
    speed: SpeedConfig = SpeedConfig()
    export: ExportConfig = ExportConfig()
    seed: int = 0
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto", description="auto: bfloat16 where the device multiplies matrices in it, else float32"
    )
