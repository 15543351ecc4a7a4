"""Solvers of the probability-flow ODE and of reverse SDEs, each a part: see :mod:`.base` for what one is."""

from __future__ import annotations

from elucidiff.solvers.base import ODE, Solver, StepResult
from elucidiff.solvers.consistency import Consistency
from elucidiff.solvers.deis import DEIS
from elucidiff.solvers.dpmpp import DPMpp1, DPMpp2M, DPMpp3M
from elucidiff.solvers.er_sde import ERSDE
from elucidiff.solvers.ipndm import IPNDM
from elucidiff.solvers.multistep import Move, Multistep, Node
from elucidiff.solvers.runge_kutta import RK2, RK45, Euler, Heun
from elucidiff.solvers.sa_solver import SASolver
from elucidiff.solvers.unipc import UniPC

__all__ = [
    "DEIS",
    "ERSDE",
    "IPNDM",
    "ODE",
    "RK2",
    "RK45",
    "Consistency",
    "DPMpp1",
    "DPMpp2M",
    "DPMpp3M",
    "Euler",
    "Heun",
    "Move",
    "Multistep",
    "Node",
    "SASolver",
    "Solver",
    "StepResult",
    "UniPC",
]
