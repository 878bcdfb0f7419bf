"""The label-set head (SPEC 2): one feature -> a logit for each class, and how many labels there are.

Which entries are non-zero is the answer, so the map from logits to probabilities belongs to the head and not to the
loss: training, evaluation and the exported graph all go through `LabelSetHead.probabilities`. What the policies mean:
`model/policies.py`.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.manifest import SparsityPolicy
from model.nn.counting import CountLayers
from model.policies import Policy, expected_f1_matrix, graph_code
from model.sparse_softmax.torch_op import r_softmax

# Softplus underflows to 0, at which t-softmax is not defined; the largest logit alone survives at this t already.
SMALLEST_T = 1e-6


class HeadOutput(NamedTuple):
    """What the linear layers say.

    Attributes:
        logits_BC: `[B, C]`.
        count_logits_BK: `[B, K + 1]` over the number of labels; `[B, 0]` where the head has no count layer.
        t_B: `[B]`, above 0, the t of t-softmax (SPEC 1.2); None where the policy is not `learned_threshold`.
        f1_logits_BK: `[B, K + 1]`, what F1 each number of labels would have; None where there is no count layer.
    """

    logits_BC: Tensor
    count_logits_BK: Tensor
    t_B: Tensor | None = None
    f1_logits_BK: Tensor | None = None

    def of_rows(self, chosen: Tensor) -> "HeadOutput":
        """The rows where a mask over the leading axes is true: of tokens `[B, T, C]`, the words `[W, C]`."""
        t_B, f1_logits_BK = (None if tensor is None else tensor[chosen] for tensor in self[2:])
        return HeadOutput(self.logits_BC[chosen], self.count_logits_BK[chosen], t_B, f1_logits_BK)


class Answer(NamedTuple):
    """Probabilities `[B, C]` with exact zeros, and the sparsity rate `[B]` (float64) that gave them."""

    probabilities_BC: Tensor
    sparsity_rate_B: Tensor


class _Decision(NamedTuple):
    """Rate `[B]` (float64) of each row, and its label count `[B]`; where a rate decides, all classes are allowed."""

    count_B: Tensor
    rate_B: Tensor

    def where(self, condition_B: Tensor, other: "_Decision") -> "_Decision":
        """This decision for the rows of the condition, the other one for the rest."""
        pairs = zip(self, other, strict=True)
        return _Decision(*(torch.where(condition_B, own_B, other_B) for own_B, other_B in pairs))


class LabelSetHead(nn.Module):
    """Linear layers on one feature, and the policy that turns them into a sparse distribution.

    The layers of counts are there if the policy has a `max_label_count`: a head for one label an input is built with
    `SparsityPolicy(policy="fixed_count", label_count=1)`. The layer of t is there if the policy is `learned_threshold`.
    """

    expected_f1_KK: Tensor

    def __init__(self, feature_size: int, class_count: int, policy: SparsityPolicy, dropout: float = 0.1) -> None:
        super().__init__()
        self.class_count = class_count
        self.policy = policy
        self.dropout = nn.Dropout(dropout)
        self.logits = nn.Linear(feature_size, class_count)
        counted = policy.max_label_count
        self.count = None if counted is None else CountLayers(feature_size, class_count, counted)
        matrix_KK = torch.from_numpy(expected_f1_matrix(policy.max_label_count or 0)).float()
        self.register_buffer("expected_f1_KK", matrix_KK, persistent=False)
        self.t = nn.Linear(feature_size, 1) if policy.policy == "learned_threshold" else None

    @property
    def selectable(self) -> tuple[Policy, ...]:
        """The policies that `probabilities` can be told to follow, row by row."""
        counted: tuple[Policy, ...] = () if self.count is None else ("predicted_count", "expected_f1", "predicted_f1")
        learned: tuple[Policy, ...] = () if self.t is None else ("learned_threshold",)
        return (*counted, "positive_logits", *learned)

    def forward(self, feature_BF: Tensor) -> HeadOutput:
        """Feature `[B, F]` -> logits, count logits and t; of texts' tokens `[B, T, F]`, all with one axis more."""
        feature_BF = self.dropout(feature_BF)
        logits_BC = self.logits(feature_BF)
        t_B = None if self.t is None else self._positive(self.t(feature_BF))
        if self.count is None:
            return HeadOutput(logits_BC, feature_BF[..., :0], t_B)
        count_logits_BK, f1_logits_BK = self.count(feature_BF, logits_BC)
        return HeadOutput(logits_BC, count_logits_BK, t_B, f1_logits_BK)

    def probabilities(
        self,
        output: HeadOutput,
        label_count_B: Tensor | None = None,
        sparsity_rate_B: Tensor | None = None,
        policy_B: Tensor | None = None,
    ) -> Answer:
        """The sparse distribution of each row.

        Args:
            output: What `forward` gave.
            label_count_B: int64; where >= 0, the caller's number of labels, else the policy decides.
            sparsity_rate_B: float64; where >= 0, the caller's rate, else `label_count_B` or the policy decides.
            policy_B: int64; the `graph_code` of one of the `selectable` policies for each row, where another than the
                head's own may decide.
        """
        decision = self._decide(self.policy.policy, output) if policy_B is None else self._select(output, policy_B)
        if label_count_B is not None:
            decision = self._of_count(label_count_B).where(label_count_B >= 0, decision)
        if sparsity_rate_B is not None:
            decision = self._of_rate(sparsity_rate_B).where(sparsity_rate_B >= 0, decision)
        logits_BC = output.logits_BC.float()
        # A distribution cannot be empty, a label set can: k = 0 is granted by a factor of zero (SPEC 1.3).
        some_B1 = (decision.count_B > 0).to(logits_BC.dtype).unsqueeze(-1)
        return Answer(r_softmax(logits_BC, decision.rate_B) * some_B1, decision.rate_B)

    def _select(self, output: HeadOutput, policy_B: Tensor) -> _Decision:
        """What each row's policy decides. All that are selectable are computed: beside a backbone they cost nothing."""
        first, *others = self.selectable
        decision = self._decide(first, output)
        for policy in others:
            decision = self._decide(policy, output).where(policy_B == graph_code(policy), decision)
        return decision

    def _decide(self, policy: Policy, output: HeadOutput) -> _Decision:
        logits_BC, count_logits_BK = output.logits_BC.float(), output.count_logits_BK.float()
        match policy:
            case "predicted_count":
                return self._of_count(count_logits_BK.argmax(dim=-1))
            case "expected_f1":
                return self._of_count((count_logits_BK.softmax(dim=-1) @ self.expected_f1_KK).argmax(dim=-1))
            case "predicted_f1":
                assert output.f1_logits_BK is not None
                return self._of_count(output.f1_logits_BK.float().argmax(dim=-1))
            case "positive_logits":
                return self._of_count(_count(logits_BC > 0))
            case "learned_threshold":
                assert output.t_B is not None
                return self._of_rate(_rate_of_t(logits_BC, output.t_B))
            case "fixed_count":
                count_B = torch.full_like(logits_BC[..., 0], self.policy.label_count or 0, dtype=torch.int64)
                return self._of_count(count_B)
            case "fixed_rate":
                rate = self.policy.sparsity_rate or 0.0
                return self._of_rate(torch.full_like(logits_BC[..., 0], rate, dtype=torch.float64))

    def _of_count(self, count_B: Tensor) -> _Decision:
        # float64, and from the integer count: in float32 the wanted number of zeros is missed by one for many classes.
        return _Decision(count_B, (self.class_count - count_B).to(torch.float64) / self.class_count)

    def _of_rate(self, rate_B: Tensor) -> _Decision:
        return _Decision(torch.full_like(rate_B, self.class_count, dtype=torch.int64), rate_B)

    @staticmethod
    def _positive(raw_B1: Tensor) -> Tensor:
        return functional.softplus(raw_B1.squeeze(-1).float()).clamp(min=SMALLEST_T)


