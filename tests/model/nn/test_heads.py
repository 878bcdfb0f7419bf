import pytest
import torch

from model.manifest import SparsityPolicy
from model.nn.heads import SMALLEST_T, HeadOutput, LabelSetHead
from model.policies import counts_by_policy, graph_code
from model.sparse_softmax.torch_op import t_softmax

CLASSES = 6
PREDICTED = SparsityPolicy(policy="predicted_count", max_label_count=3)


@pytest.fixture
def output() -> HeadOutput:
    """Four rows without ties; their count logits say 0, 1, 2 and 3 labels."""
    logits = torch.randn(4, CLASSES, generator=torch.Generator().manual_seed(0))
    return HeadOutput(logits, torch.eye(4))


def _head(policy=PREDICTED):
    return LabelSetHead(feature_size=8, class_count=CLASSES, policy=policy)


def _counts(answer):
    return (answer.probabilities_BC != 0).sum(dim=1).tolist()


def _assert_keeps_the_largest(answer, logits):
    for row, scores, count in zip(answer.probabilities_BC, logits, _counts(answer), strict=True):
        assert set(row.nonzero().flatten().tolist()) == set(scores.topk(count).indices.tolist())


def test_the_predicted_count_decides(output):
    answer = _head().probabilities(output)
    assert _counts(answer) == [0, 1, 2, 3]
    assert answer.sparsity_rate_B.tolist() == [1.0, 5 / 6, 4 / 6, 3 / 6]
    _assert_keeps_the_largest(answer, output.logits_BC)
    torch.testing.assert_close(answer.probabilities_BC.sum(dim=1), torch.tensor([0.0, 1, 1, 1]))


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_fixed_count_decides_for_every_row(output, count):
    answer = _head(SparsityPolicy(policy="fixed_count", label_count=count)).probabilities(output)
    assert _counts(answer) == [count] * 4
    _assert_keeps_the_largest(answer, output.logits_BC)


@pytest.mark.parametrize(("rate", "count"), [(1.0, 1), (0.5, 3), (0.0, 5)])
def test_a_fixed_rate_decides_for_every_row(output, rate, count):
    answer = _head(SparsityPolicy(policy="fixed_rate", sparsity_rate=rate)).probabilities(output)
    assert _counts(answer) == [count] * 4
    assert answer.sparsity_rate_B.tolist() == [rate] * 4


