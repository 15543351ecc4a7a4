"""Sampler: plain values in and out, the parts they stand for, and whole runs."""

from __future__ import annotations

import json
import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.design import schedules, steps, table
from elucidiff.sampling import Churn, FixedBatch, Sampler, SeededNoise, Step, sample, to_uint8
from elucidiff.sampling.solvers import RK2, RK45, Euler, Heun


def posterior() -> DataPosterior:
    points = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return DataPosterior(points, torch.tensor([0, 1, 0, 1, 2]))


SAMPLERS = st.builds(
    Sampler,
    steps=st.sampled_from(["karras", "vp", "ve", "iddpm", "log_uniform"]),
    n=st.integers(2, 300),
    sigma_min=st.none() | st.floats(1e-3, 0.03),
    sigma_max=st.none() | st.floats(10, 200),
    rho=st.floats(1, 20),
    schedule=st.sampled_from(["edm", "vp", "ve", "flow"]),
    scaling=st.sampled_from([None, "none", "vp"]),
    solver=st.sampled_from(["heun", "euler", "rk2"]),
    alpha=st.floats(0.1, 2),
    churn=st.floats(0, 100),
    churn_sigma_min=st.floats(0, 1),
    churn_sigma_max=st.just(math.inf) | st.floats(1, 100),
)


@settings(deadline=None, max_examples=50)
@given(SAMPLERS)
def test_goes_through_json_unchanged(sampler: Sampler) -> None:
    text = json.dumps(sampler.to_dict(), allow_nan=False)
    assert Sampler.from_dict(json.loads(text)) == sampler
    assert set(sampler.to_dict()) == {field.name for field in fields(Sampler)}


@settings(deadline=None, max_examples=50)
@given(SAMPLERS)
def test_sigmas_are_valid_and_in_the_denoisers_range(sampler: Sampler) -> None:
    class Limited:
        sigma_min, sigma_max = 0.02, 9.0

    prepared = sampler.prepare(Limited())
    sigmas = prepared.sigmas
    assert sigmas.shape == (sampler.n + 1,)
    assert sigmas[-1] == 0
    assert bool((sigmas.diff() <= 0).all())
    assert 0.02 * (1 - 1e-9) <= float(sigmas[-2]) <= float(sigmas[0]) <= 9.0 * (1 + 1e-9)
    assert torch.equal(sampler.sigmas(Limited()), sigmas)
    # The schedule reaches all of them.
    torch.testing.assert_close(
        prepared.schedule.sigma(prepared.schedule.time(sigmas[:-1])), sigmas[:-1], rtol=1e-7, atol=0
    )


def test_the_parts_that_names_stand_for() -> None:
    def prepared(**values: object) -> tuple[object, ...]:
        parts = Sampler(**values).prepare(None)
        return parts.solver, parts.schedule, parts.churn

    assert prepared() == (Heun(), schedules.EDM(), Churn(0))
    assert prepared(solver="euler", schedule="ve", scaling="vp") == (Euler(), schedules.VE(scaling="vp"), Churn(0))
    assert prepared(solver="rk2", alpha=0.5, schedule="flow") == (RK2(0.5), schedules.Flow(), Churn(0))
    assert prepared(solver="rk45", rtol=1e-3, atol=1e-2)[0] == RK45(1e-3, 1e-2)
    churn = {"churn": 30, "churn_sigma_min": 0.01, "churn_sigma_max": 1, "noise_scale": 1.007}
    assert prepared(**churn)[2] == Churn(30, 0.01, 1, 1.007)
    fitted = schedules.VP.fit(0.01, 50.0, 0.005, scaling="none")
    assert prepared(schedule="vp", sigma_min=0.01, sigma_max=50.0, epsilon_s=0.005, scaling="none")[1] == fitted

    def sigmas(**values: object) -> Tensor:
        return Sampler(**values).sigmas(None)

    assert torch.equal(sigmas(n=7, rho=3), steps.karras(7, rho=3))
    assert torch.equal(sigmas(steps="vp", n=7), steps.vp(7))
    assert torch.equal(sigmas(steps="ve", n=7), steps.ve(7))
    assert torch.equal(sigmas(steps="iddpm", n=7, m=400), steps.iddpm(7, m=400))
    assert torch.equal(sigmas(steps="log_uniform", n=7, sigma_min=0.1), steps.log_uniform(7, 0.1))


