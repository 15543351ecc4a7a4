"""Evaluation of models of conditions on pairs that were held out: how near samples are to what was measured."""

from __future__ import annotations

from elucidiff.evaluation.pairs.evaluation import PairEvaluation, evaluate_pairs
from elucidiff.evaluation.pairs.scores import PairMetric, Score, scored

__all__ = ["PairEvaluation", "PairMetric", "Score", "evaluate_pairs", "scored"]
