import pytest
import torch

from model.manifest import SparsityPolicy
from model.nn.heads import HeadOutput, LabelSetHead

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
