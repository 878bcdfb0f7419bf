"""What a service has counted, in the shape of Triton's statistics, against what was asked."""

import time

import httpx
import pytest

SENTENCES = ["The group sent phishing mails.", "It encrypts the disk.", "It lists processes."]
NEVER = {"count": 0, "ns": 0}


@pytest.fixture
def fresh(serve, bundles):
    """A service that nobody has asked yet."""
    with httpx.Client(base_url=serve(models=bundles, runners=1).url, timeout=60) as client:
        yield client


def statistics(client: httpx.Client, path: str) -> list[dict]:
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.json().keys() == {"model_stats"}
    return answer.json()["model_stats"]


def infer(client: httpx.Client, texts: list[str]) -> int:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    return client.post("/v2/models/text-demo/infer", json={"inputs": [tensor]}).status_code


def test_every_request_batch_and_nanosecond_is_counted_once(fresh):
    before, started = time.time(), time.perf_counter()
    assert [infer(fresh, SENTENCES), infer(fresh, SENTENCES), infer(fresh, SENTENCES[:1])] == [200] * 3
    assert fresh.post("/predict", json={"text": SENTENCES[0]}).status_code == 200
    assert infer(fresh, [""]) == 422
    passed_ns = (time.perf_counter() - started) * 1e9
    [counted] = statistics(fresh, "/v2/models/text-demo/stats")
    assert (counted["name"], counted["version"]) == ("text-demo", "1")
    assert before * 1000 - 1 <= counted["last_inference"] <= time.time() * 1000 + 1
    assert (counted["inference_count"], counted["execution_count"]) == (8, 4)

    stats = counted["inference_stats"]
    assert {name: stats[name]["count"] for name in stats} == {
        "success": 4, "fail": 1, "queue": 4, "compute_input": 4, "compute_infer": 4, "compute_output": 0,
        "cache_hit": 0, "cache_miss": 0,
    }  # fmt: skip
    assert stats["compute_output"] == stats["cache_hit"] == stats["cache_miss"] == NEVER
    assert min(stats[name]["ns"] for name in ("success", "fail", "queue", "compute_input", "compute_infer")) > 0
    parts = sum(stats[name]["ns"] for name in ("queue", "compute_input", "compute_infer"))
    assert parts <= stats["success"]["ns"] + stats["fail"]["ns"] <= passed_ns

    batches = {batch["batch_size"]: batch for batch in counted["batch_stats"]}
    assert {size: batch["compute_infer"]["count"] for size, batch in batches.items()} == {1: 2, 3: 2}
    assert all(batch["compute_input"] == batch["compute_output"] == NEVER for batch in batches.values())
    assert 0 < sum(batch["compute_infer"]["ns"] for batch in batches.values()) <= stats["compute_infer"]["ns"]


def test_what_cannot_be_decoded_is_a_failure_and_no_inference(fresh):
    for _ in range(2):
        answer = fresh.post("/predict", content=b"\xff\xd8\xff no picture", headers={"content-type": "image/jpeg"})
        assert answer.status_code == 422
    [counted] = statistics(fresh, "/v2/models/image-demo/stats")
    assert (counted["inference_count"], counted["execution_count"], counted["batch_stats"]) == (0, 0, [])
    stats = counted["inference_stats"]
    assert (stats["success"]["count"], stats["fail"]["count"]) == (0, 2)


def test_statistics_are_of_a_version_of_all_of_them_or_of_all_models(fresh):
    assert infer(fresh, SENTENCES) == 200
    [of_version] = statistics(fresh, "/v2/models/text-demo/versions/1/stats")
    [of_model] = statistics(fresh, "/v2/models/text-demo/stats")
    of_all = statistics(fresh, "/v2/models/stats")
    assert of_version == of_model
    assert of_version in of_all
    assert [one["name"] for one in of_all] == ["image-demo", "text-demo"]
    nobody_asked = of_all[0]
    assert (nobody_asked["last_inference"], nobody_asked["inference_count"], nobody_asked["batch_stats"]) == (0, 0, [])
    assert all(duration == NEVER for duration in nobody_asked["inference_stats"].values())


def test_of_a_model_with_several_versions_all_are_told_the_newest_first(serve, tmp_path, write_version):
    (tmp_path / "mine").mkdir()
    for version in ("9", "10"):
        write_version(tmp_path / "mine" / version, version)
    with httpx.Client(base_url=serve(models=tmp_path).url, timeout=60) as client:
        assert [one["version"] for one in statistics(client, "/v2/models/mine/stats")] == ["10", "9"]
        assert [one["version"] for one in statistics(client, "/v2/models/mine/versions/9/stats")] == ["9"]


@pytest.mark.parametrize("path", ["/models/nope/stats", "/models/text-demo/versions/9/stats"])
def test_what_is_not_there_has_no_statistics(v2, path):
    assert v2.get(path).status_code == 404


def test_tritons_client_reads_them(triton_client):
    [counted] = triton_client.get_inference_statistics("text-demo", "1")["model_stats"]
    assert counted["inference_stats"].keys() >= {"success", "fail", "queue", "compute_infer"}
    assert len(triton_client.get_inference_statistics()["model_stats"]) == 2