@pytest.mark.parametrize("name", ["vp", "ve", "iddpm", "edm"])
def test_columns_of_table_1(name: str) -> None:
    sampler, design = Sampler.from_table(name, n=12), table.NAMES[name]
    prepared = sampler.prepare(None)
    torch.testing.assert_close(prepared.sigmas, design.steps(12), rtol=1e-12, atol=0)
    assert type(prepared.solver).__name__.lower() == design.solver
    assert (type(prepared.schedule), prepared.schedule.scaling) == (type(design.schedule), design.schedule.scaling)
    t = torch.linspace(0.05, 1, 20, dtype=torch.float64)
    torch.testing.assert_close(prepared.schedule.sigma(t), design.schedule.sigma(t), rtol=1e-10, atol=0)


def test_run_is_sample_with_seeded_noise() -> None:
    denoiser, record = posterior(), []
    sampler = Sampler(n=6, churn=10, schedule="vp")
    result = sampler.run(denoiser, [4, 8], torch.tensor([0, 2]), callback=record.append)

    noise, prepared = SeededNoise([4, 8]), sampler.prepare(denoiser)
    latents = noise.latents((1, 2, 2))
    noise.labels(3)
    expected = sample(
        FixedBatch(denoiser),
        latents,
        prepared.sigmas,
        schedule=prepared.schedule,
        churn=Churn(10),
        labels=torch.tensor([0, 2]),
        noise=noise,
    )
    assert torch.equal(result.x, expected)
    assert (result.nfe, result.seeds) == (11, [4, 8])
    assert result.labels.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert torch.equal(result.sigmas, prepared.sigmas)
    assert isinstance(record[-1], Step)
    assert len(record) == 6


def test_classes_are_drawn_from_the_seeds_unless_given() -> None:
    denoiser, sampler, seeds = posterior(), Sampler(n=4, churn=2), list(range(30))
    drawn = sampler.run(denoiser, seeds)
    noise = SeededNoise(seeds)
    noise.latents((1, 2, 2))
    indices = noise.labels(3)
    assert torch.equal(drawn.labels.argmax(1), indices)
    assert len(set(indices.tolist())) == 3
    # Classes that are given leave the noise as it was.
    assert torch.equal(sampler.run(denoiser, seeds, indices).x, drawn.x)
    assert sampler.run(denoiser, seeds, 2).labels.argmax(1).tolist() == [2] * 30
    assert Sampler(n=4).run(DataPosterior(denoiser.points), [1]).labels is None


def test_labels_of_every_kind_are_the_same() -> None:
    denoiser, sampler, seeds = posterior(), Sampler(n=3), [1, 2, 3]
    expected = sampler.run(denoiser, seeds, torch.tensor([2, 0, 1])).x
    rows = np.eye(3)[[2, 0, 1]]
    for labels in ([2, 0, 1], np.array([2, 0, 1]), np.array([2, 0, 1], dtype=np.uint16), rows, rows.tolist()):
        assert torch.equal(sampler.run(denoiser, seeds, labels).x, expected)
    assert torch.equal(sampler.run(denoiser, seeds, np.int64(1)).x, sampler.run(denoiser, seeds, 1).x)
    with pytest.raises(ValueError, match="there are 2 label rows for 1 sample: give one, or one a sample"):
        sampler.run(denoiser, [1], [0, 1])
    with pytest.raises(ValueError, match="there are 3 label rows for 2 samples"):
        sampler.run(denoiser, [1, 2], [0, 1, 2])


