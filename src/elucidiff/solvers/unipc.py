"""UniPC: Zhao et al. 2023 (arXiv 2302.04867)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from elucidiff.design.schedules import Schedule
from elucidiff.parts import part
from elucidiff.solvers.multistep import Move, Multistep, Node, adams_weights, check_order, length, move, relative

VARIANTS = ("bh1", "bh2")


@part("solver", "unipc")
@dataclass(frozen=True)
class UniPC(Multistep):
    """UniPC-p, with data prediction: a multistep predictor UniP-p, corrected by UniC-p at no extra evaluation.

    A step first evaluates D where the predictor of the step before arrived, then corrects that arrival with it, and
    predicts the next one from the corrected y and the uncorrected D (Zhao et al. 2023, Algorithms 1 and 2).

    Predictor and corrector meet their order conditions (Eq. 8 and 11) exactly, which makes them the exponential Adams
    methods of :func:`.adams_weights`, whatever B(h). Only where a single coefficient is left, in UniP-2 and UniC-1,
    the paper sets it to 1/2, and y' gets B(h) / 2 times the difference of two values, with B(h) = h ("bh1") or
    1 - exp(-h) ("bh2"). UniP-2 with bh2 is DPM-Solver++(2M).

    The order is p + 1, at the price of one evaluation a step. As the first step has an error of h^3, p = 3 shows
    fourth order only where D hardly changes at first, as at high noise levels. With a dozen steps or fewer p = 2 is
    the closer one.

    Args:
        p: number of values that the predictor uses: 1 to 4. The paper uses up to 3.
        variant: B(h), "bh1" or "bh2". The paper has bh1 for few steps without guidance, and bh2 otherwise; on karras
            steps, long in log(sigma), bh1 overshoots.

    Raises:
        ValueError: ``p`` or ``variant`` is not one of these.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 1), torch.eye(1)[None] / 4, torch.ones(1))  # N(0, 0.5^2)
    >>> latents = torch.ones(1, 1)
    >>> x = ed.sample(denoiser, latents, "karras:n=40", solver=ed.solvers.UniPC(p=2), batch_size=None)
    >>> abs(float(x) - 0.5 * 80 / (0.5**2 + 80**2) ** 0.5) < 0.006  # of the exact end; Euler is 0.035 off
    True
    >>> ed.solvers.UniPC(p=3).order
    4
    """

    p: int = 2
    variant: str = "bh2"
    corrects = True

    def __post_init__(self) -> None:
        check_order("unipc", self.p, 4)
        if self.variant not in VARIANTS:
            raise ValueError(f"variant of unipc is {self.variant!r}, but must be {' or '.join(VARIANTS)}")

    @property
    def order(self) -> int:
        """p + 1, the corrector's."""
        return self.p + 1

    @property
    def memory(self) -> int:
        """The values that the predictor used, so that the corrector can use it too."""
        return self.p

    def predict(self, nodes: Sequence[Node], target: Node, schedule: Schedule) -> Move:
        """See :meth:`.Multistep.predict`."""
        return move(self._predictor(nodes[: self.p], target), nodes[0], target)

    def correct(self, nodes: Sequence[Node], schedule: Schedule) -> Sequence[float]:
        """See :meth:`.Multistep.correct`."""
        here, *earlier = nodes[: self.p + 1]
        predicted = [0.0, *self._predictor(earlier, here)]
        corrected = self._corrector(here, earlier)
        return [after - before for after, before in zip(corrected, predicted, strict=True)]

    def _predictor(self, nodes: Sequence[Node], target: Node) -> list[float]:
        if len(nodes) == 2:
            return self._halved(nodes[0], nodes[1], nodes[0], target)
        return adams_weights(nodes, nodes[0], target)

    def _corrector(self, here: Node, earlier: Sequence[Node]) -> list[float]:
        start = earlier[0]
        if len(earlier) == 1:
            at_start, at_end = self._halved(start, here, start, here)
            return [at_end, at_start]
        return adams_weights([here, *earlier], start, here)

    def _halved(self, first: Node, second: Node, start: Node, end: Node) -> list[float]:
        """Weights of D at ``first``, the start, and at ``second``: the one coefficient left is 1/2."""
        h = length(start, end)
        size = -math.expm1(-h)
        slope = (h if self.variant == "bh1" else size) / 2 / relative([second], start, end)[0]
        return [size - slope, slope]
