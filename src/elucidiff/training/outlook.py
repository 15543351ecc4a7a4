"""The state of a run, in plain words, and what more time would bring, from the losses it has written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Line = Mapping[str, Any]

_EXPONENTS = np.geomspace(0.02, 2.0, 400)
_FEWEST = 8
_SKIPPED = 0.1
"""Share of the run so far whose losses are left out: those of the ramp."""
_CHI_SQUARED = 3.84
"""95% of the draws of a chi-squared variable with one degree of freedom are below this."""
_ALIKE = 0.05


@dataclass(frozen=True)
class Outlook:
    """The effect of twice as many images on the loss, by the power law that the losses have followed.

    Attributes:
        images: training images so far.
        now: the fitted loss.
        twice: the fitted loss after twice as many images.
        low, high: of that, the 95% interval by the likelihood of each exponent.
    """

    images: int
    now: float
    twice: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """In a sentence that says how sure it is."""
        gain, least, most = (1 - each / self.now for each in (self.twice, self.high, self.low))
        if most < 0.01:
            return "twice the images so far would lower the loss by less than 1%"
        return (
            f"twice the images so far would lower the loss by about {max(gain, 0):.0%} "
            f"({max(least, 0):.0%} to {max(most, 0):.0%}, if it goes on as it did)"
        )


def outlook(lines: Sequence[Line]) -> Outlook | None:
    """Fit ``L(n) = a + b n^-c`` with a, b >= 0 to the losses in training; None while there are too few.

    Args:
        lines: of metrics.jsonl.
    """
    found = [
        (line["images"], line["loss"])
        for line in lines
        if isinstance(line.get("loss"), (int, float)) and math.isfinite(line["loss"])
    ]
    images = max((seen for seen, _ in found), default=0)
    known = np.array([each for each in found if each[0] >= _SKIPPED * images], dtype=np.float64)
    if len(known) < _FEWEST:
        return None
    n, losses = known[:, 0] / images, known[:, 1]
    fits = [_fitted(n, losses, float(exponent)) for exponent in _EXPONENTS]
    best = min(fits, key=lambda fit: fit.error)
    # Exponents that the noise does not tell from the best, by the profile likelihood.
    most = best.error * math.exp(_CHI_SQUARED / len(n))
    gains = [fit(2.0) / fit(1.0) for fit in fits if fit.error <= most]
    now = best(1.0)
    return Outlook(int(images), now, best(2.0), min(gains) * now, max(gains) * now)


@dataclass(frozen=True)
class _PowerLaw:
    floor: float
    slope: float
    exponent: float
    error: float = 0.0

    def __call__(self, n: float) -> float:
        return self.floor + self.slope * float(n**-self.exponent)


def _fitted(n: Array, losses: Array, exponent: float) -> _PowerLaw:
    """Least squares of relative errors with this exponent, in which a and b are linear, and neither negative."""
    terms = np.stack([1 / losses, n**-exponent / losses])
    floor, slope = np.linalg.lstsq(terms.T, np.ones_like(n), rcond=None)[0].tolist()
    if slope < 0:
        floor, slope = float(terms[0].sum() / terms[0].dot(terms[0])), 0.0
    elif floor < 0:
        floor, slope = 0.0, float(terms[1].sum() / terms[1].dot(terms[1]))
    error = float(np.square(floor * terms[0] + slope * terms[1] - 1).sum())
    return _PowerLaw(floor, slope, exponent, error)


def remark(lines: Sequence[Line]) -> str:
    """The state of the run after its last checkpoint, in one line; empty if nothing was checked yet.

    Args:
        lines: of metrics.jsonl.
    """
    checked = next((line for line in reversed(lines) if _is_checked(line)), None)
    if checked is None:
        return ""
    said = [*_losses(lines, checked), *_copies(checked)]
    ahead = outlook(lines)
    if ahead is not None and not checked.get("overfitting_levels"):
        said.append(ahead.text)
    return f"after {checked['images']:,} images: {'; '.join(said)}"


def _is_checked(line: Line) -> bool:
    return "validation_loss" in line or "memorised_fraction" in line


def _losses(lines: Sequence[Line], checked: Line) -> list[str]:
    held_out = checked.get("validation_loss")
    if held_out is None:
        return []
    text = f"loss {held_out:.3g} on held-out images"
    logged = [line["loss"] for line in lines if "loss" in line]
    if logged:
        text += f", {np.mean(logged[-max(1, len(logged) // 20) :]):.3g} in training"
    best = checked.get("validation_best_images")
    if checked.get("overfitting_levels"):
        return [f"{text} (it overfits: the held-out loss was lowest after {best:,} images, whose model is in best/)"]
    if best == checked["images"]:
        return [f"{text} (the lowest so far)"]
    return [text]


def _copies(checked: Line) -> list[str]:
    share = checked.get("memorised_fraction")
    if share is None:
        return []
    real = checked.get("memorised_fraction_real")
    if share <= (real or 0.0) + _ALIKE:
        return ["its samples are no copies of training images"]
    beside = "" if real is None else f" ({real:.0%} of real images would be)"
    return [f"{share:.0%} of its samples are copies of training images{beside}"]
