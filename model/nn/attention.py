"""r-softmax over the keys of self-attention, in place of softmax (SPEC 4).

The function enters through the registry that `transformers` keeps for ways of computing attention, so that the network
stays the library's, with its weights under their own names. Each block holds its sparsity rate as a buffer: saved
weights carry the rate that they were validated with, and a graph its constant.

Shape suffixes: B rows, H heads, T queries, K keys, D width of a head.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask
from transformers.models.bert.modeling_bert import BertSelfAttention

from model.sparse_softmax import torch_kernel
from model.sparse_softmax.torch_plain import computed_in

NAME = "labelset_r_softmax"
BUFFER = "sparsity_rate"


def use_r_softmax(network: PreTrainedModel, rate: float) -> None:
    """Replace the softmax of every self-attention block of a BERT by r-softmax, in place.

    Raises:
        ValueError: a rate outside [0, 1].
    """
    network.set_attn_implementation(NAME)
    for block in network.modules():
        if isinstance(block, BertSelfAttention):
            block.register_buffer(BUFFER, torch.zeros((), dtype=torch.float64))
    set_rate(network, rate)


def set_rate(network: nn.Module, rate: float) -> None:
    """Set the sparsity rate of all blocks that compute r-softmax; a network without any stays as it is.

    Raises:
        ValueError: a rate outside [0, 1].
    """
    # Here and not in each block's forward pass: to read the buffer there, a GPU would have to be waited for.
    if not 0 <= rate <= 1:
        raise ValueError(f"the sparsity rate of attention must be in [0, 1], got {rate}")
    for block in network.modules():
        if isinstance(block, BertSelfAttention) and hasattr(block, BUFFER):
            block.get_buffer(BUFFER).fill_(rate)


def _attend(
    block: nn.Module,
    query_BHTD: Tensor,
    key_BHKD: Tensor,
    value_BHKD: Tensor,
    attended_B1TK: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_of_other_ways: Any,
) -> tuple[Tensor, Tensor]:
    """What `transformers` asks for: the values, mixed `[B, T, H, D]`, and the probabilities `[B, H, T, K]`."""
    scores_BHTK = torch.matmul(query_BHTD * scaling, key_BHKD.transpose(2, 3))
    if attended_B1TK is not None:
        # Not a large negative number: only -inf is masked, and a masked key must not count in the rate (SPEC 1.4).
        scores_BHTK = scores_BHTK.masked_fill_(~attended_B1TK, -torch.inf)
    # In float32 under autocast too, as softmax.
    scores_BHTK = scores_BHTK.to(computed_in(scores_BHTK.dtype))
    probabilities_BHTK = torch_kernel.r_softmax(scores_BHTK, block.get_buffer(BUFFER), exact_gradient=False)
    probabilities_BHTK = nn.functional.dropout(probabilities_BHTK.to(value_BHKD.dtype), dropout, block.training)
    return torch.matmul(probabilities_BHTK, value_BHKD).transpose(1, 2).contiguous(), probabilities_BHTK


AttentionInterface.register(NAME, _attend)
# A mask of booleans, absent where a batch has no padding.
AttentionMaskInterface.register(NAME, sdpa_mask)
