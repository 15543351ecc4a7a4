"""Results that are not finite are errors: whose they are, and at which step it began."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

Names = Callable[[int], str] | Sequence[str]
"""What to call sample k of a batch in a message."""

_ADVICE = "check the model, try a smaller sigma_max, less churn, or more steps"


class NotFiniteError(ValueError):
    """What was computed holds NaN or infinity; nothing of it is returned."""


class FiniteTrace:
    """Remembers what the samples were at each step, one number a sample, without waiting for the device."""

    def __init__(self) -> None:
        self._steps: list[tuple[float, Tensor]] = []

    def note(self, sigma: float, x: Tensor) -> None:
        """Take note of a step from noise level ``sigma`` that led to ``x``, (B, C, *spatial)."""
        # A sum is not finite where one of its terms is not. It takes one pass, and no mask as large as the images.
        self._steps.append((sigma, x.flatten(1).sum(1)))

    def check(self, x: Tensor, names: Names) -> None:
        """Raise :class:`NotFiniteError`, with the first sample that is not finite and its step, unless all are.

        Waits for the device once. A meta tensor has no values to look at.

        Args:
            x: the result of the last step, (B, C, *spatial).
            names: of its samples.
        """
        if not x.is_meta:
            check_finite(x, names, self._where)

    def _where(self, row: int) -> str:
        """In words, the step at which sample ``row`` was not finite first; the last one if that shows in none."""
        number, sigma = next(
            ((k, sigma) for k, (sigma, total) in enumerate(self._steps, 1) if not bool(total[row].isfinite())),
            (len(self._steps), self._steps[-1][0]),
        )
        return f" at step {number}, from noise level {sigma:.4g}"


def check_finite(
    values: Tensor, names: Names, where: Callable[[int], str] = lambda row: "", advice: str = _ADVICE
) -> None:
    """Raise :class:`NotFiniteError` that names the first sample of ``values`` (B, ...) that is not finite.

    Args:
        values: one row a sample.
        names: of the samples.
        where: in words, beginning with a space, where it happened to a sample.
        advice: what to do about it.
    """
    finite = values.isfinite().flatten(1).all(1) if values.ndim > 1 else values.isfinite()
    if bool(finite.all()):
        return
    broken = finite.logical_not().nonzero().flatten().tolist()
    name = names(broken[0]) if callable(names) else names[broken[0]]
    others = f" (and {len(broken) - 1} of the {len(finite) - 1} drawn with it)" if len(broken) > 1 else ""
    raise NotFiniteError(f"{name}{others} gave values that are not finite{where(broken[0])}: {advice}")


def numbered(row: int) -> str:
    """What to call a sample that has no name."""
    return f"sample {row} of the batch"


def seed_names(seeds: Sequence[int]) -> Names:
    """What to call the samples of these seeds."""
    return lambda row: f"seed {seeds[row]}"
