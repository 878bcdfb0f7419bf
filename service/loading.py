"""A folder made ready to answer: verified, replayed and warm, before anybody may ask it."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from model import golden, preprocess
from model.bundle import CARD, TOKENIZER, Bundle
from model.predictor import Predictor
from model.session import Answers, Session, Sparsity
from service.catalogue import ServedModel
from service.session_host import SessionHost
from service.settings import Settings

logger = logging.getLogger("labelset.service")


def load_model(
    name: str, version: str, bundle: Bundle, settings: Settings, host: SessionHost | None = None
) -> ServedModel:
    """Make the session of a verified bundle, replay its golden examples and warm it up.

    Args:
        name: Of the model.
        version: Of the model.
        bundle: Verified.
        settings: Device, threads and limits.
        host: Where its graph is computed; in this process where there is none.

    Raises:
        LabelsetError: the graph cannot be loaded, or the model does not answer as it did on the day of export.
    """
    threads = settings.runtime_thread_count
    session = host.session(bundle, settings.device, threads) if host else _SessionHere(bundle, settings.device, threads)
    predictor = Predictor(bundle, session=session)
    examples = golden.replay(predictor)
    _warm_up(predictor, examples)
    # The golden examples went through with the default limits: those of the settings are for callers.
    limited = preprocess.build(bundle.manifest.preprocessing, bundle.read_text(TOKENIZER), settings.limits)
    logger.info("serving %s/%s on %s, r-softmax: %s", name, version, session.device, session.r_softmax)
    return ServedModel(name, version, predictor, session, limited, examples, bundle.read_text(CARD))


class _SessionHere(Session):
    """A session in this process, for which the event loop waits in a thread."""

    async def run_soon(self, inputs: Mapping[str, npt.NDArray[Any]], sparsities: Sequence[Sparsity]) -> Answers:
        """As `run`, from the event loop."""
        return await asyncio.to_thread(self.run, inputs, sparsities)


def _warm_up(predictor: Predictor, examples: Sequence[golden.GoldenExample]) -> None:
    # The replay was one batch of all examples, however many there are. The runtime plans its memory at the first input
    # of a shape: a single row is the most common one, and two stand for every batch.
    for example in examples[:1]:
        array = predictor.preprocess(example.item)
        for rows in (1, 2):
            predictor.infer([array] * rows)
