"""Inputs -> arrays -> session -> label sets, off the event loop, as one readable path."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy.typing as npt

from model.errors import LabelsetError
from model.predictor import Answer, LabelSets, named
from model.session import Sparsity
from service.errors import EmptyInput
from service.intake import Item
from service.repository import Kind, ServedModel

_NOUNS: Mapping[Kind, str] = {"image": "a picture", "audio": "a recording", "text": "a text"}


class Pipeline:
    """Answers requests: decoding in one pool of threads, inference in another."""

    def __init__(self, decode_threads: int) -> None:
        self._decoding = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        # One batch at a time: the runtime spreads it over all cores by itself.
        self._inference = ThreadPoolExecutor(1, thread_name_prefix="inference")

    async def answer(
        self, model: ServedModel, items: Sequence[Item], sparsity: Sparsity
    ) -> list[Answer | LabelsetError]:
        """Answer inputs as one batch; one that cannot be answered fails alone, its error in its place.

        Raises:
            InvalidSparsity: a wish that the model cannot grant.
        """
        sparsity.validate(model.predictor.session.class_count)
        loop = asyncio.get_running_loop()
        arrays = await asyncio.gather(*(loop.run_in_executor(self._decoding, _to_array, model, item) for item in items))
        sound = [array for array in arrays if not isinstance(array, LabelsetError)]
        # Here a request hands its arrays over: batcher.py will put them together with those of others.
        answers = iter(
            await loop.run_in_executor(self._inference, model.predictor.infer, sound, [sparsity] * len(sound))
        )
        outcomes = [array if isinstance(array, LabelsetError) else next(answers) for array in arrays]
        return [_named(item, outcome) for item, outcome in zip(items, outcomes, strict=True)]

    def close(self) -> None:
        """Wait for what is running and let the threads go."""
        self._decoding.shutdown()
        self._inference.shutdown()


def _to_array(model: ServedModel, item: Item) -> npt.NDArray[Any] | LabelsetError:
    if isinstance(item, LabelsetError):
        return item
    if not item or (isinstance(item, str) and not item.strip()):
        return EmptyInput(f"{_NOUNS[model.kind]} must not be empty")
    try:
        return model.preprocess(item)
    except LabelsetError as error:
        return error


def _named(item: Item, outcome: LabelSets | LabelsetError) -> Answer | LabelsetError:
    if isinstance(item, LabelsetError):
        return item
    return outcome if isinstance(outcome, LabelsetError) else named(item, outcome)
