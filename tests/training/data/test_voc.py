import logging

import pytest
from PIL import Image

from training.data import load
from training.data.bad_rows import BadRows, RowError
from training.data.dataset import DataError
from training.data.voc import is_voc, read_voc

ANNOTATION = """<annotation>
	<folder>VOC2007</folder>
	<filename>{name}.jpg</filename>
	<source><database>The VOC2007 Database</database><annotation>PASCAL VOC2007</annotation></source>
	<size><width>50</width><height>40</height><depth>3</depth></size>
	<segmented>0</segmented>{objects}
</annotation>
"""
OBJECT = """
	<object>
		<name>{name}</name><pose>Left</pose><truncated>1</truncated><difficult>{difficult}</difficult>
		<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>30</xmax><ymax>35</ymax></bndbox>
		<part><name>head</name><bndbox><xmin>2</xmin><ymin>3</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>
	</object>"""
PICTURES = {
    "000001": [("dog", 0), ("person", 0), ("dog", 0)],
    "000002": [("car", 1)],
    "000003": [("dog", 1), ("dog", 0), ("car", 1)],
    "000004": [("cat", 0)],
    "000005": [("person", 0)],
    "000006": [("cat", 0)],
}


@pytest.fixture
def devkit(tmp_path):
    folder = tmp_path / "VOCdevkit" / "VOC2007"
    for name in ("Annotations", "ImageSets/Main", "ImageSets/Segmentation", "JPEGImages"):
        (folder / name).mkdir(parents=True)
    for number, (image_id, objects) in enumerate(PICTURES.items()):
        Image.new("RGB", (50, 40), (40 * number, 0, 0)).save(folder / f"JPEGImages/{image_id}.jpg")
        found = "".join(OBJECT.format(name=name, difficult=difficult) for name, difficult in objects)
        (folder / f"Annotations/{image_id}.xml").write_text(ANNOTATION.format(name=image_id, objects=found))
    lists = {"train": "000001 000002", "val": "000003", "trainval": "000001 000002 000003", "test": "000004 000005"}
    for name, ids in lists.items():
        (folder / f"ImageSets/Main/{name}.txt").write_text(ids.replace(" ", "\n") + "\n")
    (folder / "ImageSets/Main/dog_train.txt").write_text("000001  1\n000002 -1\n")
    return folder


def read(folder, on_bad_row="error"):
    rows = read_voc(folder, BadRows(on_bad_row))
    return [(row.example.image.stem, row.example.labels, row.side) for row in rows]


def test_labels_are_the_classes_of_the_objects_that_are_not_difficult(devkit):
    assert read(devkit) == [
        ("000001", ("dog", "person"), "train"),
        ("000002", (), "train"),
        ("000003", ("dog",), "validation"),
        ("000004", ("cat",), "test"),
        ("000005", ("person",), "test"),
    ]


def test_the_layout_is_recognised(devkit):
    data = load(str(devkit))
    assert (data.name, data.modality, data.task) == ("VOC2007", "image", "multi_label")
    assert data.labels == ("cat", "dog", "person")
    assert (len(data.train), len(data.validation), len(data.test)) == (2, 1, 2)
    assert not is_voc(devkit.parent)


def test_trainval_is_dealt_out_where_there_is_no_train(devkit):
    for name in ("train", "val", "test"):
        (devkit / f"ImageSets/Main/{name}.txt").unlink()
    (devkit / "ImageSets/Main/trainval.txt").write_text("\n".join(PICTURES))
    data = load(str(devkit))
    assert (len(data.train), len(data.validation), len(data.test)) == (4, 1, 1)


def test_a_missing_test_list_is_made_up_for_from_train(devkit):
    (devkit / "ImageSets/Main/test.txt").unlink()
    (devkit / "ImageSets/Main/train.txt").write_text("000001\n000002\n000004\n000005\n000006\n")
    data = load(str(devkit))
    assert (len(data.train), len(data.validation), len(data.test)) == (4, 1, 1)
    assert [example.image.stem for example in data.validation] == ["000003"]


def test_without_any_list_the_folder_is_refused(devkit):
    for file in (devkit / "ImageSets/Main").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"ImageSets/Main must hold one of train\.txt"):
        load(str(devkit))


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><annotation><object><name>&c;</name></object></annotation>'


@pytest.mark.parametrize(
    ("annotation", "complaint"),
    [
        ("<annotation><object>", "the annotation must be plain XML"),
        (BOMB, "the annotation must be plain XML, got .it must not have a document type"),
        ("<annotation><object/></annotation>", "object 1: name must be the class of the object, got ''"),
        (
            "<annotation><object><name>dog</name><difficult>yes</difficult></object></annotation>",
            "object 1: difficult must be 0 or 1, got 'yes'",
        ),
    ],
)
def test_a_broken_annotation_is_named(devkit, annotation, complaint):
    (devkit / "Annotations/000002.xml").write_text(annotation)
    with pytest.raises(RowError, match=rf"Annotations/000002\.xml: {complaint}"):
        read(devkit)


def test_a_missing_file_is_named_with_the_list_that_names_it_or_skipped(devkit, caplog):
    (devkit / "JPEGImages/000002.jpg").unlink()
    (devkit / "Annotations/000003.xml").unlink()
    with pytest.raises(RowError, match=r"Main/train\.txt, line 2: the picture must be there, got '.*000002\.jpg'"):
        read(devkit)
    assert [image_id for image_id, _, _ in read(devkit, "skip")] == ["000001", "000004", "000005"]
    with caplog.at_level(logging.WARNING), pytest.raises(DataError, match="got none for validation"):
        # Of the two pictures that train lost one, of validation's single one none is left, and train has no more.
        load(str(devkit), on_bad_row="skip")
    assert "skipped 1 bad row: the picture must be there" in caplog.text
    assert "skipped 1 bad row: the annotation must be there" in caplog.text
