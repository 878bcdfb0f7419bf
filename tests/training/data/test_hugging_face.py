import logging
from io import BytesIO

import datasets
import pytest
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from datasets import List as ListOf
from PIL import Image

from training.data import load
from training.data.bad_rows import BadRows, RowError
from training.data.dataset import DataError, Example
from training.data.hugging_face import read_hugging_face

CLASSES = ClassLabel(names=["joy", "anger", "fear"])
STRING = Value("string")


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    datasets.disable_progress_bars()
    monkeypatch.setenv("LABELSET_CACHE", str(tmp_path / "cache"))


def saved(folder, columns, features):
    Dataset.from_dict(columns, Features(features)).save_to_disk(folder)
    return str(folder)


def read(name, on_bad_row="error"):
    return list(read_hugging_face(name, BadRows(on_bad_row))[0])


def test_a_class_is_read_by_its_name_as_one_label(tmp_path):
    columns = {"sentence": ["so glad", "oh no"], "idx": [7, 8], "label": [0, 2]}
    name = saved(tmp_path / "x", columns, {"sentence": STRING, "idx": Value("int32"), "label": CLASSES})
    assert read(name) == [
        (Example(("joy",), text="so glad"), None, "multi_class"),
        (Example(("fear",), text="oh no"), None, "multi_class"),
    ]


@pytest.mark.parametrize(
    ("feature", "values", "labels"),
    [
        (ListOf(CLASSES), [[2, 1], []], [("anger", "fear"), ()]),
        (ListOf(STRING), [["b", "a"], []], [("a", "b"), ()]),
        (ListOf(Value("int8")), [[0, 1, 1], [0, 0, 0]], [("1", "2"), ()]),
        (ListOf(Value("bool")), [[True, False], [False, False]], [("0",), ()]),
    ],
)
def test_label_sets_are_read_from_lists_of_classes_names_and_multi_hot(tmp_path, feature, values, labels):
    name = saved(tmp_path / "x", {"text": ["a", "b"], "labels": values}, {"text": STRING, "labels": feature})
    assert [(row.example.labels, row.task) for row in read(name)] == [(each, "multi_label") for each in labels]


def test_words_are_read_with_their_tags_and_the_names_are_preferred(tmp_path):
    tags = ClassLabel(names=["O", "B-PER"])
    columns = {"tokens": [["Ada", "wrote", "it"]], "pos_tags": [[1, 1, 1]], "ner_tags": [[1, 0, -100]], "text": ["-"]}
    features = {"tokens": ListOf(STRING), "pos_tags": ListOf(tags), "ner_tags": ListOf(tags), "text": STRING}
    expected = Example(("B-PER", "O", ""), words=("Ada", "wrote", "it"))
    assert read(saved(tmp_path / "x", columns, features)) == [(expected, None, "token_classification")]


def png(shade):
    stream = BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def test_pictures_inside_the_data_set_become_files_each_once(tmp_path):
    columns = {"img": [{"bytes": png(shade), "path": "a.png"} for shade in (1, 2, 1)], "fine_label": [0, 1, 0]}
    name = saved(tmp_path / "x", columns, {"img": ImageFeature(), "fine_label": CLASSES})
    first, second, third = (row.example for row in read(name))
    assert first.image.read_bytes() == png(1)
    assert second.image.read_bytes() == png(2)
    assert (first.image, first.labels) == (third.image, ("joy",))
    assert first.image.suffix == ".png"
    assert len([file for file in (tmp_path / "cache").rglob("*") if file.is_file()]) == 2


def test_recordings_are_read_without_a_decoder(tmp_path):
    features = Features({"sound": {"bytes": Value("binary"), "path": STRING}, "label": STRING})
    columns = {"sound": [{"bytes": b"RIFF", "path": "a.wav"}], "label": ["bell"]}
    data = Dataset.from_dict(columns, features).cast_column("sound", Audio(decode=False))
    data.save_to_disk(tmp_path / "x")
    [row] = read(str(tmp_path / "x"))
    assert (row.example.audio.read_bytes(), row.example.labels, row.task) == (b"RIFF", ("bell",), "multi_class")


FEATURES = Features({"text": STRING, "label": CLASSES})


def emotions(count, label=None):
    texts = [f"word{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(count)]
    return Dataset.from_dict(
        {"text": texts, "label": [n % 3 if label is None else label for n in range(count)]}, FEATURES
    )


def test_the_splits_are_kept_and_an_unlabelled_one_is_made_up_for(tmp_path, caplog):
    splits = {"train": emotions(85), "validation": emotions(9), "test": emotions(5, -1), "unsupervised": emotions(7)}
    DatasetDict(splits).save_to_disk(tmp_path / "emotion")
    with caplog.at_level(logging.WARNING):
        data = load(f"hf:{tmp_path / 'emotion'}")
    assert (len(data.train), len(data.validation), len(data.test)) == (70, 9, 15)
    assert (data.name, data.task, data.labels) == ("emotion", "multi_class", ("anger", "fear", "joy"))
    assert "left out unsupervised" in caplog.text
    assert "emotion, test: left out, because its labels are not given" in caplog.text


def test_a_saved_folder_is_recognised_without_the_prefix(tmp_path):
    emotions(20).save_to_disk(tmp_path / "emotion")
    data = load(str(tmp_path / "emotion"))
    assert (len(data.train), len(data.validation), len(data.test)) == (14, 3, 3)


def test_a_row_without_its_label_is_named_or_skipped(tmp_path):
    rows = {"text": ["a", "b", "c"], "label": [0, -1, 1]}
    name = saved(tmp_path / "x", rows, FEATURES)
    with pytest.raises(RowError, match="line 2: label must be the number of one of 3 classes, got -1"):
        read(name)
    assert [row.example.text for row in read(name, "skip")] == ["a", "c"]


def test_multi_hot_rows_of_different_length_are_refused(tmp_path):
    features = {"text": STRING, "labels": ListOf(Value("int8"))}
    name = saved(tmp_path / "x", {"text": ["a", "b"], "labels": [[0, 1], [0, 1, 1]]}, features)
    with pytest.raises(RowError, match="line 2: labels must be names of classes, or zeros and ones, as many in every"):
        read(name)


@pytest.mark.parametrize(
    ("features", "rule"),
    [
        ({"premise": STRING, "label": CLASSES}, "must have one column of pictures"),
        ({"text": STRING, "sentence": STRING, "label": CLASSES}, "must have one column of pictures"),
        ({"text": STRING, "stars": Value("int64")}, "must have a column labels or label"),
        ({"text": STRING, "tone": CLASSES, "topic": CLASSES}, "must have a column labels or label"),
    ],
)
def test_columns_that_are_not_understood_are_listed(tmp_path, features, rule):
    columns = {column: ["a"] if feature == STRING else [1] for column, feature in features.items()}
    name = saved(tmp_path / "x", columns, features)
    with pytest.raises(DataError, match=rule) as raised:
        read(name)
    types = {column: "ClassLabel" if feature == CLASSES else feature.dtype for column, feature in features.items()}
    assert str(raised.value).endswith("got " + ", ".join(f"{column} ({name})" for column, name in types.items()))


def test_a_folder_that_holds_no_data_set_is_named(tmp_path):
    with pytest.raises(DataError, match=rf"hf:{tmp_path} cannot be loaded"):
        load(f"hf:{tmp_path}")
