import json
import logging

import pytest

import training.data.check
from training.data import load
from training.data.check import describe, rare_labels, warn_of
from training.data.dataset import Example, LabelledData


def examples(**texts_by_label):
    return [
        Example((label,) if label != "none" else (), text=text)
        for label, texts in texts_by_label.items()
        for text in texts
    ]


def word(number):
    return "w" + chr(97 + number // 26) + chr(97 + number % 26)


@pytest.fixture
def data():
    """Twelve training examples of `common`, one of `rare`, none of `unseen`; one text stands on two sides."""
    train = examples(common=map(word, range(12)), rare=["storks fly south", "storks fly south"], none=["nothing"])
    train.append(Example(("common",), text="storks fly south"))
    return LabelledData(
        "birds",
        "text",
        ("common", "rare", "unseen"),
        train,
        examples(common=["owls hoot"], unseen=["storks fly south"]),
        examples(rare=["terns dive"]),
        "",
        "",
    )


def test_all_there_is_to_say_is_said(data):
    assert list(describe(data)) == [
        "birds: text, multi_label, 3 labels",
        "train             16 examples, 1 without a label, 2 repeat another of this side",
        "validation         2 examples, 0 without a label, 0 repeat another of this side",
        "test               1 examples, 0 without a label, 0 repeat another of this side",
        "2 examples repeat another with other labels",
        "",
        "label        train  validation        test",
        "common          13           1           0",
        "rare             2           0           1",
        "unseen           0           1           0",
        "",
        rare_labels(data),
        "1 of 2 validation examples repeat one of train: 'storks fly south' and 'storks fly south'",
    ]


def test_rare_labels_are_those_with_fewer_than_ten_training_examples(data):
    assert rare_labels(data).startswith(
        "2 of 3 labels have fewer than 10 training examples: unseen (0), rare (2); data"
    )


def test_many_rare_labels_are_counted_and_the_rarest_named():
    labels = tuple(f"l{number:02}" for number in range(15))
    train = [Example(labels[number:], text=word(number)) for number in range(15)]
    line = rare_labels(LabelledData("x", "text", labels, train, train, train, "", ""))
    assert line.startswith("9 of 15 labels have fewer than 10 training examples: l00 (1), l01 (2), ")
    labels = tuple(f"m{number:02}" for number in range(15))
    line = rare_labels(LabelledData("x", "text", labels, train, train, train, "", ""))
    assert "m09 (0) and 5 more;" in line


def test_a_run_is_warned_of_rare_labels_and_leaks(data, caplog):
    with caplog.at_level(logging.WARNING):
        warn_of(data)
    rare, leak = caplog.messages
    assert rare == rare_labels(data)
    assert leak.startswith("1 of 2 validation examples repeat one of train")


def test_near_repeats_are_left_to_the_command_where_looking_would_take_long(data, caplog, monkeypatch):
    data.test.append(Example(("common",), text="Owls hoot!"))
    with caplog.at_level(logging.WARNING):
        warn_of(data)
        assert "1 of 2 test examples nearly repeat one of validation" in caplog.messages[-1]
        monkeypatch.setattr(training.data.check, "_MAX_TEXTS", 19)
        warn_of(data)
    assert caplog.messages[-1].startswith("20 examples are not searched for near repeats: `labelset check-data`")
    assert sum("nearly repeat" in message for message in caplog.messages) == 1


def test_the_split_that_is_made_here_does_not_leak(tmp_path):
    rows = [{"text": f"Report {n} on {word(n % 40)}", "labels": ["x"]} for n in range(200)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(describe(load(str(tmp_path / "mine.jsonl"))))[-1] == "no example repeats one of another side"
