"""Inputs -> arrays -> queue -> batch -> session -> label sets, off the event loop, as one readable path."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy.typing as npt

from model.errors import LabelsetError
from model.predictor import Answer, LabelSets, named
from service.admission import Admission
from service.batcher import Batcher
from service.catalogue import Kind, ServedModel
from service.errors import EmptyInput
from service.intake import Item
from service.record import Stage, current_record
from service.wishes import Wish

_NOUNS: Mapping[Kind, str] = {"image": "a picture", "audio": "a recording", "text": "a text"}


class Pipeline:
    """Answers requests: decoding in a pool of threads, inference behind a queue, as much as there is room for."""

    def __init__(self, admission: Admission, decode_threads: int, batcher: Batcher) -> None:
        self.admission = admission
        self._decoding = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        self._batcher = batcher

    async def answer(self, model: ServedModel, items: Sequence[Item], wish: Wish) -> list[Answer | LabelsetError]:
        """Answer inputs; one that cannot be answered fails alone, its error in its place.

        Raises:
            InvalidSparsity, UnknownLabel: a wish that the model cannot grant.
            QueueFull: there is no room for so many.
        """
        record = current_record()
        record.model = model
        wish.check(model)
        loop = asyncio.get_running_loop()
        with self.admission.hold(len(items)):
            started = time.perf_counter()
            # Before the queue, so that what cannot be decoded never meets the inputs of others.
            arrays = await asyncio.gather(
                *(loop.run_in_executor(self._decoding, _to_array, model, item) for item in items)
            )
            record.stages["decode"] = Stage(started, time.perf_counter())
            sound = [array for array in arrays if not isinstance(array, LabelsetError)]
            answers = iter(await self._batcher.infer(model, sound, wish.sparsity))
        outcomes = [array if isinstance(array, LabelsetError) else next(answers) for array in arrays]
        record.outcomes = outcomes
        return [_named(item, outcome, wish) for item, outcome in zip(items, outcomes, strict=True)]

    def close(self) -> None:
        """Wait for what is running and let the threads go."""
        self._decoding.shutdown()
        self._batcher.close()


def _to_array(model: ServedModel, item: Item) -> npt.NDArray[Any] | LabelsetError:
    if isinstance(item, LabelsetError):
        return item
    if not item or (isinstance(item, str) and not item.strip()):
        return EmptyInput(f"{_NOUNS[model.kind]} must not be empty")
    try:
        return model.preprocess(item)
    except LabelsetError as error:
        return error


def _named(item: Item, outcome: LabelSets | LabelsetError, wish: Wish) -> Answer | LabelsetError:
    if isinstance(item, LabelsetError):
        return item
    return outcome if isinstance(outcome, LabelsetError) else named(item, wish.told(outcome))
