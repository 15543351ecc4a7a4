"""Results that are not finite: which sample it was, and at which step it began."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from elucidiff.sampling.loop import Step


class Watch:
    """A callback that remembers which samples were finite at each step, without waiting for the device."""

    def __init__(self) -> None:
        self._steps: list[tuple[float, Tensor]] = []

    def __call__(self, step: Step) -> None:
        """Take note of a step."""
        finite = step.x_hat.isfinite() & step.denoised.isfinite()
        self._steps.append((step.sigma, finite.flatten(1).all(1)))

    def check(self, x: Tensor, names: Sequence[str]) -> None:
        """Raise ValueError unless ``x`` is finite, with the name of the first sample that is not, and the step.

        Args:
            x: what the run gave, (B, C, *spatial).
            names: of its samples.
        """
        finite = x.isfinite().flatten(1).all(1)
        if bool(finite.all()):
            return
        row = int(finite.logical_not().nonzero()[0])
        raise ValueError(
            f"{names[row]} gave values that are not finite {self.where(row)}: check the model, or take more steps"
        )

    def where(self, row: int) -> str:
        """In words, the step at which sample ``row`` was not finite first; the last one if that shows in none."""
        number, sigma = next(
            ((k, sigma) for k, (sigma, finite) in enumerate(self._steps, 1) if not bool(finite[row])),
            (len(self._steps), self._steps[-1][0]),
        )
        return f"at step {number}, from noise level {sigma:.4g}"
