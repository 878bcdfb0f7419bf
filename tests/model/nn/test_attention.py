import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from model.nn.attention import BUFFER, set_rate
from model.nn.backbones import TextBackbone, load_text_backbone, new_text_backbone
from model.sparse_softmax import reference
from model.sparse_softmax.torch_op import t_softmax

LENGTHS = (9, 5, 2)


def _backbone(attention_rate=0.4, dropout=0.0):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=16,
        initializer_range=0.5,  # so that attention has something to prefer
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=dropout,
    )
    return TextBackbone(BertModel(config, add_pooling_layer=False), attention_rate=attention_rate).eval()


@pytest.fixture(name="token_ids_BT")
def three_padded_texts():
    ids_BT = torch.randint(1, 50, (3, max(LENGTHS)), generator=torch.Generator().manual_seed(1))
    for row, length in enumerate(LENGTHS):
        ids_BT[row, length:] = 0
    return ids_BT


def _answer(backbone, token_ids_BT):
    return backbone.network(token_ids_BT, attention_mask=(token_ids_BT != 0).long(), output_attentions=True)


def _first_block(backbone):
    return backbone.network.encoder.layer[0].attention.self


def _scores(backbone, token_ids_BT):
    """The scores of the first block `[B, H, T, T]`, from its own weights, with padding masked."""
    block = _first_block(backbone)
    hidden_BTF = backbone.network.embeddings(token_ids_BT)
    query, key = (
        layer(hidden_BTF).unflatten(-1, (block.num_attention_heads, -1)).transpose(1, 2)
        for layer in (block.query, block.key)
    )
    scores = query @ key.transpose(2, 3) / block.attention_head_size**0.5
    return scores.masked_fill((token_ids_BT == 0)[:, None, None], -torch.inf)


@pytest.mark.parametrize("rate", [0.0, 0.15, 0.5, 1.0])
def test_the_weights_of_the_keys_are_r_softmax_of_their_scores(token_ids_BT, rate):
    backbone = _backbone(rate)
    with torch.inference_mode():
        probabilities = _answer(backbone, token_ids_BT).attentions[0]
        scores = _scores(backbone, token_ids_BT)
    rows = scores.reshape(-1, scores.shape[-1]).double().numpy()
    expected = reference.r_softmax(rows, np.full(len(rows), rate)).reshape(scores.shape)
    np.testing.assert_allclose(probabilities.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_the_rate_counts_only_keys_that_are_not_padding(token_ids_BT):
    # Of 9, 5 and 2 keys the quantile at .5 lies on the fifth, on the third, and between the two.
    attended = [(layer != 0).sum(dim=-1) for layer in _answer(_backbone(0.5), token_ids_BT).attentions]
    for count_BHT in attended:
        assert [row.unique().tolist() for row in count_BHT] == [[4], [2], [1]]


def test_padding_gets_no_weight_and_each_row_is_a_distribution(token_ids_BT):
    for probabilities in _answer(_backbone(), token_ids_BT).attentions:
        for row, length in enumerate(LENGTHS):
            assert not probabilities[row, ..., length:].any()
        torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(3, 4, max(LENGTHS)))


def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(token_ids_BT):
    backbone = _backbone()
    together_BF = backbone(token_ids_BT)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(backbone(token_ids_BT[row : row + 1, :length])[0], together_BF[row])


def test_rate_0_is_not_softmax_the_lowest_key_gets_nothing(token_ids_BT):
    row = token_ids_BT[:1]
    backbone = _backbone(0.0)
    sparse = _answer(backbone, row).attentions[0]
    scores = _scores(backbone, row)
    softmax = scores.softmax(dim=-1)
    weighted = softmax * (scores - scores.amin(dim=-1, keepdim=True))
    torch.testing.assert_close(sparse, weighted / weighted.sum(dim=-1, keepdim=True), rtol=1e-4, atol=1e-5)
    assert ((sparse == 0).sum(dim=-1) == 1).all()
    assert (softmax - sparse).abs().amax() > 0.05


def test_a_softmax_network_beside_a_sparse_one_stays_softmax(token_ids_BT):
    plain = _backbone(None)
    before_BF = plain(token_ids_BT)
    _backbone(0.5)
    assert plain(token_ids_BT).equal(before_BF)
    set_rate(plain, 0.5)
    assert plain(token_ids_BT).equal(before_BF)


