"""Another policy for an exported bundle: what the new version answers, against numpy on the logits of the network."""

import shutil

import httpx
import numpy as np
import onnxruntime as ort
import pytest
import torch

from model import golden
from model.bundle import CARD, GOLDEN, GRAPH, Bundle
from model.manifest import SparsityPolicy
from model.nn.heads import LabelSetHead
from model.policies import counts_by_policy
from model.policy_change import InvalidDestination, InvalidPolicy, write_with_policy
from model.predictor import Predictor
from model.repository import EMBEDDED_BUNDLES, bundle_folders
from model.session import Sparsity
from model.sparse_softmax.torch_op import t_softmax
from training.build import build_parts
from training.evaluate import answer
from training.export import export_bundle
from training.overrides import override

RATE = 0.75


@pytest.fixture(scope="module")
def answers(trained_text):
    return answer(trained_text.parts.classifier.cpu(), trained_text.parts.train, "train")


@pytest.fixture
def version(trained_text, tmp_path):
    """The small text model as the only version of a repository."""
    return shutil.copytree(trained_text.bundle, tmp_path / "models" / "words" / "1")


@pytest.fixture(scope="module")
def old_bundle():
    """A bundle from before graphs could be told their policy."""
    return next(folder.path for folder in bundle_folders(EMBEDDED_BUNDLES) if "text" in folder.name)


@pytest.fixture(scope="module")
def learned(text_recipe, text_data, tmp_path_factory):
    """An untrained model with a learned threshold, and its bundle."""
    torch.manual_seed(0)
    recipe = override(text_recipe, ["head.policy=learned_threshold"])
    parts = build_parts(recipe, text_data)
    return parts, export_bundle(recipe, text_data, parts, tmp_path_factory.mktemp("learned") / "1").bundle


def _contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _support(bundle, dataset):
    predictor = Predictor(bundle, device="cpu")
    return predictor.probabilities([dataset[index].array for index in range(len(dataset))]) != 0


def _counts(policy, answers):
    return counts_by_policy(policy, answers.logits_NC, answers.count_logits_NK, answers.f1_logits_NK)


def _largest(logits, counts):
    """The `counts` largest of each row; where all are wanted the lowest is the cut itself."""
    rank = (-logits).argsort(axis=1).argsort(axis=1)
    return rank < np.minimum(counts, logits.shape[1] - 1)[:, None]


@pytest.mark.parametrize("policy", ["expected_f1", "predicted_f1", "positive_logits", "predicted_count"])
def test_the_new_version_decides_by_its_policy(version, trained_text, answers, policy):
    written = write_with_policy(version, policy)
    assert written.manifest.sparsity.policy == policy
    expected = _largest(answers.logits_NC, _counts(policy, answers))
    np.testing.assert_array_equal(_support(written, trained_text.parts.train), expected)
    assert len(set(expected.sum(axis=1))) > 1


def test_the_policies_of_one_graph_differ_on_real_examples(answers):
    counts = [
        _counts(policy, answers) for policy in ("predicted_count", "expected_f1", "predicted_f1", "positive_logits")
    ]
    assert (counts[0] != counts[2]).any()
    assert (counts[0] != counts[3]).any()


@pytest.mark.parametrize(("wanted", "counts"), [("fixed_count=3", 3), ("fixed_count=0", 0), (f"fixed_rate={RATE}", 1)])
def test_a_fixed_policy_decides_for_every_input(version, trained_text, answers, wanted, counts):
    written = write_with_policy(version, wanted)
    assert str(written.manifest.sparsity) == wanted
    support = _support(written, trained_text.parts.train)
    np.testing.assert_array_equal(support, _largest(answers.logits_NC, np.full(len(support), counts)))


def test_what_a_caller_wishes_goes_before_the_policy_of_the_bundle(version, trained_text):
    written = write_with_policy(version, "fixed_count=3")
    predictor = Predictor(written, device="cpu")
    item = trained_text.data.test[0].text
    wishes = [Sparsity(label_count=1), Sparsity(), Sparsity(sparsity_rate=1.0), Sparsity(label_count=0)]
    array = predictor.preprocess(item)
    assert [len(one.labels) for one in predictor.infer([array] * 4, wishes)] == [1, 3, 1, 0]


