"""What diffusers itself returned: D and the raw output of its networks, and the samples of its schedulers."""

from __future__ import annotations

import pytest
import torch

import elucidiff as ed
from elucidiff.interop.diffusers import from_config
from tests.golden_files import load
from tests.interop.diffusers.folders import NETWORKS, pipeline
from tests.interop.foreign import distance, tolerance

pytest.importorskip("diffusers")

CASES = sorted(f"{file.parent.parent.name}/{file.parent.name}" for file in NETWORKS.glob("*/*/case.safetensors"))
FIRST = {
    "classes": "ddim_trailing",
    "edm": "edm_euler",
    "eps": "ddim_default",
    "flow": "euler_shift1",
    "text": "ddim_cfg5",
    "v": "ddim_zero_snr",
    "x0": "ddim_trailing",
}


@pytest.fixture(scope="module")
def denoisers(tmp_path_factory):
    """One denoiser a network, from a pipeline's folder."""
    return {name: ed.load(pipeline(tmp_path_factory.mktemp(name), name, first)) for name, first in FIRST.items()}


def test_there_are_all_cases():
    assert len(CASES) == 38


@pytest.mark.parametrize("case", CASES)
def test_home_sample_returns_what_the_scheduler_returned(case, denoisers):
    network, scheduler = case.split("/")
    run, tensors = load(f"n_foreign/diffusers/{case}/case")
    options = {}
    if run["guidance_scale"] is not None:
        options = {"guidance_scale": run["guidance_scale"], "negative": tensors["negative_hidden_states"]}
    x = ed.interop.home_sample(
        denoisers[network],
        tensors["x_init"],
        run["steps"],
        labels=tensors.get("class_labels", tensors.get("encoder_hidden_states")),
        step_noise=tensors.get("noise"),
        scheduler=NETWORKS / network / scheduler,
        **options,
    )
    assert distance(x, tensors["x_final"]) <= tolerance(run)


@pytest.mark.parametrize("network", sorted(FIRST))
def test_denoiser_is_the_library_s(network, denoisers):
    case, tensors = load(f"n_foreign/diffusers/{network}/denoiser")
    labels = tensors.get("class_labels", tensors.get("encoder_hidden_states"))
    denoiser = denoisers[network]
    with torch.no_grad():
        for index, sigma in enumerate(tensors["sigma"]):
            D = denoiser(tensors["x"][index].double(), sigma, labels)
            assert distance(D, tensors["D_f64"][index]) <= 2e-5
            assert distance(D, tensors["D"][index]) <= tolerance(case)


def test_files_beside_each_other_are_the_same_model(denoisers, tmp_path):
    _, tensors = load("n_foreign/diffusers/eps/denoiser")
    beside = ed.load(pipeline(tmp_path, "eps", "ddim_default", beside=True))
    with torch.no_grad():
        assert torch.equal(beside(tensors["x"][2], 1.7), denoisers["eps"](tensors["x"][2], 1.7))


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith(("flow", "edm"))])
def test_table_of_alpha_bars(case):
    run, tensors = load(f"n_foreign/diffusers/{case}/case")
    scheduler = from_config({"_class_name": run["scheduler"], **_finite(run["settings"])}, case)
    theirs = tensors["alphas_cumprod"].double()
    ours = torch.from_numpy(scheduler.alpha_bars)
    if len(theirs) != len(ours):
        ours = ours[tensors["timesteps"].double().floor().long()]
    # Theirs is replaced at the end by 2^-24 in some schedulers, which is for their sampler to do.
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=2.0**-23)


def _finite(settings):
    return {name: -float("inf") if value == "inf" else value for name, value in settings.items()}
