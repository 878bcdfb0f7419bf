import pytest

from training.data.brown import base_tag, load_brown, read_brown
from training.data.dataset import Example, label_counts

DOCUMENT = """

\tThe/at Grand/jj-tl Jury's/nn$-tl ``/`` 1/2/cd ''/'' isn't/bez* ./.


\tHe's/pps+bez abattoir/fw-nn blank/nil
"""


@pytest.mark.parametrize(
    ("tag", "base"),
    [
        ("nn", "nn"),
        ("np-tl", "np"),
        ("nns$-tl-hl", "nns"),
        ("jj-nc", "jj"),
        ("pp$", "pp$"),
        ("pp$$", "pp$$"),
        ("wp$", "wp$"),
        ("md*", "md"),
        ("*", "*"),
        ("--", "--"),
        ("---hl", "--"),
        ("ppss+ber-n", "ppss"),
        ("wrb+dod*", "wrb"),
        ("fw-at+nn-tl", "fw"),
        ("nil-hl", ""),
    ],
)
def test_a_compound_tag_is_reduced_to_its_part_of_speech(tag, base):
    assert base_tag(tag) == base


def test_an_example_is_a_sentence_with_one_tag_a_word(tmp_path):
    (tmp_path / "ca01").write_text(DOCUMENT)
    (tmp_path / "cats.txt").write_text("ca01 news\n")
    assert read_brown(tmp_path) == [
        Example(
            ("at", "jj", "nn", "``", "cd", "''", "bez", "."),
            words=("The", "Grand", "Jury's", '"', "1/2", '"', "isn't", "."),
            group="ca01",
        ),
        Example(("pps", "fw", ""), words=("He's", "abattoir", "blank"), group="ca01"),
    ]


@pytest.fixture(scope="module")
def brown():
    return load_brown()


def test_the_real_corpus_has_its_size(brown):
    assert brown.task == "token_classification"
    assert (len(brown.train), len(brown.validation), len(brown.test)) == (40125, 8621, 8594)
    assert len(brown.labels) == 81
    assert sum(len(example.words) for example in brown) == 1_161_192
    assert all(len(example.words) == len(example.labels) for example in brown)


def test_no_document_of_the_real_corpus_is_on_two_sides(brown):
    sides = [{example.group for example in side} for side in (brown.train, brown.validation, brown.test)]
    assert len(set.union(*sides)) == sum(map(len, sides)) == 500


def test_every_frequent_tag_of_the_real_corpus_is_split_by_the_shares(brown):
    total = label_counts(list(brown))
    for side, share in [(brown.train, 0.7), (brown.validation, 0.15), (brown.test, 0.15)]:
        for label, count in label_counts(side).items():
            if total[label] > 1000:
                assert count / total[label] == pytest.approx(share, abs=0.02)