@pytest.mark.parametrize(
    ("values", "used"),
    [
        ({}, {"n", "rho"}),
        ({"steps": "vp"}, {"n", "epsilon_s"}),
        ({"schedule": "vp"}, {"n", "rho", "epsilon_s"}),
        ({"steps": "ve"}, {"n"}),
        ({"steps": "iddpm"}, {"n", "m", "c1", "c2"}),
        ({"solver": "rk2"}, {"n", "rho", "alpha"}),
        ({"solver": "rk45"}, {"rtol", "atol"}),
        ({"churn": 1.0}, {"n", "rho", "churn_sigma_min", "churn_sigma_max", "noise_scale"}),
        (
            {"restarts": 1, "restart_sigma_max": 5.0},
            {"n", "rho", "restart_steps", "restart_sigma_min", "restart_sigma_max", "noise_scale"},
        ),
        ({"solver": "dpmpp_2m"}, {"n", "rho"}),
        ({"solver": "unipc"}, {"n", "rho", "order", "variant"}),
        ({"solver": "deis"}, {"n", "rho", "order"}),
        ({"solver": "dpmpp_3m_sde"}, {"n", "rho", "eta"}),
        (
            {"solver": "sa_solver"},
            {"n", "rho", "order", "corrector_order", "tau", "tau_sigma_min", "tau_sigma_max"},
        ),
        ({"solver": "sa_solver", "tau": 0.0}, {"n", "rho", "order", "corrector_order", "tau"}),
    ],
)
def test_options_without_effect(values: dict[str, object], used: set[str]) -> None:
    """What is called unused indeed changes nothing, and what is not changes the samples."""
    other = {
        "n": 7,
        "rho": 3.0,
        "epsilon_s": 1e-4,
        "m": 500,
        "c1": 0.99,
        "c2": 0.05,
        "alpha": 0.6,
        "rtol": 1e-2,
        "atol": 1e-2,
        "order": 1,
        "corrector_order": 2,
        "variant": "bh1",
        "eta": 0.5,
        "tau": 0.5,
        "tau_sigma_min": 0.5,
        "tau_sigma_max": 30.0,
        "churn_sigma_min": 1.0,
        "churn_sigma_max": 5.0,
        "restart_steps": 2,
        "restart_sigma_min": 0.01,
        "restart_sigma_max": 0.4,
        "noise_scale": 1.1,
    }
    sampler, everything = Sampler(n=5, **values), [field.name for field in fields(Sampler)]
    assert sampler.unused(other) == [name for name in everything if name in other and name not in used]
    assert sampler.unused(used) == sampler.unused(["steps", "sigma_max"]) == []

    def run(**options: object) -> Tensor:
        def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
            return x / (1 + sigma.reshape(-1, 1, 1) ** 2)

        return Sampler(**{"n": 5, **options}).run(gaussian, [3, 4], shape=(1, 2)).x

    plain = run(**values)
    for name, value in other.items():
        changed = run(**{**values, name: value})
        # rk45 starts at (sigma_max^(1/rho))^rho, which differs from sigma_max by rounding.
        rounded = (values.get("solver"), name) == ("rk45", "rho")
        same = torch.allclose(changed, plain, rtol=1e-12, atol=0) if rounded else torch.equal(changed, plain)
        assert same is (name not in used), name


def test_nfe_per_sample_of_an_adaptive_solver() -> None:
    result = Sampler(solver="rk45", rtol=1e-6, atol=1e-6).run(posterior(), range(5), 0)
    assert result.nfe.shape == (5,)
    assert bool((result.nfe > 20).all())


