"""A model as the session process has it: inputs of callers in, what becomes of each out."""

import io
import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from model.bundle import GRAPH, TOKENIZER, Bundle
from model.labels import LabelSet
from model.predictor import Predictor
from model.preprocess import ImageCorrupt, NotAnImage, TextTooLong
from model.session import LET_THE_MODEL_DECIDE, Sparsity
from service import session_model
from service.session_calls import Load
from service.session_model import SessionModel, _cheapest_batches
from service.settings import Settings

TEXTS = ["It encrypts the disk.", "It lists processes. " * 20, "It lists files.", "The group sent phishing mails. " * 9]


def load(folder, **settings):
    bundle = Bundle.open(folder)
    of_settings = replace(Settings().load_settings(["cpu"]), **settings)
    load = Load(0, bundle, of_settings, str(bundle.file(GRAPH)), bundle.read_text(TOKENIZER), is_known=True)
    return SessionModel(load)


def infer(model, items, *sparsities):
    return model.infer(items, sparsities or [LET_THE_MODEL_DECIDE] * len(items)).outcomes


def assert_same(outcomes, expected):
    for outcome, own in zip(outcomes, expected, strict=True):
        assert [label for label, _ in outcome.labels] == [label for label, _ in own.labels]
        assert [p for _, p in outcome.labels] == pytest.approx([p for _, p in own.labels], abs=1e-5)


@pytest.fixture
def batches(monkeypatch):
    """How many inputs, and how many tokens of the longest, went through the graph together."""
    found = []
    infer = Predictor.infer

    def noted(predictor, arrays, sparsities=()):
        found.append((len(arrays), max(map(len, arrays))))
        return infer(predictor, arrays, sparsities)

    monkeypatch.setattr(Predictor, "infer", noted)
    return found


@pytest.mark.parametrize("limit", [1, 40, 64, 100, 4096])
def test_texts_are_computed_within_the_limit_of_tokens_and_answered_in_their_order(bundles, batches, limit):
    model = load(bundles / "text-demo" / "1", token_limit=limit)
    wishes = [Sparsity(label_count=count) for count in (1, 2, 3, 4)]
    outcomes = infer(model, TEXTS, *wishes)
    assert sum(rows for rows, _ in batches) == 4
    assert all(rows * longest <= limit or rows == 1 for rows, longest in batches)
    assert len(batches) == {1: 4, 40: 3, 64: 3, 100: 3, 4096: 2}[limit]
    predictor = Predictor.open(bundles / "text-demo" / "1")
    assert_same(outcomes, [predictor.predict([text], wish)[0] for text, wish in zip(TEXTS, wishes, strict=True)])


@given(st.lists(st.integers(1, 64), min_size=1, max_size=7), st.sampled_from([20, 64, 200, 4096]), st.integers(0, 50))
def test_no_other_way_to_compute_texts_is_cheaper(lengths, limit, tokens_of_a_run):
    def cost(batches):
        padded = [max(lengths[place] for place in batch) * len(batch) for batch in batches]
        fits = all(tokens <= limit or len(batch) == 1 for tokens, batch in zip(padded, batches, strict=True))
        return sum(padded) + tokens_of_a_run * len(batches) if fits else math.inf

    found = _cheapest_batches(dict(enumerate(lengths)), limit, tokens_of_a_run)
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    ordered = sorted(range(len(lengths)), key=lengths.__getitem__)
    cuts = itertools.chain.from_iterable(itertools.combinations(range(1, len(lengths)), n) for n in range(len(lengths)))
    every_way = ([ordered[a:b] for a, b in itertools.pairwise([0, *cut, len(lengths)])] for cut in cuts)
    assert cost(found) == min(map(cost, every_way))


@pytest.mark.parametrize("decode_threads", [0, 3])
def test_pictures_that_cannot_be_decoded_fail_alone(bundles, monkeypatch, decode_threads):
    monkeypatch.setattr(session_model, "_DECODE_SECONDS", 60)  # however busy the machine is
    model = load(bundles / "image-demo" / "1", decode_threads=decode_threads)
    good = picture(300, 200)
    first, broken, other, last = infer(model, [good, good[:-200], b"no picture", good])
    assert isinstance(broken, ImageCorrupt)
    assert isinstance(other, NotAnImage)
    assert_same([first, last], Predictor.open(bundles / "image-demo" / "1").predict([good]) * 2)
    assert [type(outcome) for outcome in infer(model, [b"no picture"])] == [NotAnImage]


def test_the_limits_are_those_of_the_settings(bundles):
    limits = replace(Settings().limits, max_text_chars=5)
    outcomes = infer(load(bundles / "text-demo" / "1", limits=limits), ["123456", "12345"])
    assert [type(outcome) for outcome in outcomes] == [TextTooLong, LabelSet]


@pytest.mark.parametrize("decode_threads", [0, 2])
def test_who_comes_after_a_huge_picture_is_left_for_the_next_batch(bundles, huge_picture, decode_threads):
    model = load(bundles / "image-demo" / "1", decode_threads=decode_threads)
    small = picture(300, 200)
    before, huge, *after = infer(model, [small, huge_picture, *[small] * 4000])
    assert isinstance(before, LabelSet)
    assert isinstance(huge, LabelSet)
    assert after[-1] is None
    # The first is computed at any rate, or nobody would ever come to an end.
    assert isinstance(infer(model, [huge_picture])[0], LabelSet)


def picture(width, height):
    content = io.BytesIO()
    Image.effect_mandelbrot((width, height), (-2, -1, 1, 1), 50).convert("RGB").save(content, "JPEG")
    return content.getvalue()
