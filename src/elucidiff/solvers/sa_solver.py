"""SA-Solver: Xue et al. 2023 (arXiv 2309.05019), stochastic Adams methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from elucidiff.design.schedules import Schedule
from elucidiff.parts import part
from elucidiff.solvers.multistep import Move, Multistep, Node, adams_weights, check_order, move


@part("solver", "sa_solver")
@dataclass(frozen=True)
class SASolver(Multistep):
    """Adams-Bashforth predictor and Adams-Moulton corrector for the SDE of :mod:`.weights` with eta = tau^2.

    Noise is added by steps that start at a level within [tau_sigma_min, tau_sigma_max]; elsewhere, and with tau = 0,
    it solves the ODE. The corrector uses the evaluation that the next step needs anyway, and keeps the noise that the
    predictor added (Xue et al. 2023, Algorithm 1), so a step costs one evaluation.

    All integrals are exact. The authors' code, and diffusers after it, changes those of order 2 by a term of h^3.

    Args:
        predictor_order: values that the predictor uses, 1 to 4.
        corrector_order: values that the corrector uses, the new one included, 1 to 4; 0 for no corrector.
        tau: how much noise is added: 0 is the ODE, 1 the SDE of Song et al. 2021.
        tau_sigma_min: lowest noise level at which noise is added.
        tau_sigma_max: highest noise level at which noise is added.

    Raises:
        ValueError: a value is out of its range.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 1), torch.eye(1)[None] / 4, torch.ones(1))  # N(0, 0.5^2)
    >>> latents = torch.ones(1, 1)
    >>> x = ed.sample(denoiser, latents, "karras:n=40", solver=ed.solvers.SASolver(tau=0), batch_size=None)
    >>> abs(float(x) - 0.5 * 80 / (0.5**2 + 80**2) ** 0.5) < 0.006  # of the exact end; Euler is 0.035 off
    True
    >>> ed.solvers.SASolver(tau=1).stochastic
    True
    """

    predictor_order: int = 3
    corrector_order: int = 3
    tau: float = 1.0
    tau_sigma_min: float = 0.05
    tau_sigma_max: float = 1.0

    def __post_init__(self) -> None:
        check_order("sa_solver", self.predictor_order, 4)
        if self.corrector_order not in (0, 1, 2, 3, 4):
            raise ValueError(f"corrector_order of sa_solver is {self.corrector_order}, but must be 0 to 4")
        if not 0 <= self.tau < math.inf:
            raise ValueError(f"tau is {self.tau}, but must be a finite number >= 0")
        if not 0 <= self.tau_sigma_min <= self.tau_sigma_max:
            raise ValueError(
                f"tau range is {self.tau_sigma_min} to {self.tau_sigma_max}, but must satisfy "
                "0 <= tau_sigma_min <= tau_sigma_max"
            )

    @property
    def order(self) -> int:
        """For tau = 0. The corrector's, or one more than the predictor's, whose end is where D is evaluated."""
        if not self.corrects:
            return self.predictor_order
        return min(self.predictor_order + 1, self.corrector_order)

    @property
    def stochastic(self) -> bool:
        """True if noise is added."""
        return self.tau > 0

    @property
    def corrects(self) -> bool:
        """True if there is a corrector."""
        return self.corrector_order > 0

    @property
    def memory(self) -> int:
        """Coefficients that the predictor or the corrector used."""
        return max(self.predictor_order, self.corrector_order)

    def predict(self, nodes: Sequence[Node], target: Node, schedule: Schedule) -> Move:
        """See :meth:`.Multistep.predict`."""
        eta = self._eta(nodes[0])
        return move(self._predictor(nodes, target), nodes[0], target, eta)

    def correct(self, nodes: Sequence[Node], schedule: Schedule) -> Sequence[float]:
        """See :meth:`.Multistep.correct`."""
        here, *earlier = nodes
        predicted = [0.0, *self._predictor(earlier, here)]
        corrected = adams_weights(nodes[: self.corrector_order], earlier[0], here, self._eta(earlier[0]))
        count = max(len(predicted), len(corrected))
        predicted += [0.0] * (count - len(predicted))
        corrected += [0.0] * (count - len(corrected))
        return [after - before for after, before in zip(corrected, predicted, strict=True)]

    def _predictor(self, nodes: Sequence[Node], target: Node) -> list[float]:
        return adams_weights(nodes[: self.predictor_order], nodes[0], target, self._eta(nodes[0]))

    def _eta(self, start: Node) -> float:
        return self.tau**2 if self.tau_sigma_min <= start.sigma <= self.tau_sigma_max else 0.0