@pytest.mark.parametrize(
    "policy",
    [
        PREDICTED,
        SparsityPolicy(policy="fixed_count", label_count=2),
        SparsityPolicy(policy="fixed_rate", sparsity_rate=0.5),
    ],
    ids=lambda policy: policy.policy,
)
def test_a_caller_overrides_each_row_and_minus_one_leaves_it_to_the_policy(output, policy):
    own = _counts(_head(policy).probabilities(output))
    wanted_count = torch.tensor([4, -1, -1, 0])
    wanted_rate = torch.tensor([-1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    answer = _head(policy).probabilities(output, wanted_count, wanted_rate)
    assert _counts(answer) == [4, 1, own[2], 0]
    assert answer.sparsity_rate_B[1] == 1.0
    assert answer.sparsity_rate_B[3] == 1.0


def test_a_wanted_rate_is_granted_where_the_model_would_give_no_label(output):
    assert _counts(_head().probabilities(output))[0] == 0
    wanted_rate = torch.full((4,), 0.5, dtype=torch.float64)
    assert _counts(_head().probabilities(output, None, wanted_rate)) == [3] * 4


def test_no_wish_at_all_is_the_policys_answer(output):
    unset = torch.full((4,), -1), torch.full((4,), -1.0, dtype=torch.float64)
    own, asked = _head().probabilities(output), _head().probabilities(output, *unset)
    torch.testing.assert_close(own.probabilities_BC, asked.probabilities_BC, rtol=0, atol=0)
    torch.testing.assert_close(own.sparsity_rate_B, asked.sparsity_rate_B, rtol=0, atol=0)


def test_the_wanted_count_is_met_exactly_among_many_classes():
    classes = 100_003
    head = LabelSetHead(1, classes, SparsityPolicy(policy="fixed_count", label_count=1))
    logits = torch.randperm(classes, generator=torch.Generator().manual_seed(0)).float().expand(3, -1)
    answer = head.probabilities(HeadOutput(logits, torch.zeros(3, 1)), torch.tensor([1, 7, 50_001]))
    assert _counts(answer)[:2] == [1, 7]
    # Far below the maximum a probability is as small as float32 can say, and still not zero.
    assert _counts(answer)[2] == 50_001


def test_half_precision_logits_are_decided_in_float32(output):
    answer = _head().probabilities(HeadOutput(output.logits_BC.bfloat16(), output.count_logits_BK.bfloat16()))
    assert answer.probabilities_BC.dtype == torch.float32


def test_a_row_that_is_not_a_number_stays_so_even_when_no_label_is_wanted(output):
    output.logits_BC[0, 2] = torch.nan
    probabilities = _head().probabilities(output).probabilities_BC
    assert probabilities[0].isnan().all()
    assert probabilities[1:].isfinite().all()


def test_the_count_layer_reaches_the_largest_count_of_training():
    assert _head()(torch.zeros(2, 8)).count_logits_BK.shape == (2, 4)


def test_a_head_without_a_largest_count_has_no_layer_of_counts():
    head = _head(SparsityPolicy(policy="fixed_count", label_count=1))
    output = head(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)))
    assert output.count_logits_BK.shape == (5, 0)
    assert [name for name, _ in head.named_parameters()] == ["logits.weight", "logits.bias"]
    torch.testing.assert_close(
        head.probabilities(output).probabilities_BC.argmax(dim=1), output.logits_BC.argmax(dim=1), rtol=0, atol=0
    )
    assert _counts(head.probabilities(output)) == [1] * 5


EXPECTED_F1 = SparsityPolicy(policy="expected_f1", max_label_count=3)
PREDICTED_F1 = SparsityPolicy(policy="predicted_f1", max_label_count=3)
POSITIVE = SparsityPolicy(policy="positive_logits", max_label_count=3)
LEARNED = SparsityPolicy(policy="learned_threshold", max_label_count=3)


def _many(rows=200, classes=CLASSES):
    """Rows without ties, with all of what a head gives."""
    chance = torch.Generator().manual_seed(1)
    logits, counts = torch.randn(rows, classes, generator=chance), torch.randn(rows, 4, generator=chance)
    t = torch.rand(rows, generator=chance) * 3 + 0.01
    return HeadOutput(logits, counts, t, torch.randn(rows, 4, generator=chance))


@pytest.mark.parametrize("policy", [PREDICTED, EXPECTED_F1, PREDICTED_F1, POSITIVE], ids=lambda policy: policy.policy)
def test_the_head_decides_as_the_numpy_policy(policy):
    output = _many()
    answer = _head(policy).probabilities(output)
    expected = counts_by_policy(policy.policy, *(output[i].numpy() for i in (0, 1, 3)))
    # Where all are wanted the lowest is the cut itself.
    assert _counts(answer) == expected.clip(max=CLASSES - 1).tolist()
    assert len(set(_counts(answer))) >= 3
    _assert_keeps_the_largest(answer, output.logits_BC)


def test_positive_logits_are_the_label_set():
    output = _many()
    answer = _head(POSITIVE).probabilities(output)
    positive = output.logits_BC > 0
    some_out = ~positive.all(dim=1)
    assert torch.equal((answer.probabilities_BC != 0)[some_out], positive[some_out])
    assert some_out.sum() > 190


