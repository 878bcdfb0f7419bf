"""Which recordings are read, and how each begins. Light: a service asks it of every file before a decoder is loaded."""

import re

# Only these are ever opened: each further decoder is a further way in for a hostile file. Names are libsndfile's.
_SIGNATURES = {
    "WAV": rb"RIFF....WAVE",
    "FLAC": rb"fLaC",
    "OGG": rb"OggS",
    "MP3": rb"ID3|\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]",
    "AIFF": rb"FORM....AIF[FC]",
}

AUDIO_FORMATS = tuple(_SIGNATURES)
AUDIO_ENDINGS = frozenset({".aif", ".aiff", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav"})


def audio_format(content: bytes) -> str | None:
    """The one of `AUDIO_FORMATS` that bytes begin as; None where they are no recording that is read here."""
    for name, signature in _SIGNATURES.items():
        if re.match(signature, content, re.DOTALL):
            return name
    return None
