"""`debtags`: descriptions of Debian packages with the tags their maintainers and users gave them."""

import re
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from training.data.apt_lists import fetch_apt_lists, read_release, read_stanzas
from training.data.dataset import Example, LabelledData, frequent_labels, keep_labels
from training.data.duplicates import text_key
from training.data.split import SHARES, split_by_group

LICENCE = "descriptions: the licence of each package, all of them free software; tags: none stated"

# What a program is for, what it works with, and in which field; most others say how it is built or packaged.
FACETS = "use,works-with,field"
# Empty packages under former names; their text says just that.
_TRANSITIONAL = re.compile(r"\b(transition(al)?|dummy) (meta)?package", re.IGNORECASE)
_NO_TAG_YET = "TODO"


def load_debtags(seed: int = 0, *, facets: str = FACETS, min_label_count: int = 50) -> LabelledData:
    """Fetch, clean and split the data set; deterministic for a seed and a release of Debian.

    Args:
        seed: Of the split.
        facets: The kinds of tags that are labels, with commas between; "all" takes all.
        min_label_count: Tags that fewer sources have are left out, and sources without any other.
    """
    folder = fetch_apt_lists()
    examples = read_debtags(folder, None if facets == "all" else frozenset(facets.split(",")))
    labels = frequent_labels(examples, min_label_count)
    # Most packages have no tag of the chosen facets: nobody looked, so it does not mean that none fits.
    tagged = [example for example in keep_labels(examples, labels) if example.labels]
    train, validation, test = split_by_group(tagged, shares=list(SHARES.values()), seed=seed)
    release = read_release(folder)
    source = (
        f"the package lists of Debian {release.version} ({release.codename}, main, {release.architecture}), "
        f"sha256 of Packages {release.packages_sha256}"
    )
    return LabelledData("debtags", "text", labels, train, validation, test, LICENCE, source)


def read_debtags(folder: Path, facets: Collection[str] | None) -> list[Example]:
    """Read one example for each source package that has tags: the tags of all its packages, the text of the main one.

    The main package is that named like the source, or else the first. Sources whose long descriptions begin with the
    same paragraph but for numbers (versions of a program, its modules, its data) are one group.

    Args:
        folder: With the lists of `apt_lists`.
        facets: The kinds of tags that are labels; None takes all.
    """
    texts = {
        stanza["Description-md5"]: stanza["Description-en"]
        for stanza in read_stanzas(folder / "Translation-en", ("Description-md5", "Description-en"))
    }
    tags_of: dict[str, set[str]] = defaultdict(set)
    text_of: dict[str, str] = {}
    for stanza in read_stanzas(folder / "Packages", ("Package", "Source", "Tag", "Description-md5")):
        text = texts.get(stanza.get("Description-md5", ""))
        if "Tag" in stanza and text and not _TRANSITIONAL.search(text):
            # A source of another version than its package has it in brackets.
            source = stanza.get("Source", stanza["Package"]).split()[0]
            tags_of[source] |= {tag.strip() for tag in stanza["Tag"].split(",")}
            if source not in text_of or stanza["Package"] == source:
                text_of[source] = text
    return [_example(text, _labels(tags_of[source], facets)) for source, text in text_of.items()]


def _labels(tags: set[str], facets: Collection[str] | None) -> tuple[str, ...]:
    parts = {tag: tag.partition("::") for tag in tags}
    return tuple(
        sorted(
            tag
            for tag, (facet, _, value) in parts.items()
            if (facets is None or facet in facets) and value != _NO_TAG_YET
        )
    )


def _example(description: str, labels: tuple[str, ...]) -> Example:
    synopsis, _, body = description.partition("\n")
    # A line that holds only a full stop parts paragraphs.
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"^ \.$", body, flags=re.MULTILINE)]
    text = " ".join(paragraph for paragraph in (f"{synopsis}.", *paragraphs) if paragraph)
    return Example(labels, text=text, group=text_key(paragraphs[0] or synopsis))