@pytest.mark.parametrize("classes", [2, 6, 1000])
def test_a_learned_threshold_gives_what_t_softmax_gives(classes):
    output = _many(classes=classes)
    answer = LabelSetHead(8, classes, LEARNED).probabilities(output)
    # Above the lowest logit, and not within rounding of any.
    cut = output.logits_BC.amax(dim=1) - output.t_B
    clear = (cut > output.logits_BC.amin(dim=1)) & ((output.logits_BC - cut[:, None]).abs().amin(dim=1) > 1e-5)
    expected = t_softmax(output.logits_BC, output.t_B)
    assert clear.sum() > 50
    assert torch.equal((answer.probabilities_BC != 0)[clear], (expected != 0)[clear])
    torch.testing.assert_close(answer.probabilities_BC[clear], expected[clear], rtol=0, atol=1e-6)


def test_a_cut_at_an_entry_leaves_it_out_and_one_below_all_leaves_out_the_lowest():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).expand(4, -1)
    output = HeadOutput(logits, torch.zeros(4, 4), torch.tensor([2.0, 100.0, SMALLEST_T, 1.0]))
    answer = LabelSetHead(8, 4, LEARNED).probabilities(output)
    assert _counts(answer) == [2, 3, 1, 1]
    assert answer.sparsity_rate_B.tolist() == pytest.approx([1 / 3, 0.0, 1.0, 2 / 3], abs=1e-6)


def test_a_single_class_survives_every_threshold():
    output = HeadOutput(torch.tensor([[-5.0], [5.0]]), torch.zeros(2, 2), torch.tensor([SMALLEST_T, 9.0]))
    policy = SparsityPolicy(policy="learned_threshold", max_label_count=1)
    assert LabelSetHead(8, 1, policy).probabilities(output).probabilities_BC.tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("policy", [EXPECTED_F1, PREDICTED_F1, POSITIVE, LEARNED], ids=lambda policy: policy.policy)
def test_a_row_that_is_not_a_number_leaves_the_others_alone(policy):
    output = _many()
    output.logits_BC[3, 1] = torch.nan
    probabilities = _head(policy).probabilities(output).probabilities_BC
    assert probabilities[3].isnan().all()
    others = torch.arange(len(probabilities)) != 3
    assert probabilities[others].isfinite().all()


def test_each_row_may_follow_another_policy():
    output, head = _many(rows=10), _head(LEARNED)
    codes = torch.tensor([graph_code(policy) for policy in head.selectable] * 2)
    answer = head.probabilities(output, policy_B=codes)
    for policy in head.selectable:
        own = _head(SparsityPolicy(policy=policy, max_label_count=3)).probabilities(output)
        rows = codes == graph_code(policy)
        torch.testing.assert_close(answer.probabilities_BC[rows], own.probabilities_BC[rows], rtol=0, atol=0)
        torch.testing.assert_close(answer.sparsity_rate_B[rows], own.sparsity_rate_B[rows], rtol=0, atol=0)
    wanted = head.probabilities(output, label_count_B=torch.full((10,), 2), policy_B=codes)
    assert _counts(wanted) == [2] * 10


def test_what_can_be_selected_follows_from_the_layers():
    assert _head().selectable == ("predicted_count", "expected_f1", "predicted_f1", "positive_logits")
    assert _head(LEARNED).selectable == (*_head().selectable, "learned_threshold")
    assert _head(SparsityPolicy(policy="fixed_count", label_count=1)).selectable == ("positive_logits",)


def test_the_layer_of_t_is_there_for_its_policy_alone_and_its_t_is_above_zero():
    assert _head()(torch.zeros(2, 8)).t_B is None
    head = _head(LEARNED)
    torch.nn.init.constant_(head.t.bias, -1000.0)
    assert head(torch.zeros(2, 8)).t_B.tolist() == pytest.approx([SMALLEST_T] * 2)
    torch.nn.init.constant_(head.t.bias, 7.0)
    torch.nn.init.zeros_(head.t.weight)
    assert head(torch.randn(2, 8)).t_B.tolist() == pytest.approx([7.000911] * 2, abs=1e-5)


def test_the_constant_of_expected_f1_is_no_weight_of_a_checkpoint():
    assert not any("expected_f1" in name for name in _head(EXPECTED_F1).state_dict())
