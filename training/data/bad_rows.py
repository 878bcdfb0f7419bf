"""What happens to a row that breaks a rule: the reading stops there, or the row is counted and left out."""

import logging
import re
import reprlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.data.dataset import DataError

OnBadRow = Literal["error", "skip"]

# Where more rows are bad than good it is the file that is misunderstood, not a row that is broken.
MAX_BAD_PART = 0.5

_log = logging.getLogger(__name__)
_shortened = reprlib.Repr()
_shortened.maxstring = _shortened.maxother = 200
_shortened.maxlist = _shortened.maxdict = 20


class RowError(DataError):
    """One row of a file breaks a rule."""

    code = "row_invalid"

    def __init__(self, place: "Place", field: str, rule: str, value: object, reason: str = "") -> None:
        because = f" ({reason})" if reason else ""
        super().__init__(f"{place}: {field} {rule}{because}, got {_shortened.repr(value)}")
        self.kind = re.sub(r"\d+", "N", field) + f" {rule}"


@dataclass(frozen=True)
class Place:
    """Where a row stands: the line of a file, or its number in a file without lines; None for the file itself."""

    file: Path | str
    line: int | None = None

    def __str__(self) -> str:
        return str(self.file) if self.line is None else f"{self.file}, line {self.line}"

    def error(self, field: str, rule: str, value: object, reason: str = "") -> RowError:
        """What is wrong here: `field` breaks `rule` with `value`; `reason` is what differs from row to row."""
        return RowError(self, field, rule, value, reason)


class BadRows:
    """The bad rows of one reading."""

    def __init__(self, on_bad_row: OnBadRow) -> None:
        self.skips = on_bad_row == "skip"
        self._first: dict[str, RowError] = {}
        self._counts: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """How many rows were left out."""
        return self._counts.total()

    def add(self, error: RowError) -> None:
        """Count a row, or raise its error where bad rows are not to be skipped."""
        if not self.skips:
            raise error
        self._first.setdefault(error.kind, error)
        self._counts[error.kind] += 1

    def lines(self) -> list[str]:
        """One line for each kind of fault: how many rows have it, and the first of them."""
        return [
            f"skipped {count} bad row{'s' * (count > 1)}: {kind}; the first: {self._first[kind].message}"
            for kind, count in self._counts.most_common()
        ]

    def report(self, good_count: int) -> None:
        """Log the lines, then `refuse_too_many`."""
        for line in self.lines():
            _log.warning(line)
        self.refuse_too_many(good_count)

    def refuse_too_many(self, good_count: int) -> None:
        """Check that most rows are good.

        Args:
            good_count: Rows that were read.

        Raises:
            DataError: more than half of all rows are bad.
        """
        total = good_count + self.count
        if self.count > MAX_BAD_PART * total:
            raise DataError(f"at most half of the rows may be bad, got {self.count} of {total}: {self.lines()[0]}")
