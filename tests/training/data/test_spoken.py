import numpy as np
import pytest
import soundfile

from training.data.dataset import Example, label_counts
from training.data.spoken import LANGUAGES, load_spoken, read_name, read_spoken


def write_clip(folder, name, hz):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(2 * np.pi * hz * np.arange(2_000) / 8_000), 8_000)
    return path


def test_a_clip_has_its_language_and_the_words_of_its_english_name(tmp_path):
    (tmp_path / "hat.txt").write_text("A Red hat, for you.\nfr.utf8=Un chapeau rouge.\n")
    french, english = write_clip(tmp_path, "hat_desc_fr.ogg", 300), write_clip(tmp_path, "hat_desc.ogg", 400)
    assert read_spoken(tmp_path) == [
        Example(("English", "hat", "red"), audio=english, group="a red hat, for you."),
        Example(("French", "hat", "red"), audio=french, group="a red hat, for you."),
    ]


def test_noises_and_languages_of_a_handful_of_clips_are_left_out(tmp_path):
    write_clip(tmp_path, "chick.ogg", 300)
    write_clip(tmp_path, "chick_desc_ml.ogg", 400)
    assert read_spoken(tmp_path) == []


def test_a_recording_that_serves_two_pictures_is_one_example(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"Picture {name}")
        write_clip(tmp_path, f"{name}_desc_fr.ogg", 300)
    (tmp_path / "b_desc_fr.ogg").write_bytes((tmp_path / "a_desc_fr.ogg").read_bytes())
    [example] = read_spoken(tmp_path)
    assert example.group == "picture a"


def test_a_picture_without_a_name_has_none(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    assert read_name(tmp_path / "empty.txt") == read_name(tmp_path / "missing.txt") == ""


@pytest.mark.slow
def test_the_real_clips_have_one_language_each_and_no_name_is_on_two_sides():
    data = load_spoken()
    assert (len(data.train), len(data.validation), len(data.test), len(data.labels)) == (4496, 963, 966, 30)
    languages = set(LANGUAGES.values())
    assert all(len(languages.intersection(example.labels)) == 1 for example in data)
    counts = label_counts(list(data))
    assert (counts["French"], counts["letter"], counts["red"]) == (771, 648, 130)
    names = [{example.group for example in side} for side in (data.train, data.validation, data.test)]
    assert sum(map(len, names)) == len(set.union(*names))
