"""Plain PyTorch made ready: the numbers of the network, whatever the network, and what it can no longer do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import elucidiff as ed
from elucidiff.sampling import Sampler
from tests.denoisers.backends.made import KINDS, batch, denoiser, relative_difference


@pytest.mark.parametrize(("kind", "shape", "label_dim"), KINDS)
def test_same_numbers(kind: str, shape: tuple[int, ...], label_dim: int) -> None:
    slow = denoiser(kind, shape, label_dim)
    fast = ed.with_backend(slow, "eager")
    given = batch(slow)
    with torch.no_grad():
        expected = slow(*given)
        assert relative_difference(fast(*given), expected) < 1e-5
        assert expected.std() > 0.05
        # What is the same for all samples may be given once.
        one = (given[0], given[1][:1], None if given[2] is None else given[2][:1])
        assert relative_difference(fast(*one), slow(*one)) < 1e-5


@pytest.mark.parametrize("solver", ["heun", "unipc"])
def test_same_samples(solver: str) -> None:
    slow = denoiser("mp-unet", (2, 8, 8), 3, label_dropout=0.1)
    sampler = Sampler(steps="karras:n=6", solver=solver, guidance=1.5)
    expected = sampler.run(slow, range(5), batch_size=4)
    found = sampler.run(ed.with_backend(slow, "eager"), range(5), batch_size=4)
    assert (found.x - expected.x).abs().max() < 1e-4
    assert found.labels is not None
    assert expected.labels is not None
    assert torch.equal(found.labels, expected.labels)
    assert torch.equal(torch.as_tensor(found.nfe), torch.as_tensor(expected.nfe))


def test_a_sample_does_not_depend_on_its_neighbours() -> None:
    fast = ed.with_backend(denoiser("ddpmpp", (1, 8, 8), 3), "eager")
    sampler = Sampler(steps="karras:n=4")
    together = sampler.run(fast, range(9), batch_size=4).x
    assert torch.equal(sampler.run(fast, [6], batch_size=4).x[0], together[6])
    assert torch.equal(sampler.run(fast, [8, 3], batch_size=4).x, together[[8, 3]])


@pytest.mark.parametrize(("shape", "innermost"), [((1, 8, 8), True), ((1, 4, 4, 4), True), ((1, 16), False)])
def test_channels_are_innermost_on_a_cpu(shape: tuple[int, ...], innermost: bool) -> None:
    fast = ed.with_backend(denoiser("ddpmpp", shape, 0), "eager")
    weights = [
        weight
        for weight in fast.network.parameters()
        if weight.ndim == len(shape) + 1 and weight.shape[1] > 1 and weight.shape[2] > 1
    ]
    assert len(weights) > 5
    assert all((weight.stride(1) == 1) == innermost for weight in weights)


def test_the_original_stays_as_it_was() -> None:
    slow = denoiser("mp-unet")
    given = batch(slow)
    before, state = slow(*given), {name: value.clone() for name, value in slow.state_dict().items()}
    ed.with_backend(slow, "eager")
    assert torch.equal(slow(*given), before)
    assert slow.state_dict().keys() == state.keys()
    for name, value in slow.state_dict().items():
        assert torch.equal(value, state[name])
        assert value.is_contiguous()


def test_what_it_says_of_itself() -> None:
    slow = denoiser("ddpmpp", (1, 8, 8), 3, label_dropout=0.25)
    slow.facts["data"] = {"label_kind": "vectors", "label_examples": [[0.1, 0.2, 0.3]]}
    fast = ed.with_backend(slow, "eager")
    for name in ("sample_shape", "label_dim", "label_kind", "label_dropout", "sigma_min", "sigma_max", "facts"):
        assert getattr(fast, name) == getattr(slow, name), name
    assert fast.label_examples is not None
    with pytest.raises(ValueError, match="this denoiser takes label vectors"):
        fast(batch(slow)[0], 1.0, torch.tensor([0, 1, 2, 0]))


def test_it_is_for_inference_alone(tmp_path: Path) -> None:
    slow = denoiser("ddpmpp", (1, 8, 8), 3, dropout=0.5, augment_dim=2)
    fast = ed.with_backend(slow, "eager")
    x, sigma, rows = batch(slow)
    assert torch.equal(fast.train()(x, sigma, rows), fast(x, sigma, rows))
    assert not fast.network(x.requires_grad_(), sigma, rows).requires_grad
    assert slow.network(x, sigma, rows).requires_grad
    with pytest.raises(ValueError, match="takes no augmentation labels"):
        fast(x, sigma, rows, torch.zeros(4, 2))
    with pytest.raises(ValueError, match="ReadyNetwork cannot be written"):
        fast.save(tmp_path / "model")


def test_networks_of_others() -> None:
    """Any module that is called alike."""

    class Half(torch.nn.Module):
        def forward(self, x: Tensor, noise_labels: Tensor, *labels: Tensor | None) -> Tensor:
            return x / 2

    slow = ed.Denoiser(Half(), ed.preconditioning.EDM())
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    fast = ed.with_backend(slow, "eager")
    assert torch.equal(fast(x, 0.7), slow(x, 0.7))
    assert fast.label_dropout is None


def test_an_unknown_backend() -> None:
    with pytest.raises(ValueError, match="there is no backend 'onx'; did you mean 'onnx'"):
        ed.with_backend(denoiser(), "onx")  # type: ignore[arg-type]
