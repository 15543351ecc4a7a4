"""Periodic boundaries: a network commutes with shifts along periodic dimensions, and along no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import elucidiff as ed
from elucidiff import networks, parts
from elucidiff.networks.layers import Resample
from elucidiff.networks.padding import extended, periodic_from

# Every kind of layer: filters with and without a box, skips and residuals of input and output, attention, three kinds
# of blocks.
NETWORKS = {
    "ddpmpp": "ddpmpp:channel_multipliers=1/2,attention_resolutions=4",
    "ncsnpp": "ncsnpp:channel_multipliers=1/2,attention_resolutions=4",
    "long filter": "ncsnpp:channel_multipliers=1/2/2,attention_resolutions=,resample_filter=1/3/5/5/3/1",
    "adm": "adm:channel_multipliers=1/2,attention_resolutions=4",
    "edm2": "edm2:channel_multipliers=1/2,attention_resolutions=4",
    "mp_unet": "mp_unet:channel_multipliers=1/2,attention_resolutions=4",
}
FEW = "blocks_per_level=1,base_channels=32"


def built(text: str, shape: tuple[int, ...], padding: str) -> torch.nn.Module:
    """A network in float64, with weights that are nowhere 0."""
    extra = FEW.replace("32", "64") if text.startswith(("adm", "edm2")) else FEW.replace("32", "8")
    part = parts.parse("network", f"{text},{extra},dropout=0,padding={padding}")
    torch.manual_seed(0)
    network: torch.nn.Module = part.build(shape, label_dim=0, augment_dim=0).double().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def apart(network: torch.nn.Module, x: Tensor, shift: int, axis: int) -> float:
    """How far shifting before differs from shifting after, over the size of the output."""
    sigma = torch.zeros(len(x), dtype=torch.float64)
    with torch.no_grad():
        before, after = network(x.roll(shift, axis), sigma), network(x, sigma).roll(shift, axis)
    return float((before - after).abs().max() / after.abs().max())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_commutes_with_shifts_along_periodic_dimensions_alone(name: str) -> None:
    shape = (2, 8, 16) if name != "long filter" else (2, 8, 8)
    network = built(NETWORKS[name], shape, "zeros/periodic")
    x = torch.randn(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    step = int(network.downsampling)  # type: ignore[arg-type]
    assert apart(network, x, step, 3) < 1e-10
    assert apart(network, x, -3 * step, 3) < 1e-10
    assert apart(network, x, step, 2) > 1e-4
    plain = built(NETWORKS[name], shape, "zeros/zeros")
    assert apart(plain, x, step, 3) > 1e-4
    plain.load_state_dict(network.state_dict())  # the weights of one fit the other


@pytest.mark.parametrize(("name", "shape"), [("mp_unet", (1, 16)), ("ncsnpp", (1, 16)), ("ddpmpp", (1, 8, 4, 8))])
def test_so_do_networks_in_one_and_three_dimensions(name: str, shape: tuple[int, ...]) -> None:
    network = built(NETWORKS[name], shape, "periodic")
    x = torch.randn(1, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for axis in range(2, x.ndim):
        assert apart(network, x, 2, axis) < 1e-10


@pytest.mark.parametrize("taps", [(1, 3, 3, 1), (1, 1), (1, 5, 10, 10, 5, 1)])
def test_resampling_of_a_wave_is_that_of_endless_waves(taps: tuple[int, ...]) -> None:
    """What is computed of a period is the middle of what is computed of many."""
    wave = torch.sin(torch.arange(8, dtype=torch.float64) * 2 * torch.pi / 8 + 0.3)[None, None]
    down, up = Resample("down", 1, taps).double(), Resample("up", 1, taps).double()
    many = wave.repeat(1, 1, 9)
    middle_down, middle_up = down(many)[..., 16:20], up(many)[..., 64:80]
    down.periodic = up.periodic = (True,)
    torch.testing.assert_close(down(wave), middle_down, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(up(wave), middle_up, rtol=1e-12, atol=1e-12)


def test_extension_is_that_of_numpy_and_torch() -> None:
    x = torch.arange(24.0).reshape(1, 1, 4, 6)
    assert torch.equal(extended(x, 2, (True, True)), F.pad(x, (2, 2, 2, 2), mode="circular"))
    wide = extended(x, 3, (False, True))[0, 0].numpy()
    expected = np.pad(np.pad(x[0, 0].numpy(), ((0, 0), (3, 3)), mode="wrap"), ((3, 3), (0, 0)))
    np.testing.assert_array_equal(wide, expected)
    assert extended(torch.ones(1, 1, 2), 5, (True,)).shape == (1, 1, 12)


def test_settings() -> None:
    assert periodic_from((), 2) == periodic_from(("zeros",), 3) == ()
    assert periodic_from(("periodic",), 3) == (True, True, True)
    with pytest.raises(ValueError, match=r"padding has 2 entries for 3 .*, as in padding=zeros/zeros/periodic"):
        networks.UNet.ddpmpp((1, 4, 4, 4), base_channels=8, padding=("zeros", "periodic"))
    with pytest.raises(ValueError, match="padding"):
        parts.parse("network", "ddpmpp:padding=mirror")


def test_a_model_keeps_its_borders(tmp_path: Path) -> None:
    network = built(NETWORKS["mp_unet"], (1, 4, 8), "zeros/periodic").float()
    denoiser = ed.Denoiser(network, ed.preconditioning.EDM())
    denoiser.save(tmp_path / "model")
    read = ed.load(tmp_path / "model")
    x = torch.randn(2, 1, 4, 8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.equal(read(x, 1.0), denoiser(x, 1.0))
        torch.testing.assert_close(read(x.roll(2, 3), 1.0), read(x, 1.0).roll(2, 3), rtol=1e-4, atol=1e-5)
        assert float((read(x.roll(2, 2), 1.0) - read(x, 1.0).roll(2, 2)).abs().max()) > 1e-3
    # A sampler that pads its batches gives the bits of one image alone, as without.
    samples = [ed.sample(read, count, [2.0, 0.5, 0.0]) for count in (1, 3)]
    assert torch.equal(samples[0][0], samples[1][0])
