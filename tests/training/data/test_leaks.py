import shutil

from PIL import Image, ImageDraw

from training.data.dataset import Example, LabelledData
from training.data.leaks import find_leaks


def data(train, validation, test, modality="text"):
    return LabelledData("mine", modality, ("a",), train, validation, test, "", "")


def texts(*contents):
    return [Example(("a",), text=content) for content in contents]


def counts(leaks):
    return {(leak.kind, leak.source, leak.side): leak.count for leak in leaks}


def test_repeated_texts_are_counted_for_each_pair_of_sides():
    leaks = find_leaks(
        data(
            texts("the cat sat", "dogs bark loudly at night", "a", "b"),
            texts("The cat sat!", "dogs bark loudly at night", "c", "e"),
            texts("the cat sat", "the cat sat", "d", "e"),
        )
    )
    assert counts(leaks) == {
        ("repeat", "train", "validation"): 1,
        ("repeat", "train", "test"): 2,
        ("repeat", "validation", "test"): 1,
        ("nearly repeat", "train", "validation"): 1,
        ("nearly repeat", "validation", "test"): 2,
    }
    assert str(leaks[0]) == (
        "1 of 4 validation examples repeat one of train: 'dogs bark loudly at night' and 'dogs bark loudly at night'"
    )
    assert leaks[3].pairs == (("The cat sat!", "the cat sat"),)


def test_near_texts_are_left_out_when_they_are_not_asked_for():
    sides = data(texts("the cat sat"), texts("The cat sat!"), texts("x"))
    assert counts(find_leaks(sides)) == {("nearly repeat", "train", "validation"): 1}
    assert find_leaks(sides, near=False) == []


def test_sentences_are_compared_by_their_words():
    sentence = Example(("N", "V"), words=("dogs", "bark"))
    other = Example(("N", "N"), words=("dogs", "bark"))
    third = Example(("X",), words=("x",))
    assert counts(find_leaks(data([sentence], [third], [other]))) == {("repeat", "train", "test"): 1}


def test_pictures_repeat_by_their_bytes_or_their_looks(tmp_path):
    def picture(name, left):
        image = Image.new("RGB", (90, 60), "white")
        ImageDraw.Draw(image).rectangle((left, 10, left + 30, 50), fill="navy")
        image.save(tmp_path / name)
        return [Example(("a",), image=tmp_path / name)]

    train, validation, test = picture("one.png", 5), picture("again.jpg", 5), picture("other.png", 50)
    shutil.copy(tmp_path / "one.png", tmp_path / "copy.png")
    sides = data(train, validation, [*test, Example((), image=tmp_path / "copy.png")], "image")
    assert counts(find_leaks(sides)) == {
        ("repeat", "train", "test"): 1,
        ("nearly repeat", "train", "validation"): 1,
        ("nearly repeat", "validation", "test"): 1,
    }
    assert counts(find_leaks(sides, near=False)) == {("repeat", "train", "test"): 1}


def test_recordings_repeat_by_their_bytes(tmp_path):
    for name, content in {"a.wav": b"12", "b.wav": b"34", "c.wav": b"12"}.items():
        (tmp_path / name).write_bytes(content)
    first, second, third = (Example((), audio=tmp_path / name) for name in ("a.wav", "b.wav", "c.wav"))
    assert counts(find_leaks(data([first], [second], [third], "audio"))) == {("repeat", "train", "test"): 1}
