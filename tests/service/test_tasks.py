"""Models of other tasks than label sets, behind a real service: one label a text, one tag a word."""

import httpx
import pytest

from service.repository import Repository
from service.settings import Settings


@pytest.fixture(scope="module")
def tasks(serve, trained_class, trained_tokens, bundles, tmp_path_factory):
    """A service with three models that take texts; only one of them takes words."""
    models = tmp_path_factory.mktemp("models")
    for name, source in (
        ("topics", trained_class.bundle),
        ("grammar", trained_tokens.bundle),
        ("text-demo", bundles / "text-demo" / "1"),
    ):
        (models / name).mkdir()
        (models / name / "1").symlink_to(source)
    with httpx.Client(base_url=serve(models=models, max_batch_size=4).url, timeout=60) as client:
        yield client


def tags(prediction):
    return [[label["label"] for label in word["labels"]] for word in prediction["words"]]


def test_the_list_of_models_names_their_tasks(tasks):
    listed = {model["name"]: (model["kind"], model["task"]) for model in tasks.get("/models").json()["models"]}
    assert listed == {
        "topics": ("text", "multi_class"),
        "grammar": ("text", "token_classification"),
        "text-demo": ("text", "multi_label"),
    }


def test_a_text_gets_its_one_label(tasks):
    answer = tasks.post("/predict?model=topics", json={"text": "we saw bread and soup"}).json()
    [prediction] = answer["predictions"]
    assert [label["label"] for label in prediction["labels"]] == ["food"]
    assert prediction["label_count"] == 1


def test_a_text_gets_its_words_with_their_places_and_tags(tasks):
    response = tasks.post("/predict?model=grammar", content="The dog  hears!", headers={"content-type": "text/plain"})
    assert response.status_code == 200
    [prediction] = response.json()["predictions"]
    assert prediction.keys() == {"index", "words", "truncated"}
    places = [(word["text"], word["start"], word["end"]) for word in prediction["words"]]
    assert places == [("The", 0, 3), ("dog", 4, 7), ("hears", 9, 14), ("!", 14, 15)]
    assert tags(prediction) == [["DET"], ["NOUN"], ["VERB"], ["MARK"]]
    assert prediction["truncated"] is False


def test_words_choose_the_model_that_labels_words(tasks):
    answer = tasks.post("/predict", json={"words": ["the", "dog", "hears"]}).json()
    assert answer["model"]["name"] == "grammar"
    [prediction] = answer["predictions"]
    assert [(word["text"], word["start"]) for word in prediction["words"]] == [
        ("the", None),
        ("dog", None),
        ("hears", None),
    ]
    assert tags(prediction) == [["DET"], ["NOUN"], ["VERB"]]


def test_several_lists_of_words_are_several_inputs_and_fail_alone(tasks):
    answer = tasks.post("/predict", json={"words": [["the", "cat"], [], ["hears"]]}).json()
    first, second, third = answer["predictions"]
    assert tags(first) == [["DET"], ["NOUN"]]
    assert second["error"]["code"] == "empty_input"
    assert len(third["words"]) == 1
    too_many = tasks.post("/predict", json={"words": [["the"]] * 5})
    assert (too_many.status_code, too_many.json()["error"]["code"]) == (413, "batch_too_large")


def test_a_wish_holds_for_every_word(tasks):
    answer = tasks.post("/predict", json={"words": ["the", "saw"], "label_count": 2}).json()
    assert [len(found) for found in tags(answer["predictions"][0])] == [2, 2]
    answer = tasks.post("/predict?sparsity_rate=0.75", json={"words": ["the", "saw"]}).json()
    assert [len(found) for found in tags(answer["predictions"][0])] == [1, 1]


def test_a_long_text_is_labelled_as_far_as_the_model_reads_and_says_so(tasks, trained_tokens):
    max_length = trained_tokens.recipe.input.max_length
    answer = tasks.post("/predict?model=grammar", json={"text": "dog " * max_length}).json()
    [prediction] = answer["predictions"]
    assert prediction["truncated"] is True
    assert len(prediction["words"]) == max_length
    assert [bool(found) for found in tags(prediction)] == [True] * (max_length - 2) + [False] * 2


def test_words_are_refused_by_a_model_that_labels_whole_texts(tasks):
    refused = tasks.post("/predict?model=topics", json={"words": ["the", "dog"]})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "wrong_input_kind")
    ambiguous = tasks.post("/predict", json={"text": "the dog"})
    assert (ambiguous.status_code, ambiguous.json()["error"]["code"]) == (400, "model_ambiguous")


@pytest.mark.parametrize("body", [{"words": ["the", 1]}, {"words": "the dog"}, {"words": [["the"], "dog"]}])
def test_words_must_be_strings_in_a_list(tasks, body):
    refused = tasks.post("/predict", json=body)
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "invalid_request")


def test_the_examples_of_a_token_model_are_its_sentences(tasks):
    examples = tasks.get("/models/grammar/examples").json()
    assert examples["kind"] == "text"
    assert all(sentence.count(" ") >= 3 for sentence in examples["inputs"])


def test_a_repository_finds_the_takers_of_words(host, trained_class, trained_tokens):
    grammar = Repository.open(Settings(models=trained_tokens.bundle), host).catalogue
    assert grammar.choose("words", None, None) is grammar.choose("text", None, None)
    [topics] = Repository.open(Settings(models=trained_class.bundle), host).catalogue
    assert (topics.takes("text"), topics.takes("words"), topics.takes("image")) == (True, False, False)
