"""`spoken`: names of pictures, said aloud by volunteers in a dozen languages, from a paint program for children.

The labels of a clip are the language that is spoken, and the words that the name has in English. Each language has one
speaker or a few, so that to know a language here is partly to know a voice.
"""

import hashlib
import re
from pathlib import Path

from training.data.dataset import Example, LabelledData, frequent_labels, keep_labels
from training.data.packages import Package, fetch_package
from training.data.split import SHARES, split_by_group

PACKAGE = Package(
    client="apt",
    name="tuxpaint-stamps-default",
    version="2022.06.04-1",
    sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    size_bytes=160_880_444,
)
LICENCE = "GPL-2"
SOURCE = "spoken names of the Tux Paint stamps, from the Debian package tuxpaint-stamps-default 2022.06.04-1"

MIN_LABEL_COUNT = 60
LANGUAGES = {
    "be": "Belarusian",
    "bg": "Bulgarian",
    "ca": "Catalan",
    "da": "Danish",
    "el": "Greek",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "nl": "Dutch",
    "ro": "Romanian",
    "ru": "Russian",
}
# Words that say nothing of the picture, or mean two things ("can": a tin, to be able).
_LIGHT_WORDS = frozenset(
    {
        *("and", "but", "called", "can", "down", "for", "from", "how", "its", "left", "move", "one", "only", "our"),
        *("out", "right", "that", "the", "this", "two", "used", "was", "what", "when", "with", "you", "your"),
    }
)
_WORD = re.compile(r"[a-z]{3,}")
_CLIP = re.compile(r"(?P<stamp>.+)_desc(_(?P<language>[a-z]+))?")


def load_spoken(seed: int = 0) -> LabelledData:
    """Fetch, read and split the data set; deterministic for a seed."""
    examples = read_spoken(fetch_package(PACKAGE) / "usr/share/tuxpaint/stamps")
    labels = frequent_labels(examples, MIN_LABEL_COUNT)
    examples = keep_labels(examples, labels)
    train, validation, test = split_by_group(examples, shares=list(SHARES.values()), seed=seed)
    return LabelledData("spoken", "audio", labels, train, validation, test, LICENCE, SOURCE)


def read_spoken(folder: Path) -> list[Example]:
    """Read one example for each different clip `NAME_desc_LANGUAGE.ogg`; its group is what is said, in English."""
    clips: dict[str, Example] = {}
    for audio in sorted(folder.rglob("*.ogg")):
        clip = _CLIP.fullmatch(audio.stem)
        language = LANGUAGES.get(clip["language"] or "en") if clip else None
        if clip is None or language is None:
            continue
        name = read_name(audio.with_name(f"{clip['stamp']}.txt"))
        labels = {language, *_WORD.findall(name)} - _LIGHT_WORDS
        # One recording may serve several pictures: on two sides of a split it would be known by heart.
        content = hashlib.sha256(audio.read_bytes()).hexdigest()
        clips.setdefault(content, Example(tuple(sorted(labels)), audio=audio, group=name))
    return list(clips.values())


def read_name(file: Path) -> str:
    """What a picture is called in English, in lower case: the first line of its file; empty where it has none."""
    if not file.is_file():
        return ""
    return next(iter(file.read_text(encoding="utf-8", errors="replace").splitlines()), "").strip().lower()
