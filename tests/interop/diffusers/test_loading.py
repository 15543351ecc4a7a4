"""Folders of diffusers: what is read, what is refused, and what the home sampler is asked in vain."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import elucidiff as ed
from elucidiff.interop.diffusers import is_pipeline
from elucidiff.interop.diffusers.network import WEIGHTS
from tests.interop.diffusers.folders import NETWORKS, pipeline

pytest.importorskip("diffusers")

DRAWS = torch.Generator().manual_seed(0)
NOISE = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(scope="module")
def eps(tmp_path_factory):
    return ed.load(pipeline(tmp_path_factory.mktemp("eps"), "eps", "ddim_default"))


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    return ed.load(pipeline(tmp_path_factory.mktemp("classes"), "classes", "ddim_trailing"))


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return ed.load(pipeline(tmp_path_factory.mktemp("text"), "text", "ddim_cfg5"))


def own(folder):
    """The folder with its network's files copied, so that they can be changed."""
    for file in list((folder / "unet").iterdir()):
        content = file.read_bytes()
        file.unlink()
        file.write_bytes(content)
    return folder


def change(file, **settings):
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def test_facts_range_and_shape(eps, classes, text):
    assert eps.facts["home"]["format"] == "diffusers"
    assert eps.facts["home"]["settings"]["_class_name"] == "DDIMScheduler"
    assert (eps.sample_shape, eps.label_dim) == ((3, 12, 12), 0)
    assert (classes.sample_shape, classes.label_dim) == ((3, 12, 12), 10)
    assert text.sample_shape == (4, 8, 8)
    # sqrt((1 - abar) / abar) of 1000 betas from 0.0001 to 0.02
    assert eps.sigma_min == pytest.approx(0.0100005, rel=1e-4)
    assert eps.sigma_max == pytest.approx(157.407, rel=1e-5)


def test_our_samplers_draw_from_it(eps, classes, text):
    assert ed.sample(eps, NOISE, ed.steps.karras(3, 0.02, 80)).shape == NOISE.shape
    one_hot = torch.nn.functional.one_hot(torch.tensor([3, 7]), 10).double()
    sigmas = ed.steps.karras(3, 0.02, 80)
    assert torch.equal(
        ed.sample(classes, NOISE, sigmas, labels=one_hot),
        ed.sample(classes, NOISE, sigmas, labels=torch.tensor([3, 7])),
    )
    encoded = torch.ones(2, 7, 16)
    noise = torch.zeros(2, 4, 8, 8, dtype=torch.float64)
    D = text(noise, 1.0, encoded)
    assert D.shape == noise.shape
    assert not torch.equal(D, text(noise, 1.0, -encoded))


def test_weights_of_several_files_and_of_half_precision(tmp_path, eps):
    folder = own(pipeline(tmp_path, "eps", "ddim_default"))
    unet = folder / "unet"
    weights = load_file(unet / f"{WEIGHTS}.safetensors")
    (unet / f"{WEIGHTS}.safetensors").unlink()
    save_file({name: value.half() for name, value in weights.items()}, unet / f"{WEIGHTS}.fp16.safetensors")
    half = ed.load(folder)
    assert torch.equal(half(NOISE, 2.0), eps(NOISE, 2.0))  # these weights are exact in half precision
    (unet / f"{WEIGHTS}.fp16.safetensors").unlink()
    names = sorted(weights)
    files = [f"{WEIGHTS}-0000{i + 1}-of-00002.safetensors" for i in range(2)]
    for file, part in zip(files, (names[::2], names[1::2]), strict=True):
        save_file({name: weights[name] for name in part}, unet / file, metadata={"format": "pt"})
    index = {name: files[i % 2] for i, name in enumerate(names)}
    (unet / f"{WEIGHTS}.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": index})
    )
    assert torch.equal(ed.load(folder)(NOISE, 2.0), eps(NOISE, 2.0))


def test_a_scheduler_whose_sampler_is_not_known_has_its_noise_levels(tmp_path, eps):
    folder = pipeline(tmp_path, "eps", "ddim_default", _class_name="PNDMScheduler")
    denoiser = ed.load(folder)
    assert torch.equal(denoiser(NOISE, 2.0), eps(NOISE, 2.0))
    with pytest.raises(ValueError, match="sampler of PNDMScheduler is not among"):
        ed.interop.home_sample(denoiser, NOISE, 5)


def refused(folder, message):
    assert is_pipeline(folder)
    with pytest.raises((ValueError, OSError), match=message) as caught:
        ed.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"_class_name": "NoSuchScheduler", "beta_schedule": None}, "beta_schedule"),
        ({"_class_name": 7}, "does not name a scheduler"),
        ({"beta_schedule": "wavy"}, "beta_schedule is 'wavy'"),
        ({"beta_start": "much"}, "beta_start"),
        ({"beta_end": 1.5}, "between 0 and 1"),
        ({"num_train_timesteps": 10**9}, "num_train_timesteps"),
        ({"prediction_type": "guess"}, "prediction_type is 'guess'"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas has 2 values for 1000 times"),
        ({"timestep_spacing": "wide"}, "timestep_spacing"),
        ({"steps_offset": -1}, "steps_offset"),
        ({"beta_start": 1e308}, "beta_start"),
        ({"num_train_timesteps": 10**5}, "scheduler_config.json: alpha_bars must decrease"),
        ({"_class_name": "UniPCMultistepScheduler", "sigma_min": 0}, "sigma_min and sigma_max must be positive"),
        ({"_class_name": "EDMEulerScheduler", "rho": 1e-300}, "rho"),
        ({"_class_name": "EDMDPMSolverMultistepScheduler", "solver_order": -1}, "solver_order is -1"),
    ],
)
def test_settings_of_a_scheduler_that_are_none(tmp_path, settings, message):
    refused(pipeline(tmp_path, "eps", "ddim_default", **settings), message)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"_class_name": "DDIMPipeline"}, "no network of diffusers"),
        ({"_class_name": "os.system"}, "no network of diffusers"),
        ({"_class_name": None}, "does not name a network"),
        ({"block_out_channels": [8, 24]}, "have shape"),
        ({"block_out_channels": [8, 1 << 40]}, "too large"),
        ({"layers_per_block": 5000}, "more than 64 layers"),
        ({"down_block_types": ["NoBlock", "DownBlock2D"]}, "NoBlock"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised"),
        ({"sample_size": -0.5}, "sample_size"),
        ({"norm_eps": "x"}, "norm_eps|eps"),
        ({"attn_norm_num_groups": -1}, "num groups"),
        ({"downsample_padding": [1, 2]}, "Sizes of tensors"),
        ({"num_class_embeds": 10}, "lacks the weights class_embedding.weight"),
    ],
)
def test_settings_of_a_network_that_are_none(tmp_path, settings, message):
    folder = own(pipeline(tmp_path, "eps", "ddim_default"))
    change(folder / "unet" / "config.json", **settings)
    refused(folder, message)


