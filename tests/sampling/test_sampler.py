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

from elucidiff import parts
from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.design import schedules, steps
from elucidiff.sampling import Churn, FixedBatch, Sampler, SeededNoise, Step, sample, table, to_uint8
from elucidiff.solvers import RK2, RK45, DPMpp2M, Euler, Heun


def posterior() -> DataPosterior:
    points = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return DataPosterior(points, torch.tensor([0, 1, 0, 1, 2]))


STEPS = st.builds(
    lambda kind, n, low, high: kind(n, low, high),
    st.sampled_from([steps.Karras, steps.VP, steps.VE, steps.IDDPM, steps.LogUniform]),
    st.integers(2, 300),
    st.none() | st.floats(1e-3, 0.03),
    st.none() | st.floats(10, 200),
)
SAMPLERS = st.builds(
    Sampler,
    steps=STEPS | st.builds(lambda n, rho: steps.Karras(n, rho=rho), st.integers(2, 300), st.floats(1, 20)),
    schedule=st.sampled_from(["edm", "vp_fitted", "ve", "flow", "edm:scaling=vp", "vp_fitted:scaling=none"]),
    solver=st.sampled_from(["heun", "euler"]) | st.builds(RK2, st.floats(0.1, 2)),
    churn=st.builds(Churn, st.floats(0, 100), st.floats(0, 1), st.just(math.inf) | st.floats(1, 100)),
)


@settings(deadline=None, max_examples=50)
@given(SAMPLERS)
def test_goes_through_json_unchanged(sampler: Sampler) -> None:
    text = json.dumps(sampler.to_plain(), allow_nan=False)
    assert Sampler.from_plain(json.loads(text)) == sampler
    assert set(sampler.to_plain()) == {field.name for field in fields(Sampler)}
    assert Sampler.parse(sampler.to_text()) == sampler


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

    assert prepared() == (Heun(), schedules.EDM(), None)
    assert prepared(solver="euler", schedule="ve:scaling=vp") == (Euler(), schedules.VE(scaling="vp"), None)
    assert prepared(solver="rk2:alpha=0.5", schedule="flow") == (RK2(0.5), schedules.Flow(), None)
    assert prepared(solver="rk45:rtol=1e-3,atol=1e-2")[0] == RK45(1e-3, 1e-2)
    assert prepared(churn="30,sigma_min=0.01,sigma_max=1,noise_scale=1.007")[2] == Churn(30, 0.01, 1, 1.007)
    assert prepared(churn=30)[2] == Churn(30)
    fitted = schedules.VP.fit(0.01, 50.0, 0.005, scaling="none")
    narrow = steps.Karras(sigma_min=0.01, sigma_max=50.0)
    assert prepared(schedule="vp_fitted:epsilon_s=0.005,scaling=none", steps=narrow)[1] == fitted
    assert prepared(schedule="vp")[1] == schedules.VP()

    def sigmas(text: str) -> Tensor:
        return Sampler(text).sigmas(None)

    assert torch.equal(sigmas("karras:n=7,rho=3"), steps.karras(7, rho=3))
    assert torch.equal(sigmas("vp:n=7"), steps.vp(7))
    assert torch.equal(sigmas("ve:n=7"), steps.ve(7))
    assert torch.equal(sigmas("iddpm:n=7,m=400"), steps.iddpm(7, m=400))
    assert torch.equal(sigmas("log_uniform:n=7,sigma_min=0.1"), steps.log_uniform(7, 0.1))
    assert sigmas("levels:80/3/0.5/0").tolist() == [80, 3, 0.5, 0]


@pytest.mark.parametrize("name", ["vp", "ve", "iddpm", "edm"])
def test_columns_of_table_1(name: str) -> None:
    sampler, design = Sampler.from_table(name, n=12), table.NAMES[name]
    prepared = sampler.prepare(None)
    torch.testing.assert_close(prepared.sigmas, design.steps(12), rtol=1e-12, atol=0)
    assert prepared.solver == design.solver
    assert (type(prepared.schedule), prepared.schedule.scaling) == (type(design.schedule), design.schedule.scaling)
    t = torch.linspace(0.05, 1, 20, dtype=torch.float64)
    torch.testing.assert_close(prepared.schedule.sigma(t), design.schedule.sigma(t), rtol=1e-10, atol=0)


def test_run_is_sample_with_seeded_noise() -> None:
    denoiser, record = posterior(), []
    sampler = Sampler(steps="karras:n=6", schedule="vp_fitted", churn=Churn(amount=10))
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
    denoiser, sampler, seeds = posterior(), Sampler(steps="karras:n=4", churn=Churn(amount=2)), list(range(30))
    drawn = sampler.run(denoiser, seeds)
    noise = SeededNoise(seeds)
    noise.latents((1, 2, 2))
    indices = noise.labels(3)
    assert torch.equal(drawn.labels.argmax(1), indices)
    assert len(set(indices.tolist())) == 3
    # Classes that are given leave the noise as it was.
    assert torch.equal(sampler.run(denoiser, seeds, indices).x, drawn.x)
    assert sampler.run(denoiser, seeds, 2).labels.argmax(1).tolist() == [2] * 30
    assert Sampler(steps="karras:n=4").run(DataPosterior(denoiser.points), [1]).labels is None


