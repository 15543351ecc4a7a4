"""iPNDM: the improved pseudo linear multistep method of Zhang and Chen 2022, after Liu et al. 2022 (PNDM)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from elucidiff.design.schedules import Schedule
from elucidiff.parts import part
from elucidiff.solvers.multistep import Move, Multistep, Node, check_order

# Adams-Bashforth for equal steps (Hairer, Norsett and Wanner 1993, Section III.1), newest value first.
_ADAMS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


@part("solver", "ipndm")
@dataclass(frozen=True)
class IPNDM(Multistep):
    """DDIM's step with the noise of the last evaluations combined as for equal steps (Liu et al. 2022, Eq. 12):

        y' = y + (sigma' - sigma) (55 eps_0 - 59 eps_1 + 37 eps_2 - 9 eps_3) / 24,    eps = (y - D) / sigma.

    The coefficients ignore the sizes of the steps. So the order is that of the name only where steps are equal in
    sigma, and 2 on grids such as karras steps, where neighbours become equal as their number grows; yet with few
    steps there the errors are among the smallest. For coefficients that follow the steps, take
    :class:`~elucidiff.solvers.DEIS` on the edm schedule.

    Args:
        order: how many values are combined, 1 to 4. 1 is DDIM.

    Raises:
        ValueError: ``order`` is not one of these.

    >>> import elucidiff as ed
    >>> denoiser = ed.ideal.GaussianMixture(torch.zeros(1, 1), torch.eye(1)[None] / 4, torch.ones(1))  # N(0, 0.5^2)
    >>> latents = torch.ones(1, 1)
    >>> x = ed.sample(denoiser, latents, "karras:n=40", solver=ed.solvers.IPNDM(order=3), batch_size=None)
    >>> abs(float(x) - 0.5 * 80 / (0.5**2 + 80**2) ** 0.5) < 0.006  # of the exact end; Euler is 0.035 off
    True
    """

    order: int = 4
    uses: ClassVar[Literal["denoised", "noise"]] = "noise"

    def __post_init__(self) -> None:
        check_order("ipndm", self.order, 4)

    def predict(self, nodes: Sequence[Node], target: Node, schedule: Schedule) -> Move:
        """See :meth:`.Multistep.predict`."""
        way = target.sigma - nodes[0].sigma
        return Move(1.0, [way * weight for weight in _ADAMS[min(self.order, len(nodes)) - 1]])
