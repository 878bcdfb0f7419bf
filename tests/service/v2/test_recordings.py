"""Recordings over the protocol: as bytes, and in JSON as base64."""

import base64

import pytest
from triton_clients import http_client
from tritonclient.utils import InferenceServerException

from model import golden
from model.predictor import Predictor


@pytest.fixture(scope="module")
def audio_client(serve, trained_audio, tmp_path_factory):
    models = tmp_path_factory.mktemp("models")
    (models / "tones").mkdir()
    (models / "tones" / "1").symlink_to(trained_audio.bundle)
    with http_client(serve(models=models).url) as client:
        yield client


@pytest.mark.parametrize("binary", [True, False])
def test_recordings_have_the_label_sets_of_their_golden_examples(audio_client, trained_audio, bytes_input, binary):
    examples = golden.load(Predictor.open(trained_audio.bundle, device="cpu"))
    recordings = [example.item if binary else base64.b64encode(example.item) for example in examples]
    result = audio_client.infer("tones", [bytes_input("audio", recordings, binary)])
    expected = [label.label for example in examples for label in example.labels]
    assert expected
    assert [label.decode() for label in result.as_numpy("label")] == expected


def test_what_is_no_recording_is_refused_with_its_index(audio_client, bytes_input):
    with pytest.raises(
        InferenceServerException, match=r"^\[422\] element 0 of input 'audio': a recording in JSON must"
    ):
        audio_client.infer("tones", [bytes_input("audio", [b"!"], binary=False)])
