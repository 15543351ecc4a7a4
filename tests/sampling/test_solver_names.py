"""Names of solvers: one list, with the settings that belong to each."""

from __future__ import annotations

from dataclasses import fields
from typing import get_args

import pytest
import torch
from torch import Tensor

from elucidiff.sampling import Sampler
from elucidiff.sampling.solver_names import SETTINGS, SOLVERS, SolverName
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

DEFAULTS: dict[str, Solver] = {
    "heun": Heun(),
    "euler": Euler(),
    "rk2": RK2(1.0),
    "rk45": RK45(1e-5, 1e-5),
    "dpmpp_2m": DPMpp2M(),
    "dpmpp_3m": DPMpp3M(),
    "unipc": UniPC(2, "bh2"),
    "deis": DEIS(4),
    "ipndm": IPNDM(4),
    "dpmpp_1_sde": DPMpp1(1.0),
    "dpmpp_2m_sde": DPMpp2M(1.0),
    "dpmpp_3m_sde": DPMpp3M(1.0),
    "er_sde": ERSDE(3),
    "sa_solver": SASolver(3, 3, 1.0, 0.05, 1.0),
}


def test_the_list_is_one() -> None:
    """What the command line offers is what there is, and every setting is a field of Sampler."""
    assert tuple(SOLVERS) == get_args(SolverName) == tuple(DEFAULTS)
    assert set(SETTINGS) <= {field.name for field in fields(Sampler)}


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_a_name_stands_for(name: str) -> None:
    assert Sampler(solver=name).prepare(None).solver == DEFAULTS[name]
    sampler = Sampler(solver=name, order=3 if "order" in SOLVERS[name].settings else None)
    assert Sampler.from_dict(sampler.to_dict()) == sampler


@pytest.mark.parametrize(
    ("values", "solver"),
    [
        ({"solver": "unipc", "order": 3, "variant": "bh1"}, UniPC(3, "bh1")),
        ({"solver": "deis", "order": 2}, DEIS(2)),
        ({"solver": "ipndm", "order": 3}, IPNDM(3)),
        ({"solver": "er_sde", "order": 1}, ERSDE(1)),
        ({"solver": "dpmpp_3m_sde", "eta": 0.5}, DPMpp3M(0.5)),
        (
            {
                "solver": "sa_solver",
                "order": 2,
                "corrector_order": 0,
                "tau": 0.4,
                "tau_sigma_min": 0.1,
                "tau_sigma_max": 9.0,
            },
            SASolver(2, 0, 0.4, 0.1, 9.0),
        ),
    ],
)
def test_settings(values: dict[str, object], solver: Solver) -> None:
    assert Sampler(**values).prepare(None).solver == solver


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_sample_depends_on_its_seed_alone(name: str) -> None:
    """To the bit, whatever the batch; with odd sizes, whose last values processors compute by other code."""

    def run(seeds: list[int]) -> Tensor:
        def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
            return x / (1 + sigma.reshape(-1, 1, 1) ** 2)

        return Sampler(solver=name, n=6).run(gaussian, seeds, shape=(1, 7)).x

    together = run(list(range(21)))
    for seeds in ([5], [20, 3, 11], list(range(20, -1, -1))):
        assert torch.equal(run(seeds), together[seeds])


@pytest.mark.parametrize("bad", ["2", 2.5, True])
def test_an_order_is_an_integer(bad: object) -> None:
    with pytest.raises(ValueError, match=r"sampling option order is .*, but must be of type int"):
        Sampler.from_dict({"solver": "deis", "order": bad})
