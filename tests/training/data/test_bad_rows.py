import logging

import pytest

from training.data.bad_rows import BadRows, Place
from training.data.dataset import DataError


def skipped(*errors):
    bad_rows = BadRows("skip")
    for error in errors:
        bad_rows.add(error)
    return bad_rows


def test_each_kind_of_fault_has_one_line_with_its_count_and_its_first_row():
    bad_rows = skipped(
        Place("my.csv", 3).error("labels", "must be a list", 7),
        Place("my.csv", 5).error("the row", "must be JSON", "{", "at column 2"),
        Place("my.csv", 9).error("labels", "must be a list", 8),
        Place("my.csv", 11).error("the row", "must be JSON", "[", "at column 1"),
        Place("my.csv", 12).error("labels", "must be a list", 9),
    )
    assert bad_rows.lines() == [
        "skipped 3 bad rows: labels must be a list; the first: my.csv, line 3: labels must be a list, got 7",
        "skipped 2 bad rows: the row must be JSON; the first: my.csv, line 5: the row must be JSON (at column 2), "
        "got '{'",
    ]


def test_faults_that_differ_only_in_a_position_are_of_one_kind():
    faults = [Place("a.json").error(f"annotations[{n}].id", "must be an int", None) for n in range(30)]
    [line] = skipped(*faults).lines()
    assert line.startswith(
        "skipped 30 bad rows: annotations[N].id must be an int; the first: a.json: annotations[0].id"
    )


def test_half_of_the_rows_may_be_bad_and_not_one_more(caplog):
    bad_rows = skipped(*(Place("my.csv", n).error("text", "must be there", None) for n in range(4)))
    with caplog.at_level(logging.WARNING):
        bad_rows.report(good_count=4)
    assert "skipped 4 bad rows: text must be there; the first: my.csv, line 0" in caplog.text
    with pytest.raises(DataError, match="at most half of the rows may be bad, got 4 of 7: skipped 4 bad rows: text"):
        bad_rows.report(good_count=3)


def test_without_a_bad_row_nothing_is_said(caplog):
    skipped().report(good_count=0)
    assert not caplog.text
