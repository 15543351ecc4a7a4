"""The best sampling options for a model, found by trying: Optuna proposes, an objective measures."""

from elucidiff.evaluation.search.objectives import Objective, OfSamples, Outcome, TruncationError
from elucidiff.evaluation.search.options import CHURN, PAPER_GRID, Interval, Space, Values, parse_options
from elucidiff.evaluation.search.proposals import rungs
from elucidiff.evaluation.search.report import SearchResult, best_samplers, measure_afresh, rows
from elucidiff.evaluation.search.running import Search, work
from elucidiff.evaluation.search.searching import search_samplers
from elucidiff.evaluation.search.storage import open_storage
from elucidiff.launch.interrupt import StoppedError

__all__ = [
    "CHURN",
    "PAPER_GRID",
    "Interval",
    "Objective",
    "OfSamples",
    "Outcome",
    "Search",
    "SearchResult",
    "Space",
    "StoppedError",
    "TruncationError",
    "Values",
    "best_samplers",
    "measure_afresh",
    "open_storage",
    "parse_options",
    "rows",
    "rungs",
    "search_samplers",
    "work",
]
