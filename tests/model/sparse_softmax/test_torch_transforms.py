"""What follows the torch op beside a plain backward pass: hooks, batches of gradients, transforms, compilers."""

import pytest
import torch
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

from model.sparse_softmax import torch_kernel, torch_op

DOUBLE = torch.float64
GRADIENTS = ["constant_t", "exact"]


def random_rows(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("loss", [torch.sum, lambda p: p.square().sum()], ids=["linear", "square"])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_second_derivative_is_refused(answering, loss, transposed):
    logits = random_rows(5, 5).requires_grad_()
    rows = logits.mT if transposed else logits
    (first,) = torch.autograd.grad(loss(torch_op.r_softmax(rows, 0.5)), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivative"):
        first.square().sum().backward()


def test_a_gradient_kept_for_its_value_may_stand_in_a_graph(answering):
    logits = random_rows(2, 5).requires_grad_()
    probabilities = torch_op.r_softmax(logits, 0.5)
    (first,) = torch.autograd.grad(probabilities.square().sum(), logits, create_graph=True)
    (again,) = torch.autograd.grad(probabilities.square().sum() + first.detach().sum(), logits)
    torch.testing.assert_close(again, first)


# torch scripts its own decompositions when the first dual tensor is made, and warns that it does.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_forward_mode_is_refused(answering):
    logits = random_rows(2, 5)
    with pytest.raises(NotImplementedError, match="forward-mode"):
        torch.func.jvp(lambda x: torch_op.r_softmax(x, 0.5), (logits,), (logits,))
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward mode"):
        torch_op.r_softmax(forward_ad.make_dual(logits, logits), 0.5)


@pytest.mark.parametrize(
    ("pack", "tolerance"),
    [(lambda t: t.mT.contiguous().mT, 0), (lambda t: t.half() if t.is_floating_point() else t, 1e-2)],
)
def test_saved_tensors_may_come_back_with_another_layout_or_type(answering, pack, tolerance):
    logits, upstream = random_rows(6, 9).requires_grad_(), random_rows(6, 9, seed=1)
    (expected,) = torch.autograd.grad(torch_op.r_softmax(logits, 0.5), logits, upstream)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        probabilities = torch_op.r_softmax(logits, 0.5)
    (gradient,) = torch.autograd.grad(probabilities, logits, upstream)
    torch.testing.assert_close(gradient, expected, rtol=tolerance, atol=tolerance)


def test_gradients_may_come_in_batches(answering):
    logits, upstream = random_rows(6, 9).requires_grad_(), random_rows(3, 6, 9, seed=1)
    probabilities = torch_op.r_softmax(logits, 0.5)
    (batched,) = torch.autograd.grad(probabilities, logits, upstream, is_grads_batched=True, retain_graph=True)
    one_by_one = [torch.autograd.grad(probabilities, logits, u, retain_graph=True)[0] for u in upstream]
    torch.testing.assert_close(batched, torch.stack(one_by_one), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exact", [False, True])
def test_the_operators_keep_the_rules_of_torch_library(answering, exact):
    rates = torch.tensor([0.1, 0.4, 0.8, 1.0], dtype=DOUBLE)
    for logits in (random_rows(4, 7), random_rows(7, 4).T):
        torch.library.opcheck(torch.ops.labelset.r_softmax.default, (logits, rates))
        torch.library.opcheck(
            torch.ops.labelset.r_softmax_with_cut.default, (logits.clone().requires_grad_(), rates, exact)
        )


def test_an_operator_reads_no_rate_beyond_the_last(answering):
    with pytest.raises(RuntimeError, match="size"):
        torch.ops.labelset.r_softmax(random_rows(4, 5), torch.full((3,), 0.5, dtype=DOUBLE))


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_a_compiled_model_gives_what_eager_mode_gives(answering, gradient):
    def loss(logits, counts):
        return (torch_op.r_softmax_count(logits * 2, counts, gradient) * torch.arange(9)).square().sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    logits, counts = random_rows(4, 9), torch.tensor([2, 0, 5, 9])
    results = []
    for function in (loss, compiled):
        scores = logits.clone().requires_grad_()
        value = function(scores, counts)
        value.backward()
        results.append((value.detach(), scores.grad))
    torch.testing.assert_close(*results)


def test_others_than_autograd_meet_the_registered_operator(answering):
    logits = random_rows(3, 6)
    expected = torch_op.r_softmax(logits, 0.5)
    graph = make_fx(lambda x: torch_op.r_softmax(x, 0.5))(logits)
    assert torch.ops.labelset.r_softmax.default in {node.target for node in graph.graph.nodes}
    assert torch.equal(graph(logits), expected)
    assert torch.equal(torch.func.vmap(lambda x: torch_op.r_softmax(x, 0.5))(logits), expected)
    with torch._subclasses.FakeTensorMode():
        fake = torch_op.r_softmax(torch.empty(3, 6), 0.5)
    assert isinstance(fake, torch._subclasses.FakeTensor)


def test_eager_mode_takes_the_short_way(monkeypatch):
    def refuse(*_):
        raise AssertionError("eager mode went through the dispatcher")

    monkeypatch.setattr(torch_kernel, "operator", refuse)
    monkeypatch.setattr(torch_kernel, "operator_with_cut", refuse)
    torch_op.r_softmax(random_rows(3, 6), 0.5)
    torch_op.r_softmax(random_rows(3, 6).requires_grad_(), 0.5)
