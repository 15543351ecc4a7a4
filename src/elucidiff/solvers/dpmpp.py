"""DPM-Solver++: Lu et al. 2022 (arXiv 2211.01095), multistep, for the ODE and for the SDE."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from elucidiff.design.schedules import Schedule
from elucidiff.design.values import check_number
from elucidiff.parts import part
from elucidiff.solvers.multistep import Move, Multistep, Node, adams_weights, length, move, relative


@dataclass(frozen=True)
class _DPMpp(Multistep):
    """The settings that all orders share."""

    eta: float = 0.0

    def __post_init__(self) -> None:
        check_number(eta=self.eta)
        if not 0 <= self.eta < math.inf:
            raise ValueError(f"eta is {self.eta}, but must be a finite number >= 0 (0 is the ODE, 1 the SDE)")

    @property
    def stochastic(self) -> bool:
        """True if noise is added."""
        return self.eta > 0


@part("solver", "dpmpp_1")
@dataclass(frozen=True)
class DPMpp1(_DPMpp):
    """y' = exp(-H) y + (1 - exp(-H)) D + noise: DPM-Solver++(1), with eta > 0 SDE-DPM-Solver++(1).

    With eta = 0 it is DDIM, the same as Euler's method in sigma without scaling; with eta = 1 the ancestral sampler
    of Ho et al. 2020 (DDPM).

    Args:
        eta: how fast noise is replaced: 0 is the ODE, 1 the SDE; see :mod:`.weights`.

    Raises:
        ValueError: ``eta`` is negative or not finite.

    >>> import elucidiff as ed
    >>> denoiser, latents = ed.ideal.DataPosterior(torch.tensor([[-1.0], [1.0]])), torch.tensor([[0.05]])
    >>> ddim = ed.sample(denoiser, latents, solver=ed.solvers.DPMpp1(eta=0))
    >>> bool((ddim - ed.sample(denoiser, latents, solver="euler")).abs() < 1e-9)
    True
    """

    order = 1

    def predict(self, nodes: Sequence[Node], target: Node, schedule: Schedule) -> Move:
        """See :meth:`.Multistep.predict`."""
        return move(adams_weights(nodes[:1], nodes[0], target, self.eta), nodes[0], target, self.eta)


@part("solver", "dpmpp_2m")
@dataclass(frozen=True)
class DPMpp2M(_DPMpp):
    """DPM-Solver++(2M): Lu et al. 2022, Algorithm 2; with eta > 0 SDE-DPM-Solver++(2M), their Section 5.

        y' = exp(-H) y + (1 - exp(-H)) (D + (D - D_1) / (2 r)) + noise,    r = h_1 / h,

    where D_1 is the value a step of length h_1 before: the step of first order with D extrapolated to its middle.

    Args:
        eta: how fast noise is replaced: 0 is the ODE, 1 the SDE; see :mod:`.weights`.

    Raises:
        ValueError: ``eta`` is negative or not finite.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 1), torch.eye(1)[None] / 4, torch.ones(1))  # N(0, 0.5^2)
    >>> latents = torch.ones(1, 1)
    >>> x = ed.sample(denoiser, latents, "karras:n=40", solver=ed.solvers.DPMpp2M(eta=0), batch_size=None)
    >>> abs(float(x) - 0.5 * 80 / (0.5**2 + 80**2) ** 0.5) < 0.006  # of the exact end; Euler is 0.035 off
    True
    >>> ed.parts.to_text(ed.solvers.DPMpp2M(eta=0.5)), ed.solvers.DPMpp2M(eta=0.5).stochastic
    ('dpmpp_2m:eta=0.5', True)
    """

    order = 2

    def predict(self, nodes: Sequence[Node], target: Node, schedule: Schedule) -> Move:
        """See :meth:`.Multistep.predict`."""
        start = nodes[0]
        if len(nodes) == 1:
            return DPMpp1(self.eta).predict(nodes, target, schedule)
        size = -math.expm1(-(1 + self.eta) * length(start, target))
        _, before = relative(nodes, start, target)
        extrapolation = -size / (2 * before)
        return move([size + extrapolation, -extrapolation], start, target, self.eta)


@part("solver", "dpmpp_3m")
@dataclass(frozen=True)
class DPMpp3M(_DPMpp):
    """DPM-Solver++(3M): the parabola in log-SNR through the last three values of D, integrated exactly.

    This is of third order. The authors' code, and diffusers after it, multiplies what should be the second derivative
    of the parabola, 2 D[0, 1, 2], by its Taylor coefficient, but leaves the 2 out: there the term of second degree
    has half its weight, and the method is of second order.

    Args:
        eta: how fast noise is replaced: 0 is the ODE, 1 the SDE; see :mod:`.weights`.

    Raises:
        ValueError: ``eta`` is negative or not finite.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 1), torch.eye(1)[None] / 4, torch.ones(1))  # N(0, 0.5^2)
    >>> latents = torch.ones(1, 1)
    >>> x = ed.sample(denoiser, latents, "karras:n=40", solver=ed.solvers.DPMpp3M(eta=0), batch_size=None)
    >>> abs(float(x) - 0.5 * 80 / (0.5**2 + 80**2) ** 0.5) < 0.006  # of the exact end; Euler is 0.035 off
    True
    """

    order = 3

    def predict(self, nodes: Sequence[Node], target: Node, schedule: Schedule) -> Move:
        """See :meth:`.Multistep.predict`."""
        start = nodes[0]
        if len(nodes) == 2:
            return DPMpp2M(self.eta).predict(nodes, target, schedule)
        return move(adams_weights(nodes[:3], start, target, self.eta), start, target, self.eta)
