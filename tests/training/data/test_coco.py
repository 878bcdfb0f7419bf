import json

import pytest
from PIL import Image

from training.data import load
from training.data.bad_rows import BadRows, RowError
from training.data.coco import read_coco
from training.data.dataset import DataError

CATEGORIES = [
    {"supercategory": "person", "id": 1, "name": "person"},
    {"supercategory": "animal", "id": 18, "name": "dog"},
    {"supercategory": "kitchen", "id": 90, "name": "toothbrush"},
]


def write_side(root, side, labels_of, pictures):
    """Annotations of pictures by id: `{9: [18, 1]}` is a picture with the id 9 that shows a dog and a person."""
    images = [
        {"license": 4, "file_name": f"{image_id:012}.jpg", "height": 40, "width": 50, "id": image_id}
        for image_id in labels_of
    ]
    annotations = [
        {"id": 7, "image_id": image_id, "category_id": category, "iscrowd": 0, "area": 9.5, "bbox": [1, 2, 3, 4]}
        for image_id, categories in labels_of.items()
        for category in categories
    ]
    pictures.mkdir(parents=True, exist_ok=True)
    for image_id in labels_of:
        Image.new("RGB", (50, 40), (image_id % 256, 0, 0)).save(pictures / f"{image_id:012}.jpg")
    (root / "annotations").mkdir(exist_ok=True)
    document = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": CATEGORIES}
    (root / f"annotations/instances_{side}.json").write_text(json.dumps(document))


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "coco"
    root.mkdir()
    write_side(root, "train2017", {n: [18, 1, 18] if n % 2 else [] for n in range(1, 21)}, root / "train2017")
    write_side(root, "val2017", {101: [1], 102: [18]}, root / "val2017")
    (root / "annotations/captions_train2017.json").write_text("{}")
    return root


def read(root, on_bad_row="error"):
    rows = read_coco(root, BadRows(on_bad_row))
    return [(row.example.image, row.example.labels, row.side) for row in rows]


def test_labels_are_the_categories_seen_and_a_picture_without_objects_has_none(root):
    rows = read(root)
    assert rows[0] == (root / "train2017/000000000001.jpg", ("dog", "person"), "train")
    assert rows[1] == (root / "train2017/000000000002.jpg", (), "train")
    assert rows[-1] == (root / "val2017/000000000102.jpg", ("dog",), "validation")
    assert len(rows) == 22


def test_the_layout_is_recognised_and_the_missing_test_side_taken_from_train(root):
    data = load(str(root))
    assert (data.name, data.modality, data.task, data.labels) == ("coco", "image", "multi_label", ("dog", "person"))
    # 70 parts of 85 stay with train.
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 2, 4)


@pytest.mark.parametrize("place", ["images/train2017", "images"])
def test_pictures_are_found_where_they_are_commonly_unpacked(tmp_path, place):
    write_side(tmp_path, "train2017", {1: [18]}, tmp_path / place)
    assert read(tmp_path) == [(tmp_path / place / "000000000001.jpg", ("dog",), "train")]


def test_pictures_that_are_nowhere_are_reported_with_where_they_are_looked_for(root):
    (root / "val2017").rename(root / "elsewhere")
    with pytest.raises(DataError, match=r"the pictures of val2017 must be in one of .*images/val2017"):
        read(root)


def change(root, path, value):
    file = root / "annotations/instances_train2017.json"
    document = json.loads(file.read_text())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("annotations", 2, "category_id"), 99, r"annotations\[2\]\.category_id must be the id of a category, got 99"),
        (("annotations", 2, "image_id"), "9", r"annotations\[2\]\.image_id must be an integer, got '9'"),
        (("annotations", 2), [], r"annotations\[2\]\.category_id must be an integer, got None"),
        (
            ("images", 3, "file_name"),
            "gone.jpg",
            r"images\[3\]\.file_name must be a file in .*train2017, got 'gone.jpg'",
        ),
        (("images", 3, "id"), True, r"images\[3\]\.id must be an integer, got True"),
        (("categories", 0, "name"), None, r"categories\[0\]\.name must be a string, got None"),
    ],
)
def test_a_broken_entry_is_named_with_its_file(root, path, value, complaint):
    change(root, path, value)
    with pytest.raises(RowError, match=rf"instances_train2017\.json: {complaint}"):
        read(root)


def test_a_broken_entry_is_left_out_when_bad_rows_are_skipped(root):
    change(root, ("images", 0, "file_name"), "gone.jpg")
    change(root, ("annotations", 3, "category_id"), 99)
    labels = {image.stem[-3:]: labels for image, labels, _ in read(root, "skip")}
    assert "001" not in labels
    # The fourth annotation is the first dog of the second picture that has any; a second one stays.
    assert labels["003"] == ("dog", "person")
    assert len(labels) == 21


@pytest.mark.parametrize(
    ("content", "complaint"), [("{", "must be JSON"), ("[]", "images must be a list"), ("{}", "images must be a list")]
)
def test_a_file_of_another_form_is_named(root, content, complaint):
    (root / "annotations/instances_val2017.json").write_text(content)
    with pytest.raises(DataError, match=rf"instances_val2017\.json:? {complaint}"):
        read(root)