def test_the_rate_is_set_in_every_block(token_ids_BT):
    backbone = _backbone(0.0)
    set_rate(torch.nn.Sequential(backbone), 0.5)
    assert backbone(token_ids_BT).equal(_backbone(0.5)(token_ids_BT))
    assert not backbone(token_ids_BT).equal(_backbone(0.0)(token_ids_BT))


def test_saved_weights_carry_the_rate_in_float64():
    backbone = _backbone(0.1)
    rates = {name: value for name, value in backbone.state_dict().items() if name.endswith(BUFFER)}
    assert [value.tolist() for value in rates.values()] == [0.1, 0.1]
    other = _backbone(0.9)
    other.load_state_dict(backbone.state_dict())
    assert _first_block(other).sparsity_rate.item() == 0.1


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_a_rate_outside_of_0_to_1_is_named(rate):
    with pytest.raises(ValueError, match=rf"the sparsity rate of attention must be in \[0, 1\], got {rate}"):
        _backbone(rate)
    backbone = _backbone(0.25)
    with pytest.raises(ValueError, match=str(rate)):
        set_rate(backbone, rate)
    assert _first_block(backbone).sparsity_rate.item() == 0.25


def test_dropout_acts_on_the_weights_of_the_keys_while_training(token_ids_BT):
    backbone = _backbone(dropout=0.25)
    whole = _answer(backbone, token_ids_BT).attentions[0]
    dropped = _answer(backbone.train(), token_ids_BT).attentions[0]
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], whole[kept] / 0.75)
    share = kept.sum() / (whole != 0).sum()
    assert 0.65 < share < 0.85


def test_gradients_reach_queries_and_keys_by_the_constant_t_rule(token_ids_BT):
    backbone = _backbone(0.4)
    block = _first_block(backbone)
    sources = [block.query.weight, block.key.weight]
    mix = torch.randn(3, 4, 9, 9, generator=torch.Generator().manual_seed(2))
    own = torch.autograd.grad((_answer(backbone, token_ids_BT).attentions[0] * mix).sum(), sources)

    scores = _scores(backbone, token_ids_BT)
    cut = torch.stack([row[row > -torch.inf].quantile(0.4) for row in scores.detach().reshape(-1, 9)])
    t = scores.detach().amax(dim=-1) - cut.view(scores.shape[:-1])
    expected = torch.autograd.grad((t_softmax(scores, t) * mix).sum(), sources)
    for one, other in zip(own, expected, strict=True):
        assert other.abs().max() > 0.1
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_under_autocast_the_weights_are_computed_in_float32(token_ids_BT):
    backbone = _backbone(0.5)
    with torch.autocast("cpu", torch.bfloat16):
        answer = _answer(backbone.train(), token_ids_BT)
        answer.last_hidden_state.sum().backward()
    for probabilities in answer.attentions:
        assert probabilities.dtype == torch.bfloat16
        torch.testing.assert_close(probabilities.float().sum(dim=-1), torch.ones(3, 4, 9), rtol=0, atol=0.02)
    assert _first_block(backbone).query.weight.grad.isfinite().all()


def test_a_compiled_network_is_one_graph_and_follows_the_rate(token_ids_BT):
    backbone = _backbone(0.0)
    compiled = torch.compile(backbone, backend="aot_eager", fullgraph=True)
    for rate in (0.0, 0.3, 0.6):
        set_rate(compiled, rate)
        torch.testing.assert_close(compiled(token_ids_BT), backbone(token_ids_BT))


def test_a_checkpoint_of_softmax_keeps_its_weights_under_r_softmax(tmp_path, token_ids_BT):
    plain = _backbone(None)
    plain.network.save_pretrained(tmp_path)
    loaded = load_text_backbone(str(tmp_path), attention_rate=0.4).eval()
    assert loaded(token_ids_BT).equal(_backbone(0.4)(token_ids_BT))
    shorter = load_text_backbone(str(tmp_path), layers=1, attention_rate=0.4)
    assert sum(name.endswith(BUFFER) for name, _ in shorter.named_buffers()) == 1


def test_a_new_network_takes_a_rate(token_ids_BT):
    arguments = {"vocabulary_size": 50, "hidden_size": 32, "layers": 2, "max_length": 16, "pad_id": 0}
    sparse, plain = (new_text_backbone(**arguments, attention_rate=rate).eval() for rate in (0.4, None))
    plain.load_state_dict({k: v for k, v in sparse.state_dict().items() if not k.endswith(BUFFER)})
    assert not torch.allclose(sparse(token_ids_BT), plain(token_ids_BT))
