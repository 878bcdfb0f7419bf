"""What `bundle.json` says: the one description of a model that training writes and serving reads.

This module knows neither files nor sessions; `model/bundle.py` reads and writes, `model/session.py` runs.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model.policies import Policy

SCHEMA_VERSION: Literal[1] = 1
POLICY_INPUT = "sparsity_policy"

# A set of labels for each input; one label for each input; one label for each word of a text.
Task = Literal["multi_label", "multi_class", "token_classification"]
# What the graph computes its backbone in.
Arithmetic = Literal["float32", "float16", "int8"]


class Frozen(BaseModel):
    """Something written down: it does not change, and a key that nobody reads is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ImagePreprocessing(Frozen):
    """Encoded picture -> uint8 `[height, width, 3]`; cast, mean and std live in the graph."""

    kind: Literal["image"] = "image"
    height: int = Field(ge=1, le=4096)
    width: int = Field(ge=1, le=4096)
    resize: Literal["stretch", "letterbox"] = "letterbox"
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"
    # libjpeg-turbo may decode at 1/2, 1/4 or 1/8 of the size before the resize: faster, slightly other pixels.
    jpeg_scaled_decode: bool = True


class TextPreprocessing(Frozen):
    """Text -> int64 token ids `[length]`, truncated, padded only to the longest text of a batch."""

    kind: Literal["text"] = "text"
    tokenizer: Literal["tokenizer.json"] = "tokenizer.json"
    max_length: int = Field(ge=2, le=8192)
    pad_id: int = Field(ge=0)


class AudioPreprocessing(Frozen):
    """Encoded recording -> int16 `[sample_count]`, one channel: its beginning, cut or followed by silence."""

    kind: Literal["audio"] = "audio"
    sample_rate: int = Field(ge=4_000, le=48_000)
    seconds: float = Field(gt=0, le=60)

    @property
    def sample_count(self) -> int:
        """Samples of every array."""
        return round(self.sample_rate * self.seconds)


class WordsPreprocessing(Frozen):
    """Text or its words -> int64 `[length, 2]`: token ids, and which word begins at each token."""

    kind: Literal["words"] = "words"
    tokenizer: Literal["tokenizer.json"] = "tokenizer.json"
    max_length: int = Field(ge=2, le=8192)
    pad_id: int = Field(ge=0)


Preprocessing = Annotated[
    ImagePreprocessing | TextPreprocessing | AudioPreprocessing | WordsPreprocessing, Field(discriminator="kind")
]


class SparsityPolicy(Frozen):
    """How the model decides the sparsity of an answer when the caller does not (SPEC 2)."""

    policy: Policy
    label_count: int | None = Field(default=None, ge=0)
    sparsity_rate: float | None = Field(default=None, ge=0, le=1)
    # Largest number of labels that the count head can predict; None where there is no count head.
    max_label_count: int | None = Field(default=None, ge=0)
    # What the graph decides by, as its input `sparsity_policy` tells it; empty where it has only the one of its export.
    selectable: tuple[Policy, ...] = ()

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "SparsityPolicy":
        name = _NEEDS.get(self.policy)
        if name is not None and getattr(self, name) is None:
            raise ValueError(f"the policy {self.policy} needs {name}, got none")
        if self.selectable and self.policy not in (*self.selectable, "fixed_count", "fixed_rate"):
            raise ValueError(f"the policy {self.policy} must be one that the graph can decide by: {self.selectable}")
        return self

    def __str__(self) -> str:
        """As `labelset inspect --set-policy` takes it: `expected_f1`, `fixed_count=3`."""
        value = {"fixed_count": self.label_count, "fixed_rate": self.sparsity_rate}.get(self.policy)
        return self.policy if value is None else f"{self.policy}={value}"


_NEEDS: dict[Policy, str] = {
    "predicted_count": "max_label_count",
    "expected_f1": "max_label_count",
    "predicted_f1": "max_label_count",
    "fixed_count": "label_count",
    "fixed_rate": "sparsity_rate",
}


class TensorSpec(Frozen):
    """One input or output of the graph; a dimension is a size, or a name where it varies."""

    name: str
    dtype: Literal["uint8", "int16", "int64", "float32", "float64"]
    shape: tuple[int | str, ...]


class Provenance(Frozen):
    """Where a model comes from, so that it can be made again."""

    data_set: str
    data_license: str = ""
    recipe: str
    seed: int
    created: str
    git_commit: str = ""
    packages: dict[str, str] = Field(default_factory=dict)


class Manifest(Frozen):
    """`bundle.json`, whole."""

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    task: Task = "multi_label"
    arithmetic: Arithmetic = "float32"
    labels: tuple[str, ...] = Field(min_length=1)
    preprocessing: Preprocessing
    sparsity: SparsityPolicy
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    metrics: dict[str, float] = Field(default_factory=dict)
    provenance: Provenance
    files: dict[str, str] = Field(description="sha256 in hex of every other file of the bundle, by its name")

    @model_validator(mode="after")
    def _labels_are_distinct(self) -> "Manifest":
        if len(set(self.labels)) != len(self.labels):
            repeated = sorted({label for label in self.labels if self.labels.count(label) > 1})
            raise ValueError(f"labels must be distinct, got {repeated} more than once")
        return self

    @model_validator(mode="after")
    def _policy_can_be_followed(self) -> "Manifest":
        wanted = self.sparsity.label_count or 0
        if wanted > len(self.labels):
            raise ValueError(f"label_count of the policy must be at most {len(self.labels)}, the labels, got {wanted}")
        chosen = self.sparsity.policy in ("expected_f1", "predicted_f1", "positive_logits", "learned_threshold")
        if chosen and all(spec.name != POLICY_INPUT for spec in self.inputs):
            raise ValueError(f"the policy {self.sparsity.policy} needs a graph with the input {POLICY_INPUT}")
        return self

    @model_validator(mode="after")
    def _task_fits_the_input(self) -> "Manifest":
        if (self.task == "token_classification") != (self.preprocessing.kind == "words"):
            raise ValueError(
                f"the task token_classification, and no other, takes words; got {self.task} on "
                f"{self.preprocessing.kind}"
            )
        return self
