"""One image costs about one image, and has the bits that it has among many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.denoisers.backends import with_backend
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.networks import Network
from elucidiff.sampling import FixedBatch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


SMALL: dict[str, Any] = {"base_channels": 16, "channel_multipliers": (1, 2), "blocks_per_level": 1}
NETWORKS: dict[str, Callable[[], Network]] = {
    "signals": lambda: ed.networks.UNet((2, 32), attention_resolutions=(16,), **SMALL),
    "pictures": lambda: ed.networks.UNet((3, 16, 16), attention_resolutions=(8,), **SMALL),
    "volumes": lambda: ed.networks.UNet((1, 8, 8, 8), attention_resolutions=(4,), **SMALL),
    "ncsnpp": lambda: ed.networks.UNet.ncsnpp((3, 16, 16), **SMALL),
    "adm": lambda: ed.networks.ADM((3, 16, 16), **{**SMALL, "base_channels": 64}),
    "edm2": lambda: ed.networks.EDM2((3, 16, 16), **{**SMALL, "base_channels": 32}),
}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("ready", [False, True])
def test_one_sample_is_one_row_of_every_network_of_ours(kind: str, ready: bool) -> None:
    """Two rows of volumes whose channels are innermost: PyTorch has no bits of a batch for one."""
    torch.manual_seed(0)
    made = NETWORKS[kind]()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.05)
    denoiser: DenoiserModule = ed.Denoiser(made, ed.preconditioning.EDM()).eval()
    denoiser = with_backend(denoiser, "eager") if ready else denoiser
    x = torch.randn(16, *made.sample_shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    batches, given = FixedBatch(denoiser), []
    denoiser.register_forward_pre_hook(lambda module, inputs: given.append(len(inputs[0])))
    with torch.no_grad():
        every = batches(x, torch.tensor(0.7))
        for place in (3, 11):
            assert torch.equal(batches(x[place : place + 1], torch.tensor(0.7)), every[place : place + 1])
    assert given[-1] == (2 if kind == "volumes" and ready else 1)


class Fickle(nn.Module):
    """A network that gives other bits, by a few units in the last place, in every size of batch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        return x * (self.weight + len(x) * 2.0**-20)


def network() -> ed.Denoiser:
    torch.manual_seed(0)
    made = ed.networks.UNet(
        (1, 8, 8),
        base_channels=32,
        channel_multipliers=(1, 2),
        blocks_per_level=1,
        attention_resolutions=(4,),
        label_dim=3,
    )
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.1)
    return ed.Denoiser(made, ed.preconditioning.EDM()).eval()


@pytest.mark.parametrize("per_sample", [False, True])
def test_few_have_the_bits_that_they_have_among_many_on_fewer_rows(per_sample: bool) -> None:
    denoiser = with_backend(network(), "eager")
    x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sigma = torch.linspace(0.1, 2.0, 16) if per_sample else torch.tensor(0.7)
    labels = torch.eye(3)[torch.arange(16) % 3]
    batches = FixedBatch(denoiser)
    given: list[int] = []
    denoiser.register_forward_pre_hook(lambda module, inputs: given.append(len(inputs[0])))
    with torch.no_grad():
        every = batches(x, sigma, labels)
        for count in (1, 2, 3, 5):
            for start in (0, 7, 11):
                rows = slice(start, start + count)
                found = batches(x[rows], sigma[rows] if per_sample else sigma, labels[rows])
                assert torch.equal(found, every[rows])
            assert given[-1] < 16, f"{count} samples were padded to {given[-1]}"


def test_a_network_whose_bits_change_with_every_size_is_called_on_full_batches() -> None:
    denoiser = ed.Denoiser(Fickle(), ed.preconditioning.EDM())
    x = torch.randn(16, 1, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    batches = FixedBatch(denoiser)
    with torch.no_grad():
        every = batches(x, torch.tensor(0.7))
        for _ in range(3):
            assert torch.equal(batches(x[3:4], torch.tensor(0.7)), every[3:4])


def test_gradients_come_from_full_batches() -> None:
    """Nobody has compared the bits of backward passes."""
    denoiser, given = network(), []
    denoiser.register_forward_pre_hook(lambda module, inputs: given.append(len(inputs[0])))
    FixedBatch(denoiser)(torch.zeros(1, 1, 8, 8), torch.tensor(0.7), torch.eye(3)[:1])
    assert given == [16]
