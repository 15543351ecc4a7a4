"""Networks of strangers: what they are given, and how their models are saved and loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.denoisers import model_folder
from elucidiff.denoisers.preconditioned import Takes
from tests.denoisers.strangers import Half, Labelled, TwoLayers, TwoLayersPart

X = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
SIGMA = torch.tensor([0.1, 1.0, 10.0])


def made(network: nn.Module, preconditioning: Any = None) -> ed.Denoiser:
    return ed.Denoiser(network, preconditioning or Half(0.7)).eval()


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (lambda x, c: (), ()),
        (lambda x, c, labels: labels, "L"),
        (lambda x, c, y=None: y, "L"),
        (lambda x, c, labels, augment_labels: (labels, augment_labels), ("L", "A")),
        (lambda x, c, labels, more, spare=1: (labels, more), ("L", "A")),
        (lambda x, c, augment_labels: augment_labels, "A"),
        (lambda x, c, *, augment_labels: augment_labels, "A"),
        (lambda x, c, *, class_labels=None: class_labels, "L"),
        (lambda x, c, *others: others, ("L", "A")),
        (lambda x, c, *, labels, augment_labels: (labels, augment_labels), ("L", "A")),
        (lambda x, c, **others: tuple(others), ()),
    ],
)
def test_a_network_is_given_what_it_takes(function: Callable[..., Any], given: Any) -> None:
    network: Any = function
    assert Takes.of(network).call(network, X, SIGMA, "L", "A") == given  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: x, "takes too few arguments"),
        (lambda x, c, labels, augment, text: x, "needs text, too"),
    ],
)
def test_networks_that_cannot_be_called_are_refused_when_they_are_given(
    function: Callable[..., Any], message: str
) -> None:
    class Network(nn.Module):
        forward = staticmethod(function)

    with pytest.raises(TypeError, match=rf"the network Network {message}: it is called as network\(x, c_noise"):
        ed.Denoiser(Network(), ed.preconditioning.EDM())


def test_two_arguments_are_enough_and_the_output_is_eq_7() -> None:
    network = TwoLayers(2, 5)
    denoiser = made(network, ed.preconditioning.EDM(0.5))
    s = SIGMA.reshape(-1, 1, 1, 1)
    c_in, c_skip, c_out = 1 / (s**2 + 0.25).sqrt(), 0.25 / (s**2 + 0.25), 0.5 * s / (s**2 + 0.25).sqrt()
    expected = c_skip * X + c_out * network(c_in * X, SIGMA.log() / 4)
    torch.testing.assert_close(denoiser(X, SIGMA), expected)
    assert denoiser.label_dim == 0
    with pytest.raises(ValueError, match="class labels were given to a denoiser without classes"):
        denoiser(X, 1.0, torch.tensor([0, 1, 0]))


@pytest.mark.parametrize("label_dim", [0, 3])
def test_a_stranger_s_model_there_and_back_to_the_bit(label_dim: int, tmp_path: Path) -> None:
    network = TwoLayersPart(width=6).build((2, 4, 4), label_dim=label_dim)
    denoiser = made(network)
    assert (denoiser.sample_shape, denoiser.label_dim) == ((2, 4, 4), label_dim)
    denoiser.save(tmp_path / "m")
    described = json.loads((tmp_path / "m" / "model.json").read_text())
    assert described["network"] == {
        "part": {"type": "strangers_two_layers", "width": 6},
        "sample_shape": [2, 4, 4],
        "label_dim": label_dim,
        "augment_dim": 0,
    }
    assert described["preconditioning"]["type"] == "strangers_half"
    again = ed.load(tmp_path / "m", device="cpu")
    assert again.preconditioning == Half(0.7)
    assert (again.sample_shape, again.label_dim, again.training) == ((2, 4, 4), label_dim, False)
    labels = torch.tensor([0, 2, 1]) if label_dim else None
    assert torch.equal(again(X, SIGMA, labels), denoiser(X, SIGMA, labels))
    again.save(tmp_path / "again")
    assert (tmp_path / "again" / "model.json").read_bytes() == (tmp_path / "m" / "model.json").read_bytes()


def test_what_could_not_be_loaded_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"type TwoLayers cannot be written.*@ed\.part.*weights_only=True") as caught:
        made(TwoLayers(2, 5)).save(tmp_path / "m")
    assert "\n" not in str(caught.value)

    class Unnamed(Half):
        pass

    with pytest.raises(ValueError, match=r"Unnamed has no name to be written by: register it with @ed\.part"):
        made(TwoLayersPart().build((2, 4, 4)), Unnamed()).save(tmp_path / "m")

    changed = TwoLayersPart().build((2, 4, 4))
    changed.second = nn.Conv2d(8, 2, 1)
    with pytest.raises(ValueError, match=r"could not be loaded again.*second\.weight has shape \(2, 8, 1, 1\), not"):
        made(changed).save(tmp_path / "m")
    broken = TwoLayersPart().build((2, 4, 4))
    nn.init.constant_(broken.second.bias, float("nan"))  # type: ignore[arg-type, union-attr]
    with pytest.raises(ValueError, match=r"the weight second\.bias holds NaN"):
        made(broken).save(tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_weights_alone_are_loaded_into_the_network_that_is_given(tmp_path: Path) -> None:
    denoiser = made(TwoLayers(2, 5))
    denoiser.save(tmp_path / "m", weights_only=True)
    with pytest.raises(ValueError, match=r"model\.json says nothing of how its network is built.*network="):
        ed.load(tmp_path / "m")
    given = TwoLayers(2, 5)
    again = ed.load(tmp_path / "m", network=given)
    assert again.network is given
    assert torch.equal(again(X, SIGMA), denoiser(X, SIGMA))
    with pytest.raises(ValueError, match=r"model\.safetensors: first\.bias has shape \(5,\), not \(6,\)"):
        ed.load(tmp_path / "m", network=TwoLayers(2, 6))
    with pytest.raises(ValueError, match=r"lacks the weight classes\.weight"):
        ed.load(tmp_path / "m", network=Labelled(2, 5, 3, 0))


class Tied(nn.Module):
    """Two layers that share their weights, batch statistics, and a count."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 1)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        output: Tensor = self.second(self.norm(self.first(x)))
        return output


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shared_weights_and_counts_of_batches_are_kept(dtype: torch.dtype, tmp_path: Path) -> None:
    denoiser = made(Tied()).train().to(dtype)
    denoiser(X, SIGMA)
    denoiser.eval().save(tmp_path / "m", weights_only=True)
    again = ed.load(tmp_path / "m", network=Tied())
    assert again.network.first.weight is again.network.second.weight  # type: ignore[union-attr]
    assert int(again.network.norm.num_batches_tracked) == 1  # type: ignore[union-attr, arg-type]
    assert torch.equal(again(X, SIGMA), denoiser(X, SIGMA))


