import torch

from model.nn.counting import CountLayers
from model.policies import expected_f1

CLASSES = 6


def _layers(max_label_count=3):
    torch.manual_seed(0)
    return CountLayers(8, CLASSES, max_label_count)


def test_the_count_sees_how_the_probabilities_fall_and_the_logits_learn_nothing_from_it():
    layers = _layers()
    with torch.no_grad():
        layers.of_feature.weight.zero_()
        layers.of_feature.bias.zero_()
        # The number of labels by the probability of the second class alone: position 1 of the second half.
        layers.of_shape.weight.zero_()
        layers.of_shape.weight[2, CLASSES + 1] = 0.1
    logits = torch.randn(3, CLASSES, requires_grad=True)
    count_logits, f1_logits = layers(torch.randn(3, 8), logits)
    second_B = logits.softmax(dim=-1).sort(dim=-1, descending=True).values[:, 1]
    torch.testing.assert_close(count_logits[:, 2], second_B)
    (count_logits.sum() + f1_logits.sum()).backward()
    assert logits.grad is None
    assert layers.of_shape.weight.grad.any()


def test_the_layer_of_f1_learns_in_no_step():
    layers = _layers()
    assert [name for name, parameter in layers.named_parameters() if not parameter.requires_grad] == [
        "f1.weight",
        "f1.bias",
    ]


def test_before_its_fit_the_f1_is_the_expected_one():
    layers = _layers()
    with torch.no_grad():
        count_logits, f1_logits = layers(torch.randn(50, 8) * 5, torch.randn(50, CLASSES))
    torch.testing.assert_close(f1_logits, torch.from_numpy(expected_f1(count_logits.numpy())).float())


def test_fewer_classes_than_are_looked_at_and_logits_beyond_measure_are_no_matter():
    layers = CountLayers(8, 2, 2)
    count_logits, f1_logits = layers(torch.zeros(1, 8), torch.tensor([[1e30, -1e30]]))
    assert count_logits.isfinite().all()
    assert f1_logits.isfinite().all()


def test_tokens_have_one_axis_more():
    features, logits = torch.randn(2, 5, 8), torch.randn(2, 5, CLASSES)
    layers = _layers()
    of_tokens = layers(features, logits)
    of_rows = layers(features.flatten(0, 1), logits.flatten(0, 1))
    for tokens, rows in zip(of_tokens, of_rows, strict=True):
        torch.testing.assert_close(tokens.flatten(0, 1), rows)
