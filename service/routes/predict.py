"""`POST /predict`: inputs in any of four forms -> their label sets."""

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json

from model.errors import LabelsetError
from model.labels import LabelSet
from model.predictor import Answer
from model.words import WordLabels
from service.intake import options_of_fields, read_inputs
from service.presence import while_wanted
from service.routes.direct import DirectRoute
from service.routes.predict_docs import PREDICT_REQUEST, PREDICT_RESPONSES
from service.routes.state import admitted
from service.schemas import (
    ErrorBody,
    FailedPrediction,
    Label,
    LabelledWord,
    ModelVersion,
    PredictAnswer,
    Prediction,
    PredictOptions,
    WordPrediction,
)

_NO_OPTIONS = PredictOptions.model_validate({})

router = APIRouter(tags=["predict"], route_class=DirectRoute)


# What is read and written here, and not declared, is documented in predict_docs.py.
@router.post(
    "/predict",
    summary="Label sets of images, recordings or texts",
    response_model=PredictAnswer,
    responses=PREDICT_RESPONSES,
    openapi_extra=PREDICT_REQUEST,
)
async def predict(request: Request) -> Response:
    """Give each input its label set: the classes whose probability is not zero.

    A model that labels words answers with the words of a text, each with its labels.

    Without `label_count` and `sparsity_rate` the model decides how many labels there are. Options may stand in the
    query, and in a JSON body or a form too, which goes before the query; its `wishes` say them for each input apart.

    A request with one input that fails gets that input's error as its answer. In a batch an input fails alone: the
    answer is 200 and the error stands at its index, even where every input failed.
    """
    with admitted(request) as serving:
        inputs = await read_inputs(request, _options(request), serving.settings)
        model = serving.catalogue.choose(inputs.kind, inputs.options.model, inputs.options.version)
        answers = await while_wanted(request, serving.pipeline.answer(model, inputs.items, inputs.wishes))
    if len(answers) == 1 and isinstance(answers[0], LabelsetError):
        raise answers[0]
    answer = PredictAnswer(
        model=ModelVersion(name=model.name, version=model.version, digest=model.digest),
        predictions=[_prediction(index, answer) for index, answer in enumerate(answers)],
    )
    return Response(to_json(answer), media_type="application/json")


def _options(request: Request) -> PredictOptions:
    """The options that stand in the query.

    Raises:
        InvalidRequest: one that is not known, or of the wrong type.
    """
    if not request.scope["query_string"]:
        return _NO_OPTIONS
    return options_of_fields(PredictOptions, request.query_params.multi_items())


def _prediction(index: int, answer: Answer | LabelsetError) -> Prediction | WordPrediction | FailedPrediction:
    if isinstance(answer, LabelsetError):
        return FailedPrediction(
            index=index, error=ErrorBody(code=answer.code, message=answer.message, detail=answer.detail)
        )
    if isinstance(answer, WordLabels):
        words = [
            LabelledWord(text=word.text, start=word.start, end=word.end, labels=_labels(label_set))
            for word, label_set in answer.words
        ]
        return WordPrediction(index=index, words=words, truncated=answer.truncated)
    return Prediction(
        index=index,
        labels=_labels(answer),
        label_count=answer.label_count,
        sparsity_rate=answer.sparsity_rate,
    )


def _labels(label_set: LabelSet | None) -> list[Label]:
    scored = label_set.labels if label_set else ()
    return [Label(label=label, probability=probability) for label, probability in scored]
