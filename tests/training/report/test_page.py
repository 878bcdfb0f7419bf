"""The report as a reader finds it: parsed from the page that was written."""

import base64
import io
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from training.data.dataset import Example, LabelledData
from training.evaluate import Answers, answer
from training.metrics import METRIC_TITLES
from training.overrides import override
from training.record import Result, read_history
from training.report import write_report
from training.report.hardest import hardest_samples
from training.report.sentences import TaggedWord, hardest_sentences
from training.report.statistics import example_f1, label_quality
from training.report.units import duration

HOSTILE = '<script>alert("1")</script>'
HISTORY = [
    {
        "epoch": 1.0,
        "step": 5,
        "train_loss": 1.0,
        "seconds": 61.0,
        "learning_rate": 1e-3,
        "active_share": 0.5,
        "peak_memory_bytes": 123_400_000,
        "validation_example_f1": 0.5,
    }
]


class Page(HTMLParser):
    """Tables by their id, as rows of cells; addresses and tags of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self._rows: list[list[str]] = []
        self._is_cell = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.tags.append(tag)
        self.addresses += [named[name] for name in ("src", "srcset", "href") if named.get(name)]
        if tag == "table":
            self._rows = self.tables[named["id"]] = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._is_cell = True
            self._rows[-1].append("")

    def handle_endtag(self, tag):
        self._is_cell &= tag not in ("td", "th")

    def handle_data(self, data):
        if self._is_cell:
            self._rows[-1][-1] += data


def report(folder, recipe, data, answers, history=HISTORY) -> tuple[Page, str]:
    sizes = {"train": len(data.train), "validation": len(data.validation), "test": len(data.test)}
    result = Result(
        data=data.name,
        licence=data.licence,
        examples=sizes,
        labels=len(data.labels),
        validation={"example_f1": 0.5},
        test={"example_f1": 0.25, "macro_f1": 0.125},
        bundle="model",
        bundle_bytes=1_500_000,
    )
    html = write_report(folder, recipe, data, answers, history, result).read_text()
    return Page(html), html


def answers_of(probabilities, targets, example=None) -> Answers:
    probabilities = np.array(probabilities, np.float32)
    logits = np.where(probabilities > 0, np.log(np.maximum(probabilities, 1e-9)), -9).astype(np.float32)
    counts = np.zeros((len(probabilities), 3), np.float32)
    return Answers(logits, counts, probabilities, np.array(targets, bool), example)


def _right(data) -> Answers:
    targets = np.array([[label in example.labels for label in data.labels] for example in data.test])
    return answers_of(targets / np.maximum(targets.sum(axis=1, keepdims=True), 1), targets)


@pytest.fixture(params=["text", "image"])
def trained(request):
    return request.getfixturevalue(f"trained_{request.param}")


def test_a_trained_run_gets_the_figures_of_its_answers(trained, tmp_path):
    answers = answer(trained.parts.classifier, trained.parts.test, "test")
    page, html = report(tmp_path, trained.recipe, trained.data, answers, read_history(trained.run_folder))
    expected = label_quality(answers.probabilities_NC != 0, answers.targets_NC, trained.data.labels)
    assert page.tables["labels"][1:] == [
        [row.label, str(row.frequency), str(row.predicted), *(f"{x:.3f}" for x in (row.precision, row.recall, row.f1))]
        for row in expected
    ]
    assert sum(row.frequency for row in expected) == sum(len(example.labels) for example in trained.data.test)
    assert page.tables["metrics"][1] == ["example-F1", "0.5000", "0.2500"]
    assert page.tables["metrics"][2] == [METRIC_TITLES["macro_f1"], "-", "0.1250"]
    settings = dict(page.tables["settings"])
    assert settings["data.source"] == trained.recipe.data.source
    assert settings["schedule.epochs"] == str(trained.recipe.schedule.epochs)
    assert settings["optimizer.head_lr"] == "0.01"
    wrong = int((example_f1(answers.probabilities_NC != 0, answers.targets_NC) < 1).sum())
    assert html.count("<figcaption>") == min(wrong, 12)


@pytest.mark.parametrize("policy", ["predicted_f1", "predicted_count"])
def test_the_page_says_whose_figures_those_on_validation_are(text_recipe, text_data, tmp_path, policy):
    recipe = override(text_recipe, [f"head.policy={policy}"])
    _, html = report(tmp_path, recipe, text_data, _right(text_data))
    assert ("validation are those of the expected F1" in html) == (policy == "predicted_f1")


def test_the_page_needs_nothing_but_itself_and_its_pictures_lie_beside_it(trained_text, tmp_path):
    answers = answer(trained_text.parts.classifier, trained_text.parts.test, "test")
    page, html = report(tmp_path, trained_text.recipe, trained_text.data, answers)
    assert page.addresses
    assert all(address.startswith("data:") for address in page.addresses)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "@import" not in html
    assert "url(" not in html
    names = {"loss", "quality", "learning_rate", "seconds", "active_share", "labels", "counts", "co_occurrence"}
    pictures = {file.stem: file for file in (tmp_path / "report").iterdir()}
    assert names <= set(pictures)
    # Each figure in both themes: the light one is the file, the dark one is dark.
    [light, *_] = [
        address for address in page.addresses if base64.b64encode(pictures["loss"].read_bytes()).decode() in address
    ]
    dark = page.addresses[page.addresses.index(light) - 1]
    for address, is_light in ((light, True), (dark, False)):
        with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
            assert picture.size == (768, 496)
            assert (np.array(picture.convert("L")).mean() > 128) == is_light


def test_costs_are_those_of_the_history_and_right_answers_are_no_hard_samples(text_recipe, text_data, tmp_path):
    page, html = report(tmp_path, text_recipe, text_data, _right(text_data))
    assert page.tables["costs"][1:] == [
        ["training", "1:01"],
        ["epochs", "1"],
        ["steps", "5"],
        ["peak memory", "123.4 MB"],
        ["bundle", "1.5 MB"],
    ]
    assert duration(3 * 3600 + 2) == "3:00:02"

    assert "Every answer on the test split is right." in html
    assert "<figcaption>" not in html


def test_what_looks_like_a_tag_is_shown_and_not_obeyed(text_recipe, tmp_path):
    labels = (HOSTILE, "$x_1$ & y")
    test = [Example((HOSTILE,), text=f"a text with {HOSTILE}"), Example(labels, text="b")]
    data = LabelledData(HOSTILE, "text", labels, test, test, test, HOSTILE, "made by a test")
    page, html = report(tmp_path, text_recipe, data, answers_of([[0, 1], [1, 0]], [[1, 0], [1, 1]]))
    assert "script" not in page.tags
    assert "<script" not in html
    assert [row[0] for row in page.tables["labels"][1:]] == list(labels)
    assert "a text with &lt;script&gt;" in html


def test_the_hardest_sample_is_that_with_the_largest_loss_and_right_ones_are_left_out():
    examples = [Example(("a",), text="close"), Example(("a",), text="sure and wrong"), Example(("b",), text="right")]
    answers = answers_of([[0.4, 0.6], [0.01, 0.99], [0, 1]], [[1, 0], [1, 0], [0, 1]])
    first, second = hardest_samples(answers, examples, ("a", "b"))
    assert (first.text, first.number, second.text) == ("sure and wrong", 1, "close")
    assert first.loss > second.loss
    assert [(said.label, said.is_shared) for said in first.truth] == [("a", True)]
    assert [(said.label, said.is_shared) for said in first.prediction] == [("b", False), ("a", True)]
    assert first.prediction[0].probability == pytest.approx(0.99)


def test_a_picture_is_shown_small_and_on_white_where_it_is_transparent(tmp_path):
    Image.new("RGBA", (600, 300), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    example = Example(("a",), image=tmp_path / "clear.png")
    [sample] = hardest_samples(answers_of([[0, 1]], [[1, 0]]), [example], ("a", "b"))
    assert sample.file_name == "clear.png"
    with Image.open(io.BytesIO(base64.b64decode(sample.picture.partition(",")[2]))) as picture:
        assert (picture.format, picture.size) == ("JPEG", (240, 120))
        assert np.array(picture).min() > 250


def test_a_short_recording_can_be_heard_and_a_long_one_is_named(tmp_path):
    (tmp_path / "short.wav").write_bytes(b"RIFF")
    (tmp_path / "long.wav").write_bytes(bytes(200_000))
    examples = [Example(("a",), audio=tmp_path / f"{name}.wav") for name in ("short", "long")]
    short, long = hardest_samples(answers_of([[0, 1]] * 2, [[1, 0]] * 2), examples, ("a", "b"))
    assert short.recording == f"data:audio/wav;base64,{base64.b64encode(b'RIFF').decode()}"
    assert (long.recording, long.file_name) == (None, "long.wav")


def test_classes_have_a_confusion_of_classes_in_place_of_counts(text_recipe, text_data, tmp_path):
    data = replace(text_data, task="multi_class")
    targets = np.eye(4, dtype=bool)[np.arange(len(data.test)) % 4]
    report(tmp_path, text_recipe, data, answers_of(np.roll(targets, 1, axis=0), targets))
    assert {"classes", "labels"} <= {file.stem for file in (tmp_path / "report").iterdir()}
    assert not {"counts", "co_occurrence"} & {file.stem for file in (tmp_path / "report").iterdir()}


def test_words_are_shown_in_their_sentence(text_recipe, tmp_path):
    labels = ("noun", "verb")
    sentence = Example(("noun", "", "verb", "noun"), words=("dogs", "?", "bark", HOSTILE))
    right = Example(("verb",), words=("go",))
    data = LabelledData("w", "text", labels, [right], [right], [right, sentence], "", "", task="token_classification")
    # The model has read three of the four words of the second sentence, of which one is not to be learned.
    answers = answers_of([[0, 1], [1, 0], [1, 0]], [[0, 1], [1, 0], [0, 1]], example=np.array([0, 1, 1]))
    [hard] = hardest_sentences(answers, data.test, labels)
    assert hard.number == 1
    assert hard.words == [
        TaggedWord("dogs", "noun", "noun"),
        TaggedWord("?"),
        TaggedWord("bark", "verb", "noun"),
        TaggedWord(HOSTILE),
    ]
    page, html = report(tmp_path, text_recipe, data, answers)
    assert "verb → noun" in html
    assert html.count("<small>") == 1
    assert "script" not in page.tags


def test_a_page_in_another_script_is_drawn_without_a_warning(text_recipe, tmp_path):
    labels = ("猫", "🐕", "x" * 80)
    test = [Example((label,), text=label) for label in labels]
    data = LabelledData("d", "text", labels, test, test, test, "", "made by a test")
    page, _ = report(tmp_path, text_recipe, data, answers_of(np.eye(3), np.eye(3)))
    assert [row[0] for row in page.tables["labels"][1:]] == list(labels)
