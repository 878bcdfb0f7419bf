"""A folder made ready to answer: verified, replayed and warm, before anybody may ask it."""

import logging

from model.bundle import CARD, Bundle
from service.catalogue import ServedModel
from service.session_calls import LoadSettings
from service.session_host import SessionHost

logger = logging.getLogger("labelset.service")


def load_model(name: str, version: str, bundle: Bundle, settings: LoadSettings, host: SessionHost) -> ServedModel:
    """Load a verified bundle, replay its golden examples and warm it up.

    Args:
        name: Of the model.
        version: Of the model.
        bundle: Verified.
        settings: Device, threads and limits.
        host: Where it is computed.

    Raises:
        LabelsetError: the graph cannot be loaded, or the model does not answer as it did on the day of export.
    """
    hosted = host.load(bundle, settings)
    logger.info("serving %s/%s on %s, r-softmax: %s", name, version, hosted.facts.device, hosted.facts.r_softmax)
    return ServedModel(name, version, bundle, hosted, bundle.read_text(CARD))
