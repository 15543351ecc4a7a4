"""The solvers by name, and which sampling choices each of them has: the one list that everything else follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from elucidiff.sampling.solvers import (
    DEIS,
    ERSDE,
    IPNDM,
    RK2,
    RK45,
    DPMpp1,
    DPMpp2M,
    DPMpp3M,
    Euler,
    Heun,
    SASolver,
    Solver,
    UniPC,
)

if TYPE_CHECKING:
    from elucidiff.sampling.sampler import Sampler

SolverName = Literal[
    "heun",
    "euler",
    "rk2",
    "rk45",
    "dpmpp_2m",
    "dpmpp_3m",
    "unipc",
    "deis",
    "ipndm",
    "dpmpp_1_sde",
    "dpmpp_2m_sde",
    "dpmpp_3m_sde",
    "er_sde",
    "sa_solver",
]


@dataclass(frozen=True)
class NamedSolver:
    """A solver's class and its settings.

    Attributes:
        make: called with the settings as keyword arguments.
        settings: fields of :class:`.Sampler` and the arguments that they are. Those that are None are left out.
        defaults: what the name stands for where the class has no default, or another one.
    """

    make: Callable[..., Solver]
    settings: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, float] = field(default_factory=dict)

    def default(self) -> Solver:
        """The solver as the name alone means it."""
        return self.make(**self.defaults)

    def build(self, choices: Sampler) -> Solver:
        """The solver.

        Raises:
            ValueError: a setting is out of its range.
        """
        values = {argument: getattr(choices, name) for name, argument in self.settings.items()}
        return self.make(**{argument: value for argument, value in values.items() if value is not None})


_SA = ("corrector_order", "tau", "tau_sigma_min", "tau_sigma_max")

SOLVERS: Mapping[str, NamedSolver] = {
    "heun": NamedSolver(Heun),
    "euler": NamedSolver(Euler),
    "rk2": NamedSolver(RK2, {"alpha": "alpha"}, {"alpha": 1.0}),
    "rk45": NamedSolver(RK45, {"rtol": "rtol", "atol": "atol"}),
    "dpmpp_2m": NamedSolver(DPMpp2M),
    "dpmpp_3m": NamedSolver(DPMpp3M),
    "unipc": NamedSolver(UniPC, {"order": "p", "variant": "variant"}),
    "deis": NamedSolver(DEIS, {"order": "order"}),
    "ipndm": NamedSolver(IPNDM, {"order": "order"}),
    "dpmpp_1_sde": NamedSolver(DPMpp1, {"eta": "eta"}, {"eta": 1.0}),
    "dpmpp_2m_sde": NamedSolver(DPMpp2M, {"eta": "eta"}, {"eta": 1.0}),
    "dpmpp_3m_sde": NamedSolver(DPMpp3M, {"eta": "eta"}, {"eta": 1.0}),
    "er_sde": NamedSolver(ERSDE, {"order": "order"}),
    "sa_solver": NamedSolver(SASolver, {"order": "predictor_order", **{name: name for name in _SA}}),
}

SETTINGS = tuple(dict.fromkeys(name for solver in SOLVERS.values() for name in solver.settings))
"""All fields of :class:`.Sampler` that belong to some solver."""
