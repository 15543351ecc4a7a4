"""Our samplers in diffusers' pipelines, our models as their folders, and back."""

from __future__ import annotations

import gc
import math
import threading

import pytest
import torch

import elucidiff as ed
from tests.interop.diffusers.folders import pipeline

diffusers = pytest.importorskip("diffusers")
ElucidiffScheduler, export = ed.interop.diffusers.ElucidiffScheduler, ed.interop.diffusers.export
pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning:diffusers", "ignore::DeprecationWarning:diffusers", "ignore:sigma goes from"
)


def generator(seed):
    return torch.Generator().manual_seed(seed)


Z = torch.randn(2, 3, 12, 12, generator=generator(0), dtype=torch.float64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return lambda network, case: pipeline(tmp_path_factory.mktemp(network), network, case)


@pytest.fixture(scope="module")
def eps(folder):
    return ed.load(folder("eps", "ddim_default"))


@pytest.fixture(scope="module")
def model():
    """A denoiser of ours, every weight of it different from zero."""
    torch.manual_seed(0)
    network = ed.networks.UNet.ddpmpp((3, 8, 8), base_channels=8, channel_multipliers=(1, 2), blocks_per_level=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator(1)))
    return ed.Denoiser(network, ed.preconditioning.EDM()).eval()


def in_a_pipeline(scheduler, network, z, steps, seed=1):
    """What a pipeline does with a scheduler: its loop, and a generator for the noise."""
    scheduler.set_timesteps(steps)
    x, draws = z * scheduler.init_noise_sigma, generator(seed)
    with torch.no_grad():
        for t in scheduler.timesteps:
            output = network(scheduler.scale_model_input(x, t).float(), t[None])
            x = scheduler.step(output.double(), t, x, generator=draws).prev_sample
    return x


SAMPLERS = [
    "",
    "solver=rk2:alpha=0.7",
    "solver=heun churn=churn:amount=20,noise_scale=1.01",
    "solver=heun churn=churn:amount=20,sigma_max=5.0",
    "solver=ipndm:order=3",
    "solver=dpmpp_2m:eta=1",
    "solver=unipc schedule=vp",
    "restarts=restart",
]


@pytest.mark.parametrize("text", SAMPLERS)
def test_scheduler_takes_our_sampler_s_steps_to_the_last_bit(text, eps):
    scheduler = ElucidiffScheduler.from_config(diffusers.DDIMScheduler().config, sampler=text)
    x = in_a_pipeline(scheduler, eps.network, Z, 5)
    sampler = ed.Sampler.parse(text).with_settings({"steps.n": 5})
    p = sampler.prepare(eps)
    # The pipeline's sample has the noise of a first raise already: ours gets none there, but a larger start.
    draws, raised = generator(1), p.churn is not None and p.churn.sigma_max > p.sigmas[0]
    calls = []

    def noise(x, _):
        calls.append(None)
        if p.churn is not None and len(calls) == 1:
            return torch.zeros_like(x)
        return torch.randn(x.shape, generator=draws, dtype=x.dtype)

    first = float(p.sigmas[0])
    gamma = min(20 / 5, math.sqrt(2) - 1) if raised else 0.0
    inflation = p.churn.noise_scale if raised else 1.0
    start = math.sqrt(1 + inflation**2 * ((1 + gamma) ** 2 - 1))
    y = p.sample(eps, Z * start, noise=noise, batch_size=None)
    torch.testing.assert_close(x, y, rtol=1e-6, atol=1e-6)
    level = first * (1 + gamma)
    wanted = first * start / math.sqrt(1 + level**2)
    assert scheduler.init_noise_sigma == pytest.approx(wanted, rel=1e-9)


def test_algorithm_2_raises_noise_before_the_network_is_asked(eps):
    scheduler = ElucidiffScheduler(sampler="solver=euler churn=churn:amount=30,sigma_max=40.0")
    scheduler.set_timesteps(6)
    plain = ed.Sampler.parse("solver=euler churn=churn:amount=30,sigma_max=40.0").with_settings({"steps.n": 6})
    levels = plain.prepare(eps).sigmas[:-1]
    raised = torch.where(levels <= 40, levels * math.sqrt(2), levels)
    times, _ = eps.time.at(raised)
    torch.testing.assert_close(scheduler.timesteps.double(), times, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(
    ("network", "case"), [("flow", "euler_shift3"), ("edm", "edm_euler"), ("v", "ddim_zero_snr")]
)
def test_scheduler_for_other_predictions(network, case, folder):
    denoiser = ed.load(folder(network, case))
    settings = denoiser.facts["home"]["settings"]
    scheduler = ElucidiffScheduler.from_config(settings, sampler="steps=karras:sigma_max=50")
    x = in_a_pipeline(scheduler, denoiser.network, Z, 4)
    y = ed.sample(denoiser, Z, ed.steps.karras(4, max(0.002, denoiser.sigma_min), 50), batch_size=None)
    torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-5)


