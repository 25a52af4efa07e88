"""Reports: a run or a comparison as one self-contained HTML file."""

from impindiff.pages._write import write_report

__all__ = ["write_report"]
