import pytest

from training.data.dataset import Example, label_counts
from training.data.rotten_tomatoes import clean_sentence, load_rotten_tomatoes, read_rotten_tomatoes

REVIEWS = """text,label,source
"A long review, with
two lines.",0,imdb
"effective , but "" too-tepid "" biopic",0,rotten_tomatoes
a joy .,1,rotten_tomatoes
"""


def test_an_example_is_a_sentence_of_rotten_tomatoes_with_its_polarity(tmp_path):
    (tmp_path / "reviews.csv").write_text(REVIEWS)
    assert read_rotten_tomatoes(tmp_path / "reviews.csv") == [
        Example(("negative",), text='effective , but " too-tepid " biopic', group="biopic but effective tepid too"),
        Example(("positive",), text="a joy .", group="joy"),
    ]


def test_punctuation_that_was_read_in_the_wrong_encoding_is_restored():
    assert clean_sentence("uninspired \x96 but a caf\xe9 \x85") == "uninspired \N{EN DASH} but a café …"


@pytest.fixture(scope="module")
def rotten_tomatoes():
    return load_rotten_tomatoes()


def test_the_real_data_set_has_its_size_and_is_balanced(rotten_tomatoes):
    data = rotten_tomatoes
    assert data.task == "multi_class"
    assert (len(data.train), len(data.validation), len(data.test)) == (5971, 1279, 1280)
    for side in (data.train, data.validation, data.test):
        assert label_counts(side)["positive"] == pytest.approx(len(side) / 2, abs=2)


def test_the_real_sentences_hold_no_control_characters(rotten_tomatoes):
    assert all(example.text.isprintable() for example in rotten_tomatoes)