def _rate_of_t(logits_BC: Tensor, t_B: Tensor) -> Tensor:
    """The rate whose quantile is `max - t`: with it r-softmax gives what t-softmax would (SPEC 1.2, 1.3).

    `[B]`, float64. A cut below every logit counts as one at the lowest: r-softmax leaves at least that one out.
    """
    cut_B1 = (logits_BC.amax(dim=-1) - t_B).maximum(logits_BC.amin(dim=-1)).unsqueeze(-1)
    below_BC = logits_BC <= cut_B1
    # The neighbours of the cut, by reductions: a sort of many classes would cost more than the rest of the head.
    low_B = logits_BC.where(below_BC, -torch.inf).amax(dim=-1).double()
    high_B = logits_BC.where(~below_BC, torch.inf).amin(dim=-1).double()
    # float64 from here on, as the op computes the quantile from the rate.
    position_B = _count(below_BC) - 1 + (cut_B1.squeeze(-1).double() - low_B) / (high_B - low_B)
    rate_B = position_B / max(logits_BC.shape[-1] - 1, 1)
    # A row that is not a number has no rate; any will do, for its probabilities are not numbers either.
    return rate_B.where(rate_B >= 0, 1.0)


def _count(chosen_BC: Tensor) -> Tensor:
    # The runtime adds floats several times faster than integers; up to 2**24 classes the sum is exact.
    return chosen_BC.float().sum(dim=-1).long()
