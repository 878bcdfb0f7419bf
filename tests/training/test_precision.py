"""Half precision: runs learn, skip what is masked, and keep their weights in float32."""

import pytest
import torch
from accelerate.utils import set_seed
from safetensors.torch import load_file

from training.build import build_parts
from training.loop import BEST_WEIGHTS, Run
from training.objective import RowLoss
from training.overrides import override

MASKING = ["loss.delta=0.1", "loss.delta_warm_up=0"]
SKIPPING = [*MASKING, "speed.skip_masked=true", "schedule.epochs=16", "schedule.patience=99"]


@pytest.fixture
def start(text_recipe, text_data, tmp_path):
    def begin(*settings: str) -> Run:
        recipe = override(text_recipe, settings)
        set_seed(recipe.seed)
        return Run(recipe, build_parts(recipe, text_data), tmp_path / "run", tracker="none")

    return begin


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("settings", [["schedule.accumulation=2"], SKIPPING], ids=["accumulated", "skipping"])
def test_a_run_in_half_precision_learns_and_keeps_its_weights_in_float32(start, precision, settings):
    run = start(f"precision={precision}", *settings)
    history = run.train().history
    assert history[-1]["train_loss"] < 0.75 * history[0]["train_loss"]
    assert {value.dtype for value in load_file(run.folder / BEST_WEIGHTS).values()} == {torch.float32}
    if settings is SKIPPING:
        assert history[-1]["active_share"] < 0.6
        assert history[-1]["validation_mean_average_precision"] > 0.95


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_in_half_precision_a_masked_row_has_a_loss_of_exactly_zero(start, precision):
    run = start(f"precision={precision}", *SKIPPING)
    run.train()
    run.objective.eval()
    train = run.parts.train
    batch = train.collate([train[index] for index in range(len(train))])
    loss_B = RowLoss(*run.objective(batch.inputs, batch.targets, 1.0)).network_B
    assert loss_B.dtype == torch.float32
    masked_B = loss_B == 0
    assert 0.3 < float(masked_B.float().mean()) < 1
    trained = [parameter for parameter in run.classifier.head.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad(loss_B[masked_B].sum(), trained, allow_unused=True)
    assert not any(gradient.any() for gradient in gradients if gradient is not None)
