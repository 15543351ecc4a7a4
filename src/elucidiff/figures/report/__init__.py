"""All that a folder holds about a run, as one page: figures, tables, and what they say."""

from elucidiff.figures.report.writing import write_report

__all__ = ["write_report"]
