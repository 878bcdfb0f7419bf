import json
import os
import stat

import onnx
import pytest

from model import bundle, golden
from model.bundle import (
    GOLDEN,
    GRAPH,
    MANIFEST,
    TOKENIZER,
    Bundle,
    ChecksumMismatch,
    GoldenMismatch,
    GraphMismatch,
    InvalidManifest,
    MissingFile,
    NotABundle,
    PathEscape,
    UnknownSchemaVersion,
)
from model.predictor import Predictor
from model.session import Session


def _load(folder):
    """All that a service does before it serves."""
    return len(golden.replay(Predictor.open(folder, device="cpu")))


def test_an_exported_bundle_is_sound(bundle_copy):
    assert _load(bundle_copy.folder) > 0


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(MissingFile, match=r"must hold bundle\.json"):
        Bundle.open(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "a_file/below_it"])
def test_a_path_that_is_no_folder_is_refused(tmp_path, name):
    (tmp_path / "a_file").touch()
    with pytest.raises(MissingFile, match=r"must hold bundle\.json"):
        Bundle.open(tmp_path / name)


@pytest.mark.parametrize("name", [GRAPH, GOLDEN, TOKENIZER, "README.md"])
def test_a_listed_file_that_is_missing_is_named(bundle_copy, name):
    (bundle_copy.folder / name).unlink()
    with pytest.raises(MissingFile, match=name) as raised:
        Bundle.open(bundle_copy.folder)
    assert raised.value.detail == {"file": name}


@pytest.mark.parametrize("name", [GRAPH, GOLDEN, TOKENIZER, "README.md"])
def test_one_changed_byte_is_found(bundle_copy, name):
    content = bytearray((bundle_copy.folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle_copy.folder / name).write_bytes(content)
    with pytest.raises(ChecksumMismatch, match=name) as raised:
        Bundle.open(bundle_copy.folder)
    assert raised.value.detail["expected"] != raised.value.detail["actual"]


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_schema_version_is_refused_with_its_number(bundle_copy, version):
    bundle_copy.edit_manifest(lambda document: document.update(schema_version=version))
    with pytest.raises(UnknownSchemaVersion, match=f"schema_version 1, got {version!r}"):
        Bundle.open(bundle_copy.folder)


def test_a_manifest_without_schema_version_is_refused(bundle_copy):
    (bundle_copy.folder / MANIFEST).write_text("[]")
    with pytest.raises(UnknownSchemaVersion):
        Bundle.open(bundle_copy.folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "sub/file", "..", ".", "sub\\file", "a/../b"])
def test_a_file_outside_the_folder_is_never_read(bundle_copy, name):
    (bundle_copy.folder.parent / "outside").touch()
    (bundle_copy.folder / "sub").mkdir()
    (bundle_copy.folder / "sub" / "file").touch()
    bundle_copy.edit_manifest(lambda document: document["files"].update({name: "0" * 64}))
    with pytest.raises(PathEscape) as raised:
        Bundle.open(bundle_copy.folder)
    assert raised.value.detail == {"file": name}


def test_a_link_is_refused_even_when_its_target_has_the_checksum(bundle_copy):
    target = bundle_copy.folder.parent / "outside"
    (bundle_copy.folder / "README.md").rename(target)
    (bundle_copy.folder / "README.md").symlink_to(target)
    with pytest.raises(PathEscape, match="is a link"):
        Bundle.open(bundle_copy.folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"schema_version": 1'])
def test_a_manifest_that_is_not_json_is_refused(bundle_copy, content):
    (bundle_copy.folder / MANIFEST).write_bytes(content)
    with pytest.raises(InvalidManifest, match="must be JSON"):
        Bundle.open(bundle_copy.folder)


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (lambda document: document.update(threshold=0.5), "threshold"),
        (lambda document: document["preprocessing"].update(mean=0.5), "preprocessing.text.mean"),
        (lambda document: document.pop("labels"), "labels"),
        (lambda document: document.update(labels=[]), "labels"),
        (lambda document: document.update(name="../evil"), "name"),
        (lambda document: document["sparsity"].pop("max_label_count"), "sparsity"),
        (lambda document: document["preprocessing"].update(tokenizer="../other.json"), "preprocessing.text.tokenizer"),
    ],
)
def test_a_manifest_that_breaks_its_schema_is_refused_with_the_field(bundle_copy, edit, field):
    bundle_copy.edit_manifest(edit)
    with pytest.raises(InvalidManifest) as raised:
        Bundle.open(bundle_copy.folder)
    assert raised.value.detail == {"field": field}
    assert field in raised.value.message


