"""Objectives: the reference's losses, lambda c_out^2 = 1, and configurations."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from elucidiff import parts
from elucidiff.design import preconditioning
from elucidiff.design.objectives import EDM, IDDPM, VE, VP, Objective
from tests.golden_files import cases, load

CLASSES = {"EDMLoss": EDM, "VPLoss": VP, "VELoss": VE}
NAMES = {"P_mean": "p_mean", "P_std": "p_std"}


def golden_objective(case: dict[str, object]) -> Objective:
    """The object for a golden case."""
    return CLASSES[case["cls"]](**{NAMES.get(key, key): value for key, value in case["kwargs"].items()})


def golden_denoiser(x: Tensor, sigma: Tensor, labels: Tensor | None, augment_labels: Tensor | None = None) -> Tensor:
    """The fixed function that stands for a denoiser in the golden losses."""
    assert sigma.shape == x.shape[:1]
    sigma = sigma.reshape(-1, 1, 1, 1)
    result = 0.25 / (sigma**2 + 0.25) * x + 0.3 * sigma / (1 + sigma) * torch.tanh(x)
    if labels is not None:
        weights = torch.arange(1, labels.shape[1] + 1) / labels.shape[1]
        result = result + 0.05 * (labels * weights).sum(1).reshape(-1, 1, 1, 1)
    if augment_labels is not None:
        result = result + 0.02 * augment_labels.sum(1).reshape(-1, 1, 1, 1)
    return result


@pytest.mark.parametrize("golden", cases("c_losses"))
def test_agrees_with_the_reference(golden: str) -> None:
    case, tensors = load(golden)
    objective = golden_objective(case)
    base = tensors["rnd_normal"] if "rnd_normal" in tensors else tensors["rnd_uniform"]
    sigma = objective.noise.from_base(base)
    torch.testing.assert_close(sigma, tensors["sigma"], rtol=2e-6, atol=0)
    torch.testing.assert_close(objective.weight(sigma), tensors["weight"], rtol=2e-6, atol=0)
    labels, augment_labels = tensors.get("labels"), tensors.get("augment_labels")
    loss = objective.loss(golden_denoiser, tensors["y"], sigma, tensors["eps"], labels, augment_labels)
    torch.testing.assert_close(loss, tensors["loss"], rtol=1e-5, atol=1e-5 * float(tensors["loss"].mean()))
    torch.testing.assert_close(loss.sum(), tensors["loss_sum"], rtol=1e-5, atol=0)
    torch.testing.assert_close(loss.mean(), tensors["loss_mean"], rtol=1e-5, atol=0)


@given(st.floats(1e-3, 1e3), st.floats(0.05, 5.0))
def test_edm_weighs_the_networks_error_equally(sigma: float, sigma_data: float) -> None:
    """lambda c_out^2 = 1 at every noise level (Karras et al. 2022, Eq. 8 and App. B.6)."""
    c_out = preconditioning.EDM(sigma_data).c_out(sigma)
    assert float(EDM(sigma_data=sigma_data).weight(sigma) * c_out.square()) == pytest.approx(1, rel=1e-12)


def test_edm_loss_of_an_untrained_network_is_one_at_every_noise_level() -> None:
    """With F = 0 and data of variance sd^2 the expected loss is 1 whatever sigma is: the point of the design."""
    p, generator = preconditioning.EDM(), torch.Generator().manual_seed(0)
    for sigma in (0.002, 0.1, 0.5, 3.0, 80.0):
        images = 0.5 * torch.randn(4, 1, 200, 200, generator=generator, dtype=torch.float64)
        noise = torch.randn(images.shape, generator=generator, dtype=torch.float64)
        loss = EDM().loss(lambda x, s, labels: p.c_skip(s).reshape(-1, 1, 1, 1) * x, images, sigma, noise)
        assert float(loss.mean()) == pytest.approx(1, abs=5 * math.sqrt(2 / images.numel()))


@pytest.mark.parametrize("objective", [VP(), VE(), IDDPM()], ids=repr)
def test_the_others_weigh_by_the_noise(objective: Objective) -> None:
    """With D = x the error is n, so the loss is eps^2; any shape of sigma means the same."""
    images, noise = torch.randn(2, 3, 2, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.3, 0.5, 7.0], dtype=torch.float64)
    for given_sigma in (sigma[:2], sigma[:2].reshape(2, 1, 1, 1), sigma[2], 0.25):
        loss = objective.loss(lambda x, s, labels: x, images[:2], given_sigma, noise[:2])
        torch.testing.assert_close(loss, noise[:2].square())


@pytest.mark.parametrize(
    "objective", [EDM(-0.8, 1.0, 0.7), VP(15.0, 0.2, 1e-4), VE(0.005, 60.0), IDDPM(400)], ids=repr
)
def test_configuration_round_trip(objective: Objective) -> None:
    text = json.dumps(parts.to_plain(objective), allow_nan=False)
    assert parts.from_plain("objective", json.loads(text)) == objective


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EDM(p_std=0.0), "p_std is 0.0: it must be positive and finite"),
        (lambda: EDM(p_mean=math.inf), "p_mean is inf: it must be finite"),
        (lambda: EDM(sigma_data=-1.0), "sigma_data is -1.0: it must be positive and finite"),
        (lambda: VP(epsilon_t=1.0), "epsilon_t is 1.0: it must lie between 0 and 1"),
        (lambda: VP(-1.0, 0.5), "does not grow from t = 0 to 1"),
        (lambda: VE(2.0, 1.0), "sigma_min 2.0 is not below sigma_max 1.0"),
        (lambda: IDDPM(m=0), "m is 0"),
        (lambda: parts.from_plain("objective", {"type": "x"}), "there is no objective 'x'"),
    ],
)
def test_bad_settings(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_missing_has_no_loss() -> None:
    images = torch.ones(2, 1, 2)
    present = torch.tensor([[[True, False]], [[True, True]]])
    loss = EDM().loss(lambda x, sigma, labels=None: 0 * x, images, 1.0, present=present)
    assert torch.equal(loss != 0, present)
    assert float(loss.max()) == pytest.approx(5.0)  # lambda(1) = (1 + 0.25) / 0.25, of an error of 1


def test_bad_batches() -> None:
    images = torch.zeros(3, 1, 2, 2)
    with pytest.raises(ValueError, match=r"noise has shape \(3, 1, 2\), but the images \(3, 1, 2, 2\)"):
        EDM().loss(golden_denoiser, images, 1.0, images[..., 0])
    with pytest.raises(ValueError, match="sigma has 2 values for 3 images"):
        EDM().loss(golden_denoiser, images, torch.ones(2), images)
    with pytest.raises(ValueError, match=r"images have type torch\.uint8"):
        EDM().loss(golden_denoiser, images.byte(), 1.0, images)
