"""Every way in which `POST /predict` refuses: its status, its code, and a message that names the thing."""

import base64
import gzip
import json

import pytest

JSON = {"content-type": "application/json"}
PLAIN = {"content-type": "text/plain"}


def refused(response, status: int, code: str) -> dict:
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)
    return response.json()["error"]


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b'{"text": "a" "b"}', b"[" * 60_000, b'{"text": "\\ud800"}'])
def test_a_body_that_is_not_json_is_400(client, body):
    refused(client.post("/predict", content=body, headers=JSON), 400, "invalid_json")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "exactly one of"),
        ({"text": "a", "image": "YQ=="}, "exactly one of"),
        ({"text": "a", "texts": ["b"]}, "exactly one of"),
        ({"text": 5}, "text"),
        ({"texts": "a"}, "texts"),
        ({"texts": ["a", None]}, "texts.1"),
        ({"text": "a", "labelcount": 3}, "labelcount"),
        ({"text": "a", "label_count": "three"}, "label_count"),
        ({"text": "a", "label_count": 1.5}, "label_count"),
        ([], "object"),
        ("text", "object"),
    ],
)
def test_json_of_another_shape_is_422_and_names_the_field(client, body, field):
    error = refused(client.post("/predict", json=body), 422, "invalid_request")
    assert field in error["message"]


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP, identity"])
def test_a_compressed_body_is_415_and_the_encoding_is_named(client, encoding):
    body, headers = gzip.compress(b"a"), {"content-encoding": encoding, "content-type": "text/plain"}
    error = refused(client.post("/predict", content=body, headers=headers), 415, "unsupported_media_type")
    assert repr(encoding) in error["message"]


@pytest.mark.parametrize("query", ["label_count=three", "label_count=", "labels=3", "sparsity_rate=half"])
def test_a_query_parameter_of_the_wrong_type_or_name_is_422_and_named(client, query):
    error = refused(client.post(f"/predict?{query}", json={"text": "a"}), 422, "invalid_request")
    assert query.partition("=")[0] in error["message"]


@pytest.mark.parametrize(
    "query",
    ["label_count=-1", "label_count=100000", "sparsity_rate=1.01", "sparsity_rate=-0.1", "sparsity_rate=nan",
     "sparsity_rate=inf", "label_count=1&sparsity_rate=0.5"],
)  # fmt: skip
def test_a_sparsity_that_the_model_cannot_grant_is_422(client, query):
    refused(client.post(f"/predict?{query}", json={"text": "a"}), 422, "invalid_sparsity")


def test_the_sparsity_is_checked_even_when_the_input_is_bad_too(client):
    refused(client.post("/predict?label_count=-1", json={"texts": ["", ""]}), 422, "invalid_sparsity")


@pytest.mark.parametrize(
    ("content_type", "named"),
    [
        ("application/x-www-form-urlencoded", "curl -d"),
        ("application/xml", "application/xml"),
        ("text/html", "text/html"),
        ("", "none"),
        ("text/plain; charset=latin-1", "latin-1"),
        ("text/plain; charset=utf-16", "utf-16"),
    ],
)
def test_another_content_type_is_415_and_told_what_to_send(client, content_type, named):
    error = refused(client.post("/predict", content=b"a", headers={"content-type": content_type}), 415,
                    "unsupported_media_type")  # fmt: skip
    assert named in error["message"]


