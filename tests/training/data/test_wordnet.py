import pytest

from training.data.dataset import Example, label_counts
from training.data.wordnet import load_wordnet, read_definition, read_wordnet

LICENCE_LINES = "  1 This software and database is being provided to you\n  2 under a licence.  \n"
DOG = '02084071 05 n 01 dog 0 000 | a member of the genus Canis; occurs in many breeds; "the dog barked all night"  \n'
RUN = '01926311 38 v 01 run 0 000 01 + 02 00 | move fast by using one\'s feet; "Don\'t run"; "The children ran"  \n'
TWINS = "00000001 20 n 01 a 0 000 | a variety of aster  \n00000002 20 n 01 b 0 000 | variety of Aster  \n"
COPIES = "00000003 20 n 01 c 0 000 | a kind of tree  \n00000004 20 n 01 d 0 000 | a kind of tree  \n"
DRIED = "00000005 44 a 01 dried 0 000 | not still wet  \n"


@pytest.fixture
def examples(tmp_path):
    files = {"noun": DOG + TWINS + COPIES, "verb": RUN, "adj": DRIED, "adv": ""}
    for name, synsets in files.items():
        (tmp_path / f"data.{name}").write_text(LICENCE_LINES + synsets)
    return read_wordnet(tmp_path)


def test_an_example_is_a_definition_with_its_lexicographer_file(examples):
    text = "a member of the genus Canis; occurs in many breeds"
    assert examples[0] == Example(("noun.animal",), text=text, group="breeds canis genus many member occurs")
    assert [(example.text, example.labels) for example in examples[-2:]] == [
        ("move fast by using one's feet", ("verb.motion",)),
        ("not still wet", ("adj.ppl",)),
    ]


def test_a_definition_that_several_words_share_is_one_example(examples):
    assert [example.text for example in examples].count("a kind of tree") == 1


def test_definitions_that_hardly_differ_are_one_group(examples):
    first, second = (example for example in examples if "aster" in example.text.lower())
    assert first.group == second.group


def test_a_quotation_within_a_definition_stays():
    assert (
        read_definition('significant progress (as in "make strides")') == 'significant progress (as in "make strides")'
    )


@pytest.fixture(scope="module")
def wordnet():
    return load_wordnet()


def test_the_real_data_set_has_its_size_and_one_label_an_example(wordnet):
    assert wordnet.task == "multi_class"
    assert (len(wordnet.train), len(wordnet.validation), len(wordnet.test)) == (81749, 17517, 17516)
    assert len(wordnet.labels) == 45
    assert {len(example.labels) for example in wordnet} == {1}


def test_every_class_of_the_real_data_is_on_every_side(wordnet):
    total = label_counts(list(wordnet))
    for side, share in [(wordnet.train, 0.7), (wordnet.validation, 0.15), (wordnet.test, 0.15)]:
        for label, count in label_counts(side).items():
            assert count / total[label] == pytest.approx(share, abs=0.02)


def test_no_group_of_the_real_data_is_on_two_sides(wordnet):
    sides = [{example.group for example in side} for side in (wordnet.train, wordnet.validation, wordnet.test)]
    assert len(set.union(*sides)) == sum(map(len, sides))
