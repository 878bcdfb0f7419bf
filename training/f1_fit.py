"""The last layer of the count, fitted to validation data: what F1 the label set of each size has (ADR 10).

The network ranks its training data too well for them to tell how far its ranking can be trusted; validation data can.
"""

import torch
from torch import Tensor
from torch.nn import functional

from model.nn.counting import CountLayers
from training.evaluate import Answers

# Strength of the prior on the weights, which keeps few examples from being believed too much: an example weighs 1.
_PRIOR = 10.0
_PRIOR_OF_BIAS = 1.0
# How many examples' fit the expected F1 is worth; and the line that comes close to its logit.
_BELIEF_IN_EXPECTED = 30
_SLOPE_OF_EXPECTED, _INTERCEPT_OF_EXPECTED = 6.0, -3.0
# What hardly varies among the examples must not be blown up to unit variance.
_LEAST_DEVIATION = 0.1
_ITERATIONS = 100


def fit_f1(layers: CountLayers, answers: Answers) -> None:
    """Fit the F1 logits to how good the label set of each size is on these answers, by cross-entropy.

    Convex, in float64, from a fixed start: the same answers give the same layer, in a fraction of a second.

    Args:
        layers: Their layer `f1` is changed, and nothing else.
        answers: Of data that the network was not trained on; at least one example.
    """
    logits_NC = torch.from_numpy(answers.logits_NC).double()
    count_logits_NK = torch.from_numpy(answers.count_logits_NK).double()
    max_label_count = count_logits_NK.shape[1] - 1
    with torch.no_grad():
        input_NS = layers.f1_inputs(logits_NC, count_logits_NK)
        f1_NK = f1_of_counts(logits_NC, torch.from_numpy(answers.targets_NC), max_label_count)
    weight_KS, bias_K = _fit(input_NS, f1_NK)
    share = len(input_NS) / (len(input_NS) + _BELIEF_IN_EXPECTED)
    with torch.no_grad():
        expected_KS = _SLOPE_OF_EXPECTED * layers.expected_f1_weight()
        layers.f1.weight.copy_(share * weight_KS + (1 - share) * expected_KS)
        layers.f1.bias.copy_(share * bias_K + (1 - share) * _INTERCEPT_OF_EXPECTED)


def f1_of_counts(logits_NC: Tensor, targets_NC: Tensor, max_label_count: int) -> Tensor:
    """F1 of the k highest classes, for each k from 0: `[N, K + 1]`, float64; 1 for none where there is no label."""
    highest_NK = logits_NC.topk(max_label_count, dim=-1).indices
    hits_NK = functional.pad(targets_NC.gather(-1, highest_NK).cumsum(dim=-1), (1, 0)).double()
    size_NK = torch.arange(max_label_count + 1) + targets_NC.sum(dim=-1, keepdim=True)
    return torch.where(size_NK == 0, 1.0, 2 * hits_NK / size_NK.clamp(min=1))


def _fit(input_NS: Tensor, f1_NK: Tensor) -> tuple[Tensor, Tensor]:
    """Weight `[K + 1, S]` and bias of a logistic regression on fractions, under a Gaussian prior."""
    mean_S, deviation_S = input_NS.mean(dim=0), input_NS.std(dim=0, correction=0) + _LEAST_DEVIATION
    scaled_NS = (input_NS - mean_S) / deviation_S
    weight_KS = torch.zeros(f1_NK.shape[1], input_NS.shape[1], dtype=torch.float64, requires_grad=True)
    bias_K = torch.zeros(f1_NK.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight_KS, bias_K], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        logits_NK = functional.linear(scaled_NS, weight_KS, bias_K)
        of_data = functional.binary_cross_entropy_with_logits(logits_NK, f1_NK, reduction="sum")
        prior = _PRIOR * weight_KS.square().sum() + _PRIOR_OF_BIAS * bias_K.square().sum()
        total = (of_data + prior) / len(input_NS)
        total.backward()
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        unscaled_KS = weight_KS / deviation_S
        return unscaled_KS, bias_K - unscaled_KS @ mean_S