def test_a_body_without_content_type_is_415(client):
    request = client.build_request("POST", "/predict", content=b"a")
    assert "content-type" not in request.headers
    refused(client.send(request), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "request_",
    [
        {"content": b"", "headers": {"content-type": "image/png"}},
        {"content": b"", "headers": PLAIN},
        {"content": b" \n\t", "headers": PLAIN},
        {"json": {"text": ""}},
        {"json": {"texts": []}},
        {"json": {"image": ""}},
        {"json": {"images": []}},
        {"files": {"files": ("empty.png", b"")}},
        {"files": {"text": (None, "")}},
        {"content": b"--x--\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}},
    ],
)
def test_an_input_that_holds_nothing_is_422(client, request_):
    refused(client.post("/predict", **request_), 422, "empty_input")


@pytest.mark.parametrize(
    "content", [b"not a picture", b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\0"]
)
def test_bytes_that_are_no_picture_are_422(client, content):
    refused(client.post("/predict", files={"files": content}), 422, "not_an_image")


def test_a_picture_that_breaks_off_is_422(client, encode):
    whole = encode(image_format="JPEG")
    refused(client.post("/predict", files={"files": whole[: len(whole) // 2]}), 422, "image_corrupt")


def test_an_image_that_is_not_base64_is_422(client):
    refused(client.post("/predict", json={"image": "data:image/png;base64,AAAA"}), 422, "invalid_base64")
    refused(client.post("/predict", json={"image": "é"}), 422, "invalid_base64")


def test_text_that_is_not_utf8_is_422(client):
    error = refused(client.post("/predict", content=b"abc \xff", headers=PLAIN), 422, "invalid_text")
    assert error["detail"] == {"position": 4}
    refused(client.post("/predict", files={"text": ("a.txt", b"\xff")}), 422, "invalid_text")


def test_an_unknown_model_is_404_and_the_known_ones_are_named(client, model_names):
    error = refused(client.post("/predict?model=nope", json={"text": "a"}), 404, "model_not_found")
    assert sorted(error["detail"]["models"]) == sorted(model_names.values())


def test_an_unknown_version_is_404_and_the_known_ones_are_named(client, model_names):
    error = refused(client.post(f"/predict?model={model_names['text']}&version=9", json={"text": "a"}), 404,
                    "version_not_found")  # fmt: skip
    assert error["detail"]["versions"] == ["1"]


def test_an_image_to_a_text_model_is_422_and_the_reverse(client, model_names, png):
    refused(client.post(f"/predict?model={model_names['text']}", files={"files": png}), 422, "wrong_input_kind")
    refused(client.post(f"/predict?model={model_names['image']}", json={"text": "a"}), 422, "wrong_input_kind")


def test_pictures_and_texts_in_one_request_are_422(client, png):
    response = client.post("/predict", files=[("files", png), ("text", (None, "a"))])
    refused(response, 422, "invalid_request")


@pytest.mark.parametrize(
    ("files", "named"), [([("file", b"a")], "'file'"), ([("files", (None, "plain"))], "curl -F files=@photo.jpg")]
)
def test_a_form_field_of_another_name_or_kind_is_422_and_named(client, files, named):
    assert named in refused(client.post("/predict", files=files), 422, "invalid_request")["message"]


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_multipart_body_that_cannot_be_parsed_is_400(client, content_type):
    body = b"--x\r\nnonsense without a colon\r\n\r\n"
    refused(client.post("/predict", content=body, headers={"content-type": content_type}), 400, "invalid_body")


def test_a_multipart_body_that_is_cut_off_is_400_and_not_answered_in_part(client):
    part = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\nThe group sent phishing mails.'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    assert client.post("/predict", content=part + b"\r\n--x--\r\n", headers=headers).status_code == 200
    refused(client.post("/predict", content=part + b"\r\n" + part, headers=headers), 400, "invalid_body")


@pytest.mark.parametrize("charset", ["punycode", "undefined", "utf-16", "utf-8; charset=punycode"])
def test_a_multipart_body_in_another_charset_is_415_and_never_decoded(client, charset):
    # Python needs more than a minute to decode this much punycode.
    body = b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\na-' + b"ab9c" * 200_000 + b"\r\n--x--\r\n"
    headers = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}
    refused(client.post("/predict", content=body, headers=headers), 415, "unsupported_media_type")


@pytest.mark.parametrize(("method", "path", "status", "code"), [
    ("GET", "/nowhere", 404, "not_found"),
    ("POST", "/predict/", 404, "not_found"),
    ("GET", "/predict", 405, "method_not_allowed"),
    ("DELETE", "/models", 405, "method_not_allowed"),
    ("POST", "/", 405, "method_not_allowed"),
    ("GET", "/web/nothing.js", 404, "not_found"),
    ("GET", "/web/../app.py", 404, "not_found"),
    ("GET", "/web/%2e%2e/app.py", 404, "not_found"),
])  # fmt: skip
def test_paths_and_methods_that_do_not_exist_have_the_same_shape(client, method, path, status, code):
    refused(client.request(method, path), status, code)


@pytest.mark.parametrize(
    "request_",
    [
        {"json": {"text": "a", "model": "m" * 100_000}},
        {"json": {"text": "a", "k" * 100_000: 1}},
        {"json": {"texts": [1] * 10_000}},
        {"json": {"text": "a"} | {f"k{n}": 1 for n in range(5_000)}},
        {"files": {"n" * 3_000: b"a"}},
        {"content": b"a", "headers": {"content-type": "a" * 10_000}},
        {"content": b"a", "headers": {"content-type": "text/plain; charset=" + "a" * 10_000}},
    ],
)
def test_an_error_is_short_however_long_the_request(client, request_):
    response = client.post("/predict", **request_)
    assert 400 <= response.status_code < 500
    assert len(response.content) < 3_000


def test_no_input_stands_in_an_error(client):
    secret = "correct horse battery staple"
    for response in (
        client.post("/predict", content=secret, headers=JSON),
        client.post("/predict", json={"text": [secret]}),
        client.post("/predict?label_count=x", json={"text": secret}),
        client.post("/predict", json={"image": base64.b64encode(secret.encode()).decode()}),
        client.post("/predict", content=json.dumps({"images": secret}), headers=JSON),
    ):
        assert response.status_code >= 400
        assert secret not in response.text


def test_the_next_request_is_served_after_every_error(client):
    assert client.post("/predict", json={"text": "Still here?"}).status_code == 200