def test_scheduler_in_a_pipeline_of_theirs(eps):
    pipe = diffusers.DDPMPipeline(eps.network.model, diffusers.DDPMScheduler())
    pipe.scheduler = ElucidiffScheduler.from_config(diffusers.DDPMScheduler().config, sampler="ipndm")
    pipe.set_progress_bar_config(disable=True)
    images = pipe(batch_size=2, num_inference_steps=5, generator=generator(3), output_type="np").images
    z = torch.randn(2, 3, 12, 12, generator=generator(3))
    x = in_a_pipeline(pipe.scheduler, eps.network, z.double() / pipe.scheduler.init_noise_sigma, 5)
    expected = (x / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(torch.from_numpy(images).double(), expected, rtol=0, atol=2e-5)


def test_a_run_that_is_given_up_leaves_no_thread(eps):
    before = set(threading.enumerate())
    scheduler = ElucidiffScheduler()
    scheduler.set_timesteps(4)
    scheduler.step(torch.zeros_like(Z), scheduler.timesteps[0], Z)
    (running,) = set(threading.enumerate()) - before
    del scheduler
    gc.collect()
    running.join(5)
    assert not running.is_alive()


def test_errors_of_the_sampler_reach_the_pipeline():
    scheduler = ElucidiffScheduler()
    scheduler.set_timesteps(2)
    x = scheduler.step(torch.zeros_like(Z), scheduler.timesteps[0], Z).prev_sample
    x = scheduler.step(torch.zeros_like(Z), scheduler.timesteps[1], x).prev_sample
    with pytest.raises(ValueError, match="not finite at step 2"):
        scheduler.step(torch.full_like(Z, math.nan), scheduler.timesteps[2], x)


def test_ddim_s_own_options_are_refused():
    scheduler = ElucidiffScheduler()
    scheduler.set_timesteps(2)
    with pytest.raises(ValueError, match="eta and use_clipped_model_output are DDIM's"):
        scheduler.step(torch.zeros_like(Z), scheduler.timesteps[0], Z, eta=0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": "solver=rk45"}, "know its steps"),
        ({"sampler": "guidance=2"}, "which a pipeline does itself"),
        ({"sampler": "solver=hoin"}, "heun"),
    ],
)
def test_samplers_that_a_pipeline_cannot_run(settings, message):
    with pytest.raises(ValueError, match=message):
        ElucidiffScheduler(**settings)


def test_our_model_as_a_pipeline_and_back(model, tmp_path):
    export(model, tmp_path / "out", sampler="steps=karras:rho=5")
    pipe = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out")
    pipe.set_progress_bar_config(disable=True)
    images = pipe(batch_size=2, num_inference_steps=4, generator=generator(5), output_type="np").images
    z = torch.randn(2, 3, 8, 8, generator=generator(5)).double()
    # The pipeline takes its noise for the network's input at 80 as it is.
    y = ed.sample(model, z * math.sqrt(1 + 1 / 80**2), ed.steps.karras(4, rho=5), batch_size=None)
    expected = (y / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    torch.testing.assert_close(torch.from_numpy(images).double(), expected, rtol=0, atol=2e-4)
    back = ed.load(tmp_path / "out")
    assert torch.equal(back(z, 1.5), model(z, 1.5))


def test_our_model_runs_with_their_schedulers(model, tmp_path):
    export(model, tmp_path / "out")
    pipe = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out")
    euler = diffusers.EulerDiscreteScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=True)
    euler.set_timesteps(6)
    z = torch.randn(2, 3, 8, 8, generator=generator(6), dtype=torch.float64)
    x = z * float(euler.init_noise_sigma)
    with torch.no_grad():
        for t in euler.timesteps:
            x = euler.step(pipe.unet(euler.scale_model_input(x, t), t).sample, t, x).prev_sample
    assert float(euler.sigmas[0]) == pytest.approx(80, rel=1e-3)
    y = ed.sample(model, z, ed.steps.karras(6), solver="euler", batch_size=None)
    assert (
        float((x - y).abs().max() / y.abs().max()) < 2e-3
    )  # their table is float32 at 0.002, where 1 - abar is 4e-6


def test_a_model_of_theirs_goes_back_to_them(eps, tmp_path):
    export(eps, tmp_path / "out")
    back = ed.load(tmp_path / "out")
    assert torch.equal(back(Z, 2.0), eps(Z, 2.0))
    assert torch.equal(ed.interop.home_sample(back, Z, 3), ed.interop.home_sample(eps, Z, 3))
    pipe = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "out")
    assert type(pipe.scheduler).__name__ == "DDIMScheduler"


def test_export_refuses(eps, model, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("all of it")
    with pytest.raises(ValueError, match="not empty"):
        export(model, tmp_path / "full")
    adapted = ed.adapters.AdaptedDenoiser(lambda x, t: x, "x0", eps.time)
    with pytest.raises(ValueError, match="did not come from diffusers"):
        export(adapted, tmp_path / "other")


def test_clipping_is_the_sampler_s(eps):
    z = torch.randn(2, 3, 12, 12, generator=generator(3), dtype=torch.float64)

    def largest(sampler):
        scheduler = ElucidiffScheduler.from_config(diffusers.DDPMScheduler().config, sampler=sampler)
        return float(in_a_pipeline(scheduler, eps.network, z, 6).abs().max())

    assert largest("euler") > 0.3
    # The last step of Euler's method is D itself.
    assert largest("euler clip=clamp:limit=0.25") <= 0.25 + 1e-9
