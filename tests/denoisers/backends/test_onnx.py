"""ONNX Runtime: the numbers of the network, equal bits in repeated runs, and clear words where it cannot be."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

import elucidiff as ed
from elucidiff.denoisers.backends import onnx as module
from elucidiff.denoisers.guided import Guidance
from elucidiff.sampling import Sampler
from tests.denoisers.backends.made import KINDS, batch, denoiser, relative_difference


@pytest.fixture(scope="module")
def slow() -> ed.Denoiser:
    return denoiser("mp-unet", (1, 8, 8), 5, label_dropout=0.1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported") / "network.onnx"


@pytest.fixture(scope="module")
def fast(slow: ed.Denoiser, file: Path) -> ed.Denoiser:
    return ed.with_backend(slow, "onnx", batch_sizes=(4, 8), file=file)


@pytest.mark.parametrize("size", [1, 2, 4, 7, 16])
def test_same_numbers_in_batches_of_any_size(slow: ed.Denoiser, fast: ed.Denoiser, size: int) -> None:
    x, sigma, rows = batch(slow, size)
    assert rows is not None
    with torch.no_grad():
        expected = slow(x, sigma, rows)
        assert relative_difference(fast(x, sigma, rows), expected) < 1e-5
        assert relative_difference(fast(x, sigma[:1], rows[:1]), slow(x, sigma[:1], rows[:1])) < 1e-5
        assert relative_difference(fast(x, sigma), slow(x, sigma)) < 1e-5
        # The layout of what is given does not matter.
        assert torch.equal(fast(x.contiguous(memory_format=torch.channels_last), sigma, rows), fast(x, sigma, rows))


@pytest.mark.parametrize("guidance", [1.0, 1.5])
def test_same_samples(slow: ed.Denoiser, fast: ed.Denoiser, guidance: float) -> None:
    sampler = Sampler(
        steps="karras:n=6", guidance=Guidance(weight=guidance, sigma_max=5.0 if guidance != 1 else float("inf"))
    )
    expected = sampler.run(slow, range(6), batch_size=4)
    found = sampler.run(fast, range(6), batch_size=4)
    assert (found.x - expected.x).abs().max() < 1e-4
    assert expected.x.std() > 0.1
    # The same bits whoever is drawn with them, and again.
    assert torch.equal(sampler.run(fast, [5], batch_size=4).x[0], found.x[5])
    assert torch.equal(sampler.run(fast, range(6), batch_size=4).x, found.x)


def test_another_process_takes_what_one_has_exported(
    slow: ed.Denoiser, fast: ed.Denoiser, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_export", None)
    again = ed.with_backend(slow, "onnx", batch_sizes=(4,), file=file)
    given = batch(slow)
    assert torch.equal(again(*given), fast(*given))


def test_another_network_does_not_agree(fast: ed.Denoiser, file: Path) -> None:
    other = denoiser("mp-unet", (1, 8, 8), 5)
    with torch.no_grad():
        next(other.network.parameters()).add_(0.05)
        other.network.head_gain.mul_(1.001)
    with pytest.raises(
        ValueError, match=r"backend onnx cannot compute this network \(it returns other numbers: .*e-0"
    ):
        ed.with_backend(other, "onnx", batch_sizes=(4,), file=file)


def test_without_its_packages(slow: ed.Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    with pytest.raises(ValueError, match=r"^the backend onnx needs .* pip install 'elucidiff\[onnx\]'$"):
        ed.with_backend(slow, "onnx")


def test_other_types_and_devices() -> None:
    with pytest.raises(ValueError, match=r"onnx computes in float32, but the network in torch\.bfloat16: use"):
        ed.with_backend(denoiser().bfloat16(), "onnx")
    with pytest.raises(ValueError, match="ONNX Runtime does not compute on meta here: use the backend eager"):
        ed.with_backend(denoiser().to("meta"), "onnx")


def test_samples_elsewhere(fast: ed.Denoiser) -> None:
    x, sigma, rows = batch(fast)
    assert rows is not None
    with pytest.raises(ValueError, match="was made ready for cpu, but samples are on meta"):
        fast.network(x.to("meta"), sigma.to("meta"), rows.to("meta"))


def test_what_cannot_be_exported() -> None:
    class Odd(torch.nn.Module):
        sample_shape, label_dim = (1, 4, 4), 0

        def forward(self, x: torch.Tensor, noise_labels: torch.Tensor, *labels: object) -> torch.Tensor:
            return x * 2 if float(x.sum()) > 0 else x

    slow = ed.Denoiser(Odd(), ed.preconditioning.EDM())
    with pytest.raises(
        ValueError, match=r"^the network cannot be exported to ONNX .*: use the backend eager$"
    ) as caught:
        ed.with_backend(slow, "onnx")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "shape", "label_dim"), [*KINDS[:4], *KINDS[8:10], *KINDS[11:14:2]])
def test_every_kind_of_network(kind: str, shape: tuple[int, ...], label_dim: int) -> None:
    slow = denoiser(kind, shape, label_dim)
    fast = ed.with_backend(slow, "onnx", batch_sizes=(4,))
    given = batch(slow)
    with torch.no_grad():
        assert relative_difference(fast(*given), slow(*given)) < 1e-5


@pytest.mark.slow
def test_threads(slow: ed.Denoiser, fast: ed.Denoiser, file: Path) -> None:
    """More threads are used, and repeat their own bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        more = ed.with_backend(slow, "onnx", batch_sizes=(16,), file=file)
    finally:
        torch.set_num_threads(before)
    given = batch(slow, 16)
    assert torch.equal(more(*given), more(*given))
    assert relative_difference(more(*given), fast(*given)) < 1e-5
    asked = [of.network.compute._session.get_session_options().intra_op_num_threads for of in (fast, more)]
    assert asked == [before, before + 1]
