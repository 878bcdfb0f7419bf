import torch

from model.nn.classifier import ServedClassifier


def test_the_sparse_outputs_are_the_dense_ones_in_rows(trained_text):
    dataset, classifier = trained_text.parts.test, trained_text.parts.classifier
    batch = dataset.collate([dataset[index] for index in range(len(dataset))]).inputs
    wishes = torch.full((len(batch),), -1), torch.full((len(batch),), -1.0, dtype=torch.float64)
    wishes[0][:2] = torch.tensor([0, 3])
    policy = torch.zeros(len(batch), dtype=torch.int64)
    with torch.inference_mode():
        served = ServedClassifier(classifier)(batch, *wishes, policy)
    assert served.row_offset.tolist()[:2] == [0, 0]
    assert served.row_offset[2] == 3
    rebuilt = torch.zeros_like(served.probabilities_BC)
    for row, (start, end) in enumerate(zip(served.row_offset[:-1], served.row_offset[1:], strict=True)):
        rebuilt[row, served.label_index_M[start:end]] = served.label_probability_M[start:end]
    torch.testing.assert_close(rebuilt, served.probabilities_BC, rtol=0, atol=0)
    assert served.applied_sparsity_rate_B[:2].tolist() == [1.0, 0.25]


def test_a_classifier_takes_what_its_backbone_takes(trained_text, trained_image):
    assert trained_text.parts.classifier.input_name == "token_ids"
    assert trained_image.parts.classifier.input_name == "pixels"
