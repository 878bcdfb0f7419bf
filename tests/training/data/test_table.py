import json

import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from training.data.bad_rows import BadRows, RowError
from training.data.dataset import DataError, Example
from training.data.table import read_table

ROWS = [
    {"text": "a dog", "labels": ["mammal", "animal", "mammal"], "split": "train"},
    {"text": "a “stone”", "labels": [], "split": "val"},
]
READ = [
    (Example(("animal", "mammal"), text="a dog"), "train", "multi_label"),
    (Example((), text="a “stone”"), "validation", "multi_label"),
]


def read(file, folder, on_bad_row="error"):
    return list(read_table(file, folder, BadRows(on_bad_row)))


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_jsonl_is_read(tmp_path):
    assert read(write_jsonl(tmp_path / "x.jsonl", ROWS), tmp_path) == READ


def test_parquet_is_read(tmp_path):
    pa.parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet", tmp_path) == READ


@pytest.mark.parametrize("separator", [",", ";", "|", " , "])
def test_csv_is_read_with_any_separator_of_labels(tmp_path, separator):
    content = f'text,labels,split\na dog,"mammal{separator}animal",train\na “stone”,,val\n'
    (tmp_path / "x.csv").write_text(content, encoding="utf-8-sig")
    assert read(tmp_path / "x.csv", tmp_path) == READ


def test_blank_lines_of_jsonl_are_skipped_but_counted(tmp_path):
    (tmp_path / "x.jsonl").write_text('\n{"text": "a", "labels": []}\n\n{"text": "b"}\n')
    with pytest.raises(RowError, match="line 4"):
        read(tmp_path / "x.jsonl", tmp_path)


def test_lines_inside_a_csv_field_are_counted(tmp_path):
    (tmp_path / "x.csv").write_text('text,labels,split\n"two\nlines",a,train\nb,a,tset\n')
    with pytest.raises(RowError, match="line 4: split"):
        read(tmp_path / "x.csv", tmp_path)


@pytest.mark.parametrize("field", ["image", "path", "file_name"])
def test_an_image_is_found_in_the_image_folder(tmp_path, field):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "photos/dog.png")
    table = write_jsonl(tmp_path / "x.jsonl", [{field: "dog.png", "labels": "dog"}])
    assert read(table, tmp_path / "photos") == [
        (Example(("dog",), image=tmp_path / "photos/dog.png"), None, "multi_label")
    ]


def test_an_absolute_path_of_an_image_stays_what_it_is(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "dog.png")
    table = write_jsonl(tmp_path / "x.jsonl", [{"image": str(tmp_path / "dog.png"), "labels": []}])
    [(example, _, _)] = read(table, tmp_path / "elsewhere")
    assert example.image == tmp_path / "dog.png"


GOOD = {"text": "a", "labels": []}


