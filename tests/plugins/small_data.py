"""Data sets of a few dozen examples, of every kind and task, made by a test."""

import random

import numpy as np
import pytest
import soundfile
from PIL import Image, ImageDraw

from training.data.dataset import Example, LabelledData


@pytest.fixture(scope="session")
def text_data() -> LabelledData:
    """60 sentences; each label has words of its own, and some sentences carry none."""
    words = {
        "food": ("bread", "soup", "cheese"),
        "music": ("violin", "choir", "drum"),
        "sport": ("goal", "race", "tennis"),
        "weather": ("rain", "storm", "snow"),
    }
    chance = random.Random(0)
    examples = []
    for _ in range(60):
        labels = tuple(sorted(chance.sample(sorted(words), chance.choice([0, 1, 1, 2, 2]))))
        tokens = [word for label in labels for word in chance.sample(words[label], 2)]
        tokens += chance.choices(("the", "a", "today", "we", "saw"), k=chance.randint(2, 5))
        chance.shuffle(tokens)
        examples.append(Example(labels, text=" ".join(tokens)))
    return LabelledData(
        "words", "text", tuple(words), examples[:40], examples[40:50], examples[50:], "CC0", "made by a test"
    )


@pytest.fixture(scope="session")
def image_data(tmp_path_factory: pytest.TempPathFactory) -> LabelledData:
    """40 pictures of one or two coloured shapes on white; the labels are the colours and shapes that are there."""
    colours = {"blue": (40, 60, 210), "green": (30, 150, 60), "red": (220, 40, 40)}
    folder = tmp_path_factory.mktemp("pictures")
    chance = random.Random(0)
    examples = []
    for number in range(40):
        picture = Image.new("RGB", (48, 40), "white")
        draw = ImageDraw.Draw(picture)
        labels = set()
        for left in chance.sample((2, 26), chance.choice([1, 2])):
            colour, shape = chance.choice(sorted(colours)), chance.choice(["circle", "square"])
            top = chance.randint(2, 18)
            (draw.ellipse if shape == "circle" else draw.rectangle)((left, top, left + 19, top + 19), colours[colour])
            labels |= {colour, shape}
        # Both kinds of file that are seen most; JPEG decodes at reduced scale where the picture is large enough.
        image = folder / f"{number}.{'jpg' if number % 2 else 'png'}"
        picture.resize((288, 240), Image.Resampling.NEAREST).save(image)
        examples.append(Example(tuple(sorted(labels)), image=image))
    space = tuple(sorted({"circle", "square", *colours}))
    return LabelledData(
        "shapes", "image", space, examples[:26], examples[26:32], examples[32:], "CC0", "drawn by a test"
    )


@pytest.fixture(scope="session")
def audio_data(tmp_path_factory: pytest.TempPathFactory) -> LabelledData:
    """80 recordings of faint noise with some of three tones in it; the labels are the tones that sound."""
    tones_hz = {"high": 2200, "low": 300, "middle": 900}
    folder = tmp_path_factory.mktemp("recordings")
    chance = np.random.default_rng(0)
    examples = []
    for number in range(80):
        # Every kind of file, some at another rate than the model's, some in stereo, some longer than it hears.
        ending, sample_rate = ("wav", "flac", "ogg")[number % 3], (8_000, 22_050)[number % 2]
        seconds = np.arange(int(sample_rate * chance.uniform(0.3, 0.7))) / sample_rate
        labels = sorted(chance.choice(sorted(tones_hz), size=chance.integers(0, 4), replace=False).tolist())
        sound = chance.normal(0, 0.003, len(seconds))
        for label in labels:
            cycles = tones_hz[label] * chance.uniform(0.95, 1.05) * seconds + chance.random()
            sound += 0.2 * np.sin(2 * np.pi * cycles)
        audio = folder / f"{number}.{ending}"
        soundfile.write(audio, np.stack([sound] * (1 + number % 4 // 3), axis=1), sample_rate)
        examples.append(Example(tuple(labels), audio=audio))
    return LabelledData(
        "tones", "audio", tuple(tones_hz), examples[:56], examples[56:68], examples[68:], "CC0", "made by a test"
    )


@pytest.fixture(scope="session")
def class_data() -> LabelledData:
    """60 sentences, each of them about one of four things."""
    words = {
        "food": ("bread", "soup", "cheese"),
        "music": ("violin", "choir", "drum"),
        "sport": ("goal", "race", "tennis"),
        "weather": ("rain", "storm", "snow"),
    }
    chance = random.Random(0)
    examples = []
    for number in range(60):
        label = sorted(words)[number % 4]
        tokens = [*chance.sample(words[label], 2), *chance.choices(("the", "a", "today", "we", "saw"), k=3)]
        chance.shuffle(tokens)
        examples.append(Example((label,), text=" ".join(tokens)))
    return LabelledData(
        "topics",
        "text",
        tuple(words),
        examples[:40],
        examples[40:48],
        examples[48:],
        "CC0",
        "made by a test",
        "multi_class",
    )


@pytest.fixture(scope="session")
def token_data() -> LabelledData:
    """80 sentences with parts of speech; `saw` and `duck` are nouns or verbs by their place, `uh` has no label."""
    nouns, verbs = ("dog", "cat", "saw", "duck", "singer"), ("saw", "chases", "duck", "hears")
    chance = random.Random(0)
    examples = []
    for _ in range(80):
        tagged = [("the", "DET"), (chance.choice(nouns), "NOUN"), (chance.choice(verbs), "VERB")]
        if chance.random() < 0.7:
            tagged += [(chance.choice(("a", "the")), "DET"), (chance.choice(nouns), "NOUN")]
        if chance.random() < 0.3:
            tagged.insert(chance.randint(0, len(tagged)), ("uh", ""))
        tagged.append((chance.choice(".!"), "MARK"))
        words, labels = zip(*tagged, strict=True)
        examples.append(Example(labels, words=words))
    return LabelledData(
        "grammar",
        "text",
        ("DET", "MARK", "NOUN", "VERB"),
        examples[:56],
        examples[56:66],
        examples[66:],
        "CC0",
        "made by a test",
        "token_classification",
    )
