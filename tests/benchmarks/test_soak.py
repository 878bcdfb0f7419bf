import json

from click.testing import CliRunner

from benchmarks import soak


def test_a_few_seconds_of_it_end_well_with_samples_and_a_picture(tmp_path):
    paths = ["--json", str(tmp_path / "soak.json"), "--plot", str(tmp_path / "soak.png")]
    # So soon after the start memory still grows as it must.
    done = CliRunner().invoke(soak.main, ["--minutes", "0.1", "--max-growth", "1e6", *paths])
    assert done.exit_code == 0, done.output
    records = json.loads((tmp_path / "soak.json").read_text())
    assert len(records) == 40
    assert all(20 < record["pss_mb"] < 2_000 and record["open_files"] > 10 for record in records)
    assert records[-1]["requests"] > 10
    assert (tmp_path / "soak.png").stat().st_size > 1_000


def test_memory_that_rises_is_found_behind_the_noise_and_memory_that_is_flat_is_not():
    def samples(mb_per_hour):
        return [{"minutes": n, "pss_mb": 150 + mb_per_hour * n / 60 + 3 * (-1) ** n} for n in range(120)]

    for mb_per_hour in (0, 20):
        slope, noise = soak._growth(samples(mb_per_hour))
        assert abs(slope - mb_per_hour) < 1
        assert abs(noise - 3) < 0.5