@pytest.mark.parametrize(
    ("row", "field", "value"),
    [
        ({"labels": []}, "the row", "[]"),
        ({"text": "a", "image": "b.png", "labels": []}, "the row", "['image', 'text']"),
        ({"text": " ", "labels": []}, "text", "' '"),
        ({"text": 5, "labels": []}, "text", "5"),
        ({"image": "gone.png", "labels": []}, "image", "'gone.png'"),
        ({"text": "a"}, "labels", "['text']"),
        ({"text": "a", "labels": None}, "labels", "None"),
        ({"text": "a", "labels": 7}, "labels", "7"),
        ({"text": "a", "labels": ["x", 7]}, "labels", "['x', 7]"),
        ({"text": "a", "labels": ["x", ""]}, "labels", "['x', '']"),
        ({"text": "a", "labels": "x,,y"}, "labels", "'x,,y'"),
        ({"text": "a", "labels": [], "split": "tset"}, "split", "'tset'"),
        ({"text": "a", "labels": [], "split": None}, "split", "None"),
        ([1, 2], "the row", "[1, 2]"),
    ],
)
def test_a_row_that_breaks_a_rule_is_named_with_its_field_and_value(tmp_path, row, field, value):
    table = write_jsonl(tmp_path / "x.jsonl", [GOOD, row])
    with pytest.raises(RowError) as raised:
        read(table, tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{table}, line 2: {field} ")
    assert message.endswith(f", got {value}")


def test_a_line_that_is_not_json_is_named(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a", "labels": []}\n{"text": \n')
    with pytest.raises(RowError, match="line 2: the row must be JSON"):
        read(tmp_path / "x.jsonl", tmp_path)


@pytest.mark.parametrize("line", ["a", "a,b,c"])
def test_a_csv_row_of_another_length_is_named(tmp_path, line):
    (tmp_path / "x.csv").write_text(f"text,labels\na,b\n{line}\n")
    with pytest.raises(RowError, match="line 3: the row must have 2 fields"):
        read(tmp_path / "x.csv", tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("x.jsonl", b"", "at least one row"),
        ("x.csv", b"", "at least one row"),
        ("x.csv", b"text,labels\n", "at least one row"),
        ("x.jsonl", b'{"text": "\xff", "labels": []}', "UTF-8"),
        ("x.csv", b"text,labels\n\xff,a\n", "UTF-8"),
        ("x.parquet", b"not parquet", "a Parquet file"),
        ("x.xlsx", b"", ".jsonl, .csv, .parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, rule):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as raised:
        read(tmp_path / name, tmp_path)
    assert rule in str(raised.value)
    assert name in str(raised.value)


def test_one_label_makes_a_multi_class_row(tmp_path):
    table = write_jsonl(tmp_path / "x.jsonl", [{"text": "a", "label": " a, not b "}])
    assert read(table, tmp_path) == [(Example(("a, not b",), text="a"), None, "multi_class")]


def test_a_word_without_a_tag_has_nothing_to_learn(tmp_path):
    rows = [{"words": ["EU", "rejects", "calls", "EU"], "tags": ["ORG", None, "", "ORG"]}]
    expected = [(Example(("ORG", "", "", "ORG"), words=("EU", "rejects", "calls", "EU")), None, "token_classification")]
    assert read(write_jsonl(tmp_path / "x.jsonl", rows), tmp_path) == expected
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    assert read(tmp_path / "x.parquet", tmp_path) == expected


@pytest.mark.parametrize(("field", "name"), [("audio", "a.bin"), ("path", "a.FLAC"), ("file_name", "a.ogg")])
def test_a_recording_is_known_by_its_field_or_its_ending(tmp_path, field, name):
    (tmp_path / name).touch()
    table = write_jsonl(tmp_path / "x.jsonl", [{field: name, "labels": []}])
    [(example, _, _)] = read(table, tmp_path)
    assert (example.audio, example.image) == (tmp_path / name, None)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"text": "a", "label": ""}, "label must be a string of whole characters that is not empty, got ''"),
        ({"text": "a", "label": 3}, "label must be a string of whole characters that is not empty, got 3"),
        ({"text": "a", "label": "x", "labels": ["x"]}, "labels or label, not both"),
        ({"text": "half \ud83d", "labels": []}, "text must be a string of whole characters"),
        ({"words": "a b", "tags": ["x", "y"]}, "words must be a list of words, at least one, got 'a b'"),
        ({"words": [], "tags": []}, "words must be a list of words, at least one"),
        ({"words": ["a"]}, "tags must be a list of strings"),
        ({"words": ["a"], "tags": [1]}, "tags must be a list of strings"),
        ({"words": ["a", "b"], "tags": ["x"]}, r"tags must be as many as the words \(2 words\), got 1"),
        ({"image": "a" * 5000, "labels": []}, "image must be a file in"),
    ],
)
def test_what_is_learned_from_a_row_is_checked(tmp_path, row, complaint):
    with pytest.raises(RowError, match=complaint):
        read(write_jsonl(tmp_path / "x.jsonl", [row]), tmp_path)


def test_a_long_value_is_shortened_in_the_message(tmp_path):
    with pytest.raises(RowError) as raised:
        read(write_jsonl(tmp_path / "x.jsonl", [{"text": "a", "labels": "a,,b" * 10_000}]), tmp_path)
    assert len(str(raised.value)) < 600


def test_bad_rows_are_skipped_and_the_good_ones_around_them_read(tmp_path):
    lines = [b'{"text": "one", "labels": []}', b"{", b"\xff", b"[]", b'{"text": ""}', b'{"text": "two", "labels": []}']
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(lines))
    assert [row.example.text for row in read(tmp_path / "x.jsonl", tmp_path, "skip")] == ["one", "two"]
    (tmp_path / "x.csv").write_text("text,labels\none,a\nshort\nlong,a,b\n" + "x" * 140_000 + ",a\ntwo,b\n")
    assert [row.example.text for row in read(tmp_path / "x.csv", tmp_path, "skip")] == ["one", "two"]
