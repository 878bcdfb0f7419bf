"""Multi-class and token classification, from data to the answers of the bundle."""

from model import golden


def test_a_multi_class_bundle(trained_class):
    print(trained_class.exported.metrics, trained_class.exported.agreement)
    assert trained_class.exported.metrics["accuracy"] > 0.8


def test_a_token_bundle(trained_tokens):
    print(trained_tokens.exported.metrics, trained_tokens.exported.agreement)
    assert trained_tokens.exported.metrics["accuracy"] > 0.95