def test_shape_and_range_of_other_denoisers() -> None:
    def bare(x: Tensor, sigma: Tensor) -> Tensor:
        return x / (1 + sigma * sigma)

    assert Sampler(n=3).run(bare, [1], shape=(3, 5)).x.shape == (1, 3, 5)
    with pytest.raises(ValueError, match="does not state the shape"):
        Sampler(n=3).run(bare, [1])
    with pytest.raises(ValueError, match="class labels were given to a denoiser without classes"):
        Sampler(n=3).run(bare, [1], 0, shape=(3, 5))

    class Limited:
        sigma_min, sigma_max, sample_shape = 100.0, 200.0, (1, 2)

        def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
            return x

    with pytest.raises(ValueError, match="the denoiser supports 100 to 200"):
        Sampler().run(Limited(), [1])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": "karas"}, "steps 'karas' is unknown; did you mean 'karras'"),
        ({"schedule": "edm2"}, "schedule 'edm2' is unknown; did you mean 'edm'"),
        ({"solver": "dpm++2m"}, "solver 'dpm.*' is unknown; did you mean 'dpmpp_2m'"),
        ({"solver": "xyz"}, "solver 'xyz' is unknown; known: heun, euler, rk2, rk45, dpmpp_2m, "),
        ({"scaling": "flow"}, "scaling 'flow' is unknown"),
        ({"n": 0}, "use at least 1"),
        ({"sigma_min": 80.0, "sigma_max": 1.0}, "sigma_min 80.0 is not below sigma_max 1.0"),
        ({"sigma_min": 0.0}, "sigma_min is 0.0"),
        ({"sigma_max": math.inf}, "sigma_max is inf"),
        ({"sigma_max": math.nan}, "sigma_max is nan"),
        ({"rho": 0.0}, "rho is 0.0"),
        ({"rho": -1.0, "steps": "ve"}, "rho is -1.0"),
        ({"alpha": 0.0, "solver": "rk2"}, "alpha is 0.0"),
        ({"rtol": 0.0, "solver": "rk45"}, "rtol is 0.0"),
        ({"order": 5, "solver": "deis"}, "order of deis is 5, but must be 1, 2, 3 or 4"),
        ({"order": 0, "solver": "unipc"}, "order of unipc is 0"),
        ({"order": 4, "solver": "er_sde"}, "order of er_sde is 4, but must be 1, 2 or 3"),
        ({"variant": "bh3", "solver": "unipc"}, "variant of unipc is 'bh3', but must be bh1 or bh2"),
        ({"eta": -1.0, "solver": "dpmpp_2m_sde"}, "eta is -1.0"),
        ({"tau": math.inf, "solver": "sa_solver"}, "tau is inf"),
        ({"tau_sigma_min": 2.0, "solver": "sa_solver"}, "tau range is 2.0 to 1.0"),
        ({"corrector_order": 5, "solver": "sa_solver"}, "corrector_order of sa_solver is 5"),
        ({"restarts": -1}, "restarts is -1"),
        ({"restarts": 1, "restart_steps": 0}, "steps of a restart is 0"),
        ({"restarts": 1, "restart_sigma_min": 1.0}, "restart range is 1.0 to 0.3"),
        (
            {"restarts": 1, "n": 3, "restart_sigma_min": 1.0, "restart_sigma_max": 1.1},
            "restart from 1 to 1.1 does not fit",
        ),
        ({"restarts": 1, "restart_sigma_min": 79.0, "restart_sigma_max": 99.0}, "level is 80, its highest"),
        ({"restarts": 1, "churn": 1.0}, "churn and restarts both add noise"),
        ({"restarts": 1, "solver": "rk45"}, "RK45 chooses its own steps, so it cannot be used with restarts"),
        ({"churn": 1.0, "solver": "unipc"}, "UniPC corrects the end of each step"),
        ({"churn": 1.0, "solver": "er_sde"}, "ERSDE adds noise itself"),
        ({"churn": 100.0, "solver": "dpmpp_2m", "n": 50}, "churn raises the noise of step 1 from .* less churn"),
        ({"epsilon_s": 2.0, "steps": "vp"}, "epsilon_s is 2.0"),
        ({"churn": -1.0}, "churn amount is -1.0"),
        ({"churn": 1.0, "solver": "rk45"}, "RK45 chooses its own steps"),
    ],
)
def test_bad_values(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Sampler(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sigma_mx": 3}, "no sampling option 'sigma_mx'; did you mean 'sigma_max'"),
        ({"zzzzz": 3}, "no sampling option 'zzzzz'; known: steps, n,"),
        ({"n": "18"}, "n is '18', but must be of type int"),
        ({"n": 2.5}, "n is 2.5"),
        ({"n": True}, "n is True"),
        ({"n": None}, "n is None"),
        ({"rho": "7"}, "rho is '7', but must be of type float"),
        ({"rho": None}, "rho is None"),
        ({"steps": 3}, "steps is 3, but must be of type str"),
    ],
)
def test_bad_dictionaries(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampler.from_dict(values)


def test_unknown_column() -> None:
    with pytest.raises(ValueError, match="no column 'ddpm' in Table 1: choose one of vp, ve, iddpm, edm"):
        Sampler.from_table("ddpm")


def test_to_uint8_inverts_the_training_input() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(values.float() / 127.5 - 1), values)
    assert to_uint8(torch.tensor([-5.0, 5.0])).tolist() == [0, 255]
