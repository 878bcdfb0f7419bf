"""The commands on bundles, run on the embedded ones."""

import dataclasses
import json
import shutil

import pytest
from click.testing import CliRunner

import labelset
from model import golden
from model.bundle import GRAPH, MANIFEST
from model.predictor import Predictor
from model.repository import EMBEDDED_BUNDLES, bundle_folders
from model.sparse_softmax import native

KINDS = ["image", "text"]


def run(*arguments):
    return CliRunner().invoke(labelset.main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def predictors():
    opened = (Predictor.open(folder.path) for folder in bundle_folders(EMBEDDED_BUNDLES))
    return {predictor.bundle.manifest.preprocessing.kind: predictor for predictor in opened}


@pytest.fixture
def inputs(tmp_path, predictors):
    """The first golden example of each kind as a file, with its expected answer."""
    examples = {kind: golden.load(predictor)[0] for kind, predictor in predictors.items()}
    (tmp_path / "picture.png").write_bytes(examples["image"].item)
    (tmp_path / "text.txt").write_text(examples["text"].item, encoding="utf-8")
    files = {"image": tmp_path / "picture.png", "text": tmp_path / "text.txt"}
    return {kind: (files[kind], examples[kind]) for kind in KINDS}


def assert_is_expected(document, example):
    assert [scored["label"] for scored in document["labels"]] == [scored.label for scored in example.labels]
    for scored, expected in zip(document["labels"], example.labels, strict=True):
        assert scored["probability"] == pytest.approx(expected.probability, abs=golden.PROBABILITY_TOLERANCE)
    assert document["label_count"] == len(example.labels)


def test_predict_takes_the_embedded_bundle_that_fits_the_kind_of_input(predictors, inputs):
    answer = run("predict", inputs["image"][0], inputs["text"][0], "--json")
    assert answer.exit_code == 0
    for kind, document in zip(KINDS, json.loads(answer.stdout), strict=True):
        assert document["input"] == str(inputs[kind][0])
        assert document["model"] == predictors[kind].bundle.manifest.name
        assert_is_expected(document, inputs[kind][1])


def test_predict_takes_texts_from_the_command_line(inputs):
    example = inputs["text"][1]
    [document] = json.loads(run("predict", "--text", example.item, "--json").stdout)
    assert document["input"] == example.item
    assert_is_expected(document, example)


@pytest.mark.parametrize("kind", KINDS)
def test_predict_takes_a_named_bundle_or_model(predictors, inputs, kind):
    file, example = inputs[kind]
    bundle = predictors[kind].bundle
    for choice in (("--bundle", bundle.path), ("--model", bundle.manifest.name)):
        [document] = json.loads(run("predict", file, *choice, "--json").stdout)
        assert_is_expected(document, example)


def test_predict_draws_the_labels_with_their_probabilities(inputs):
    file, example = inputs["text"]
    answer = run("predict", file)
    head, *lines = answer.stdout.splitlines()
    assert head.startswith(str(file))
    for line, expected in zip(lines, example.labels, strict=True):
        assert expected.label in line
        assert f"{expected.probability:.3f}" in line
        assert "█" in line


def test_an_empty_label_set_says_so(inputs):
    assert "(no label)" in run("predict", inputs["text"][0], "--label-count", 0).stdout


def test_the_caller_may_choose_the_sparsity(inputs):
    file = inputs["text"][0]
    [two] = json.loads(run("predict", file, "--label-count", 2, "--json").stdout)
    assert two["label_count"] == 2
    [one] = json.loads(run("predict", file, "--sparsity-rate", 1, "--json").stdout)
    assert one["label_count"] == 1
    assert one["sparsity_rate"] == 1


def test_a_bad_file_fails_alone_and_is_named(inputs, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    missing = tmp_path / "missing.png"
    answer = run("predict", bad, inputs["image"][0], missing)
    assert answer.exit_code == 1
    assert str(inputs["image"][0]) in answer.stdout
    first, second = answer.stderr.splitlines()
    assert first.startswith(f"error: {bad}: ")
    assert first.endswith("[not_an_image]")
    assert second.startswith(f"error: {missing}: ")
    assert second.endswith("[unreadable_file]")


def test_a_recording_is_answered_by_a_bundle_that_takes_it_and_no_embedded_one_does(trained_audio, tmp_path):
    example = golden.load(Predictor.open(trained_audio.bundle, device="cpu"))[0]
    clip = tmp_path / "clip.ogg"
    clip.write_bytes(example.item)
    [document] = json.loads(run("predict", clip, "--bundle", trained_audio.bundle, "--json").stdout)
    assert_is_expected(document, example)
    refused = run("predict", clip)
    assert refused.exit_code == 1
    assert "none of the embedded bundles takes audio inputs" in refused.stderr
    assert "the first 0.5 seconds at 8000 Hz" in " ".join(run("inspect", trained_audio.bundle).stdout.split())


def test_a_bad_file_is_an_error_in_json_too(inputs, tmp_path):
    answer = run("predict", tmp_path / "missing.png", inputs["image"][0], "--json")
    assert answer.exit_code == 1
    failed, fine = json.loads(answer.stdout)
    assert failed["error"]["code"] == "unreadable_file"
    assert_is_expected(fine, inputs["image"][1])


def test_a_picture_given_to_a_text_model_is_refused(predictors, inputs):
    answer = run("predict", inputs["image"][0], "--bundle", predictors["text"].bundle.path)
    assert answer.exit_code == 1
    assert answer.stderr.strip().endswith("[invalid_text]")


def test_an_impossible_wish_fails_as_a_whole(inputs):
    answer = run("predict", inputs["text"][0], "--label-count", 100_000)
    assert answer.exit_code == 1
    assert answer.stderr.strip().endswith("[invalid_sparsity]")


def test_an_unknown_model_is_answered_with_the_known_ones(predictors, inputs):
    answer = run("predict", inputs["text"][0], "--model", "nobody")
    assert answer.exit_code == 1
    assert predictors["text"].bundle.manifest.name in answer.stderr
    assert answer.stderr.strip().endswith("[model_not_found]")


@pytest.mark.parametrize("arguments", [[], ["x.png", "--bundle", ".", "--model", "image-demo"]])
def test_predict_without_inputs_or_with_two_models_is_a_usage_error(arguments):
    assert run("predict", *arguments).exit_code == 2


@pytest.mark.parametrize("kind", KINDS)
def test_verify_says_what_it_checked(predictors, kind):
    answer = run("verify", predictors[kind].bundle.path)
    assert answer.exit_code == 0
    assert [line.split()[:2] for line in answer.stdout.splitlines()] == [
        ["ok", "files"],
        ["ok", "graph"],
        ["ok", "golden"],
    ]
    assert f"{len(golden.load(predictors[kind]))} examples" in answer.stdout


def test_verify_refuses_a_changed_byte(predictors, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(predictors["text"].bundle.path, copy)
    content = bytearray((copy / GRAPH).read_bytes())
    content[-1] ^= 1
    (copy / GRAPH).write_bytes(content)
    answer = run("verify", copy)
    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert answer.stderr.strip().endswith("[bundle_checksum_mismatch]")


@pytest.mark.parametrize("kind", KINDS)
def test_inspect_tells_what_the_manifest_says(predictors, kind):
    bundle = predictors[kind].bundle
    text = " ".join(run("inspect", bundle.path).stdout.split())
    manifest = bundle.manifest
    assert manifest.name in text
    assert ", ".join(manifest.labels) in text
    assert manifest.sparsity.policy in text
    assert manifest.provenance.data_set in text
    assert all(f"{metric}: {value:.4f}" in text for metric, value in manifest.metrics.items())
    assert all(name in text for name in manifest.files)
    assert f"r-softmax {native.implementation()}" in text


def test_inspect_says_what_the_graph_computes_in(predictors, tmp_path):
    copy = shutil.copytree(predictors["text"].bundle.path, tmp_path / "words")
    assert "\narithmetic  float32 in the backbone\n" in run("inspect", copy).stdout
    manifest = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps({**manifest, "arithmetic": "int8"}))
    assert "\narithmetic  int8 in the backbone\n" in run("inspect", copy).stdout
    assert json.loads(run("inspect", copy, "--json").stdout)["manifest"]["arithmetic"] == "int8"


def test_inspect_gives_the_manifest_as_json(predictors):
    bundle = predictors["image"].bundle
    document = json.loads(run("inspect", bundle.path, "--json").stdout)
    assert document["manifest"] == json.loads(bundle.manifest.model_dump_json(exclude_none=True))
    assert document["digest"] == bundle.digest
    assert document["r_softmax"] == dataclasses.asdict(native.implementation())
    assert document["size_bytes"][GRAPH] == bundle.file(GRAPH).stat().st_size


def test_inspect_writes_a_new_version_with_another_policy_and_says_what_it_is(predictors, tmp_path):
    first = shutil.copytree(predictors["text"].bundle.path, tmp_path / "words" / "1")
    answer = run("inspect", first, "--set-policy", "fixed_count=2")
    assert answer.exit_code == 0
    assert answer.stderr.startswith(f"wrote {tmp_path / 'words' / '2'}")
    assert "sparsity    fixed_count=2" in answer.stdout
    assert "metrics     none recorded" in answer.stdout
    assert run("verify", tmp_path / "words" / "2").exit_code == 0
    document = json.loads(run("inspect", first, "--set-policy", "fixed_rate=0.9", "--json").stdout)
    assert document["manifest"]["sparsity"]["sparsity_rate"] == 0.9
    assert run("inspect", first, "--set-policy", "fixed_count=1", "--out", tmp_path / "other").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "words"]
    assert sorted(path.name for path in (tmp_path / "words").iterdir()) == ["1", "2", "3"]


def test_inspect_refuses_a_policy_in_one_line(predictors, tmp_path):
    first = shutil.copytree(predictors["text"].bundle.path, tmp_path / "words" / "1")
    answer = run("inspect", first, "--set-policy", "learned_threshold")
    assert answer.exit_code == 1
    [line] = answer.stderr.splitlines()
    assert "can follow predicted_count, fixed_count=VALUE, fixed_rate=VALUE; got learned_threshold" in line
    assert line.endswith("[invalid_policy]")
    onto_itself = run("inspect", first, "--set-policy", "fixed_count=2", "--out", first)
    assert onto_itself.stderr.strip().endswith("[invalid_destination]")
    assert run("inspect", first, "--out", tmp_path / "other").exit_code == 2
    assert [path.name for path in (tmp_path / "words").iterdir()] == ["1"]
