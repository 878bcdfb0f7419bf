import pytest
from PIL import Image

from training.data.bad_rows import BadRows
from training.data.dataset import DataError, Example
from training.data.folder import read_folder


def read(folder):
    return list(read_folder(folder, BadRows("error")))


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2)).save(path)
    return path


def test_a_sub_folder_is_a_label(tmp_path):
    cat, dog = write_image(tmp_path / "cat/1.png"), write_image(tmp_path / "dog/small/1.JPG")
    (tmp_path / "cat/notes.txt").touch()
    assert read(tmp_path) == [
        (Example(("cat",), image=cat), None, "multi_class"),
        (Example(("dog",), image=dog), None, "multi_class"),
    ]


def test_sub_folders_named_after_sides_of_a_split_are_the_split(tmp_path):
    cat, dog = write_image(tmp_path / "train/cat/1.png"), write_image(tmp_path / "val/dog/1.png")
    assert read(tmp_path) == [
        (Example(("cat",), image=cat), "train", "multi_class"),
        (Example(("dog",), image=dog), "validation", "multi_class"),
    ]


@pytest.mark.parametrize("name", ["metadata.csv", "labels.csv"])
def test_a_table_in_the_folder_says_the_labels(tmp_path, name):
    image = write_image(tmp_path / "photos/1.png")
    (tmp_path / name).write_text("file_name,labels\nphotos/1.png,cat;dog\n")
    assert read(tmp_path) == [(Example(("cat", "dog"), image=image), None, "multi_label")]


def test_a_folder_of_another_form_is_refused(tmp_path):
    write_image(tmp_path / "1.png")
    with pytest.raises(DataError, match=r"a sub-folder of pictures or recordings for each label"):
        read(tmp_path)
