"""Networks and snapshots of the reference implementation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning, steps
from elucidiff.interop import home_sample, nvlabs
from elucidiff.interop.nvlabs_names import reference_name
from elucidiff.sampling.churn import Churn
from elucidiff.sampling.loop import sample
from tests.golden_files import GOLDEN, cases, load
from tests.networks.reference import reference_network

SNAPSHOTS = cases("j_pickles")
WRAPPERS = {
    "EDMPrecond": preconditioning.EDM,
    "VPPrecond": preconditioning.VP,
    "VEPrecond": preconditioning.VE,
    "iDDPMPrecond": preconditioning.IDDPM,
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_snapshot_has_the_reference_weights_and_outputs(name):
    case, tensors = load(name)
    denoiser = nvlabs.load(GOLDEN / f"{name}.pkl")

    network = denoiser.network
    sums = {
        f"model.{reference_name(ours, network)}": value.double().sum() for ours, value in network.state_dict().items()
    }
    # Filters of averages are not stored; all filters sum to 1.
    checksum = torch.stack([sums.get(theirs, torch.tensor(1.0).double()) for theirs in case["state_dict_order"]])
    torch.testing.assert_close(checksum, tensors["param_checksum"], rtol=0, atol=1e-9)
    not_read = set(case["state_dict_order"]) - sums.keys()
    assert all(theirs.endswith("resample_filter") for theirs in not_read)

    x, sigma, labels = tensors["x"], tensors["sigma"], tensors.get("class_labels")
    close(denoiser(x, sigma, labels), tensors["D"])
    if "D_augment" in tensors:
        close(denoiser(x, sigma, labels, tensors["augment_labels"]), tensors["D_augment"])
    assert not denoiser.training
    assert denoiser.facts["data"]["resolution"] == 8
    assert denoiser.facts["provenance"]["file"] == Path(f"{name}.pkl").name


@pytest.mark.parametrize("name", cases("f_end_to_end"))
def test_preconditioned_networks(name):
    case, tensors = load(name)
    denoiser = wrapped(case)
    assert denoiser.sigma_min == pytest.approx(case["sigma_min"], rel=2e-6)
    assert denoiser.sigma_max == pytest.approx(float(case["sigma_max"]), rel=2e-6)
    x, sigma, labels = tensors["x"], tensors["sigma"], tensors.get("class_labels")
    with torch.no_grad():
        close(denoiser(x, sigma, labels), tensors["D"])
        close(denoiser(tensors["x_f64"], tensors["sigma_scalar_f64"], labels), tensors["D_from_f64_inputs"])
        if "D_no_labels" in tensors:
            close(denoiser(x, sigma), tensors["D_no_labels"])
        if "D_augment" in tensors:
            close(denoiser(x, sigma, labels, tensors["augment_labels"]), tensors["D_augment"])


@pytest.mark.parametrize("name", cases("f_end_to_end", "EDMPrecond_*"))
def test_samples_of_preconditioned_networks(name):
    case, tensors = load(name)
    settings = case["sampler"]
    x = sample(
        wrapped(case),
        tensors["sampler/latents"],
        steps.karras(settings["num_steps"]),
        churn=Churn(settings["S_churn"], settings["S_min"], settings["S_max"], settings["S_noise"]),
        labels=tensors.get("sampler/class_labels"),
        noise=lambda x, index: tensors["sampler/noise"][index],
    )
    assert x.dtype == torch.float64
    torch.testing.assert_close(x, tensors["sampler/x_final"], rtol=0, atol=1e-4)


def test_sampling_as_at_home():
    denoiser = nvlabs.load(GOLDEN / f"{SNAPSHOTS[0]}.pkl")
    noise = torch.randn(2, *denoiser.sample_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draws = torch.randn(4, *noise.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = home_sample(denoiser, noise, 4, step_noise=draws, S_churn=10.0, S_min=0.1, S_max=30.0, S_noise=1.01)
    churn = Churn(10.0, 0.1, 30.0, 1.01)
    low, high = max(0.002, denoiser.sigma_min), min(80.0, denoiser.sigma_max)
    sigmas = steps.karras(4, low, high)
    expected = sample(denoiser, noise, sigmas, churn=churn, noise=lambda x, index: draws[index], batch_size=None)
    torch.testing.assert_close(x, expected)


def wrapped(case):
    _, _, network = reference_network(case["params_from"].removesuffix(".safetensors"))
    return Denoiser(network, WRAPPERS[case["precond"]](**case["precond_kwargs"]))


def close(D, expected):
    assert D.dtype == torch.float32
    torch.testing.assert_close(D, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
