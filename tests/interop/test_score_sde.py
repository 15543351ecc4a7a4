"""score_sde's DDPM++ and NCSN++: the networks, D in [-1, 1] units, and the probability flow as there."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.nn import functional as F

import elucidiff as ed
from elucidiff.denoisers.adapters import InUnits
from elucidiff.interop import home_sample, score_sde
from elucidiff.interop.ncsnpp import NCSNpp, Resampled, Settings
from tests.golden_files import load as load_golden
from tests.interop.foreign import FOREIGN, cases, distance, golden, tolerance

CONFIG = golden("score_sde", "ddpmpp_vp")[1]["config"]


def checkpoint(name: str, to: Path) -> Path:
    """The file as the library writes it: names of a parallel wrapper, and averages listed without names."""
    _, stored = load_golden(f"n_foreign/score_sde/{name}/weights")
    model = {f"module.{key.removeprefix('param/')}": value for key, value in stored.items() if "param/" in key}
    model = {key: value if value.dtype == torch.float64 else value.float() for key, value in model.items()}
    shadows = [value.float() for key, value in sorted(stored.items()) if key.startswith("ema/")]
    ema = {"ema": {"decay": 0.999, "num_updates": 9, "shadow_params": shadows}} if shadows else {}
    torch.save({"optimizer": {}, "model": model, "step": 9, **ema}, to / "checkpoint_9.pth")
    return to / "checkpoint_9.pth"


@pytest.mark.parametrize("name", cases("score_sde"))
@torch.no_grad()
def test_network_denoiser_and_flow(name: str, tmp_path: Path) -> None:
    _, case, numbers = golden("score_sde", name)
    denoiser = ed.interop.score_sde.load(checkpoint(name, tmp_path), case["config"])
    other_units = not case["config"]["data"]["centered"]
    inner = denoiser.denoiser if isinstance(denoiser, InUnits) else denoiser
    fourier = case["config"]["model"]["embedding_type"] == "fourier"
    least = 5e-5 if fourier else 2e-5
    assert distance(inner.network(numbers["x_t"], numbers["labels"]), numbers["raw"]) < least
    assert distance(denoiser(numbers["x_pm1"], numbers["sigma_pm1"]), numbers["D_pm1"]) < least
    for index, t in enumerate(numbers["t"].tolist()):
        here = slice(index, index + 1)
        drift = score_sde.drift(inner, score_sde.settings_of(denoiser), numbers["x_t"][here].double(), t)
        assert distance(drift, numbers["drift"][here]) < 5e-5

    model = case["config"]["model"]
    start = numbers["flow/x_T"].double() / (model["sigma_max"] if fourier else 1)
    steps = len(numbers["flow/t"]) - 1
    x = home_sample(denoiser, start, steps)
    theirs = numbers["flow/x_final"] * 2 - 1 if other_units else numbers["flow/x_final"]
    assert distance(x, theirs) < tolerance({"rel_f32_f64": case["rel_flow_f32_f64"]})
    low, high = (model["sigma_min"], model["sigma_max"])
    if fourier:  # in [-1, 1] all of its noise is twice as large
        assert (denoiser.sigma_min, denoiser.sigma_max) == (2 * low, 2 * high)
    else:
        assert denoiser.sigma_max == pytest.approx(math.sqrt(math.exp(10.05) - 1))


def test_adaptive_solver(tmp_path: Path) -> None:
    _, case, numbers = golden("score_sde", "ddpmpp_vp")
    denoiser = score_sde.load(checkpoint("ddpmpp_vp", tmp_path), case["config"])
    x = home_sample(denoiser, numbers["ode/x_T"], rtol=1e-3, atol=1e-3)
    assert distance(x, numbers["ode/x_final"]) < 1e-2
    assert torch.equal(home_sample(denoiser, numbers["ode/x_T"], sampler="ode", rtol=1e-3, atol=1e-3), x)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases("score_sde"))
def test_adaptive_solver_at_its_own_tolerance(name: str, tmp_path: Path) -> None:
    _, case, numbers = golden("score_sde", name)
    denoiser = score_sde.load(checkpoint(name, tmp_path), case["config"])
    scale, units = (case["config"]["model"]["sigma_max"], 2) if "ve" in name.split("_") else (1, 1)
    x = home_sample(denoiser, numbers["ode/x_T"].double() / scale)
    assert distance(x, units * numbers["ode/x_final"] - (units - 1)) < 1e-3


def test_averages_are_in_the_order_of_the_parameters(tmp_path: Path) -> None:
    folder = FOREIGN / "score_sde" / "ddpmpp_vp_ema"
    with safe_open(folder / "weights.safetensors", "pt") as file:
        names = file.metadata()["case"]
    _, case, numbers = golden("score_sde", "ddpmpp_vp_ema")
    path = checkpoint("ddpmpp_vp_ema", tmp_path)
    denoiser = score_sde.load(path, case["config"])
    order = [name for name, _ in denoiser.network.named_parameters()]
    assert all(f'"{name}"' in names for name in order)
    # The safetensors form of the same checkpoint numbers the list; without averages D is another.
    flattened = score_sde.load(folder / "weights.safetensors", case["config"])
    raw = score_sde.load(path, case["config"], averaged=False)
    x, sigma = numbers["x_pm1"], numbers["sigma_pm1"]
    assert torch.equal(flattened(x, sigma), denoiser(x, sigma))
    assert distance(raw(x, sigma).detach(), numbers["D_pm1"]) > 1e-2


def test_configuration_as_an_object(tmp_path: Path) -> None:
    _, case, numbers = golden("score_sde", "ddpmpp_vp")
    config = SimpleNamespace(
        **{name: SimpleNamespace(**case["config"][name]) for name in ("training", "data", "model")}
    )
    denoiser = score_sde.load(checkpoint("ddpmpp_vp", tmp_path), config)
    assert distance(denoiser(numbers["x_pm1"], numbers["sigma_pm1"]).detach(), numbers["D_pm1"]) < 2e-5


@pytest.mark.parametrize("how", ["down", "up"])
def test_filtered_convolution_is_filter_and_convolution(how: str) -> None:
    """Away from the borders, where what lies outside is zero before the one and after the other."""
    settings = Settings(8, 1, True, 4, (1,), 1, (), fir=True)
    layer = Resampled(settings, 3, 2, how)
    x = torch.zeros(1, 3, 12, 12)
    x[:, :, 4:8, 4:8] = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    taps = torch.tensor([1.0, 3, 3, 1]) / 8
    kernel = torch.outer(taps, taps).expand(3, 1, 4, 4)
    weight, bias = layer.Conv2d_0.weight, layer.Conv2d_0.bias
    if how == "down":
        wide = F.conv2d(F.pad(x, (2, 2, 2, 2)), kernel, groups=3)
        expected = F.conv2d(wide, weight, bias)[:, :, ::2, ::2]
    else:
        wide = F.conv_transpose2d(x, 4 * kernel, stride=2, padding=1, groups=3)
        expected = F.conv2d(wide, weight, bias, padding=1)
    torch.testing.assert_close(layer(x, None), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"progressive": "residual", "progressive_input": "residual"},
        {"progressive_input": "input_skip", "progressive_combine": "cat"},
        {"resblock_type": "ddpm", "fir": True},
        {"resblock_type": "ddpm", "resamp_with_conv": False},
        {"conditional": False, "skip_rescale": False, "nonlinearity": "elu"},
        {"embedding_type": "positional", "scale_by_sigma": True},
    ],
)
def test_every_setting_makes_a_network(change: dict[str, Any]) -> None:
    """All layers are used, and in the order in which they are numbered."""
    base: dict[str, Any] = {"embedding_type": "fourier", "fir": True, "progressive": "output_skip", "num_scales": 20}
    network = NCSNpp(Settings(8, 2, True, 8, (1, 2, 2), 1, (4,), **(base | change)))
    network.sigmas.copy_(torch.linspace(5, 1, 20))
    used: list[int] = []
    for index, layer in enumerate(network.all_modules):
        layer.register_forward_hook(lambda *_, index=index: used.append(index))
    out: Tensor = network(torch.randn(2, 2, 8, 8), torch.tensor([3.0, 7.0]))
    assert out.shape == (2, 2, 8, 8)
    assert used == list(range(len(network.all_modules)))
    out.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_sub_vp_time() -> None:
    """x_t = m x_0 + (1 - m^2) eps (Song et al. 2021, Eq. 29) at t = 0.4, and its flow at a point of zero score."""
    t = 0.4
    m = math.exp(-(0.1 * t + 19.9 * t**2 / 2) / 2)
    time = score_sde.SubVPTime(ed.schedules.VP())
    label, scale = time.at(torch.tensor([(1 - m**2) / m], dtype=torch.float64))
    assert (float(label), float(scale)) == pytest.approx((999 * t, m))


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("model", {"name": "ddpm"}, "model.name is ddpm"),
        ("model", {"progressive": "output"}, "did you mean 'output_skip'"),
        ("model", {"nf": 0}, "nf is 0"),
        ("model", {"normalization": "InstanceNorm"}, "only GroupNorm is known"),
        ("model", {"fir": True, "attn_resolutions": [8]}, "the weights lack|unexpectedly|where"),
        ("training", {"continuous": False}, "continuous time"),
        ("training", {"sde": "vsde"}, "did you mean 'vpsde'"),
        ("data", None, "no entry 'data'"),
    ],
)
def test_wrong_configurations(section: str, change: dict[str, Any] | None, message: str, tmp_path: Path) -> None:
    config = {name: dict(entries) for name, entries in CONFIG.items() if isinstance(entries, dict)}
    if change is None:
        del config[section]
    else:
        config[section] |= change
    with pytest.raises(ValueError, match=message):
        score_sde.load(checkpoint("ddpmpp_vp", tmp_path), config)


def test_averages_that_do_not_fit(tmp_path: Path) -> None:
    path = checkpoint("ddpmpp_vp_ema", tmp_path)
    config = golden("score_sde", "ddpmpp_vp_ema")[1]["config"]
    for change, message in (
        (lambda shadows: shadows[:-1], "133 averaged weights for 134"),
        (lambda shadows: [torch.ones(7), *shadows[1:]], "have shape \\(7,\\)"),
        (lambda shadows: [shadows[0] * math.nan, *shadows[1:]], "not all finite"),
        (lambda shadows: "none", "no list of weights"),
    ):
        content = torch.load(path, weights_only=True)
        content["ema"]["shadow_params"] = change(content["ema"]["shadow_params"])
        torch.save(content, tmp_path / "bad.pth")
        with pytest.raises(ValueError, match=message):
            score_sde.load(tmp_path / "bad.pth", config)
