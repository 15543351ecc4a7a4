"""No solver waits for the device in the sampling loop, where its mathematics does not ask for a decision.

On the device "meta" there are no values, so reading one raises an error; what else would wait is counted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import elucidiff as ed
from elucidiff import parts
from elucidiff.denoisers.guided import Autoguided, ClassifierFree
from elucidiff.sampling import Restart, Sampler, sample_predictor_corrector, sample_sde
from elucidiff.solvers import RK45, DPMpp2M, Heun, Solver
from tests.sampling.test_loop import tiny
from tests.waiting import OnDevice, Waits

B, SHAPE, CLASSES = 6, (2, 4, 4), 3


def network(kind: str) -> nn.Module:
    sizes: dict[str, Any] = {
        "base_channels": 8, "channel_multipliers": (1, 1), "blocks_per_level": 1, "attention_resolutions": (2,),
        "label_dim": CLASSES, "label_dropout": 0.1,
    }  # fmt: skip
    made: nn.Module = getattr(ed.networks, kind)(SHAPE, **sizes)
    return made


def plain() -> ed.Denoiser:
    return tiny().to("meta")


def nested() -> Any:
    """Both kinds of guidance, each in a part of the run."""
    return Autoguided(ClassifierFree(plain(), 2.0, (0.1, 20.0)), plain(), 2.0, (0.0, 1.0))


def waits(draw: Callable[..., Tensor], denoiser: Any, steps: list[Any] | None = None, **choices: Any) -> list[str]:
    """What a run on the meta device would have waited for, its beginning aside; real seeds draw its noise."""
    latents, labels = torch.empty(B, *SHAPE, device="meta"), torch.empty(B, CLASSES, device="meta")
    with Waits("meta") as watch:
        x = draw(
            denoiser,
            latents,
            ed.steps.karras(7),
            labels=labels,
            noise=ed.SeededNoise(range(B)),
            callback=(steps if steps is not None else []).append,
            batch_size=4,  # of six, so the last is padded
            **choices,
        )
    assert x.is_meta
    assert x.dtype == torch.float64
    return watch.found


@pytest.mark.parametrize("denoiser", [plain, nested])
@pytest.mark.parametrize("name", sorted(parts.parts_of("solver").keys() - {"rk45"}))
def test_no_solver_with_fixed_steps_waits(name: str, denoiser: Callable[[], Any]) -> None:
    steps: list[Any] = []
    assert waits(ed.sample, denoiser(), steps, solver=Sampler(solver=name).prepare(None).solver) == []
    assert [step.index for step in steps] == list(range(7))
    if steps[0].nfe == 1:  # one evaluation a step, and one more wherever guidance acts
        sigmas = [step.sigma for step in steps]
        guided = sum((0.1 < sigma <= 20) + (sigma <= 1) for sigma in sigmas) if denoiser is nested else 0
        assert steps[-1].nfe == 7 + guided


@pytest.mark.parametrize("kind", ["UNet", "MPUNet", "ADM"])
def test_no_network_waits(kind: str) -> None:
    denoiser = ed.Denoiser(network(kind), ed.preconditioning.EDM()).eval().to("meta")
    assert waits(ed.sample, denoiser, solver=DPMpp2M()) == []


@pytest.mark.parametrize(
    ("solver", "schedule"),
    [
        (Heun(), ed.schedules.EDM()),
        (Heun(), ed.schedules.VP()),
        (Heun(), ed.schedules.VE()),
        (Heun(), ed.schedules.Flow()),
        (DPMpp2M(), ed.schedules.VP()),
    ],
    ids=repr,
)
def test_nor_do_churn_and_restarts(solver: Solver, schedule: ed.schedules.Schedule) -> None:
    choices: dict[str, Any] = {"solver": solver, "schedule": schedule}
    choices |= {"restarts": [Restart(2, 0.1, 1.0)]} if solver.multistep else {"churn": ed.Churn(7)}
    steps: list[Any] = []
    assert waits(ed.sample, nested(), steps, **choices) == []
    assert any(step.sigma_hat > step.sigma for step in steps)


@pytest.mark.parametrize("draw", [sample_sde, sample_predictor_corrector])
def test_nor_do_the_baselines(draw: Callable[..., Tensor]) -> None:
    assert waits(draw, plain()) == []


def test_rk45_waits_once_an_attempt() -> None:
    """Whether a step is accepted is decided on the CPU, for all samples at once."""
    points = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    denoiser = ed.ideal.DataPosterior(points)
    for count in (1, 4):
        latents = ed.SeededNoise(range(count)).latents((1, 2, 2)).as_subclass(OnDevice)
        steps: list[Any] = []
        OnDevice.fetched.clear()
        x = ed.sample(denoiser, latents, [80.0, 0.002, 0.0], solver=RK45(1e-3, 1e-3), callback=steps.append)
        # Two evaluations to start and one at the end, six an attempt; samples that have arrived wait no more.
        most = int(torch.as_tensor(steps[-1].nfe).max())
        loop = [name for name in OnDevice.fetched if name != "__bool__"]
        assert loop == ["cpu"] * (3 + (most - 3) // 6)
        assert isinstance(x, OnDevice)
    assert len(set(steps[-1].nfe.tolist())) > 1, "some arrived earlier"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", sorted(parts.parts_of("solver").keys() - {"rk45"}))
def test_on_cuda_nothing_synchronises(name: str) -> None:
    denoiser = ClassifierFree(tiny().to("cuda"), 2.0, (0.1, 20.0))
    latents, labels = torch.randn(B, *SHAPE, device="cuda"), torch.eye(CLASSES, device="cuda").repeat(2, 1)
    choices: dict[str, Any] = {"solver": Sampler(solver=name).prepare(None).solver, "labels": labels}
    counted = 0

    def go(step: ed.sampling.Step) -> None:
        # From the first step on, since the latents are looked at once before.
        nonlocal counted
        counted += 1
        torch.cuda.set_sync_debug_mode("error")

    try:
        ed.sample(denoiser, latents, ed.steps.karras(7), noise=ed.SeededNoise(range(B)), callback=go, **choices)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert counted == 7
