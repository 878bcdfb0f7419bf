"""What goes over the wire: requests and answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Json, model_validator
from typing_extensions import TypedDict

from model.manifest import Preprocessing, Provenance, SparsityPolicy, Task
from service.catalogue import Kind
from service.wishes import OwnWishes, WishFields

_DIGEST = "sha256 of the bundle's bundle.json, which names those of all other files."


class PredictOptions(WishFields):
    """What a caller may wish for, whatever form the inputs come in."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None, max_length=256, description="Which model; may be left out where only one takes the input."
    )
    version: str | None = Field(None, max_length=256, description="Which version of it; the newest when left out.")


# Options that a query may say several times.
LISTED_OPTIONS = frozenset({"only", "exclude"})


class FormOptions(PredictOptions):
    """What a form may hold besides its inputs."""

    wishes: Json[list[OwnWishes] | None] = Field(None, description="As in a JSON body, and in JSON.")


class PredictJson(PredictOptions):
    """A JSON body of `/predict`: exactly one of the inputs, and any of the options."""

    text: str | None = Field(None, description="One text.")
    texts: list[str] | None = Field(None, description="Several texts.")
    words: list[str] | list[list[str]] | None = Field(
        None, description="The words of one text, or of several, for a model that labels words."
    )
    image: str | None = Field(None, description="One encoded picture (JPEG, PNG, …) in base64.")
    images: list[str] | None = Field(None, description="Several encoded pictures in base64.")
    audio: str | None = Field(None, description="One encoded recording (WAV, FLAC, …) in base64.")
    audios: list[str] | None = Field(None, description="Several encoded recordings in base64.")
    wishes: list[OwnWishes] | None = Field(
        None,
        description="Wishes for single inputs, one object for each, in their order; they go before those for all "
        "of them. What an object leaves out is as for all; null takes back what is said for all.",
    )

    @model_validator(mode="after")
    def _holds_one_kind_of_input(self) -> "PredictJson":
        names = [name for name in PredictJson.model_fields if name not in {*PredictOptions.model_fields, "wishes"}]
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a body must hold exactly one of {', '.join(names)}, got {given or 'none'}")
        return self


# What `/predict` answers are dictionaries, which are made and written in a quarter of the time of models.


class Label(TypedDict):
    """A label that is present in the input."""

    label: str
    probability: Annotated[float, Field(description="In (0, 1]; those of a whole label set sum to 1.")]


class Prediction(TypedDict):
    """The label set of one input."""

    index: Annotated[int, Field(description="Position of the input in the request.")]
    labels: Annotated[list[Label], Field(description="The label set, the most probable label first; may be empty.")]
    label_count: int
    sparsity_rate: Annotated[float, Field(description="Fraction of zeros that the answer was computed for.")]


class LabelledWord(TypedDict):
    """A word and its labels."""

    text: str
    start: Annotated[
        int | None, Field(description="Where in the text it begins, in characters; null for words that were sent.")
    ]
    end: Annotated[int | None, Field(description="Where it ends: the first character after it.")]
    labels: Annotated[
        list[Label], Field(description="The most probable first; empty for a word that the model has not read.")
    ]


class WordPrediction(TypedDict):
    """The labels of the words of one text, from a model that labels words."""

    index: Annotated[int, Field(description="Position of the input in the request.")]
    words: Annotated[list[LabelledWord], Field(description="Every word of the text, in order.")]
    truncated: Annotated[
        bool,
        Field(description="Whether the text is longer than the model reads: then the words at its end have no labels."),
    ]


class ErrorBody(TypedDict):
    """What went wrong: a stable code for programs, a sentence for people."""

    code: str
    message: str
    detail: dict[str, Any]


class FailedPrediction(TypedDict):
    """An input of a batch that could not be answered; the others are not affected."""

    index: int
    error: ErrorBody


class ProtocolError(BaseModel):
    """An error under `/v2`, in the Open Inference Protocol's own shape."""

    error: str


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    error: ErrorBody


class ModelVersion(TypedDict):
    """Which version of which model answered."""

    name: str
    version: str
    digest: Annotated[str, Field(description=_DIGEST)]


class PredictAnswer(TypedDict):
    """One prediction for each input, in the order of the request."""

    model: ModelVersion
    predictions: list[Prediction | WordPrediction | FailedPrediction]


class SoftmaxImplementation(BaseModel):
    """What computes a model's probabilities."""

    model_config = ConfigDict(from_attributes=True)

    kind: Literal["native", "function"] = Field(
        description="The compiled kernel, or the function in the model's own file."
    )
    instructions: str | None = Field(description="What the kernel runs on: cuda, avx512, avx2, neon or portable.")
    reason: str | None = Field(description="Why the kernel is not used.")


class ModelSummary(BaseModel):
    """A model in the list of models, in its default version."""

    name: str
    version: str
    digest: str = Field(description=_DIGEST)
    versions: list[str] = Field(description="All versions served, the newest (the default) first.")
    kind: Kind
    task: Task = Field(description="Whether it gives each input a label set, or one label, or each word one.")
    class_count: int
    metrics: dict[str, float] = Field(description="Measured on the test split on the day of export.")
    r_softmax: SoftmaxImplementation


class ModelList(BaseModel):
    """The models served here."""

    models: list[ModelSummary]


class ModelDetail(ModelSummary):
    """Everything that is known of one version of a model."""

    labels: list[str]
    sparsity: SparsityPolicy
    preprocessing: Preprocessing
    provenance: Provenance
    card: str = Field(description="The model card, Markdown.")
    device: str


class Examples(BaseModel):
    """A few real inputs that came with the model: texts, or encoded pictures or recordings in base64."""

    kind: Kind
    inputs: list[str]


class Status(BaseModel):
    """An answer to a probe."""

    status: str


class Version(BaseModel):
    """Version of the service."""

    version: str
