import pytest
from tokenizers import Tokenizer
from transformers import BertModel

from training.data.weights import fetch_minilm, resolve


def test_a_local_folder_and_a_hub_name_stay_what_they_are(tmp_path):
    assert resolve(str(tmp_path)) == str(tmp_path)
    assert resolve("microsoft/resnet-18") == "microsoft/resnet-18"


@pytest.mark.slow
def test_minilm_loads_with_no_weight_missing_or_left_over():
    folder = resolve("minilm-l6")
    model, report = BertModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    assert model.config.hidden_size == 384
    tokenizer = Tokenizer.from_file(str(fetch_minilm() / "tokenizer.json"))
    assert tokenizer.get_vocab_size() == model.config.vocab_size