def test_labels_of_every_kind_are_the_same() -> None:
    denoiser, sampler, seeds = posterior(), Sampler(steps="karras:n=3"), [1, 2, 3]
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
    ("text", "without_effect"),
    [
        ("heun", {"churn.sigma_min", "guidance.sigma_max", "restarts.steps", "solver.order"}),
        ("rk45", {"steps.n", "steps.rho", "churn.sigma_min", "guidance.sigma_max", "restarts.steps", "solver.order"}),
        ("euler churn=1", {"guidance.sigma_max", "restarts.steps", "solver.order"}),
        ("deis restarts=1,sigma_max=5", {"churn.sigma_min", "guidance.sigma_max"}),
        ("sa_solver:tau=0", {"solver.tau_sigma_max", "churn.sigma_min", "guidance.sigma_max", "restarts.steps"}),
    ],
)
def test_settings_without_effect(text: str, without_effect: set[str]) -> None:
    """What is said to have no effect indeed changes nothing, and what is not changes the samples."""
    sampler = Sampler.parse(f"{text} steps=karras:n=5")
    other = {
        "steps.n": 7,
        "steps.rho": 3.0,
        "churn.amount": 2.0,
        "churn.sigma_min": 1.0,
        "restarts.steps": 2,
        "guidance.sigma_max": 5.0,
    }
    spelled = {setting.name for setting in parts.settings(type(sampler.solver))}
    other |= {
        f"solver.{name}": value for name, value in {"order": 1, "tau_sigma_max": 3.0}.items() if name in spelled
    }
    every = [*other, "solver.order", "solver.tau_sigma_max"]
    assert set(sampler.without_effect(every)) >= {name for name in without_effect if name in every}

    def run(chosen: Sampler) -> Tensor:
        return chosen.run(lambda x, sigma: x / (1 + sigma.reshape(-1, 1, 1) ** 2), [3, 4], shape=(1, 2)).x

    plain = run(sampler)
    for name, value in other.items():
        try:
            changed = sampler.with_settings({name: value})
        except ValueError:  # churn does not go with it
            assert name == "churn.amount"
            continue
        same = torch.allclose(run(changed), plain, rtol=1e-12, atol=0)
        assert same is (name in sampler.without_effect([name])), name


def test_single_settings_are_changed_by_name() -> None:
    sampler = Sampler.parse("ipndm:order=2 steps=karras:n=9")
    changed = sampler.with_settings({"steps.rho": 3, "solver": "dpmpp_2m", "solver.eta": 0.5})
    assert changed == Sampler(steps.Karras(9, rho=3.0), solver=DPMpp2M(0.5))
    with pytest.raises(ValueError, match="ipndm:order=2 has no setting 'eta'"):
        sampler.with_settings({"solver.eta": 1.0})
    with pytest.raises(ValueError, match="a sampler has no choice 'slover'; did you mean 'solver'"):
        sampler.with_settings({"slover": "heun"})


def test_nfe_per_sample_of_an_adaptive_solver() -> None:
    result = Sampler(solver="rk45:rtol=1e-06,atol=1e-06").run(posterior(), range(5), 0)
    assert result.nfe.shape == (5,)
    assert bool((result.nfe > 20).all())


