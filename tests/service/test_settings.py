"""Settings: where they come from, and what a wrong one says."""

import pytest

from model.errors import LabelsetError
from service.settings import BatchLimits, InvalidSettings, Settings


def test_a_variable_sets_its_field_and_an_argument_overrides_it(monkeypatch):
    monkeypatch.setenv("LABELSET_PORT", "9000")
    assert Settings().port == 9000
    assert Settings(port=9001).port == 9001


def test_an_empty_variable_is_as_good_as_none(monkeypatch):
    monkeypatch.setenv("LABELSET_DEVICE", "")
    assert Settings().device == "auto"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("DEVICE", "tpu"),
        ("MAX_BATCH_SIZE", "0"),
        ("DECODE_THREADS", "-1"),
        ("WATCH_SECONDS", "-1"),
    ],
)
def test_an_impossible_value_is_refused_with_variable_and_value(monkeypatch, variable, value):
    monkeypatch.setenv(f"LABELSET_{variable}", value)
    with pytest.raises(InvalidSettings, match=rf"LABELSET_{variable}: .*, got '{value}'"):
        Settings()


@pytest.mark.parametrize(
    ("misspelt", "meant"), [("MAX_IMAGE_BYTE", "MAX_IMAGE_BYTES"), ("MODEL", "MODELS"), ("MAX_BATCH", "MAX_BATCH_SIZE")]
)
def test_a_misspelt_variable_is_refused_with_the_right_name(monkeypatch, misspelt, meant):
    monkeypatch.setenv(f"LABELSET_{misspelt}", "100")
    with pytest.raises(
        InvalidSettings, match=rf"LABELSET_{misspelt} is not a setting; did you mean LABELSET_{meant}\?"
    ):
        Settings()


def test_a_variable_of_another_part_is_left_alone(monkeypatch):
    monkeypatch.setenv("LABELSET_NATIVE_LIBRARY", "lib.so")
    assert Settings().port == 8000


def test_an_unknown_argument_is_refused():
    with pytest.raises(InvalidSettings, match="LABELSET_COLOR"):
        Settings(color="red")


@pytest.mark.parametrize(
    ("limit", "other"), [("max_image_bytes", "max_audio_bytes"), ("max_audio_bytes", "max_image_bytes")]
)
def test_a_body_limit_under_that_of_a_file_is_refused(limit, other):
    with pytest.raises(LabelsetError, match="LABELSET_MAX_BODY_BYTES must be at least 2357"):
        Settings(**{limit: 1000, other: 1}, max_body_bytes=2356)
    limits = Settings(**{limit: 1000, other: 1}, max_body_bytes=2357).limits
    assert getattr(limits, limit) == 1000


def test_a_body_that_could_never_be_received_is_refused():
    with pytest.raises(
        InvalidSettings, match=r"MAX_OPEN_BODY_BYTES must be at least LABELSET_MAX_BODY_BYTES \d+.*got 1"
    ):
        Settings(max_open_body_bytes=1)
    most = Settings().max_body_bytes
    assert Settings(max_open_body_bytes=most).max_open_body_bytes == most


def test_a_request_that_could_never_wait_is_refused():
    with pytest.raises(InvalidSettings, match=r"MAX_WAITING must be at least LABELSET_MAX_BATCH_SIZE 32.*got 31"):
        Settings(max_waiting=31)
    assert Settings(max_waiting=32, max_batch_tokens=100).batch_limits == BatchLimits(rows=32, tokens=100)
