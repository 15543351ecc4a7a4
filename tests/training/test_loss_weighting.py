"""The learned loss weighting: its closed-form minimiser, and that it changes what is minimised and nothing else."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.networks import MPUNetSettings
from elucidiff.training.batches import draw
from elucidiff.training.loop import noisy_batches, update
from elucidiff.training.state import LossWeighting, TrainingState, uncertainty_weighted
from tests.golden_files import GOLDEN, cases, load
from tests.training.test_update import CPU, tiny, trained


def weighting(seed: int = 0) -> LossWeighting:
    torch.manual_seed(seed)
    return LossWeighting()


def test_it_starts_as_the_plain_loss() -> None:
    loss, sigma = torch.rand(3, 1, 4, 4), torch.tensor([0.01, 1.0, 50.0])
    assert torch.equal(weighting()(loss, sigma), loss)


def test_the_formula_and_its_gradient() -> None:
    module = weighting()
    with torch.no_grad():
        module.linear.weight.normal_(generator=torch.Generator().manual_seed(1))
        module.linear.bias.fill_(0.3)
    loss, sigma = torch.rand(3, 2, 5, requires_grad=True), torch.tensor([0.02, 0.5, 10.0])
    # u = w . (sin 2 pi f c, cos 2 pi f c) + b with c = ln(sigma) / 4, by hand.
    phases = 2 * torch.pi * torch.outer(sigma.log() / 4, module.features.frequencies)
    u = torch.cat([phases.sin(), phases.cos()], dim=1) @ module.linear.weight[0] + 0.3
    torch.testing.assert_close(module.log_loss(sigma), u, rtol=1e-4, atol=1e-4)
    u = module.log_loss(sigma).detach()
    total = module(loss, sigma)
    torch.testing.assert_close(total, loss * torch.exp(-u)[:, None, None] + u[:, None, None])
    total.sum().backward()
    # d/dloss = exp(-u); d/db = sum over elements of 1 - exp(-u) loss.
    torch.testing.assert_close(loss.grad, torch.exp(-u)[:, None, None].expand(3, 2, 5))
    expected = (1 - loss.detach() * torch.exp(-u)[:, None, None]).sum()
    torch.testing.assert_close(module.linear.bias.grad, expected.reshape(1))


def test_u_becomes_the_logarithm_of_the_mean_loss() -> None:
    """Losses scatter about 0.1 + 2 / (1 + sigma): u must go to the logarithm of that, as d/du (exp(-u) L + u) = 0."""
    module, generator = weighting(), torch.Generator().manual_seed(0)

    def mean_loss(sigma: Tensor) -> Tensor:
        return 0.1 + 2 / (1 + sigma)

    optimiser = torch.optim.Adam(module.parameters(), lr=1e-2)
    for step in range(600):
        optimiser.param_groups[0]["lr"] = 1e-2 * (1 - step / 600)
        sigma = torch.exp(torch.randn(256, generator=generator) * 1.2 - 0.6)
        scatter = -torch.log1p(-torch.rand(256, 1, 4, generator=generator))  # exponential, of mean 1
        optimiser.zero_grad()
        module(scatter * mean_loss(sigma)[:, None, None], sigma).mean().backward()
        optimiser.step()
    sigma = torch.exp(torch.linspace(-2.4, 1.2, 20))  # 1.5 standard deviations of ln(sigma)
    torch.testing.assert_close(module.log_loss(sigma), mean_loss(sigma).log(), rtol=0, atol=0.08)


def test_bfloat16_leaves_u_in_float32() -> None:
    module, sigma = weighting(), torch.tensor([0.02, 0.5, 10.0])
    with torch.no_grad():
        module.linear.weight.fill_(0.5)
    expected = module.log_loss(sigma)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(module.log_loss(sigma), expected)


def state_after(steps: int, **settings: object) -> TrainingState:
    """A run on random images with a network whose output is open from the first step."""
    config = tiny(**{"lr": 1e-3, "learned_loss_weighting": True, **settings})
    return trained(config, steps)


def test_what_is_reported_is_the_plain_loss() -> None:
    # The learning rate of the first step is 0: so far the networks are the same.
    plain, learned = state_after(2, learned_loss_weighting=False), state_after(2)
    assert plain.loss_weighting is None
    assert learned.meter.summary() == plain.meter.summary()
    assert learned.loss_weighting is not None
    assert learned.loss_weighting.linear.bias.abs().item() > 5e-4, "Adam has moved it by about 1e-3"


def test_the_averaged_model_has_no_trace_of_it() -> None:
    plain, learned = state_after(1, learned_loss_weighting=False), state_after(1)
    assert learned.model.network.state_dict().keys() == plain.model.network.state_dict().keys()
    names = [name for name, _ in learned.trained.named_parameters() if name.startswith("loss_weighting.")]
    assert names == ["loss_weighting.linear.weight", "loss_weighting.linear.bias"]


def test_the_network_sees_the_loss_over_its_size_at_that_level() -> None:
    """With u fixed at ln 2, gradients of the network are half of what they were."""
    plain, learned = state_after(1, learned_loss_weighting=False), state_after(0)
    assert learned.loss_weighting is not None
    with torch.no_grad():
        learned.loss_weighting.linear.bias.fill_(torch.tensor(2.0).log())
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    draws = draw(0, 0, images.shape, learned.objective.noise, learned.augment)
    update(learned, noisy_batches(learned, images, None, draws))
    pairs = zip(plain.denoiser.named_parameters(), learned.denoiser.named_parameters(), strict=True)
    for (name, one), (_, half) in pairs:
        assert one.grad is not None, name
        assert half.grad is not None, name
        torch.testing.assert_close(half.grad, one.grad / 2, rtol=1e-3, atol=1e-6, msg=name)


def test_checkpoints_hold_it() -> None:
    before = state_after(3)
    after = TrainingState(before.config, (1, 8, 8), 0, CPU)
    checkpoint = before.checkpoint()
    after.restore(checkpoint)
    again = after.checkpoint()
    assert checkpoint.tensors.keys() == again.tensors.keys()
    for name, value in checkpoint.tensors.items():
        assert torch.equal(value, again.tensors[name]), name
    moments = [name for name in checkpoint.tensors if name.startswith("adam.loss_weighting.")]
    assert len(moments) == 6


def test_weights_of_mp_unet_have_magnitude_1_after_every_update() -> None:
    network = MPUNetSettings(8, (1, 1), 1, (4,), 0.0)
    config = tiny(network=network)
    state = state_after(3, network=network, lr=0.05)
    start = TrainingState(dataclasses.replace(config, learned_loss_weighting=True), (1, 8, 8), 0, CPU)
    pairs = zip(state.denoiser.network.named_parameters(), start.denoiser.network.named_parameters(), strict=True)
    moved = 0.0
    for (name, weight), (_, before) in pairs:
        if weight.ndim > 1:
            magnitudes = weight.flatten(1).double().square().mean(1).sqrt()
            assert (magnitudes - 1).abs().max() < 1e-6, name
            moved = max(moved, float((weight - before).detach().abs().max()))
    assert moved > 0.01


@pytest.mark.parametrize("name", cases("m_edm2", "loss_0?"))
def test_uncertainty_weighting_of_the_reference(name: str) -> None:
    """Eq. 14 to 16 and 21 of EDM2: noise levels, weights, the loss with a log variance, and its gradient."""
    case, tensors = load(name)
    used = case["used"]
    objective = ed.objectives.EDM(p_mean=used["P_mean"], p_std=used["P_std"], sigma_data=used["sigma_data"])
    sigma = objective.noise.from_base(tensors["rnd_normal"]).flatten()
    torch.testing.assert_close(sigma, tensors["sigma"].flatten(), rtol=2e-6, atol=0)
    torch.testing.assert_close(objective.weight(sigma), tensors["weight"].flatten(), rtol=2e-6, atol=0)

    def denoiser(*_: object, **__: object) -> torch.Tensor:
        return tensors["D_yn"]

    plain = objective.loss(denoiser, tensors["images"], sigma, tensors["eps"], tensors.get("labels"))
    u = tensors["logvar"].clone().requires_grad_()
    loss = uncertainty_weighted(plain, u)
    atol = 1e-5 * float(tensors["loss"].abs().max())
    torch.testing.assert_close(loss.detach(), tensors["loss"], rtol=1e-5, atol=atol)
    if "loss_no_logvar" in tensors:
        atol = 1e-5 * float(tensors["loss_no_logvar"].max())
        torch.testing.assert_close(plain, tensors["loss_no_logvar"], rtol=1e-5, atol=atol)
    loss.sum().backward()
    torch.testing.assert_close(u.grad, tensors["grad/logvar"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loss.detach().sum(), tensors["loss_sum"], rtol=1e-5, atol=0)


def test_loss_of_the_reference_network() -> None:
    """The network of a snapshot gives the reference's D and u where the loss was recorded."""
    case, tensors = load("m_edm2/loss_03")
    denoiser = ed.interop.nvlabs.load(GOLDEN / case["params_from"].replace(".safetensors", ".pkl"))
    sigma = tensors["sigma"].flatten()
    with torch.no_grad():
        D = denoiser(tensors["images"] + tensors["n"], sigma, tensors["labels"])
        u = denoiser.network.log_variance(sigma.log() / 4)
    torch.testing.assert_close(D, tensors["D_yn"], rtol=0, atol=1e-5 * float(tensors["D_yn"].abs().max()))
    torch.testing.assert_close(u, tensors["logvar"].flatten(), rtol=1e-5, atol=1e-6)
