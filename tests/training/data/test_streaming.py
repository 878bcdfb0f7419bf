import json
import logging
import os
import subprocess
import sys
from collections import Counter

import pytest

from training.data import load
from training.data.dataset import DataError, label_counts
from training.data.stored import StoredExamples


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABELSET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def word(number):
    return "".join(chr(97 + int(digit)) for digit in str(number))


def texts(count, **fields):
    return [{"text": f"a {word(n)} thing", "labels": ["xy"[n % 2]], **fields} for n in range(count)]


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def sizes(data):
    return len(data.train), len(data.validation), len(data.test)


def test_a_stream_holds_what_the_file_holds_in_nearly_the_usual_shares(tmp_path):
    path = write_rows(tmp_path / "mine.jsonl", texts(2000))
    streamed, held = load(path, streaming=True), load(path)
    assert isinstance(streamed.train, StoredExamples)
    assert (streamed.name, streamed.modality, streamed.task, streamed.labels) == (
        "mine",
        "text",
        "multi_label",
        ("x", "y"),
    )
    assert {example.text for example in streamed} == {example.text for example in held}
    assert label_counts(streamed) == {"x": 1000, "y": 1000}
    train, validation, test = sizes(streamed)
    assert train + validation + test == 2000
    # Three standard deviations of a draw by chance.
    assert abs(train - 1400) < 62
    assert abs(validation - 300) < 48


def test_duplicates_are_on_one_side(tmp_path):
    copies = [{"text": f"Order {n} of the {word(n % 50)} was sent", "labels": []} for n in range(500)]
    data = load(write_rows(tmp_path / "mine.jsonl", copies), streaming=True)
    sides = [{example.text.split()[4] for example in side} for side in (data.train, data.validation, data.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)) == 50


def test_the_split_is_that_of_the_seed(tmp_path):
    path = write_rows(tmp_path / "mine.jsonl", texts(200))
    first, again, other = (list(load(path, seed=seed, streaming=True).test) for seed in (1, 1, 2))
    assert first == again != other


def test_named_sides_are_kept_and_missing_ones_taken_from_train(tmp_path):
    rows = texts(850, split="train") + [{"text": f"test {word(n)}", "labels": [], "split": "test"} for n in range(40)]
    data = load(write_rows(tmp_path / "mine.jsonl", rows), streaming=True)
    train, validation, test = sizes(data)
    assert (train + validation, test) == (850, 40)
    assert abs(validation - 150) < 34
    assert all(example.text.startswith("test") for example in data.test)


def test_what_was_stored_is_used_until_the_file_changes(tmp_path, cache):
    path = write_rows(tmp_path / "mine.jsonl", texts(100))
    load(path, streaming=True)
    load(path, streaming=True)
    assert len(list(cache.glob("stored-*"))) == 1
    write_rows(tmp_path / "mine.jsonl", texts(101))
    assert sum(sizes(load(path, streaming=True))) == 101


def test_skipped_rows_are_reported_once_every_time(tmp_path, caplog):
    path = write_rows(tmp_path / "mine.jsonl", [*texts(100), {"text": "no labels"}])
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            load(path, streaming=True, on_bad_row="skip")
        [line] = caplog.messages
        assert line.startswith("skipped 1 bad row: labels must be among the fields")


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ([*texts(100), {"text": "a"}], "line 101: labels must be among"),
        ([*texts(50, split="train"), *texts(7)], "either every row must name its split or none, got 7"),
        (texts(1), "got none for"),
        ([*texts(50), {"text": "a", "label": "x"}], "one kind of input and of label"),
    ],
)
def test_what_is_refused_of_a_table_is_refused_of_a_stream_and_nothing_is_left(tmp_path, cache, rows, complaint):
    path = write_rows(tmp_path / "mine.jsonl", rows)
    with pytest.raises(DataError, match=complaint):
        load(path, streaming=True)
    assert not list(cache.glob("stored-*"))


def test_rare_labels_are_dropped_from_a_stream(tmp_path):
    path = write_rows(tmp_path / "mine.jsonl", [*texts(100), {"text": "rara avis", "labels": ["rare", "x"]}])
    data = load(path, streaming=True, min_label_count=2)
    assert data.labels == ("x", "y")
    assert label_counts(data) == Counter(x=51, y=50)
    assert sum(sizes(data)) == 101


PEAK_GROWTH = """
import pathlib, re, sys
import numpy, pyarrow.ipc, pyarrow.parquet, sklearn.metrics  # their code counts as memory too, once it is touched
from training.data import load
from training.data.dataset import label_counts
# Not getrusage, which counts the process that this one was forked from.
status = pathlib.Path("/proc/self/status")
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1]) // 1024
before = peak()
data = load(sys.argv[1], streaming=sys.argv[2] == "stream")
counts = label_counts(data)
for index in range(0, len(data.train), 7):
    data.train[index]
print(peak() - before, counts["a"] + counts["b"])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is there on Linux only")
def test_a_stream_takes_a_small_part_of_the_memory_that_the_file_would(tmp_path):
    file = tmp_path / "large.jsonl"
    with file.open("w") as stream:
        for number in range(16_000):
            text = f"{word(number)} {word(number) * 800}"
            stream.write(json.dumps({"text": text, "labels": ["ab"[number % 2]]}) + "\n")
    assert file.stat().st_size > 50 * 2**20
    growth_mb = {}
    for way in ("stream", "hold"):
        command = [sys.executable, "-c", PEAK_GROWTH, str(file), way]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "."}
        )
        growth_mb[way], count = map(int, done.stdout.split())
        assert count == 16_000
    assert growth_mb["stream"] < 45 < 90 < growth_mb["hold"]
