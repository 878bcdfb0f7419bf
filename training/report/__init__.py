"""What one reads when a run is over: a table on the terminal, and a page with figures."""

from training.report.page import PAGE, write_report
from training.report.terminal import Finished, table

__all__ = ["PAGE", "Finished", "table", "write_report"]
