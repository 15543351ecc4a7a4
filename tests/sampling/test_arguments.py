"""What people hand to the functions of sampling works, or is one line that says what to give."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff import parts
from elucidiff.sampling import SeededNoise, encode, log_likelihood, sample_predictor_corrector, sample_sde
from elucidiff.sampling.sampler import Sampler

SIGMAS = ed.steps.karras(6)


def gaussian() -> Any:
    """N(0, 0.25 I) in four dimensions, with a shape of its own."""
    return ed.ideal.GaussianMixture(torch.zeros(1, 1, 2, 2), 0.25 * torch.eye(4)[None], torch.ones(1))


def latents(count: int = 3) -> Tensor:
    return SeededNoise(range(count)).latents((1, 2, 2))


@pytest.mark.parametrize("name", sorted(parts.parts_of("solver")))
def test_a_solver_by_name_is_the_sampler_s(name: str) -> None:
    assert parts.parse("solver", name) == Sampler(solver=name).solver
    x = ed.sample(gaussian(), latents(), SIGMAS, solver=name, noise=SeededNoise(range(3)))
    other = ed.sample(gaussian(), latents(), SIGMAS, solver=parts.parse("solver", name), noise=SeededNoise(range(3)))
    assert torch.equal(x, other)


def test_names_counts_and_arrays_mean_the_objects() -> None:
    expected = ed.sample(gaussian(), latents(), SIGMAS, schedule=ed.schedules.VP())
    assert torch.equal(ed.sample(gaussian(), latents().numpy(), SIGMAS.tolist(), schedule="vp"), expected)
    assert torch.equal(ed.sample(gaussian(), 3), Sampler().run(gaussian(), range(3)).x)
    assert torch.equal(ed.sample(gaussian(), np.int64(3)), Sampler().run(gaussian(), 3).x)
    assert ed.steps.Karras(np.int64(7), rho=np.float32(3)) == ed.steps.Karras(7, rho=3.0)
    assert torch.equal(ed.sample(gaussian(), 3, "karras:n=5"), ed.sample(gaussian(), 3, ed.steps.karras(5)))
    assert torch.equal(ed.sample(gaussian(), 3, ed.steps.Karras(5)), ed.sample(gaussian(), 3, ed.steps.karras(5)))
    short = Sampler(n=5, sigma_min=0.01, sigma_max=50.0, rho=3.0)
    assert short == Sampler(ed.steps.Karras(5, 0.01, 50.0, 3.0))
    levels = Sampler(ed.steps.Levels(tuple(SIGMAS.tolist())))
    assert torch.equal(levels.sigmas(None), SIGMAS)
    assert torch.equal(encode(gaussian(), latents().numpy(), SIGMAS, solver="heun").x[:1], encode(
        gaussian(), latents()[:1], SIGMAS, solver=ed.solvers.Heun()).x)  # fmt: skip


def test_a_count_draws_labels_as_a_run_does() -> None:
    points = torch.eye(4, dtype=torch.float64).reshape(4, 1, 2, 2)
    denoiser = ed.ideal.DataPosterior(points, torch.tensor([0, 1, 2, 2]))
    run = Sampler(steps="karras:n=4").run(denoiser, range(5))
    assert torch.equal(ed.sample(denoiser, 5, ed.steps.karras(4)), run.x)


D: dict[str, Any] = {"denoiser": gaussian(), "latents": latents(), "sigmas": SIGMAS}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"solver": ed.solvers.Heun}, TypeError, "solver is the class Heun: give an object, such as Heun"),
        ({"solver": "heum"}, ValueError, "there is no solver 'heum'; did you mean 'heun'"),
        ({"solver": 3}, TypeError, "solver is 3, but must be a Solver"),
        ({"schedule": ed.schedules.VP}, TypeError, "schedule is the class VP: give an object"),
        ({"schedule": "vpp"}, ValueError, "there is no schedule 'vpp'; did you mean 'vp'"),
        ({"schedule": None}, TypeError, "schedule is None, but must be a Schedule"),
        ({"churn": 40}, TypeError, r"churn is 40: give an object such as ed.Churn\(40\)"),
        ({"restarts": ed.Restart(1, 0.1, 1.0)}, TypeError, "restarts is Restart.*: give a list"),
        ({"latents": 0}, ValueError, "0 samples were asked for"),
        ({"latents": "16"}, TypeError, "latents are of type str: give a tensor or NumPy array"),
        ({"latents": True}, TypeError, "latents are of type bool"),
        ({"latents": np.array(["a"])}, TypeError, "latents are an array of <U1"),
        ({"latents": torch.zeros(0, 1, 2, 2)}, ValueError, "which holds nothing"),
        ({"sigmas": "karas"}, ValueError, "there is no steps 'karas'; did you mean 'karras'"),
        ({"sigmas": {"n": 3}}, TypeError, "sigmas is {'n': 3}, but must be noise levels"),
        ({"sigmas": 18}, ValueError, r"sigmas has shape \(\), but must be"),
        ({"denoiser": ed.Denoiser}, TypeError, "denoiser is the class Denoiser"),
        ({"denoiser": "model"}, TypeError, "denoiser is of type str"),
        ({"noise": torch.zeros(1)}, TypeError, "noise is of type Tensor, but must be a function"),
        ({"callback": 1}, TypeError, "callback is of type int"),
        ({"dtype": "float32"}, TypeError, "dtype is 'float32', but must be torch.float64 or torch.float32"),
        ({"dtype": torch.float16}, ValueError, "dtype is torch.float16, but a solver's state must be"),
        ({"dtype": torch.bfloat16}, ValueError, "dtype is torch.bfloat16, but a solver's state must be"),
        ({"batch_size": "16"}, TypeError, "batch_size is '16': it must be an integer"),
    ],
)
def test_misuse_of_sample(change: dict[str, Any], error: type[Exception], message: str) -> None:
    given = D | change
    with pytest.raises(error, match=message) as caught:
        ed.sample(given.pop("denoiser"), given.pop("latents"), given.pop("sigmas"), **given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ed.steps.Karras("18"), TypeError, "n of steps karras is '18', but must be a whole number"),
        (lambda: ed.steps.Karras(18.0), TypeError, "n of steps karras is 18.0, but must be a whole number"),
        (lambda: ed.steps.Karras(True), TypeError, "n of steps karras is True"),
        (lambda: Sampler(n="18"), TypeError, "n of steps karras is '18', but must be a whole number"),
        (lambda: Sampler("ve", rho=3), ValueError, "steps ve have no setting 'rho'"),
        (lambda: Sampler(order=3), TypeError, "unexpected keyword argument 'order'"),
        (lambda: ed.steps.Karras(rho="7"), TypeError, "rho of steps karras is '7', but must be a number"),
        (
            lambda: ed.steps.Levels("80,0"),
            TypeError,
            "levels of steps levels is '80,0', but must be a list, each a number",
        ),
        (lambda: Sampler().run(gaussian(), "0-3"), TypeError, "seeds is '0-3': give integers"),
        (lambda: Sampler().run(gaussian(), [0.5]), TypeError, "seed 0.5 is no integer"),
        (lambda: Sampler().run(gaussian(), 0), ValueError, "0 samples were asked for"),
        (lambda: Sampler().run(gaussian, 4), ValueError, "does not state the shape"),
        (lambda: Sampler().run(None, 4), TypeError, "denoiser is of type NoneType"),
        (lambda: Sampler().run(gaussian(), 4, batch_size="2"), TypeError, "batch_size is '2'"),
        (lambda: SeededNoise(4), TypeError, "seeds is 4, but must be integers, one a sample"),
        (lambda: SeededNoise("0-3"), TypeError, "seeds is '0-3'"),
        (lambda: ed.Churn("40"), TypeError, "amount of churn is '40', but must be a number"),
        (lambda: ed.Restart("2", 0.1, 1.0), TypeError, "repeats of restart is '2', but must be a whole number"),
        (lambda: ed.solvers.RK2("1"), TypeError, "alpha of solver rk2 is '1', but must be a number"),
        (lambda: ed.solvers.DEIS("2"), TypeError, "order of solver deis is '2', but must be a whole number"),
        (lambda: ed.steps.karras("18"), TypeError, "n is '18': it must be an integer"),
        (lambda: ed.steps.karras(18, "0.002"), TypeError, "sigma_min is '0.002': it must be a number"),
        (lambda: ed.schedules.EDM().sigma("1"), TypeError, "'1' is no number"),
        (lambda: ed.Denoiser(torch.nn.Identity(), ed.preconditioning.EDM), TypeError, "preconditioning is <class"),
        (
            lambda: ed.Denoiser(torch.nn.Linear, ed.preconditioning.EDM()),
            TypeError,
            "network is <class",
        ),
        (lambda: encode(gaussian(), [[1.0]], SIGMAS), TypeError, "samples are of type list"),
        (lambda: log_likelihood(gaussian(), latents(), SIGMAS, solver=ed.solvers.Heun), TypeError, "the class Heun"),
        (lambda: sample_sde(gaussian(), latents(), SIGMAS, schedule=ed.schedules.VP), TypeError, "the class VP"),
        (lambda: sample_predictor_corrector(gaussian(), "x", SIGMAS), TypeError, "latents are of type str"),
        (lambda: sample_sde(gaussian(), latents(), [math.inf, 1, 0]), ValueError, "sigmas begins at infinity"),
        (lambda: encode(gaussian(), latents(), [math.inf, 1, 0]), ValueError, "sigmas begins at infinity"),
    ],
)
def test_misuse_elsewhere(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
