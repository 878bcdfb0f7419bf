"""Inputs -> arrays -> queue -> batch -> session -> label sets, as one readable path; what takes long in threads."""

import asyncio
import functools
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy.typing as npt

from model.errors import LabelsetError
from model.predictor import Answer, LabelSets, named
from model.session import Sparsity
from service.admission import Admission
from service.batcher import Batcher
from service.catalogue import Kind, ServedModel
from service.errors import EmptyInput
from service.intake import Item
from service.record import Stage, current_record
from service.result_cache import ResultCache
from service.sharing import Sharing
from service.wishes import Wish, Wishes

# Tokenizing so much takes about as long as handing it to a thread.
_SHORT_CHARS = 400
_NOUNS: Mapping[Kind, str] = {"image": "a picture", "audio": "a recording", "text": "a text"}


class Pipeline:
    """Answers requests: decoding in a pool of threads, inference behind a queue, as much as there is room for."""

    def __init__(self, admission: Admission, decode_threads: int, batcher: Batcher, cache: ResultCache) -> None:
        self.admission = admission
        self._cache = cache
        self._decoding = ThreadPoolExecutor(decode_threads, thread_name_prefix="decode")
        self._batcher = batcher
        self._sharing: Sharing[list[LabelSets | LabelsetError]] = Sharing()

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
            compute = functools.partial(self._computed_once, model)
            record.outcomes = outcomes = await self._cache.get(model, items, sparsities, compute)
        return [_named(item, outcome, wish) for item, outcome, wish in zip(items, outcomes, each, strict=True)]

    async def _computed_once(
        self, model: ServedModel, items: Sequence[Item], sparsities: Sequence[Sparsity]
    ) -> list[LabelSets | LabelsetError]:
        """The outcomes, of a computation that is under way where there is one."""
        # A picture that many ask for at once, or a request that is sent again because it was slow.
        question = (model, tuple(sparsities), tuple(map(_Same, items)))
        return await self._sharing.get(question, lambda: self._outcomes(model, items, sparsities))

    async def _outcomes(
        self, model: ServedModel, items: Sequence[Item], sparsities: Sequence[Sparsity]
    ) -> list[LabelSets | LabelsetError]:
        """What becomes of each input, as the model says it."""
        started = time.perf_counter()
        # Before the queue, so that what cannot be decoded never meets the inputs of others.
        arrays = await self._arrays(model, items)
        current_record().stages["decode"] = Stage(started, time.perf_counter())
        sound = [
            (array, sparsity)
            for array, sparsity in zip(arrays, sparsities, strict=True)
            if not isinstance(array, LabelsetError)
        ]
        answers = iter(await self._batcher.infer(model, sound))
        return [array if isinstance(array, LabelsetError) else next(answers) for array in arrays]

    async def _arrays(self, model: ServedModel, items: Sequence[Item]) -> Sequence[npt.NDArray[Any] | LabelsetError]:
        """Each input as an array, or why it is none."""
        if model.kind == "text" and sum(map(_length, items)) <= _SHORT_CHARS:
            return [_to_array(model, item) for item in items]
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(self._decoding, _to_array, model, item) for item in items))

    async def close(self) -> None:
        """Wait for what is running and let the threads go."""
        await asyncio.to_thread(self._decoding.shutdown)
        await self._batcher.close()


class _Same:
    """An input as a key: equal to another of the same content, whose bytes are looked at only where the ends agree."""

    __slots__ = ("_item",)

    def __init__(self, item: Item) -> None:
        self._item = item

    def __hash__(self) -> int:
        return id(self._item) if isinstance(self._item, LabelsetError) else hash((len(self._item), self._item[-256:]))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._item == other._item


def _length(item: Item) -> int:
    if isinstance(item, LabelsetError):
        return 0
    return sum(map(len, item)) if isinstance(item, tuple) else len(item)


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
