import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import pytest

from model.devices import DeviceUnavailable, available_devices
from model.session import LET_THE_MODEL_DECIDE, InvalidSparsity, Session, Sparsity
from model.sparse_softmax import native

TEXTS = [
    "we saw the violin and the choir",
    "storm and snow today",
    "a goal",
    "the",
    "bread soup tennis race",
    "a",
    "rain",
]


@pytest.fixture(scope="module")
def session(text_predictor) -> Session:
    return text_predictor.session


@pytest.fixture(scope="module")
def feed(text_predictor):
    """Make the inputs of some texts: `feed(texts)`."""

    def collated(texts):
        return text_predictor.preprocess.collate([text_predictor.preprocess(text) for text in texts])

    return collated


def _counts(rows):
    return [len(row.label_index) for row in rows]


@pytest.mark.parametrize("k", [0, 1, 2, 3])
def test_a_wanted_label_count_is_granted_exactly(session, feed, k):
    rows = session.run(feed(TEXTS), [Sparsity(label_count=k)] * len(TEXTS)).rows()
    assert _counts(rows) == [k] * len(TEXTS)
    assert all(row.sparsity_rate == (4 - k) / 4 for row in rows)


def test_all_classes_wanted_gives_all_but_the_lowest_which_is_the_cut(session, feed):
    rows = session.run(feed(TEXTS), [Sparsity(label_count=4)] * len(TEXTS)).rows()
    assert _counts(rows) == [3] * len(TEXTS)


@pytest.mark.parametrize(("rate", "count"), [(1.0, 1), (0.75, 1), (0.5, 2), (0.25, 3), (0.0, 3)])
def test_a_wanted_sparsity_rate_is_granted(session, feed, rate, count):
    rows = session.run(feed(TEXTS), [Sparsity(sparsity_rate=rate)] * len(TEXTS)).rows()
    assert _counts(rows) == [count] * len(TEXTS)
    assert all(row.sparsity_rate == rate for row in rows)


def test_rows_of_one_batch_may_wish_for_different_things(session, feed):
    wishes = [Sparsity(label_count=3), LET_THE_MODEL_DECIDE, Sparsity(label_count=0), Sparsity(sparsity_rate=0.5)]
    rows = session.run(feed([TEXTS[0]] * 4), wishes).rows()
    [own] = session.run(feed([TEXTS[0]])).rows()
    assert _counts(rows) == [3, len(own.label_index), 0, 2]
    np.testing.assert_array_equal(rows[1].label_index, own.label_index)


def test_the_sparse_rows_are_the_non_zeros_of_the_dense_ones(session, feed):
    answers = session.run(feed(TEXTS), dense=True)
    for row, dense_row in zip(answers.rows(), answers.probabilities_NC, strict=True):
        np.testing.assert_array_equal(row.label_index, dense_row.nonzero()[0])
        np.testing.assert_array_equal(row.label_probability, dense_row[row.label_index])
        assert dense_row.sum() == pytest.approx(1, abs=1e-6) or not dense_row.any()
    assert session.run(feed(TEXTS)).probabilities_NC is None


def test_a_text_is_answered_alone_as_in_a_padded_batch(session, feed):
    together = session.run(feed(TEXTS)).rows()
    for text, row in zip(TEXTS, together, strict=True):
        [alone] = session.run(feed([text])).rows()
        np.testing.assert_array_equal(alone.label_index, row.label_index)
        np.testing.assert_allclose(alone.label_probability, row.label_probability, atol=1e-6)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Sparsity(label_count=-1), r"label_count must be in \[0, 4\], got -1"),
        (Sparsity(label_count=5), r"label_count must be in \[0, 4\], got 5"),
        (Sparsity(sparsity_rate=1.5), r"sparsity_rate must be in \[0, 1\], got 1.5"),
        (Sparsity(sparsity_rate=-1.0), r"sparsity_rate must be in \[0, 1\], got -1.0"),
        (Sparsity(sparsity_rate=math.nan), r"sparsity_rate must be in \[0, 1\], got nan"),
        (Sparsity(label_count=1, sparsity_rate=0.5), "exclude each other, got 1 and 0.5"),
    ],
)
def test_a_wish_that_cannot_be_granted_is_refused_with_its_value(session, feed, wish, message):
    with pytest.raises(InvalidSparsity, match=message):
        session.run(feed(TEXTS[:2]), [LET_THE_MODEL_DECIDE, wish])


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="this runtime offers CUDA")
def test_cuda_where_there_is_none_is_refused(trained_text):
    with pytest.raises(DeviceUnavailable, match="got 'cuda'"):
        Session(trained_text.exported.bundle, "cuda")


def test_a_session_says_what_computes_r_softmax(session):
    assert session.r_softmax == native.implementation(session.device)


def test_the_kernel_and_the_function_choose_the_same_labels(monkeypatch, trained_text, session, feed):
    if session.r_softmax.kind == "function":
        pytest.skip(f"no compiled kernel, {session.r_softmax.reason}")
    monkeypatch.setenv("LABELSET_NATIVE_LIBRARY", "off")
    on_function = Session(trained_text.exported.bundle, "cpu")
    assert on_function.r_softmax.kind == "function"
    wishes = [Sparsity(label_count=count % 5) for count in range(len(TEXTS))]
    for one, other in zip(
        session.run(feed(TEXTS), wishes).rows(), on_function.run(feed(TEXTS), wishes).rows(), strict=True
    ):
        np.testing.assert_array_equal(one.label_index, other.label_index)
        np.testing.assert_allclose(one.label_probability, other.label_probability, rtol=1e-5)


def test_auto_takes_the_preferred_device(trained_text):
    assert Session(trained_text.exported.bundle, "auto").device == available_devices()[0]


def test_threads_share_a_session_and_answer_as_one_does(session, feed):
    batches = [feed(TEXTS[start:]) for start in range(len(TEXTS))] * 8
    wishes = [[Sparsity(label_count=len(batch["token_ids"]) % 4)] * len(batch["token_ids"]) for batch in batches]
    alone = [session.run(batch, wish, dense=True).probabilities_NC for batch, wish in zip(batches, wishes, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        together = list(
            pool.map(lambda batch, wish: session.run(batch, wish, dense=True).probabilities_NC, batches, wishes)
        )
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
