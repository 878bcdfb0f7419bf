import json
import logging

import numpy as np
import pytest
import soundfile
from PIL import Image

from model.manifest import ImagePreprocessing
from model.preprocess import build
from training.data import load
from training.data.arrays import ArrayDataset
from training.data.bad_rows import BadRows
from training.data.dataset import DataError, Example
from training.data.readable import readable_rows
from training.data.row import Row, file_example


@pytest.fixture
def files(tmp_path):
    """Three files of each kind: a good one, one cut off in the middle, one that is something else."""
    noise = np.random.default_rng(0)
    Image.fromarray(noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "good.png")
    soundfile.write(tmp_path / "good.flac", noise.normal(0, 0.1, 16_000), 16_000)
    for name in ("good.png", "good.flac"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name.replace("good", "cut")).write_bytes(content[: len(content) // 2])
        (tmp_path / name.replace("good", "other")).write_bytes(b"<html>not found</html>")
    return tmp_path


def test_files_that_cannot_be_decoded_are_counted_and_named(files):
    rows = [Row(file_example((), file), None) for file in sorted(files.iterdir())]
    bad_rows = BadRows("skip")
    assert [row.example.file.name for row in readable_rows(iter(rows), bad_rows)] == ["good.flac", "good.png"]
    assert bad_rows.count == 4
    pictures, recordings = sorted(line for line in bad_rows.lines())
    assert pictures.startswith("skipped 2 bad rows: the picture must be one that can be decoded; the first: ")
    assert "cut.png: the picture must be one that can be decoded, got 'the PNG file cannot be decoded" in pictures
    assert recordings.startswith("skipped 2 bad rows: the recording must be one that can be decoded; the first: ")
    assert "cut.flac" in recordings


def test_an_unreadable_picture_is_left_out_of_the_data_when_bad_rows_are_skipped(files, caplog):
    for number in range(20):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(files / f"{number}.png")
    names = ["cut.png", *(f"{number}.png" for number in range(20))]
    table = files / "mine.jsonl"
    table.write_text("".join(json.dumps({"image": name, "labels": ["x"]}) + "\n" for name in names))
    with caplog.at_level(logging.WARNING):
        data = load(str(table), on_bad_row="skip")
    assert {example.image.name for example in data} == set(names) - {"cut.png"}
    assert "skipped 1 bad row: the picture must be one that can be decoded" in caplog.text


def test_a_picture_that_cannot_be_decoded_in_training_is_named(files):
    dataset = ArrayDataset(
        [Example((), image=files / "good.png"), Example((), image=files / "cut.png")],
        (),
        build(ImagePreprocessing(height=32, width=32)),
    )
    assert dataset[0].array.shape == (32, 32, 3)
    with pytest.raises(DataError, match=r"cut\.png cannot be used: the PNG file cannot be decoded"):
        dataset[1]
