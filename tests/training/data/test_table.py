import json

import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

from training.data.dataset import DataError, Example
from training.data.table import RowError, read_table

ROWS = [
    {"text": "a dog", "labels": ["mammal", "animal", "mammal"], "split": "train"},
    {"text": "a “stone”", "labels": [], "split": "val"},
]
READ = [(Example(("animal", "mammal"), text="a dog"), "train"), (Example((), text="a “stone”"), "validation")]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_jsonl_is_read(tmp_path):
    assert read_table(write_jsonl(tmp_path / "x.jsonl", ROWS), tmp_path) == READ


def test_parquet_is_read(tmp_path):
    pa.parquet.write_table(pa.Table.from_pylist(ROWS), tmp_path / "x.parquet")
    assert read_table(tmp_path / "x.parquet", tmp_path) == READ


@pytest.mark.parametrize("separator", [",", ";", "|", " , "])
def test_csv_is_read_with_any_separator_of_labels(tmp_path, separator):
    content = f'text,labels,split\na dog,"mammal{separator}animal",train\na “stone”,,val\n'
    (tmp_path / "x.csv").write_text(content, encoding="utf-8-sig")
    assert read_table(tmp_path / "x.csv", tmp_path) == READ


def test_blank_lines_of_jsonl_are_skipped_but_counted(tmp_path):
    (tmp_path / "x.jsonl").write_text('\n{"text": "a", "labels": []}\n\n{"text": "b"}\n')
    with pytest.raises(RowError, match="line 4"):
        read_table(tmp_path / "x.jsonl", tmp_path)


def test_lines_inside_a_csv_field_are_counted(tmp_path):
    (tmp_path / "x.csv").write_text('text,labels,split\n"two\nlines",a,train\nb,a,tset\n')
    with pytest.raises(RowError, match="line 4: split"):
        read_table(tmp_path / "x.csv", tmp_path)


@pytest.mark.parametrize("field", ["image", "path", "file_name"])
def test_an_image_is_found_in_the_image_folder(tmp_path, field):
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (2, 2)).save(tmp_path / "photos/dog.png")
    table = write_jsonl(tmp_path / "x.jsonl", [{field: "dog.png", "labels": "dog"}])
    assert read_table(table, tmp_path / "photos") == [(Example(("dog",), image=tmp_path / "photos/dog.png"), None)]


def test_an_absolute_path_of_an_image_stays_what_it_is(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "dog.png")
    table = write_jsonl(tmp_path / "x.jsonl", [{"image": str(tmp_path / "dog.png"), "labels": []}])
    [(example, _)] = read_table(table, tmp_path / "elsewhere")
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
        read_table(table, tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{table}, line 2: {field} ")
    assert message.endswith(f", got {value}")


def test_a_line_that_is_not_json_is_named(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"text": "a", "labels": []}\n{"text": \n')
    with pytest.raises(RowError, match="line 2: the row must be JSON"):
        read_table(tmp_path / "x.jsonl", tmp_path)


@pytest.mark.parametrize("line", ["a", "a,b,c"])
def test_a_csv_row_of_another_length_is_named(tmp_path, line):
    (tmp_path / "x.csv").write_text(f"text,labels\na,b\n{line}\n")
    with pytest.raises(RowError, match="line 3: the row must have 2 fields"):
        read_table(tmp_path / "x.csv", tmp_path)


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
        read_table(tmp_path / name, tmp_path)
    assert rule in str(raised.value)
    assert name in str(raised.value)