def test_labels_given_twice_are_refused_by_name(bundle_copy):
    bundle_copy.edit_manifest(lambda document: document["labels"].append("music"))
    with pytest.raises(InvalidManifest, match=r"must be distinct, got \['music'\]"):
        Bundle.open(bundle_copy.folder)


@pytest.mark.parametrize("name", [GRAPH, GOLDEN, TOKENIZER])
def test_a_manifest_must_list_what_its_kind_needs(bundle_copy, name):
    bundle_copy.edit_manifest(lambda document: document["files"].pop(name))
    with pytest.raises(InvalidManifest, match=f"must list {name}"):
        Bundle.open(bundle_copy.folder)


@pytest.mark.parametrize("edit", [lambda labels: labels.pop(), lambda labels: labels.append("one more")])
def test_labels_that_do_not_match_the_graph_are_refused(bundle_copy, edit):
    bundle_copy.edit_manifest(lambda document: edit(document["labels"]))
    with pytest.raises(GraphMismatch, match=r"one class for each of the [35] labels, it has 4"):
        Predictor.open(bundle_copy.folder, device="cpu")


@pytest.mark.parametrize("kind", ["input", "output"])
def test_a_graph_with_other_tensors_than_the_manifest_is_refused(bundle_copy, kind):
    bundle_copy.edit_manifest(lambda document: document[f"{kind}s"][0].update(name="other"))
    with pytest.raises(GraphMismatch, match=f"describes the {kind}s .*'other'"):
        Predictor.open(bundle_copy.folder, device="cpu")


@pytest.mark.parametrize("content", [b"", b"no graph at all"])
def test_a_graph_that_is_not_onnx_is_refused(bundle_copy, content):
    bundle_copy.replace(GRAPH, content)
    with pytest.raises(GraphMismatch, match=r"model\.onnx cannot be loaded"):
        Predictor.open(bundle_copy.folder, device="cpu")


def test_where_a_graph_looks_for_weights_of_its_own_is_not_told(bundle_copy):
    graph = onnx.load(bundle_copy.folder / GRAPH)
    weight = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    weight.raw_data = b""
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    bundle_copy.replace(GRAPH, graph.SerializeToString())
    # As the service names it, which keeps the file open.
    with open(bundle_copy.folder / GRAPH, "rb") as file, pytest.raises(GraphMismatch, match=r"weights\.bin") as raised:
        Session(Bundle.open(bundle_copy.folder), "cpu", graph=f"/proc/{os.getpid()}/fd/{file.fileno()}")
    assert "/proc" not in raised.value.message


def test_another_label_in_a_golden_answer_is_a_mismatch(bundle_copy):
    examples = json.loads((bundle_copy.folder / GOLDEN).read_bytes())
    position, example = next((i, example) for i, example in enumerate(examples) if example["labels"])
    present = {label["label"] for label in example["labels"]}
    example["labels"][0]["label"] = next(name for name in ("food", "music", "sport", "weather") if name not in present)
    bundle_copy.replace(GOLDEN, json.dumps(examples).encode())
    with pytest.raises(GoldenMismatch, match=f"golden example {position} must have the labels") as raised:
        _load(bundle_copy.folder)
    assert set(raised.value.detail["actual"]) == present


