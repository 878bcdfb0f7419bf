"""Answers that are kept: an input that comes again is not computed again, as long as its answer is not forgotten."""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Sequence

from model.errors import LabelsetError
from model.predictor import LabelSets
from model.session import Sparsity
from service.catalogue import ServedModel
from service.intake import Item
from service.record import current_record
from service.threads import LARGE_BYTES, computed

Outcome = LabelSets | LabelsetError
Compute = Callable[[Sequence[Item], Sequence[Sparsity]], Awaitable[list[Outcome]]]


class ResultCache:
    """The last answers to single inputs, as models gave them, before anything is left out for a caller.

    An input is known by its SHA-256, a model by its name and the digest of its bundle: neither is kept, and what one
    bundle has answered is never told of another. Errors are not kept. It belongs to the event loop.
    """

    def __init__(self, rows: int) -> None:
        """`rows`: inputs whose answers are kept, those that were asked for last; with 0 nothing is done."""
        self._rows = rows
        self._answers: OrderedDict[Hashable, LabelSets] = OrderedDict()

    async def get(
        self, model: ServedModel, items: Sequence[Item], sparsities: Sequence[Sparsity], compute: Compute
    ) -> list[Outcome]:
        """What becomes of each input, from what is kept or else from `compute`, which is given the others alone."""
        if not self._rows:
            return await compute(items, sparsities)
        is_large = sum(0 if isinstance(item, LabelsetError) else len(item) for item in items) > LARGE_BYTES
        keys = await computed(is_large, _keys, model, items, sparsities)
        kept = [self._find(key) for key in keys]
        missing = [place for place, answer in enumerate(kept) if answer is None]
        record = current_record()
        record.cache_hits = len(items) - len(missing)
        record.cache_misses = sum(keys[place] is not None for place in missing)
        if not missing:
            return [answer for answer in kept if answer is not None]
        fresh = await compute([items[place] for place in missing], [sparsities[place] for place in missing])
        outcomes: list[Outcome | None] = [*kept]
        for place, outcome in zip(missing, fresh, strict=True):
            outcomes[place] = outcome
            self._keep(keys[place], outcome)
        return [outcome for outcome in outcomes if outcome is not None]

    def _find(self, key: Hashable) -> LabelSets | None:
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def _keep(self, key: Hashable, outcome: Outcome) -> None:
        if isinstance(outcome, LabelsetError):
            return
        self._answers[key] = outcome
        if len(self._answers) > self._rows:
            self._answers.popitem(last=False)


def _keys(model: ServedModel, items: Sequence[Item], sparsities: Sequence[Sparsity]) -> list[Hashable]:
    """What each input is known by; None of one that cannot even be read."""
    return [
        None if isinstance(item, LabelsetError) else (model.name, model.digest, sparsity, type(item), _sha256(item))
        for item, sparsity in zip(items, sparsities, strict=True)
    ]


def _sha256(item: bytes | str | tuple[str, ...]) -> bytes:
    # Words as JSON: put together with anything that may stand in a word, others could make the same text.
    content = item if isinstance(item, bytes) else json.dumps(item).encode()
    return hashlib.sha256(content).digest()
