import json

import pytest
from click.testing import CliRunner

import labelset


def run(*arguments):
    return CliRunner().invoke(labelset.main, [str(argument) for argument in arguments])


@pytest.fixture
def table(tmp_path):
    """Twenty good rows; a bad one; two that say the same, with different labels."""
    rows = [{"text": f"word{chr(97 + n)} here", "label": "ab"[n % 2]} for n in range(20)]
    rows += [{"text": "same again", "label": "a"}, {"text": "same again", "label": "b"}, {"text": "unlabelled"}]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_check_data_tells_what_is_in_a_file_and_what_is_wrong_with_it(table, caplog):
    said = run("check-data", "--data", table)
    assert said.exit_code == 0
    lines = said.output.splitlines()
    assert "mine: text, multi_class, 2 labels" in lines
    assert "1 examples repeat another with other labels" in lines
    assert any(line.split() == ["label", "train", "validation", "test"] for line in lines)
    counts = [list(map(int, line.split()[1:])) for line in lines if line.startswith(("a  ", "b  "))]
    assert [sum(each) for each in counts] == [11, 11]
    assert lines[-1] == "no example repeats one of another side"
    assert "skipped 1 bad row: labels must be among the fields" in caplog.text
    assert "line 23" in caplog.text


def test_training_stops_at_a_bad_row_unless_it_is_told_to_skip_it(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"text": "a", "labels": []}\n{"text": 1}\n{"text": 2}\n')
    stopped = run("train-and-export", "--data", file)
    assert "mine.jsonl, line 2: text must be a string" in stopped.output
    skipped = run("train-and-export", "--data", file, "--on-bad-row", "skip")
    assert "at most half of the rows may be bad, got 2 of 3" in skipped.output
    assert stopped.exit_code == skipped.exit_code == 1
