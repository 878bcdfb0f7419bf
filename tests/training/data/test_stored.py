import pickle
from pathlib import Path

import pytest

from training.data.dataset import Example
from training.data.stored import ROWS_PER_BATCH, ExampleWriter, StoredExamples

EXAMPLES = [
    Example(("a", "b"), text="ein Stück", group="g"),
    Example((), text="none"),
    Example(("a",), image=Path("photos/1.png")),
    Example(("b",), audio=Path("clips/1.wav")),
    Example(("N", "", "V"), words=("the", "dog", "barks")),
]


def store(file, examples):
    with ExampleWriter(file) as writer:
        for example in examples:
            writer.write(example)
    return StoredExamples(file)


def test_examples_come_back_as_they_were(tmp_path):
    stored = store(tmp_path / "x.arrow", EXAMPLES)
    assert list(stored) == EXAMPLES
    assert [stored[index] for index in range(5)] == EXAMPLES
    assert (stored[-1], stored[1:3]) == (EXAMPLES[-1], EXAMPLES[1:3])


@pytest.mark.parametrize("count", [0, 1, ROWS_PER_BATCH - 1, ROWS_PER_BATCH, ROWS_PER_BATCH + 1, 5 * ROWS_PER_BATCH])
def test_every_position_is_found_however_the_batches_end(tmp_path, count):
    stored = store(tmp_path / "x.arrow", (Example((), text=str(number)) for number in range(count)))
    assert [stored[index].text for index in range(len(stored))] == [str(number) for number in range(count)]
    assert len(stored) == count
    for outside in (count, -count - 1):
        with pytest.raises(IndexError, match=rf"got {outside}"):
            stored[outside]


def test_labels_that_are_not_kept_are_not_read_and_words_keep_their_places(tmp_path):
    kept = store(tmp_path / "x.arrow", EXAMPLES).keep_labels({"a", "V"})
    assert [example.labels for example in kept] == [("a",), (), ("a",), (), ("", "", "V")]
    assert kept[4].words == ("the", "dog", "barks")


def test_another_process_reads_the_same_file(tmp_path):
    kept = store(tmp_path / "x.arrow", EXAMPLES).keep_labels({"a"})
    pickled = pickle.dumps(kept)
    assert len(pickled) < 1000
    assert list(pickle.loads(pickled)) == list(kept)
