import pytest
from pydantic import ValidationError

from model.manifest import ImagePreprocessing, SparsityPolicy, TextPreprocessing


@pytest.mark.parametrize(
    ("policy", "needed"),
    [("predicted_count", "max_label_count"), ("fixed_count", "label_count"), ("fixed_rate", "sparsity_rate")],
)
def test_a_policy_without_its_number_is_refused(policy, needed):
    with pytest.raises(ValidationError, match=f"the policy {policy} needs {needed}"):
        SparsityPolicy(policy=policy)
    assert SparsityPolicy(policy=policy, **{needed: 0}).policy == policy


@pytest.mark.parametrize("numbers", [{"label_count": -1}, {"sparsity_rate": 1.5}, {"sparsity_rate": -0.1}])
def test_a_policy_with_a_number_out_of_its_range_is_refused(numbers):
    with pytest.raises(ValidationError):
        SparsityPolicy(policy="fixed_count", **{"label_count": 1, **numbers})


def test_sizes_have_bounds():
    for size in (0, 4097):
        with pytest.raises(ValidationError):
            ImagePreprocessing(height=size, width=32)
    with pytest.raises(ValidationError):
        TextPreprocessing(max_length=1, pad_id=0)


def test_a_manifest_cannot_be_changed_once_read(trained_image):
    with pytest.raises(ValidationError, match="frozen"):
        trained_image.exported.bundle.manifest.name = "other"
