"""Reports to pass on: a run or a comparison as one HTML file that needs nothing else."""

from impindiff.pages.write import write_report

__all__ = ["write_report"]
