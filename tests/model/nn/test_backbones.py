import json

import pytest
import torch
from transformers import BertConfig, BertModel, ResNetConfig, ResNetModel

from model.nn.backbones import (
    ImageBackbone,
    TextBackbone,
    load_image_backbone,
    load_text_backbone,
    new_image_backbone,
    new_text_backbone,
)

PAD = 3


@pytest.fixture(scope="module")
def text_backbone() -> TextBackbone:
    torch.manual_seed(0)
    return new_text_backbone(vocabulary_size=50, hidden_size=32, layers=2, max_length=16, pad_id=PAD).eval()


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    """A BERT of three layers as a folder of `transformers`, with the pooling layer that such folders have."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    config = BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=64)
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def resnet_folder(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("resnet")
    config = ResNetConfig(embedding_size=8, hidden_sizes=[16, 32, 64], depths=[2, 2, 1], layer_type="bottleneck")
    ResNetModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_does_not_change_the_feature_of_a_text(text_backbone, pooling):
    backbone = TextBackbone(text_backbone.network, pooling).eval()
    short, long = torch.tensor([[5, 6, 7]]), torch.arange(10, 20)[None]
    padded = torch.cat([torch.nn.functional.pad(short, (0, 7), value=PAD), long])
    with torch.inference_mode():
        torch.testing.assert_close(backbone(padded)[:1], backbone(short), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(backbone(padded)[1:], backbone(long), rtol=1e-5, atol=1e-6)


def test_the_feature_depends_on_the_tokens_and_their_order(text_backbone):
    with torch.inference_mode():
        one, other, turned = text_backbone(torch.tensor([[5, 6, 7], [5, 6, 8], [7, 6, 5]]))
    assert not torch.allclose(one, other, atol=1e-3)
    assert not torch.allclose(one, turned, atol=1e-3)


def test_mean_pooling_is_the_mean_over_the_tokens(text_backbone):
    tokens = torch.tensor([[5, 6, 7, PAD]])
    with torch.inference_mode():
        hidden = text_backbone.network(tokens, attention_mask=(tokens != PAD).long()).last_hidden_state
        torch.testing.assert_close(text_backbone(tokens), hidden[:, :3].mean(dim=1))


def test_pixels_are_normalised_inside_the_network():
    backbone = new_image_backbone(hidden_sizes=(8, 16), depths=(1, 1)).eval()
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.inference_mode():
        hidden = backbone.network(normalised).last_hidden_state
        torch.testing.assert_close(backbone(pixels), hidden.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)
    assert backbone.feature_size == hidden.shape[1] == 16


def test_a_folder_brings_its_own_mean_and_std(resnet_folder, tmp_path):
    for file in resnet_folder.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0, 0, 0], "image_std": [1, 2, 4]}))
    backbone = load_image_backbone(str(tmp_path))
    torch.testing.assert_close(backbone.scale.flatten() * 255, torch.tensor([1, 0.5, 0.25]))
    assert backbone.shift.flatten().tolist() == [0, 0, 0]


def test_loaded_weights_are_those_of_the_folder(bert_folder, resnet_folder):
    tokens = torch.arange(1, 9)[None]
    bert, backbone = BertModel.from_pretrained(bert_folder).eval(), load_text_backbone(str(bert_folder)).eval()
    with torch.inference_mode():
        torch.testing.assert_close(backbone(tokens), bert(tokens).last_hidden_state.mean(dim=1))
    assert load_image_backbone(str(resnet_folder)).feature_size == 64


def test_a_bert_may_be_cut_to_its_first_layers(bert_folder):
    full, cut = load_text_backbone(str(bert_folder)).eval(), load_text_backbone(str(bert_folder), layers=1).eval()
    tokens = torch.arange(1, 9)[None]
    with torch.inference_mode():
        after_one_layer = full.network(tokens, output_hidden_states=True).hidden_states[1]
        torch.testing.assert_close(cut(tokens), after_one_layer.mean(dim=1))


def test_a_resnet_may_be_cut_to_its_first_stages_and_blocks(resnet_folder):
    full, cut = load_image_backbone(str(resnet_folder)).eval(), load_image_backbone(str(resnet_folder), (2, 1)).eval()
    assert cut.feature_size == 32
    pixels = torch.full((1, 32, 32, 3), 200, dtype=torch.uint8)
    with torch.inference_mode():
        assert cut(pixels).shape == (1, 32)
    own, original = cut.network.state_dict(), full.network.state_dict()
    assert own.keys() < original.keys()
    for name, value in own.items():
        torch.testing.assert_close(value, original[name], rtol=0, atol=0)


def test_more_layers_than_the_weights_have_are_refused(bert_folder, resnet_folder):
    with pytest.raises(ValueError, match=r"must hold the weights of a BertModel, it lacks \['encoder\.layer\.3"):
        load_text_backbone(str(bert_folder), layers=4)
    with pytest.raises(ValueError, match="must hold the weights of a ResNetModel, it lacks"):
        load_image_backbone(str(resnet_folder), (2, 2, 2))


def test_backbones_say_which_input_they_take():
    assert (ImageBackbone.input_name, TextBackbone.input_name) == ("pixels", "token_ids")