@pytest.mark.parametrize(("change", "sound"), [(2e-4, False), (-2e-4, False), (5e-5, True)])
def test_a_golden_probability_may_differ_by_a_ten_thousandth(bundle_copy, change, sound):
    examples = json.loads((bundle_copy.folder / GOLDEN).read_bytes())
    label = next(label for example in examples for label in example["labels"])
    label["probability"] += change
    bundle_copy.replace(GOLDEN, json.dumps(examples).encode())
    if sound:
        assert _load(bundle_copy.folder) == len(examples)
    else:
        with pytest.raises(GoldenMismatch, match=f"the probability of {label['label']!r} must be"):
            _load(bundle_copy.folder)


@pytest.mark.parametrize("content", [b"{}", b"no JSON", b'[{"input": {"kind": "audio"}, "labels": []}]'])
def test_golden_examples_of_another_form_are_refused(bundle_copy, content):
    bundle_copy.replace(GOLDEN, content)
    with pytest.raises(InvalidManifest, match=r"golden\.json must be a list"):
        _load(bundle_copy.folder)


def _parts(folder):
    """What `write` was given for a bundle."""
    opened = Bundle.open(folder)
    files = {name: opened.file(name).read_bytes() for name in opened.manifest.files}
    return opened.manifest.model_dump(exclude={"files"}), files


def test_a_bundle_written_again_is_the_same_bundle(trained_text, tmp_path):
    manifest, files = _parts(trained_text.bundle)
    written = bundle.write(tmp_path / "again" / "1", manifest, files)
    assert written.digest == Bundle.open(written.path).digest == Bundle.open(trained_text.bundle).digest
    assert written.read_text("README.md") == files["README.md"].decode()
    assert written.read_text("LICENSE") == ""


def test_the_digest_tells_two_bundles_apart(bundle_copy):
    before = Bundle.open(bundle_copy.folder).digest
    bundle_copy.replace("README.md", b"another card")
    assert Bundle.open(bundle_copy.folder).digest != before


def test_replacing_a_bundle_leaves_nothing_else_behind(bundle_copy):
    manifest, files = _parts(bundle_copy.folder)
    (bundle_copy.folder / "left over").touch()
    written = bundle.write(bundle_copy.folder, manifest, {**files, "README.md": b"new"})
    assert written.read_text("README.md") == "new"
    assert {path.name for path in bundle_copy.folder.iterdir()} == {MANIFEST, *files}
    assert list(bundle_copy.folder.parent.iterdir()) == [bundle_copy.folder]


@pytest.mark.parametrize(
    ("labels", "name"), [(["twice", "twice"], "README.md"), (["one"], "no/such/folder")], ids=["manifest", "file"]
)
def test_a_write_that_fails_leaves_the_old_bundle_alone(bundle_copy, labels, name):
    before = Bundle.open(bundle_copy.folder)
    manifest, files = _parts(bundle_copy.folder)
    with pytest.raises((ValueError, OSError)):
        bundle.write(bundle_copy.folder, {**manifest, "labels": labels}, {**files, name: b""})
    assert Bundle.open(bundle_copy.folder) == before
    assert list(bundle_copy.folder.parent.iterdir()) == [bundle_copy.folder]


def test_only_a_bundle_or_an_empty_folder_is_replaced(trained_text, tmp_path):
    manifest, files = _parts(trained_text.bundle)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").touch()
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "photos", tmp_path / "photos" / "holiday.jpg"):
        with pytest.raises(NotABundle, match="only a bundle or an empty folder"):
            bundle.write(path, manifest, files)
    assert (tmp_path / "photos" / "holiday.jpg").is_file()
    assert bundle.write(tmp_path / "empty", manifest, files).manifest.name == "tiny-text"


def test_other_users_may_read_a_bundle(trained_text):
    assert trained_text.bundle.stat().st_mode & 0o055 == 0o055
    for path in trained_text.bundle.iterdir():
        assert path.stat().st_mode & (stat.S_IROTH | stat.S_IRGRP) == stat.S_IROTH | stat.S_IRGRP
