"""The base of multistep solvers: the change of variables, the history, and the end at noise level 0.

In y = x / s, whatever the schedule and scaling, the probability-flow ODE (Karras et al. 2022, Eq. 4) is

    dy / dsigma = (y - D(y; sigma)) / sigma.

Every method here takes y to a linear combination of itself and values known from evaluations, D or the noise
(y - D) / sigma, with coefficients that depend on the noise levels alone. So a solver only has to say these.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from elucidiff.design.schedules import Schedule
from elucidiff.design.values import check_integer
from elucidiff.solvers.base import ODE, Solver, StepResult


@dataclass(frozen=True)
class Node:
    """A time and its noise level sigma; above 0, but for where the last step ends.

    >>> import elucidiff as ed
    >>> round(ed.solvers.Node(t=2.0, sigma=2.0).log_snr, 4)  # -ln sigma
    -0.6931
    """

    t: float
    sigma: float

    @property
    def log_snr(self) -> float:
        """lambda = -log(sigma): half the logarithm of the signal-to-noise ratio, which grows along a run."""
        return -math.log(self.sigma)


@dataclass(frozen=True)
class Known:
    """A value known from an evaluation: D or the noise (B, C, *spatial), and where it was evaluated."""

    node: Node
    value: Tensor


@dataclass(frozen=True)
class Move:
    """y' = keep y + sum_j weights_j value_j + std eps.

    Attributes:
        keep: what remains of y.
        weights: one a value, the newest value first; older values than there are weights are not used.
        std: standard deviation of fresh noise; 0 for a deterministic move.

    >>> import elucidiff as ed
    >>> ed.solvers.Move(keep=0.5, weights=[0.5])  # DDIM from one noise level to half of it
    Move(keep=0.5, weights=[0.5], std=0.0)
    """

    keep: float
    weights: Sequence[float]
    std: float = 0.0


class Multistep(Solver):
    """A multistep solver, one evaluation a step; see :class:`~elucidiff.solvers.Solver`.

    While fewer values are known than its order needs, it takes steps of as high an order as they allow. Methods that
    interpolate D end, at noise level 0, at s(0) D(x / s; sigma): log-SNR is infinite there, and this is the exact
    solution for a denoised image that no longer changes. Those that interpolate the noise do so to the end.

    Attributes:
        uses: what the method interpolates, D ("denoised") or (y - D) / sigma ("noise").
        memory: how many values of earlier steps it wants to be given.

    >>> import elucidiff as ed
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class DDIM(ed.solvers.Multistep):
    ...     order = 1
    ...
    ...     def predict(self, nodes, target, schedule):
    ...         keep = target.sigma / nodes[0].sigma
    ...         return ed.solvers.Move(keep, [1 - keep])
    ...
    >>> denoiser = ed.ideal.DataPosterior(torch.tensor([[-1.0], [1.0]]))
    >>> latents = torch.tensor([[0.3]])
    >>> difference = ed.sample(denoiser, latents, solver=DDIM()) - ed.sample(denoiser, latents, solver="euler")
    >>> abs(float(difference)) < 1e-9
    True
    """

    uses: ClassVar[Literal["denoised", "noise"]] = "denoised"

    @property
    def multistep(self) -> bool:
        """True: it remembers."""
        return True

    @property
    def memory(self) -> int:
        """All that its order takes but the newest value, unless a method says otherwise."""
        return self.order - 1

    @abstractmethod
    def predict(self, nodes: Sequence[Node], target: Node, schedule: Schedule) -> Move:
        """The move from ``nodes[0]`` to ``target``; the other nodes are those of earlier values, newest first."""

    def correct(self, nodes: Sequence[Node], schedule: Schedule) -> Sequence[float]:
        """Weights of all values in what is to be added to y at ``nodes[0]``, now that there is a value here."""
        return ()

    def step(
        self, ode: ODE, x: Tensor, t: float, t_next: float, state: tuple[Known, ...] | None = None
    ) -> StepResult:
        """See :meth:`.Solver.step`."""
        schedule = ode.schedule
        here, scale = _place(schedule, t), float(schedule.scale(t))
        denoised = ode.denoise(x, t)
        target = _place(schedule, t_next)
        if target.sigma == here.sigma:
            # Tables of noise levels repeat some. The next step is this one again.
            return StepResult(x, denoised, state)
        if t_next == 0 and self.uses == "denoised":
            return StepResult(denoised * float(schedule.scale(0.0)), denoised)

        y = x / scale
        value = denoised if self.uses == "denoised" else (y - denoised) / here.sigma
        history = (Known(here, value), *(state or ()))
        nodes = [known.node for known in history]
        if self.corrects and state:
            y = _combined(y, self.correct(nodes, schedule), history)
        move = self.predict(nodes, target, schedule)
        scale_next = float(schedule.scale(t_next))
        x_next = scale_next * _combined(move.keep * y, move.weights, history)
        return StepResult(x_next, denoised, history[: self.memory], scale_next * move.std)


def check_order(solver: str, order: int, highest: int) -> None:
    """Raise ValueError unless ``order`` is one of 1 to ``highest``."""
    check_integer(order=order)
    orders = range(1, highest + 1)
    if order not in orders:
        known = f"{', '.join(map(str, orders[:-1]))} or {highest}"
        raise ValueError(f"order of {solver} is {order}, but must be {known}")


def _place(schedule: Schedule, t: float) -> Node:
    return Node(t, float(schedule.sigma(t)))


def _combined(y: Tensor, weights: Sequence[float], history: Sequence[Known]) -> Tensor:
    """y + sum_j weights_j value_j, without fused operations, whose last bits may depend on the place in the batch."""
    for weight, known in zip(weights, history, strict=False):
        y = y + weight * known.value
    return y