def test_the_given_bundle_stays_and_the_new_one_is_the_next_version(version):
    before = _contents(version)
    (version.parent / "9").mkdir()
    written = write_with_policy(version, "expected_f1")
    assert written.path == version.parent / "10"
    assert _contents(version) == before
    assert bundle_folders(version.parents[1])[0][:2] == ("words", "10")


def test_graph_and_tokenizer_are_the_same_and_the_golden_answers_are_new(version):
    written = write_with_policy(version, "fixed_count=2")
    assert written.file(GRAPH).read_bytes() == (version / GRAPH).read_bytes()
    assert written.read_text("tokenizer.json") == (version / "tokenizer.json").read_text()
    old, new = (golden.load(Predictor.open(folder, device="cpu")) for folder in (version, written.path))
    assert [example.input for example in new] == [example.input for example in old]
    assert all(len(example.labels) == 2 for example in new)
    assert any(len(example.labels) != 2 for example in old)
    assert len(golden.replay(Predictor(written, device="cpu"))) == len(old)


def test_metrics_of_the_earlier_policy_go_and_the_card_says_so(version):
    assert Bundle.open(version).manifest.metrics
    written = write_with_policy(version, "fixed_rate=0.5")
    assert written.manifest.metrics == {}
    assert written.manifest.provenance == Bundle.open(version).manifest.provenance
    card, before = written.read_text(CARD), (version / CARD).read_text()
    title, _, body = before.partition("\n")
    assert card.startswith(f"{title}\n\nThe sparsity policy was changed")
    assert "from `predicted_f1` to `fixed_rate=0.5`" in card
    assert card.endswith(body)


def test_a_policy_may_be_changed_back(version, trained_text):
    there = write_with_policy(version, "fixed_count=3")
    back = write_with_policy(there.path, "predicted_f1")
    assert back.path.name == "3"
    assert back.file(GOLDEN).read_bytes() == (version / GOLDEN).read_bytes()
    assert back.manifest.sparsity == trained_text.exported.bundle.manifest.sparsity


