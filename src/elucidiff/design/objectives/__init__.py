"""Training objectives: where training looks, how hard, and at what; each a part.

Those of the paper (Karras et al. 2022, Table 1) train D to be E[y | x]; consistency objectives train it to lead from
every noise level straight to the end of the probability-flow ODE.
"""

from __future__ import annotations

from elucidiff.design.objectives.base import Objective
from elucidiff.design.objectives.consistency import Consistency
from elucidiff.design.objectives.continuous import ContinuousConsistency
from elucidiff.design.objectives.paper import EDM, IDDPM, VE, VP

__all__ = ["EDM", "IDDPM", "VE", "VP", "Consistency", "ContinuousConsistency", "Objective"]
