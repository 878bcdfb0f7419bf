import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import op_report
from benchmarks.op import main
from benchmarks.op_contestants import Cell
from model.sparse_softmax.reference import r_softmax


def _measure(tmp_path: Path, *arguments: str) -> list[dict]:
    file = tmp_path / "op.json"
    quick = ["--seconds-per-cell", "0.01", "--threads", "1", "--json", str(file)]
    result = CliRunner().invoke(main, [*quick, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(file.read_text())


def _record(class_count: int, sparsity: str, ratio: float, threads: int = 1, ns_per_row: float = 400.0) -> dict:
    return {
        "benchmark": "op_forward",
        "implementation": "native",
        "class_count": class_count,
        "sparsity": sparsity,
        "survivors": Cell("op_forward", class_count, 1, sparsity, threads).survivor_count,
        "threads": threads,
        "median_ns_per_row": ns_per_row,
        "median_ratio_to_softmax": ratio,
    }


@pytest.mark.parametrize("sparsity", ["r=0", "r=.5", "r=.9", "r=.99", "k=1", "k=5"])
@pytest.mark.parametrize("class_count", [1, 2, 5, 80, 1000])
def test_a_cell_knows_how_many_classes_survive(class_count, sparsity):
    cell = Cell("op_forward", class_count, 1, sparsity, 1)
    logits = np.random.default_rng(0).normal(size=class_count)
    assert np.count_nonzero(r_softmax(logits, cell.rate)) == cell.survivor_count


def test_every_contestant_of_a_cell_leaves_a_record_and_dense_softmax_is_the_unit(tmp_path):
    records = _measure(
        tmp_path, "--classes", "20", "--rates", "k=5,r=.9", "--only", "memcpy,topk,onnx_function,torch_op"
    )
    forward = [record for record in records if record["benchmark"] == "op_forward"]
    assert [record["implementation"] for record in forward] == 2 * [
        "ort_softmax",
        "memcpy",
        "onnx_function",
        "torch_op",
        "topk",
    ]
    assert {record["rows"] for record in forward} == {20_000}
    assert {r["median_ratio_to_softmax"] for r in forward if r["implementation"] == "ort_softmax"} == {1.0}
    for record in forward:
        assert 0 < record["p10_ns_per_row"] <= record["median_ns_per_row"] <= record["p90_ns_per_row"]


def test_training_is_compared_with_the_softmax_of_torch(tmp_path):
    records = _measure(tmp_path, "--classes", "1000", "--rates", "k=5", "--only", "torch_op")
    training = [record["implementation"] for record in records if record["benchmark"] == "op_training"]
    assert training == ["torch_softmax", "torch_op"]


def test_a_contestant_that_does_not_exist_is_refused_by_name():
    result = CliRunner().invoke(main, ["--only", "topk,bogus"])
    assert result.exit_code == 2
    assert "got ['bogus']" in result.output


def test_a_goal_is_judged_by_its_worst_cell():
    records = [_record(1000, "k=5", 0.9), _record(10_000, "k=5", 0.61), _record(100_000, "k=5", 0.3)]
    rows = op_report.goals_table(records).splitlines()
    [sparse] = [row for row in rows if "C ≥ 1000, r ≥ .9" in row]
    assert "0.90 at C = 1000, k=5" in sparse
    assert sparse.endswith(" met |")
    [sparsest] = [row for row in rows if "C ≥ 10 000" in row]
    assert "0.61 at C = 10 000, k=5" in sparsest
    assert "missed in 1 of 2 cells" in sparsest
    [half] = [row for row in rows if "r = .5" in row]
    assert "not measured" in half


def test_the_goal_for_two_threads_compares_times_of_one_sparsity():
    one, two = _record(1000, "k=5", 1, 1, 400.0), _record(1000, "k=5", 1, 2, 250.0)
    assert "1.60 at k=5 | missed in 1 of 1 cells" in op_report.goals_table([one, two])


def test_rendering_replaces_what_stands_between_the_marks_only(tmp_path, monkeypatch):
    records = _measure(tmp_path, "--classes", "20", "--rates", "k=5", "--only", "memcpy")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs/images").mkdir(parents=True)
    page = tmp_path / "docs/performance.md"
    page.write_text(f"before\n{op_report.BEGIN}\nold figures\n{op_report.END}\nafter\n")
    for _ in range(2):
        op_report.render(records)
        text = page.read_text()
        assert text.startswith(f"before\n{op_report.BEGIN}\n")
        assert text.endswith(f"{op_report.END}\nafter\n")
        assert "old figures" not in text
        assert text.count("|   20 |") + text.count("| 20 |") == 1
    assert (tmp_path / "docs/images/op.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "docs/performance.json").read_text()) == records


def test_the_page_has_the_marks_that_rendering_looks_for():
    text = (Path(op_report.__file__).parents[1] / op_report.PAGE).read_text()
    assert text.count(op_report.BEGIN) == text.count(op_report.END) == 1
