import json

import pytest

from training.data.attack import clean_description, load_attack, read_attack
from training.data.dataset import label_counts


@pytest.mark.parametrize(
    ("description", "text"),
    [
        ("[X](https://example.org/S1) uses HTTP.(Citation: A B 2020)(Citation: C)", "X uses HTTP."),
        (
            "[X](https://example.org/S1) runs <code>cmd.exe</code>.(Citation: A) And [Y](https://example.org/S2).",
            "X runs cmd.exe. And Y.",
        ),
        ("Cut in a citation.(Citation: A B...", "Cut in a citation."),
        ("Cut in a citation.(Cita...", "Cut in a citation."),
        ("Cut in a citation.(...", "Cut in a citation."),
        ("Cut in the address of [X](https://exam...", "Cut in the address of X"),
        ("Cut in the name of [Some prog...", "Cut in the name of Some prog"),
        ("Not a citation (see above) and not cut.", "Not a citation (see above) and not cut."),
        ("Two\n\nlines", "Two lines"),
        ("(Citation: A)", ""),
    ],
)
def test_a_description_becomes_the_sentence_a_person_reads(description, text):
    assert clean_description(description) == text


def pattern(stix_id, *tactics, revoked=False):
    return {"stix_id": stix_id, "tactics": list(tactics), "revoked": revoked, "deprecated": False}


def relationship(description, target, kind="uses", deprecated=False):
    return {
        "relationship_type": kind,
        "target_ref": target,
        "description": description,
        "revoked": False,
        "deprecated": deprecated,
    }


def write_package(folder, patterns, relationships):
    (folder / "attack-patterns-lookup-v18.1.json").write_text(json.dumps({"attack_patterns": patterns}))
    (folder / "relationships-lookup-v18.1.json").write_text(json.dumps({"relationships": relationships}))


PATTERNS = [
    pattern("p1", "execution"),
    pattern("p2", "persistence", "execution"),
    pattern("p3", "impact", revoked=True),
]


def test_a_sentence_has_the_tactics_of_all_techniques_it_describes(tmp_path):
    write_package(tmp_path, PATTERNS, [relationship("X runs.", "p1"), relationship("X runs.", "p2")])
    [example] = read_attack(tmp_path)
    assert (example.text, example.labels) == ("X runs.", ("execution", "persistence"))


@pytest.mark.parametrize(
    "other",
    [
        relationship("X is deprecated.", "p1", deprecated=True),
        relationship("X uses what is revoked.", "p3"),
        relationship("X uses a program.", "software"),
        relationship("X mitigates.", "p1", kind="mitigates"),
        relationship("(Citation: only)", "p1"),
        relationship(None, "p1"),
    ],
)
def test_what_is_not_a_current_use_of_a_technique_is_left_out(tmp_path, other):
    write_package(tmp_path, PATTERNS, [relationship("X runs.", "p1"), other])
    assert [example.text for example in read_attack(tmp_path)] == ["X runs."]


def test_sentences_that_differ_in_names_and_numbers_are_one_group(tmp_path):
    descriptions = ["[X](u) uses port 80.", "[Y Z](u) has used ports 80.", "[W](u) used port 443."]
    write_package(tmp_path, PATTERNS, [relationship(text, "p1") for text in descriptions])
    first, other, third = (example.group for example in read_attack(tmp_path))
    assert first == third != other


@pytest.fixture(scope="module")
def attack(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELSET_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load_attack()


def test_the_real_data_set_has_its_size(attack):
    assert (len(attack.train), len(attack.validation), len(attack.test)) == (11130, 2385, 2385)
    assert len(attack.labels) == 14
    assert attack.modality == "text"


def test_the_real_sentences_are_clean(attack):
    assert all(example.text == clean_description(example.text) for example in attack)
    assert not [example.text for example in attack if "Citation:" in example.text or "](" in example.text]


def test_every_label_of_the_real_data_is_split_by_the_shares(attack):
    total = label_counts(list(attack))
    for side, share in [(attack.train, 0.7), (attack.validation, 0.15), (attack.test, 0.15)]:
        for label, count in label_counts(side).items():
            assert count / total[label] == pytest.approx(share, abs=0.01)


def test_no_group_of_the_real_data_is_on_two_sides(attack):
    sides = [{example.group for example in side} for side in (attack.train, attack.validation, attack.test)]
    assert len(set.union(*sides)) == sum(map(len, sides))
