"""Time-step discretizations: sigma_0 > ... > sigma_(N-1), followed by sigma_N = 0 (Karras et al. 2022, Table 1).

Every function returns noise levels in float64 on the CPU, shape (N + 1,), the last of them 0. Turn them into the
solver's time with ``schedule.time(sigmas)``. A single step is one from sigma_max to 0. All raise ValueError for fewer
than one step or a range that is not 0 < sigma_min < sigma_max < infinity, and TypeError for what are no numbers.
"""

from __future__ import annotations

from elucidiff.design.steps.base import Levels, Spaced, Steps, check_levels
from elucidiff.design.steps.home import AYS, Flow, Leading, Linspace, OfTable, Trailing
from elucidiff.design.steps.paper import (
    IDDPM,
    VE,
    VP,
    Karras,
    LogUniform,
    iddpm,
    karras,
    log_uniform,
    ve,
    vp,
    vp_times,
)

__all__ = [
    "AYS",
    "IDDPM",
    "VE",
    "VP",
    "Flow",
    "Karras",
    "Leading",
    "Levels",
    "Linspace",
    "LogUniform",
    "OfTable",
    "Spaced",
    "Steps",
    "Trailing",
    "check_levels",
    "iddpm",
    "karras",
    "log_uniform",
    "ve",
    "vp",
    "vp_times",
]
