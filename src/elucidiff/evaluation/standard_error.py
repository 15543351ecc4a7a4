"""How well a mean is known."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def standard_error(values: Sequence[float]) -> float:
    """Of the mean of ``values``: s / sqrt(n), with s of n - 1 degrees of freedom; not a number for one."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
