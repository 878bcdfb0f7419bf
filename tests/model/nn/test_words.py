"""The served form of a token classifier's backbone."""

import torch

from model.nn.backbones import new_text_backbone
from model.nn.words import WordBackbone


def test_the_features_of_words_are_those_of_the_tokens_they_begin_with():
    torch.manual_seed(0)
    tokens = new_text_backbone(vocabulary_size=30, hidden_size=32, layers=1, max_length=8, pad_id=0).eval()
    tokens.pooling = "none"
    token_ids = torch.tensor([[2, 5, 6, 3, 0], [2, 7, 8, 9, 3]])
    feature_BTF = tokens(token_ids)
    assert feature_BTF.shape == (2, 5, 32)
    words = WordBackbone(tokens)((token_ids, torch.tensor([1, 2, 5 + 1, 5 + 3])))
    torch.testing.assert_close(words, feature_BTF[[0, 0, 1, 1], [1, 2, 1, 3]])
    assert words.shape == (4, WordBackbone(tokens).feature_size)


def test_padding_does_not_change_the_features_of_a_word():
    torch.manual_seed(0)
    tokens = new_text_backbone(vocabulary_size=30, hidden_size=32, layers=2, max_length=8, pad_id=0).eval()
    tokens.pooling = "none"
    words = WordBackbone(tokens)
    short = words((torch.tensor([[2, 5, 6, 3]]), torch.tensor([1, 2])))
    padded = words((torch.tensor([[2, 5, 6, 3, 0, 0]]), torch.tensor([1, 2])))
    torch.testing.assert_close(short, padded, rtol=1e-5, atol=1e-5)