def test_weights_that_are_none(tmp_path):
    folder = own(pipeline(tmp_path, "eps", "ddim_default"))
    file = folder / "unet" / f"{WEIGHTS}.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(folder, "cannot read .*safetensors")
    weights = load_file(NETWORKS / "eps" / "unet" / f"{WEIGHTS}.safetensors")
    weights["conv_in.weight"][0, 0, 0, 0] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    refused(folder, "conv_in.weight are not all finite")
    save_file({**weights, "spare": torch.zeros(1)}, file, metadata={"format": "pt"})
    refused(folder, "'spare', which the network does not")
    shutil.move(file, folder / "unet" / f"{WEIGHTS}.bin")
    refused(folder, "as a pickle")
    (folder / "unet" / f"{WEIGHTS}.bin").unlink()
    refused(folder, f"has no weights {WEIGHTS}.safetensors")


def test_index_does_not_lead_out_of_the_folder(tmp_path):
    folder = own(pipeline(tmp_path, "eps", "ddim_default"))
    (folder / "unet" / f"{WEIGHTS}.safetensors").rename(folder / "elsewhere.safetensors")
    index = {"conv_in.weight": "../elsewhere.safetensors"}
    (folder / "unet" / f"{WEIGHTS}.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    refused(folder, "outside of its folder")


def test_folder_without_scheduler_or_network(tmp_path):
    folder = pipeline(tmp_path / "one", "eps", "ddim_default")
    (folder / "scheduler" / "scheduler_config.json").unlink()
    refused(folder, "no folder of diffusers")
    folder = pipeline(tmp_path / "two", "eps", "ddim_default")
    (folder / "unet" / "config.json").unlink()
    refused(folder, "no folder of diffusers")


def test_without_the_package_one_line_says_so(tmp_path, monkeypatch):
    folder = pipeline(tmp_path, "eps", "ddim_default")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ValueError, match=r"pip install 'elucidiff\[diffusers\]'"):
        ed.load(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"steps": 1001}, "from 1 to 1000"),
        (
            {"scheduler": {"_class_name": "DDPMScheduler", "num_train_timesteps": 10**6}, "generator": DRAWS},
            "not-a-num",
        ),
        ({"s_churn": 3.0}, "DDIM has no option 's_churn'"),
        ({"etta": 3.0}, "no option 'etta'.*did you mean 'eta'"),
        ({"eta": "much"}, "eta"),
        ({"eta": 0.5}, "give step_noise"),
        ({"guidance_scale": 3.0}, "both guidance_scale and negative"),
        ({"labels": torch.tensor([1, 2])}, "takes none"),
        ({"scheduler": {"_class_name": "EDMEulerScheduler"}}, "predicts edm, not epsilon"),
        ({"scheduler": {"_class_name": "DDIMScheduler", "clip_sample": "maybe"}}, "clip_sample"),
        (
            {"scheduler": {"_class_name": "DDIMScheduler", "steps_offset": 40, "num_train_timesteps": 100}},
            "begin at time 120.*last time of the table is 99",
        ),
    ],
)
def test_home_sampler_refuses(eps, options, message):
    with pytest.raises(ValueError, match=message):
        ed.interop.home_sample(eps, NOISE, **{"steps": 5, **options})


def test_home_sampler_refuses_other_conditions(classes, text):
    with pytest.raises(ValueError, match="10 classes and none for 'no class'"):
        ed.interop.home_sample(classes, NOISE, 5)
    with pytest.raises(ValueError, match="classes from 0 to 9"):
        ed.interop.home_sample(classes, NOISE, 5, labels=torch.tensor([3, 10]))
    with pytest.raises(ValueError, match="one-hot"):
        ed.interop.home_sample(classes, NOISE, 5, labels=torch.full((2, 10), 0.1))
    noise = torch.zeros(2, 4, 8, 8)
    with pytest.raises(ValueError, match="needs the encoded text"):
        ed.interop.home_sample(text, noise, 5)
    with pytest.raises(ValueError, match=r"labels have shape \(2,\)"):
        ed.interop.home_sample(text, noise, 5, labels=torch.tensor([1, 2]))


def test_fresh_noise_is_the_generator_s(eps):
    draw = lambda seed: torch.Generator().manual_seed(seed)  # noqa: E731
    once, again, other = (ed.interop.home_sample(eps, NOISE, 4, eta=1.0, generator=draw(s)) for s in (1, 1, 2))
    assert torch.equal(once, again)
    assert not torch.equal(once, other)
