"""The comparison of ways to feed a session runs anywhere; only a GPU gives its figures a meaning."""

import json

import pytest
from click.testing import CliRunner

from benchmarks.gpu_feeds import WAYS, main
from model.devices import available_devices


@pytest.mark.parametrize("kind", ["image", "tokens"])
def test_every_way_answers_alike_and_has_a_ratio_to_ordinary_arrays(request, tmp_path, kind):
    bundle, written = request.getfixturevalue(f"trained_{kind}").bundle, tmp_path / "feeds.json"
    options = f"--device cpu --rows 1 --rows 3 --rounds 1 --seconds 0.1 --json {written}".split()
    result = CliRunner().invoke(main, [str(bundle), *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    records = json.loads(written.read_text())
    assert [record["rows"] for record in records] == [1, 3]
    for record in records:
        speeds = record["rows_per_second"]
        assert record["ratios"] == pytest.approx({way: speeds[way] / speeds["ordinary arrays"] for way in WAYS})
    assert len(result.output.splitlines()) == 4


@pytest.mark.skipif("cuda" in available_devices(), reason="this runtime offers CUDA")
def test_without_cuda_it_says_so(trained_image):
    result = CliRunner().invoke(main, [str(trained_image.bundle)])
    assert result.exit_code == 1
    assert result.output.startswith("Error: device must be one of ['cpu'] here, got 'cuda'")
