import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional

from model.manifest import SparsityPolicy
from model.nn.classifier import Classifier
from model.nn.heads import LabelSetHead
from training import losses
from training.data.arrays import Batch
from training.features import CachedFeatures
from training.objective import Objective
from training.overrides import named_recipe, override
from training.stepping import Pace, Stepper

FEATURES, CLASSES, BATCH = 6, 5, 8
# Of samples that no epoch has looked at yet.
NEVER_SEEN = np.full(200, -1)
SETTINGS = [
    "loss.delta=0.2",
    "loss.delta_warm_up=0",
    "optimizer.clip_norm=1e9",
    f"schedule.batch_size={BATCH}",
]


def _objective(recipe):
    """A head in float64 that gets most of `_batches` right already, with a step of gradient descent at rate 1."""
    head = LabelSetHead(FEATURES, CLASSES, SparsityPolicy(policy="predicted_count", max_label_count=2), dropout=0.0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        head.logits.weight[:, :CLASSES] += 4 * torch.eye(CLASSES)
        head.count.of_feature.weight[2, CLASSES] += 8
        head.count.of_feature.bias += torch.tensor([-4.0, 2.0, -4.0])
    return Objective(Classifier(CachedFeatures(FEATURES), head).double(), recipe.loss)


def _batches(count):
    generator = torch.Generator().manual_seed(2)
    for number in range(count):
        several_B = torch.rand(BATCH, generator=generator) < 0.3
        order_BC = torch.rand(BATCH, CLASSES, generator=generator).argsort(dim=1)
        targets_BC = order_BC < torch.where(several_B, 2, 1)[:, None]
        noise_BF = 0.35 * torch.randn(BATCH, FEATURES, generator=generator, dtype=torch.float64)
        inputs_BF = torch.cat([targets_BC.double() * 2 - 1, several_B.double()[:, None]], dim=1) + noise_BF
        yield Batch(inputs_BF, targets_BC, torch.arange(BATCH) + number * BATCH)


def _trained(objective):
    """All parameters but those of the layer that no step trains."""
    return [parameter for parameter in objective.parameters() if parameter.requires_grad]


def _step(settings, pace, batches=6, compiled=False, streak_N=NEVER_SEEN):
    recipe = override(named_recipe("text"), [*SETTINGS, *settings])
    accelerator = Accelerator(cpu=True)
    objective = _objective(recipe)
    if compiled:
        names = set(objective.state_dict())
        objective.compile_network()
        assert set(objective.state_dict()) == names
    before = [parameter.detach().clone() for parameter in _trained(objective)]
    optimizer = torch.optim.SGD(objective.parameters(), lr=1.0)
    objective, optimizer = accelerator.prepare(objective, optimizer)
    step = Stepper(accelerator, objective, optimizer, recipe, pad_id=0).step(_batches(batches), pace, 1.0, streak_N)
    gradients = [old - new for old, new in zip(before, _trained(objective), strict=True)]
    return step, gradients


def test_a_step_on_the_unmasked_samples_alone_is_the_step_on_all():
    skipped, gradients = _step(["speed.skip_masked=true"], Pace(active_share=0.3))
    assert 2 <= skipped.batches <= 6
    assert len(skipped.masked) >= skipped.batches * BATCH // 2
    full, expected = _step([f"schedule.accumulation={skipped.batches}"], Pace())
    assert full.batches == skipped.batches
    assert sorted(full.masked) == sorted(skipped.masked)
    torch.testing.assert_close(skipped.loss, full.loss)
    for actual, wanted in zip(gradients, expected, strict=True):
        assert wanted.abs().max() > 1e-3
        torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of itself
def test_a_compiled_network_takes_the_same_step_whatever_is_left_of_a_window():
    for share in (0.3, 1.0):
        compiled, gradients = _step(["speed.skip_masked=true"], Pace(active_share=share), compiled=True)
        plain, expected = _step(["speed.skip_masked=true"], Pace(active_share=share))
        assert (compiled.batches, sorted(compiled.masked)) == (plain.batches, sorted(plain.masked))
        for actual, wanted in zip(gradients, expected, strict=True):
            torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-10)


def test_while_most_samples_are_active_a_step_does_not_look_first():
    looked, gradients = _step(["speed.skip_masked=true"], Pace(active_share=0.59), batches=1)
    not_looked, expected = _step(["speed.skip_masked=true"], Pace(active_share=0.61), batches=1)
    assert sorted(looked.masked) == sorted(not_looked.masked)
    for actual, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-12)


