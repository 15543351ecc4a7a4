"""Table 1 of Karras et al. 2022 as data: one column, one object, each a complete design.

===================  =====================  =====================  =====================  ============================
                     VP                     VE                     iDDPM + DDIM           EDM ("Ours")
===================  =====================  =====================  =====================  ============================
Solver               Euler                  Euler                  Euler                  2nd-order Heun
Noise levels         VP sigma(t), t evenly  geometric from 100     u_j at rounded, evenly (smax^(1/7) + i/(N-1)
(N steps)            from 1 to 1e-3         to 0.02                spaced j               (smin^(1/7) - smax^(1/7)))^7
Schedule sigma(t)    sqrt(exp(9.95 t^2 +    sqrt(t)                t                      t
                     0.1 t) - 1)
Scaling s(t)         1 / sqrt(1+sigma^2)    1                      1                      1
c_skip               1                      1                      1                      sd^2 / (sigma^2+sd^2)
c_out                -sigma                 sigma                  -sigma                 sigma sd/sqrt(sigma^2+sd^2)
c_in                 1 / sqrt(sigma^2+1)    1                      1 / sqrt(sigma^2+1)    1 / sqrt(sigma^2+sd^2)
c_noise              999 t(sigma)           ln(sigma / 2)          999 - argmin_j         ln(sigma) / 4
                                                                   abs(u_j - sigma)
Noise distribution   t(sigma) ~             ln(sigma) ~            sigma = u_j,           ln(sigma) ~
                     U(1e-5, 1)             U(ln 0.02, ln 100)     j ~ U{0 ... 999}       N(-1.2, 1.2^2)
lambda(sigma)        1 / sigma^2            1 / sigma^2            1 / sigma^2            (sigma^2+sd^2)/(sigma sd)^2
===================  =====================  =====================  =====================  ============================

with sd = sigma_data = 0.5, smin = 0.002, smax = 80 and u_j the table of :func:`.noise_tables.iddpm_levels`.

To change one cell, use :func:`dataclasses.replace`: ``replace(table.VP, solver=Heun())``.
"""

from __future__ import annotations

from dataclasses import dataclass

from elucidiff import parts
from elucidiff.design import objectives, preconditioning, schedules, steps
from elucidiff.design.objectives import Objective
from elucidiff.design.preconditioning import Preconditioning
from elucidiff.design.schedules import Schedule
from elucidiff.design.steps import Spaced
from elucidiff.notebooks import table_html
from elucidiff.solvers import Euler, Heun, Solver

__all__ = ["EDM", "IDDPM", "NAMES", "VE", "VP", "Design"]


@dataclass(frozen=True)
class Design:
    """Every choice that a diffusion model is made of: one column of Table 1.

    Args:
        name: what to call it.
        solver: takes the steps.
        schedule: sigma(t) and s(t) while sampling.
        steps: how noise levels are spaced, over the column's range; called with a number of steps, and if wanted a
            range, it returns them.
        preconditioning: c_skip, c_out, c_in and c_noise.
        objective: p_train(sigma), lambda(sigma) and the loss.

    >>> import elucidiff as ed
    >>> design = ed.table.EDM
    >>> design.solver, design.steps(2).shape, float(design.objective.weight(0.5))
    (Heun(alpha=1.0), torch.Size([3]), 8.0)
    """

    name: str
    solver: Solver
    schedule: Schedule
    steps: Spaced
    preconditioning: Preconditioning
    objective: Objective

    def _repr_html_(self) -> str:
        """A table of the choices, for notebooks."""
        names = ("solver", "schedule", "steps", "preconditioning", "objective")
        rows = [(name, parts.to_text(getattr(self, name))) for name in names]
        return table_html(f"Design {self.name} (Karras et al. 2022, Table 1)", rows)


VP = Design("vp", Euler(), schedules.VP(), steps.VP(), preconditioning.VP(), objectives.VP())
VE = Design("ve", Euler(), schedules.VE(), steps.VE(), preconditioning.VE(), objectives.VE())
IDDPM = Design("iddpm", Euler(), schedules.EDM(), steps.IDDPM(), preconditioning.IDDPM(), objectives.IDDPM())
EDM = Design("edm", Heun(), schedules.EDM(), steps.Karras(), preconditioning.EDM(), objectives.EDM())

NAMES: dict[str, Design] = {design.name: design for design in (VP, VE, IDDPM, EDM)}
"""The columns by name."""
