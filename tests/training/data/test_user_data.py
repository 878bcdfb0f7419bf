import json
import logging

import pytest
from PIL import Image

from training.data.dataset import DataError
from training.data.registry import load


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def texts(count, **fields):
    # Words, for numbers do not make texts differ.
    return [
        {"text": f"word{chr(97 + n // 26)}{chr(97 + n % 26)}", "labels": ["ab"[n % 2]], **fields} for n in range(count)
    ]


def sizes(data):
    return len(data.train), len(data.validation), len(data.test)


def test_a_table_without_a_split_is_split(tmp_path):
    data = load(write_rows(tmp_path / "mine.jsonl", texts(100)))
    assert sizes(data) == (70, 15, 15)
    assert (data.name, data.modality, data.labels) == ("mine", "text", ("a", "b"))
    assert "mine.jsonl" in data.source


def test_a_split_is_the_same_for_the_same_seed(tmp_path):
    path = write_rows(tmp_path / "mine.jsonl", texts(100))
    assert load(path, seed=1) == load(path, seed=1) != load(path, seed=2)


def test_a_split_in_the_table_is_kept(tmp_path):
    rows = texts(10, split="train") + texts(3, split="dev") + texts(2, split="test")
    assert sizes(load(write_rows(tmp_path / "mine.jsonl", rows))) == (10, 3, 2)


def test_a_side_that_the_table_lacks_is_taken_from_train(tmp_path):
    rows = texts(85, split="train") + texts(40, split="test")
    data = load(write_rows(tmp_path / "mine.jsonl", rows))
    assert sizes(data) == (70, 15, 40)


def test_near_duplicates_are_on_one_side(tmp_path):
    copies = [{"text": f"Order {number} has been sent", "labels": []} for number in range(20)]
    data = load(write_rows(tmp_path / "mine.jsonl", texts(100) + copies))
    assert [sum(not e.labels for e in side) for side in (data.train, data.validation, data.test)].count(20) == 1


def test_a_table_with_a_split_in_some_rows_only_is_refused(tmp_path):
    path = write_rows(tmp_path / "mine.jsonl", texts(10, split="train") + texts(3))
    with pytest.raises(DataError, match="either every row must name its split or none, got 3"):
        load(path)


def test_a_table_without_training_examples_is_refused(tmp_path):
    path = write_rows(tmp_path / "mine.jsonl", texts(10, split="validation") + texts(3, split="test"))
    with pytest.raises(DataError, match="got none for train"):
        load(path)


def test_too_few_examples_to_split_are_refused(tmp_path):
    with pytest.raises(DataError, match="must have examples for train, validation and test"):
        load(write_rows(tmp_path / "mine.jsonl", texts(2)))


def test_texts_and_images_together_are_refused(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    path = write_rows(tmp_path / "mine.jsonl", [*texts(10), {"image": "a.png", "labels": []}])
    with pytest.raises(
        DataError, match="one kind of input and of label, got image with multi_label and text with multi_label"
    ):
        load(path)


def test_images_are_read_from_the_folder_that_is_named(tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(20):
        Image.new("RGB", (2, 2), (number, 0, 0)).save(tmp_path / f"photos/{number}.png")
    path = write_rows(tmp_path / "mine.jsonl", [{"image": f"{n}.png", "labels": ["x"]} for n in range(20)])
    data = load(path, images=tmp_path / "photos")
    assert data.modality == "image"
    assert sizes(data) == (14, 3, 3)
    assert all(example.image.parent == tmp_path / "photos" for example in data)


def test_a_folder_of_images_is_loaded(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "animals" / label).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (2, 2), (number, ord(label[0]), 0)).save(tmp_path / f"animals/{label}/{number}.png")
    data = load(str(tmp_path / "animals"))
    assert (data.name, data.labels, sizes(data)) == ("animals", ("cat", "dog"), (14, 3, 3))


def test_rare_labels_are_dropped_with_a_message_and_their_examples_stay(tmp_path, caplog):
    path = write_rows(tmp_path / "mine.jsonl", [*texts(20), {"text": "rara avis", "labels": ["rare"]}])
    with caplog.at_level(logging.WARNING):
        data = load(path, min_label_count=2)
    assert data.labels == ("a", "b")
    assert sum(sizes(data)) == 21
    assert "rare" not in {label for example in data for label in example.labels}
    assert "dropped 1 labels that fewer than 2 examples carry: rare" in caplog.text


def test_an_example_whose_only_class_is_rare_is_dropped_with_it(tmp_path, caplog):
    rows = [{"text": row["text"], "label": row["labels"][0]} for row in texts(20)]
    path = write_rows(tmp_path / "mine.jsonl", [*rows, {"text": "rara avis", "label": "rare"}])
    with caplog.at_level(logging.WARNING):
        data = load(path, min_label_count=2)
    assert (data.task, data.labels, sum(sizes(data))) == ("multi_class", ("a", "b"), 20)
    assert "dropped 1 examples with them" in caplog.text


def test_a_word_whose_tag_is_rare_stays_without_it(tmp_path):
    rows = [{"words": [row["text"], "end"], "tags": ["W", "E"]} for row in texts(20)]
    path = write_rows(tmp_path / "mine.jsonl", [*rows, {"words": ["rara", "avis"], "tags": ["W", "rare"]}])
    data = load(path, min_label_count=2)
    assert (data.task, data.labels) == ("token_classification", ("E", "W"))
    [example] = [example for example in data if example.words == ("rara", "avis")]
    assert example.labels == ("W", "")
