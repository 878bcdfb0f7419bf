"""Inputs -> queue -> batch -> session process -> label sets, as one readable path."""

import functools
from collections.abc import Mapping, Sequence

from model.errors import LabelsetError
from model.predictor import Answer, LabelSets, named
from model.preprocess import Limits, TextTooLong, check_length
from model.session import Sparsity
from service.admission import Admission
from service.batcher import Batcher
from service.catalogue import Kind, ServedModel
from service.errors import EmptyInput
from service.intake import Item
from service.record import current_record
from service.result_cache import ResultCache
from service.wishes import Wish, Wishes

_NOUNS: Mapping[Kind, str] = {"image": "a picture", "audio": "a recording", "text": "a text"}


class Pipeline:
    """Answers requests, as many as there is room for."""

    def __init__(self, admission: Admission, batcher: Batcher, cache: ResultCache, limits: Limits) -> None:
        self.admission = admission
        self._cache = cache
        self._batcher = batcher
        self._limits = limits

    async def answer(self, model: ServedModel, items: Sequence[Item], wishes: Wishes) -> list[Answer | LabelsetError]:
        """Answer inputs; one that cannot be answered fails alone, its error in its place.

        Raises:
            InvalidSparsity, UnknownLabel: a wish for all inputs that the model cannot grant.
            QueueFull: there is no room for so many.
        """
        record = current_record()
        record.model = model
        refusals = wishes.refusals(model)
        if refusals:
            items = [refusal or item for refusal, item in zip(refusals, items, strict=True)]
        each = wishes.each(len(items))
        sparsities = [wish.sparsity for wish in each]
        with self.admission.hold(len(items)):
            compute = functools.partial(self._outcomes, model)
            record.outcomes = outcomes = await self._cache.get(model, items, sparsities, compute)
        return [_named(item, outcome, wish) for item, outcome, wish in zip(items, outcomes, each, strict=True)]

    async def _outcomes(
        self, model: ServedModel, items: Sequence[Item], sparsities: Sequence[Sparsity]
    ) -> list[LabelSets | LabelsetError]:
        """What becomes of each input, as the model says it."""
        refusals = [_refusal(model, item, self._limits) for item in items]
        sound = [
            (item, sparsity)
            for item, sparsity, refusal in zip(items, sparsities, refusals, strict=True)
            if refusal is None and not isinstance(item, LabelsetError)
        ]
        if not sound:
            return [refusal for refusal in refusals if refusal]
        answers = await self._batcher.ask(model, sound).outcomes()
        if len(answers) == len(items):
            return answers
        told = iter(answers)
        return [refusal or next(told) for refusal in refusals]

    async def close(self) -> None:
        """Answer what somebody waits for, and take nothing more."""
        await self._batcher.close()


def _refusal(model: ServedModel, item: Item, limits: Limits) -> LabelsetError | None:
    """Why an input need not even be sent to where it would be decoded; a text of megabytes would take long to send."""
    if isinstance(item, LabelsetError):
        return item
    if not item or (isinstance(item, str) and not item.strip()):
        return EmptyInput(f"{_NOUNS[model.kind]} must not be empty")
    if not isinstance(item, bytes):
        try:
            check_length(item, limits)
        except TextTooLong as error:
            return error
    return None


def _named(item: Item, outcome: LabelSets | LabelsetError, wish: Wish) -> Answer | LabelsetError:
    if isinstance(item, LabelsetError):
        return item
    return outcome if isinstance(outcome, LabelsetError) else named(item, wish.told(outcome))