def test_what_was_active_when_last_seen_is_not_looked_at_and_what_was_masked_is():
    reached = []

    def count(objective, arguments):
        reached.append((objective.training, len(arguments[0])))

    handle = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, arguments: count(module, arguments) if isinstance(module, Objective) else None
    )
    try:
        streak_N = NEVER_SEEN.copy()
        streak_N[: 2 * BATCH] = 0
        _step(["speed.skip_masked=true"], Pace(active_share=0.3), batches=2, streak_N=streak_N)
        assert all(is_training for is_training, _ in reached)
        reached.clear()
        streak_N[::2] = 3
        step, of_both = _step(["speed.skip_masked=true"], Pace(active_share=1.0), batches=2, streak_N=streak_N)
        assert [rows for is_training, rows in reached if not is_training] == [BATCH // 2] * step.batches
    finally:
        handle.remove()
    # Whoever is looked at, the gradient is that of all.
    _, expected = _step([f"schedule.accumulation={step.batches}"], Pace(), batches=2)
    for actual, wanted in zip(of_both, expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=0, atol=1e-12)


def test_accumulated_batches_make_the_gradient_of_their_union():
    _, accumulated = _step(["schedule.accumulation=3"], Pace())
    recipe = override(named_recipe("text"), SETTINGS)
    objective = _objective(recipe)
    union = [torch.cat(tensors) for tensors in zip(*_batches(3), strict=True)]
    objective(union[0], union[1], 1.0).total().mean().backward()
    for actual, parameter in zip(accumulated, _trained(objective), strict=True):
        torch.testing.assert_close(actual, parameter.grad, rtol=0, atol=1e-12)


def test_adaptive_accumulation_grows_by_one_batch_a_step_and_falls_at_once():
    # At most a quarter of the samples is active: lambda * N / (N - N_masked) is 4 or more.
    pace = Pace(accumulation=1)
    sizes = []
    for _ in range(3):
        step, _ = _step(["speed.adaptive_accumulation=1.0"], pace)
        sizes.append((step.batches, pace.accumulation))
    assert sizes == [(1, 2), (2, 3), (3, 4)]
    pace = Pace(accumulation=6)
    _, _ = _step(["speed.adaptive_accumulation=0.2"], pace)
    assert pace.accumulation < 3
    pace = Pace(accumulation=2)
    _step(["speed.adaptive_accumulation=9.0", "speed.max_accumulation=2"], pace)
    assert pace.accumulation == 2


def test_a_window_of_masked_samples_alone_teaches_the_count_and_has_a_gradient_of_zero_else():
    recipe = override(named_recipe("text"), [*SETTINGS, "speed.skip_masked=true"])
    accelerator = Accelerator(cpu=True)
    objective = _objective(recipe)
    targets = torch.eye(CLASSES, dtype=torch.bool)
    inputs = torch.cat(
        [functional.one_hot(torch.arange(CLASSES)).double() * 20 - 10, torch.zeros(5, 1)], dim=1
    ).double()
    of_count = objective(inputs, targets, 1.0).count_B.mean().item()
    objective, optimizer = accelerator.prepare(objective, torch.optim.AdamW(objective.parameters(), lr=1e-3))
    stepper = Stepper(accelerator, objective, optimizer, recipe, pad_id=0)
    step = stepper.step(iter([Batch(inputs, targets, torch.arange(CLASSES))]), Pace(active_share=0.1), 1.0, NEVER_SEEN)
    assert sorted(step.masked) == list(range(CLASSES))
    assert float(step.loss) == pytest.approx(of_count)
    # The optimizer has taken its step, with a gradient of zeros but for the count, on which nothing is ever masked.
    assert {int(state["step"]) for state in optimizer.state.values()} == {1}
    head = objective.classifier.head
    learning = [parameter for parameter, state in optimizer.state.items() if state["exp_avg"].any()]
    assert {id(parameter) for parameter in learning} == {
        id(parameter) for parameter in head.count.parameters() if parameter.requires_grad
    }


def test_no_batch_is_no_step():
    step, gradients = _step([], Pace(), batches=0)
    assert step is None
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("pad_id", [0, 7])
def test_texts_of_several_batches_are_joined_with_their_padding(pad_id):
    from training.data.arrays import join

    short = Batch(torch.ones(2, 3, dtype=torch.int64), torch.zeros(2, 4, dtype=torch.bool), torch.tensor([0, 1]))
    long = Batch(torch.ones(1, 5, dtype=torch.int64), torch.ones(1, 4, dtype=torch.bool), torch.tensor([2]))
    joined = join([short, long], pad_id)
    assert joined.inputs.tolist() == [[1, 1, 1, pad_id, pad_id]] * 2 + [[1] * 5]
    assert joined.targets.tolist() == [[False] * 4] * 2 + [[True] * 4]
    assert joined.index.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("task", "settings"), [("multi_class", []), ("multi_label", ["loss.count_weight=0"])], ids=["classes", "no count"]
)
def test_where_no_count_is_learned_masked_samples_are_skipped_all_the_same(task, settings):
    recipe = override(named_recipe("text"), [*SETTINGS, *settings, "speed.skip_masked=true"])
    accelerator = Accelerator(cpu=True)
    objective = _objective(recipe)
    objective.task, objective._loss = task, losses.build(recipe.loss, task)
    batches = [  # one label each
        batch._replace(targets=functional.one_hot(batch.targets.int().argmax(dim=1), CLASSES).bool())
        for batch in _batches(6)
    ]
    objective, optimizer = accelerator.prepare(objective, torch.optim.SGD(objective.parameters(), lr=1.0))
    stepper = Stepper(accelerator, objective, optimizer, recipe, pad_id=0)
    step = stepper.step(iter(batches), Pace(active_share=0.3), 1.0, NEVER_SEEN)
    assert len(step.masked) >= BATCH
    assert torch.isfinite(step.loss)
