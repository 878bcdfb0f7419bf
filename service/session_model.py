"""A model in the session process: inputs -> arrays -> session -> label sets, each input failing alone.

Nothing that a caller has sent is decoded anywhere else, so that what brings a decoder down does so to this process, as
what brings the runtime down does.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy.typing as npt

from model import golden
from model.errors import LabelsetError
from model.predictor import Predictor
from model.preprocess import Item
from model.session import Session, Sparsity
from service.session_calls import Inferred, Load, Loaded, Outcome

# A huge picture takes seconds: whoever is in its batch and has not been decoded yet waits for the next one instead.
_DECODE_SECONDS = 0.1
# A run reads all weights, however few tokens there are: on a core that takes as long as so many tokens more (measured
# on six layers of MiniLM; both grow with the weights). A GPU is far from busy with a batch of texts.
_TOKENS_OF_A_RUN = {"cpu": 12, "cuda": 4096}

Array = npt.NDArray[Any]


class SessionModel:
    """A loaded bundle. `infer` may be called from several threads at once."""

    def __init__(self, load: Load) -> None:
        """Load the graph; of a model that is new, replay its golden examples and warm it up.

        Raises:
            LabelsetError: the graph cannot be loaded, or the model does not answer as it did on the day of export.
        """
        settings = load.settings
        session = Session(load.bundle, settings.device, settings.threads, load.graph)
        examples: tuple[golden.GoldenExample, ...] = ()
        if not load.is_known:
            # With the default limits: those of the settings are for callers.
            predictor = Predictor(load.bundle, session=session)
            examples = golden.replay(predictor)
            _warm_up(predictor, examples)
        self.facts = Loaded(session.device, session.r_softmax, examples)
        self._predictor = Predictor(
            load.bundle, limits=settings.limits, session=session, tokenizer_json=load.tokenizer_json
        )
        self._takes_texts = load.bundle.manifest.preprocessing.kind in ("text", "words")
        self._token_limit = settings.token_limit
        self._decoding = ThreadPoolExecutor(settings.decode_threads) if settings.decode_threads else None

    def infer(self, items: Sequence[Any], sparsities: Sequence[Sparsity]) -> Inferred:
        """Answer inputs of callers, as `session_host` has sent them."""
        started = time.perf_counter()
        arrays = self._arrays(items, started + _DECODE_SECONDS)
        decoded = time.perf_counter()
        outcomes: list[Outcome | None] = [array if isinstance(array, LabelsetError) else None for array in arrays]
        sound = {
            place: array
            for place, array in enumerate(arrays)
            if array is not None and not isinstance(array, LabelsetError)
        }
        for places in self._batches(sound):
            batch = [sound[place] for place in places], [sparsities[place] for place in places]
            for place, outcome in zip(places, self._predictor.infer(*batch), strict=True):
                outcomes[place] = outcome
        return Inferred(outcomes, decoded - started)

    def _batches(self, arrays: Mapping[int, Array]) -> list[list[int]]:
        """The places of arrays that are computed together."""
        if not self._takes_texts:
            return [list(arrays)] if arrays else []
        lengths = {place: len(array) for place, array in arrays.items()}
        return _cheapest_batches(lengths, self._token_limit, _TOKENS_OF_A_RUN[self.facts.device])

    def _arrays(self, items: Sequence[Any], deadline: float) -> list[Array | LabelsetError | None]:
        """Each input as an array, or why it is none; None of those whose turn has not come in time."""

        def array(place: int) -> Array | LabelsetError | None:
            if place and time.perf_counter() > deadline:
                return None
            try:
                return self._predictor.preprocess(_received(items[place]))
            except LabelsetError as error:
                return error

        places = range(len(items))
        return list(self._decoding.map(array, places) if self._decoding else map(array, places))


def _received(item: Any) -> Item:
    """An input as it was before `session_host._sent`; a copy of a large one, which lives as long as it is decoded."""
    return bytes(item) if isinstance(item, memoryview) else item


def _cheapest_batches(lengths: Mapping[int, int], token_limit: int, tokens_of_a_run: int) -> list[list[int]]:
    """Texts by their places, put together so that computing them takes least: as little padding, in as few runs.

    Args:
        lengths: Tokens of each text, by its place.
        token_limit: Tokens of a run, padding included; a longer text is computed alone.
        tokens_of_a_run: What a run costs whatever is in it, in tokens.
    """
    # Sorted: a run is a stretch of them then, padded to its last. Found are the cheapest ways to compute the first n.
    places = sorted(lengths, key=lambda place: lengths[place])
    costs, begins = [0], [0]
    for end, place in enumerate(places, 1):
        longest = lengths[place]
        first = max(0, min(end - 1, end - token_limit // longest))
        cost, begin = min((costs[begin] + (end - begin) * longest, begin) for begin in range(first, end))
        costs.append(cost + tokens_of_a_run)
        begins.append(begin)
    batches, end = [], len(places)
    while end:
        batches.append(places[begins[end] : end])
        end = begins[end]
    return batches


def _warm_up(predictor: Predictor, examples: Sequence[golden.GoldenExample]) -> None:
    # The replay was one batch of all examples, however many there are. The runtime plans its memory at the first input
    # of a shape: a single row is the most common one, and two stand for every batch.
    for example in examples[:1]:
        array = predictor.preprocess(example.item)
        for rows in (1, 2):
            predictor.infer([array] * rows)