def test_a_part_that_is_not_known_is_named_with_the_flag(tmp_path: Path) -> None:
    made(TwoLayersPart().build((2, 4, 4))).save(tmp_path / "m")
    file = tmp_path / "m" / "model.json"
    for old, new, kind in (
        ("strangers_two_layers", "unheard_of", "network"),
        ("strangers_half", "unseen", "preconditioning"),
    ):
        file.write_text(file.read_text().replace(old, new))
        with pytest.raises(ValueError, match=rf"there is no {kind} '{new}'; .*--plugin MODULE") as caught:
            ed.load(tmp_path / "m")
        assert "\n" not in str(caught.value)
        file.write_text(file.read_text().replace(new, old))


def test_weights_of_a_stranger_s_network_are_checked_as_ours_are(tmp_path: Path) -> None:
    made(TwoLayersPart().build((2, 4, 4))).save(tmp_path / "m")
    file = tmp_path / "m" / "model.safetensors"
    weights = load_file(file)
    save_file({**weights, "level.bias": weights["level.bias"].half()}, file)
    with pytest.raises(ValueError, match=r"mixes weights of the types torch\.float16, torch\.float32"):
        model_folder.load(tmp_path / "m")


def test_half_precision_frequencies_do_not_keep_a_network_from_being_loaded(tmp_path: Path) -> None:
    """They stay in float32 when the network is cast, so the folder holds both types."""
    torch.manual_seed(0)
    network = ed.networks.UNet.ncsnpp((1, 8, 8), base_channels=8, channel_multipliers=(1, 1), blocks_per_level=1)
    denoiser = made(network.to(torch.bfloat16))
    denoiser.save(tmp_path / "m")
    again = ed.load(tmp_path / "m")
    x = torch.randn(1, 1, 8, 8)
    assert torch.equal(again(x, 1.0), denoiser(x, 1.0))


@pytest.mark.parametrize("network", [TwoLayers(2, 5), Labelled(2, 5, 0, 0)])
def test_backends_take_them(network: nn.Module) -> None:
    denoiser = made(network)
    denoiser.facts["data"] = {"shape": [2, 4, 4]}
    fast = ed.with_backend(denoiser, "eager")
    torch.testing.assert_close(fast(X, SIGMA), denoiser(X, SIGMA))
    assert fast.sample_shape == (2, 4, 4)