def test_a_learned_threshold_of_the_graph_is_that_of_the_network(learned):
    parts, exported = learned
    found = answer(parts.classifier, parts.train, "train")
    expected = t_softmax(torch.from_numpy(found.logits_NC), torch.from_numpy(found.t_N)).numpy()
    predictor = Predictor(exported, device="cpu")
    actual = predictor.probabilities([parts.train[index].array for index in range(len(parts.train))])
    above_all = found.logits_NC.max(axis=1) - found.t_N > found.logits_NC.min(axis=1)
    assert above_all.sum() > 5
    np.testing.assert_allclose(actual[above_all], expected[above_all], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(actual[above_all] != 0, expected[above_all] != 0)
    assert exported.manifest.sparsity.selectable[-1] == "learned_threshold"


def test_a_learned_threshold_may_be_left_and_taken_again(learned, tmp_path):
    _, exported = learned
    other = write_with_policy(exported.path, "positive_logits", tmp_path / "other")
    again = write_with_policy(other.path, "learned_threshold", tmp_path / "again")
    assert again.file(GOLDEN).read_bytes() == exported.file(GOLDEN).read_bytes()


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (
            "learned_threshold",
            r"can follow predicted_count, expected_f1, predicted_f1, positive_logits, fixed_count=VALUE, fixed_rat",
        ),
        ("luck", r"policy must be one of predicted_count, .*, got 'luck'"),
        ("fixed_count", r"must be written as fixed_count=VALUE, got 'fixed_count'"),
        ("expected_f1=2", r"must be written as expected_f1, got 'expected_f1=2'"),
        ("fixed_count=5", r"fixed_count=5 makes no sense .* at most 4"),
        ("fixed_count=-1", r"fixed_count=-1 makes no sense"),
        ("fixed_count=two", r"fixed_count=two makes no sense"),
        ("fixed_rate=1.5", r"fixed_rate=1.5 makes no sense"),
        ("fixed_rate=nan", r"fixed_rate=nan makes no sense"),
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused_and_nothing_is_written(version, wanted, message):
    with pytest.raises(InvalidPolicy, match=message) as raised:
        write_with_policy(version, wanted)
    assert len(str(raised.value).splitlines()) == 1
    assert [path.name for path in version.parent.iterdir()] == ["1"]


def test_a_graph_without_a_layer_of_counts_does_not_count(text_recipe, text_data, tmp_path):
    torch.manual_seed(0)
    parts = build_parts(text_recipe, text_data)
    parts.classifier.head = LabelSetHead(32, 4, SparsityPolicy(policy="fixed_count", label_count=1))
    exported = export_bundle(text_recipe, text_data, parts, tmp_path / "one").bundle
    with pytest.raises(InvalidPolicy, match=r"can follow positive_logits, fixed_count=VALUE"):
        write_with_policy(exported.path, "predicted_count", tmp_path / "two")
    found = answer(parts.classifier, parts.test, "test")
    written = write_with_policy(exported.path, "positive_logits", tmp_path / "two")
    expected = _largest(found.logits_NC, (found.logits_NC > 0).sum(axis=1))
    np.testing.assert_array_equal(_support(written, parts.test), expected)


def test_a_bundle_from_before_can_be_fixed_and_set_back(old_bundle, tmp_path):
    assert Bundle.open(old_bundle).manifest.sparsity.selectable == ()
    fixed = write_with_policy(old_bundle, "fixed_count=2", tmp_path / "fixed")
    assert all(len(example.labels) == 2 for example in golden.load(Predictor(fixed, device="cpu")))
    back = write_with_policy(fixed.path, "predicted_count", tmp_path / "back")
    for old, new in zip(*(golden.load(Predictor.open(folder)) for folder in (old_bundle, back.path)), strict=True):
        assert {label.label for label in new.labels} == {label.label for label in old.labels}
    with pytest.raises(
        InvalidPolicy, match=r"can follow predicted_count, fixed_count=VALUE, fixed_rate=VALUE; got exp"
    ):
        write_with_policy(old_bundle, "expected_f1", tmp_path / "never")


def test_a_folder_that_is_no_version_needs_a_destination(trained_text, tmp_path):
    folder = shutil.copytree(trained_text.bundle, tmp_path / "mine")
    with pytest.raises(InvalidDestination, match="got mine/: give --out"):
        write_with_policy(folder, "expected_f1")
    assert write_with_policy(folder, "expected_f1", tmp_path / "other").path == tmp_path / "other"


@pytest.mark.parametrize("out", [".", "inside", "../taken"])
def test_nothing_that_is_there_is_written_over_or_into(version, out):
    (version.parent / "taken").mkdir()
    before = _contents(version)
    with pytest.raises(InvalidDestination, match="must be a new folder beside the others"):
        write_with_policy(version, "expected_f1", version / out)
    assert _contents(version) == before
    assert list((version.parent / "taken").iterdir()) == []


def test_the_service_serves_the_new_version_by_its_policy(version, trained_text, answers, serve):
    write_with_policy(version, "positive_logits")
    service = serve(models=version.parents[1])
    names, logits = np.array(trained_text.data.labels), answers.logits_NC[:6]
    expected = {
        "1": _largest(logits, answers.f1_logits_NK[:6].argmax(axis=1)),
        "2": _largest(logits, (logits > 0).sum(axis=1)),
    }
    for number, support in expected.items():
        for example, present in zip(trained_text.data.train[:6], support, strict=True):
            served = httpx.post(f"{service.url}/predict?version={number}", json={"text": example.text}).json()
            [prediction] = served["predictions"]
            assert {scored["label"] for scored in prediction["labels"]} == set(names[present].tolist())


def test_the_graph_takes_a_policy_for_each_row(learned):
    parts, exported = learned
    session = ort.InferenceSession(exported.file(GRAPH))
    rows = parts.train.collate([parts.train[index] for index in range(8)]).inputs.numpy()
    feed = {"token_ids": rows, "label_count": np.full(8, -1), "sparsity_rate": np.full(8, -1.0)}

    def answered(codes):
        return session.run(["probabilities"], {**feed, "sparsity_policy": codes})[0]

    mixed = np.arange(8) % len(exported.manifest.sparsity.selectable)
    together = answered(mixed)
    for row, code in enumerate(mixed):
        np.testing.assert_array_equal(together[row], answered(np.full(8, code))[row])
    assert len({tuple(row != 0) for row in together}) > 1
