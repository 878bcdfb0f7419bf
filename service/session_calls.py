"""What the service asks its session process, and what it is answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from model.bundle import Bundle
from model.devices import Device
from model.errors import LabelsetError
from model.golden import GoldenExample
from model.predictor import LabelSets
from model.preprocess import Item, Limits
from model.session import Sparsity
from model.sparse_softmax.native import Implementation

Outcome = LabelSets | LabelsetError


@dataclass(frozen=True)
class LoadSettings:
    """How a model is to be computed.

    Attributes:
        device: Where.
        threads: Within one operator; 0 leaves the choice to the runtime.
        decode_threads: Inputs of the model that are decoded at the same time, in threads kept for that; 0: each batch
            is decoded by who computes it, one input after another.
        token_limit: Tokens computed together, padding included; a longer text is computed alone.
        limits: On what a caller may send.
    """

    device: Device
    threads: int
    decode_threads: int
    token_limit: int
    limits: Limits


@dataclass(frozen=True)
class Load:
    """Make a model ready; answered with `Loaded`.

    Attributes:
        key: What it is called from then on.
        bundle: Verified.
        settings: How it is to be computed.
        graph: Where its graph is read from.
        tokenizer_json: Contents of that file of the bundle; empty where it has none.
        is_known: Whether it has been loaded before, and needs no proof that it answers as on the day of export.
    """

    key: int
    bundle: Bundle
    settings: LoadSettings
    graph: str
    tokenizer_json: str
    is_known: bool = False


@dataclass(frozen=True)
class Loaded:
    """What is known of a model once it is ready."""

    device: Literal["cpu", "cuda"]
    r_softmax: Implementation
    golden_examples: tuple[GoldenExample, ...]


@dataclass(frozen=True)
class Infer:
    """Answer inputs as they came from their callers; answered with `Inferred`."""

    key: int
    items: Sequence[Item]
    sparsities: Sequence[Sparsity]


class Inferred(NamedTuple):
    """The answers to a batch.

    Attributes:
        outcomes: One an input, in order: its label set, why it has none, or None where decoding the inputs before it
            has taken so long that nothing was done for it yet.
        decode_seconds: Time until every input was an array.
    """

    outcomes: list[Outcome | None]
    decode_seconds: float


@dataclass(frozen=True)
class Drop:
    """Forget a model."""

    key: int


@dataclass(frozen=True)
class ListDevices:
    """Name the devices that can be computed on, the preferred one first."""


Call = Load | Infer | Drop | ListDevices


@dataclass(frozen=True)
class Failure:
    """What went wrong: an error of ours, or the trace of another one."""

    error: LabelsetError | None
    trace: str = ""
