import pytest

from training.data import fetch_by_name, load
from training.data.dataset import DataError, label_counts
from training.data.synthetic import load_synthetic


def means(data):
    examples = list(data)
    labels = sum(len(example.labels) for example in examples) / len(examples)
    length = sum(len(example.text.split()) for example in examples) / len(examples)
    return labels, length


def test_classes_labels_and_length_are_as_chosen():
    data = load_synthetic(classes=30, labels=4, length=20, words=50, examples=1000)
    labels, length = means(data)
    assert (len(data.train), len(data.validation), len(data.test)) == (700, 150, 150)
    assert len(data.labels) == 30
    assert set(label_counts(list(data))) <= set(data.labels)
    # Of a Poisson of 4 without its zeros.
    assert labels == pytest.approx(4.07, abs=0.2)
    assert length == pytest.approx(20, abs=0.5)
    assert {word for example in data for word in example.text.split()} == {f"w{number:02d}" for number in range(50)}


def test_every_document_has_a_label():
    assert all(example.labels for example in load_synthetic(classes=5, labels=1, length=10, examples=300))


def test_a_seed_gives_the_same_documents_and_another_seed_others():
    first, again, other = (load_synthetic(seed, length=10, examples=50).train for seed in (1, 1, 2))
    assert first == again != other


def test_the_words_of_a_document_hang_on_its_labels():
    data = load_synthetic(classes=2, labels=1, length=200, words=20, examples=200)
    alone = {label: [e.text.split() for e in data if e.labels == (label,)] for label in data.labels}
    rates = {
        label: [sum(words.count(f"w{n:02d}") / len(words) for words in texts) / len(texts) for n in range(20)]
        for label, texts in alone.items()
    }
    distance = sum(abs(a - b) for a, b in zip(*rates.values(), strict=True))
    assert distance > 0.3


def test_words_are_in_random_order():
    text = load_synthetic(length=50, examples=10).train[0].text.split()
    assert text != sorted(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"words": 0}, "words must be at least 1, got 0"), ({"labels": 21}, "labels must be at most classes, 20, got 21")],
)
def test_a_setting_out_of_range_is_an_error(settings, message):
    with pytest.raises(DataError, match=f"synthetic: {message}"):
        load_synthetic(**settings)


def test_settings_stand_in_the_name():
    name = "synthetic?classes=7&labels=2&length=10&examples=100"
    data = load(name)
    assert (data.name, len(data.labels)) == (name, 7)
    assert fetch_by_name(name) == f"{name}: 70 train, 15 validation, 15 test examples, 7 labels"