def test_shape_and_range_of_other_denoisers() -> None:
    def bare(x: Tensor, sigma: Tensor) -> Tensor:
        return x / (1 + sigma * sigma)

    assert Sampler(steps="karras:n=3").run(bare, [1], shape=(3, 5)).x.shape == (1, 3, 5)
    with pytest.raises(ValueError, match="does not state the shape"):
        Sampler(steps="karras:n=3").run(bare, [1])
    with pytest.raises(ValueError, match="class labels were given to a denoiser without classes"):
        Sampler(steps="karras:n=3").run(bare, [1], 0, shape=(3, 5))

    class Limited:
        sigma_min, sigma_max, sample_shape = 100.0, 200.0, (1, 2)

        def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
            return x

    with pytest.raises(ValueError, match="the denoiser supports 100 to 200"):
        Sampler().run(Limited(), [1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps=karas", "there is no steps 'karas'; did you mean 'karras'"),
        ("schedule=edm2", "there is no schedule 'edm2'; did you mean 'edm'"),
        ("solver=dpmm_2m", "there is no solver 'dpmm_2m'; did you mean 'dpmpp_2m'"),
        ("solver=xyz", "there is no solver 'xyz'; known: .*heun"),
        ("schedule=edm:scaling=flow", "scaling 'flow' is unknown"),
        ("steps=karras:sigma_min=80,sigma_max=1", "sigma_min 80.0 is not below sigma_max 1.0"),
        ("steps=karras:sigma_min=0", "sigma_min is 0.0"),
        ("steps=karras:sigma_max=inf", "sigma_max is inf"),
        ("steps=karras:sigma_max=nan", "sigma_max of steps karras is 'nan', but must be a number"),
        ("steps=karras:rho=0", "rho is 0.0"),
        ("rk2:alpha=0", "alpha is 0.0"),
        ("rk45:rtol=0", "rtol is 0.0"),
        ("deis:order=5", "order of deis is 5, but must be 1, 2, 3 or 4"),
        ("unipc:p=0", "order of unipc is 0"),
        ("er_sde:order=4", "order of er_sde is 4, but must be 1, 2 or 3"),
        ("unipc:variant=bh3", "variant of unipc is 'bh3', but must be bh1 or bh2"),
        ("dpmpp_2m:eta=-1", "eta is -1.0"),
        ("sa_solver:tau=inf", "tau is inf"),
        ("sa_solver:tau_sigma_min=2", "tau range is 2.0 to 1.0"),
        ("sa_solver:corrector_order=5", "corrector_order of sa_solver is 5"),
        ("restarts=-1", "restarts is -1"),
        ("restarts=1,steps=0", "steps of a restart is 0"),
        ("restarts=1,sigma_min=1", "restart range is 1.0 to 0.3"),
        ("restarts=1,sigma_min=1,sigma_max=1.1 steps=karras:n=3", "restart from 1 to 1.1 does not fit"),
        ("restarts=1,sigma_min=79,sigma_max=99", "level is 80, its highest"),
        ("restarts=1 churn=1", "churn and restarts both add noise"),
        ("rk45 restarts=1", "RK45 chooses its own steps, so it cannot be used with restarts"),
        ("unipc churn=1", "UniPC corrects the end of each step"),
        ("er_sde churn=1", "ERSDE adds noise itself"),
        ("dpmpp_2m churn=100 steps=karras:n=50", "churn raises the noise of step 1 from .* less churn"),
        ("steps=vp:epsilon_s=2", "epsilon_s is 2.0"),
        ("churn=-1", "churn amount is -1.0"),
        ("rk45 churn=1", "RK45 chooses its own steps"),
        ("steps=karras:sigma_mx=3", "steps karras has no setting 'sigma_mx'; did you mean 'sigma_max'"),
        ("steps=karras:n=2.5", "n of steps karras is '2.5', but must be a whole number"),
        ("heun euler", "chooses solver twice"),
        ("slover=heun", "a sampler has no choice 'slover'; did you mean 'solver'"),
    ],
)
def test_bad_texts(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Sampler.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stps": {"type": "karras"}}, "a sampler has no choice 'stps'; did you mean 'steps'"),
        ({"steps": {"type": "karras", "n": "x"}}, "n of steps karras is 'x', but must be a whole number"),
        ({"steps": {"type": "karras", "n": 2.5}}, "n of steps karras is 2.5"),
        ({"steps": {"type": "karras", "n": True}}, "n of steps karras is True"),
        ({"steps": {"type": "karras", "n": None}}, "n of steps karras is None"),
        ({"steps": {"type": "karras", "rho": None}}, "rho of steps karras is None"),
        ({"steps": 3}, "3 does not describe a steps"),
        ({"solver": {"type": "my_own"}}, "there is no solver 'my_own'.* --plugin MODULE"),
    ],
)
def test_bad_dictionaries(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampler.from_plain(values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sampler(solver=Heun), "solver is the class Heun: give an object"),
        (lambda: Sampler(solver=3), "solver is 3, but must be a Solver"),
        (lambda: Sampler(steps=torch.ones(3)), "steps is tensor.*, but must be a Steps"),
        (lambda: steps.Karras("18"), "n of steps karras is '18', but must be a whole number"),
    ],
)
def test_what_is_no_part_is_a_type_error(make: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        make()


def test_unknown_column() -> None:
    with pytest.raises(ValueError, match="no column 'ddpm' in Table 1: choose one of vp, ve, iddpm, edm"):
        Sampler.from_table("ddpm")


def test_to_uint8_inverts_the_training_input() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(values.float() / 127.5 - 1), values)
    assert to_uint8(torch.tensor([-5.0, 5.0])).tolist() == [0, 255]


def test_a_choice_is_an_object_a_text_a_function_or_none() -> None:
    model = DataPosterior(torch.zeros(1, 2))
    euler = Sampler(solver="euler")
    assert Sampler.chosen(euler, model) is euler
    assert Sampler.chosen("euler", model) == euler
    assert Sampler.chosen(None, model) == Sampler()
    asked: list[object] = []
    assert Sampler.chosen(lambda denoiser: asked.append(denoiser) or euler, model) is euler
    assert asked == [model]
