"""Answers in the terminal and as JSON."""

import json

from click.testing import CliRunner

import labelset
from model.drawing import document, draw
from model.labels import LabelSet, ScoredLabel
from model.words import label_words

SEVERAL = LabelSet((ScoredLabel("food", 0.75), ScoredLabel("sport", 0.25)), sparsity_rate=0.5)
ONE = LabelSet((ScoredLabel("DET", 1.0),), sparsity_rate=0.75)
NONE = LabelSet((), sparsity_rate=1.0)


def test_a_label_set_is_drawn_with_bars_as_long_as_its_probabilities():
    assert draw(SEVERAL).splitlines() == [f"    food   0.750  {'█' * 22}", f"    sport  0.250  {'█' * 8}"]
    assert draw(NONE) == "    (no label)"


def test_each_word_is_drawn_with_its_labels_or_with_why_it_has_none():
    answer = label_words(("the", "saw", "uh", "barks"), {0: ONE, 1: SEVERAL, 2: NONE})
    assert draw(answer).splitlines() == [
        "    the    DET 1.000",
        "    saw    food 0.750  sport 0.250",
        "    uh     (no label)",
        "    barks  (not read)",
    ]


def test_words_as_json_have_their_places_and_labels():
    answer = label_words("the saw", {0: ONE})
    assert document(answer) == {
        "words": [
            {"text": "the", "start": 0, "end": 3, "labels": [{"label": "DET", "probability": 1.0}]},
            {"text": "saw", "start": 4, "end": 7, "labels": []},
        ],
        "truncated": True,
    }
    assert document(SEVERAL)["label_count"] == 2


def test_predict_prints_the_tags_of_a_text(trained_tokens, tmp_path):
    (tmp_path / "note.txt").write_text("the dog hears!")
    arguments = ["predict", "--bundle", str(trained_tokens.bundle), str(tmp_path / "note.txt"), "--text", "the cat"]
    printed = CliRunner().invoke(labelset.main, arguments)
    assert printed.exit_code == 0
    assert [line.split()[:2] for line in printed.output.splitlines() if line.startswith("    ")] == [
        ["the", "DET"],
        ["dog", "NOUN"],
        ["hears", "VERB"],
        ["!", "MARK"],
        ["the", "DET"],
        ["cat", "NOUN"],
    ]
    [of_file, of_text] = json.loads(CliRunner().invoke(labelset.main, [*arguments, "--json"]).output)
    assert [word["labels"][0]["label"] for word in of_file["words"]] == ["DET", "NOUN", "VERB", "MARK"]
    assert of_text["truncated"] is False
