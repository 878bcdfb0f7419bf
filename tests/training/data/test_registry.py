import subprocess
import sys

import pytest

from training.data import FETCHABLE, fetch_by_name, load
from training.data.registry import UnknownName, modality_of


def test_the_names_that_can_be_fetched():
    assert FETCHABLE == (
        "attack",
        "brown",
        "debtags",
        "fashion-mnist",
        "fashion-mosaics",
        "openclipart",
        "rotten-tomatoes",
        "spoken",
        "synthetic",
        "wordnet",
        "minilm-l3",
        "minilm-l6",
        "resnet50-imagenet",
    )


def test_fetching_a_data_set_says_what_is_there_now():
    assert fetch_by_name("attack") == "attack: 11130 train, 2385 validation, 2385 test examples, 14 labels"


@pytest.mark.parametrize(
    ("name", "nearest"), [("atack", "attack"), ("minilm", "minilm-l6"), ("resnet50", "resnet50-imagenet")]
)
def test_an_unknown_name_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(UnknownName, match=f"'{name}'.*did you mean '{nearest}'"):
        fetch_by_name(name)


def test_a_path_where_nothing_is_is_answered_with_all_names():
    with pytest.raises(UnknownName, match=r"'no/such/file\.csv' .* known names are attack, brown, debtags"):
        load("no/such/file.csv")


def test_the_modality_of_a_users_own_data_is_found(tmp_path):
    (tmp_path / "mine.csv").write_text("text,labels\n" + "".join(f"word{letter},x\n" for letter in "abcdefghij"))
    assert modality_of(str(tmp_path / "mine.csv")) == "text"


def test_reading_data_does_not_import_torch():
    code = "import sys, training.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
