"""Linear inverse problems: samples given a measurement y = A x + noise of them."""

from __future__ import annotations

from elucidiff.sampling.inverse.measurements import AveragePool, Mask
from elucidiff.sampling.inverse.posterior import Posterior, Restored, restore

__all__ = ["AveragePool", "Mask", "Posterior", "Restored", "restore"]
