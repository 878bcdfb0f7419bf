"""AdamW and its learning rates: over the parts of the network, and over the run."""

import math
import re
from collections import defaultdict

from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from training.config import OptimizerConfig

# Blocks of the backbones, as `transformers` names them: BERT's layers, ResNet's stages.
_BLOCK = re.compile(r"\bencoder\.(?:layer|stages)\.(\d+)\.")


def build_optimizer(classifier: nn.Module, config: OptimizerConfig) -> AdamW:
    """AdamW: a learning rate for the head, one for the backbone that falls with depth, no decay on biases and norms.

    Every group keeps its own highest rate as `peak_lr`; `set_learning_rate` scales it.
    """
    blocks = {int(match[1]) for name, _ in classifier.named_parameters() if (match := _BLOCK.search(name))}
    block_count = max(blocks, default=-1) + 1
    groups: dict[tuple[float, float], list[Tensor]] = defaultdict(list)
    for name, parameter in classifier.named_parameters():
        lr = config.head_lr if name.startswith("head.") else config.lr * config.layer_decay ** _depth(name, block_count)
        groups[lr, config.weight_decay if parameter.ndim > 1 else 0.0].append(parameter)
    return AdamW(
        [
            {"params": parameters, "lr": lr, "peak_lr": lr, "weight_decay": decay}
            for (lr, decay), parameters in groups.items()
        ],
        fused=True,
    )


def set_learning_rate(optimizer: Optimizer, factor: float) -> None:
    """Give every group its highest rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def learning_rate_factor(progress: float, warm_up: float) -> float:
    """Linear warm-up, then half a cosine down to 0.

    Args:
        progress: Part of the run that is done, in [0, 1].
        warm_up: Part of the run in which the rate rises.
    """
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / max(1e-9, 1 - warm_up)))


def _depth(name: str, block_count: int) -> int:
    """Blocks between a parameter of the backbone and the head: 0 for the last block, most for the embeddings."""
    match = _BLOCK.search(name)
    return block_count - 1 - int(match[1]) if match else block_count
