"""Networks from elsewhere by ONNX Runtime and compiled: PyTorch's numbers, and clear words where that cannot be."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.denoisers.clipping import Clamp
from tests.interop.closed_form import TABLE

SHAPE = (2, 8, 8)


class Network(nn.Module):
    """Depends on all that it is given, and says what times it was told."""

    def __init__(self, label_dim: int = 0) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.first, self.last = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)
        self.label = nn.Linear(label_dim, 8) if label_dim else None
        self.times: list[torch.dtype] = []

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        self.times.append(t.dtype)
        h = self.first(x) + torch.sin(t.to(x.dtype) / 50).reshape(-1, 1, 1, 1)
        if labels is not None and self.label is not None:
            h = h + self.label(labels)[:, :, None, None]
        return self.last(torch.tanh(h))


def model(kind: str, label_dim: int = 0, **settings: Any) -> ed.adapters.AdaptedDenoiser:
    time: Any = {
        "epsilon": ed.adapters.DiscreteTime(TABLE),
        "v": ed.adapters.DiscreteTime(TABLE, between="interpolated"),
        "flow": ed.adapters.ContinuousTime(ed.schedules.Flow(), factor=1000.0),
    }[kind]
    network: Any = Network(label_dim)
    made = ed.adapters.AdaptedDenoiser(
        network, kind, time, label_dim=label_dim, **{"sample_shape": SHAPE, **settings}  # type: ignore[arg-type]
    )  # fmt: skip
    return made.eval()


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("kind", "time"), [("epsilon", torch.int64), ("v", torch.float32), ("flow", torch.float32)])
def test_onnx_has_the_numbers_of_pytorch(kind: str, time: torch.dtype) -> None:
    slow = model(kind, 3)
    slow.usual_clip = Clamp(0.7)
    slow.facts["data"] = {"class_names": ["a", "b", "c"]}
    fast = ed.with_backend(slow, "onnx", batch_sizes=(4,))
    assert set(slow.network.times) == {time}
    slow.network.times.clear()
    z = torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    labels = torch.eye(3)[torch.tensor([0, 1, 2, 1, 0])]
    for sigma in (0.02, 1.0, 30.0):
        x = z * (1 + sigma)
        with torch.no_grad():
            found = fast(x, sigma, labels)
            assert not slow.network.times  # which no longer computes
            assert distance(found, slow(x, sigma, labels)) < 1e-5
            assert distance(fast(x, sigma), slow(x, sigma)) < 1e-5  # without labels
            slow.network.times.clear()
    for choices in ({}, {"clip": None}, {"solver": "dpmpp_2m", "steps": "karras:n=4,sigma_max=30"}):
        sampler = ed.Sampler(**choices)
        found, expected = (sampler.run(each, 4, batch_size=4) for each in (fast, slow))
        assert distance(found.x, expected.x) < 1e-4
    assert fast.facts == slow.facts
    assert ed.Sampler.usual(fast) == ed.Sampler.usual(slow)


def test_other_units() -> None:
    slow = ed.adapters.InUnits(model("epsilon"), 2.0, -1.0)
    fast = ed.with_backend(slow, "onnx", batch_sizes=(2,))
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert distance(fast(x, 0.5), slow(x, 0.5)) < 1e-5


@pytest.mark.slow
def test_compiled() -> None:
    slow = model("epsilon", 3)
    fast = ed.with_backend(copy.deepcopy(slow), "compile", batch_sizes=(4,))
    assert not fast.any_batch_size
    found, expected = (ed.Sampler.usual(slow, n=4).run(each, 4, batch_size=4).x for each in (fast, slow))
    assert distance(found, expected) < 1e-4


def test_what_cannot_be_computed_otherwise() -> None:
    for denoiser, message in (
        (model("epsilon", any_labels=True), "takes conditions whose shapes are not known: use the backend eager"),
        (model("epsilon", sample_shape=()), "does not say what shape its samples have: use the backend eager"),
        (ed.ideal.DataPosterior(torch.zeros(1, *SHAPE)), "a DataPosterior shows none: use the backend eager"),
        (model("epsilon", dtype=torch.float64), "computes in float32, but the network in torch.float64"),
    ):
        with pytest.raises(ValueError, match=f"^the backend onnx .*{message}"):
            ed.with_backend(denoiser, "onnx")  # type: ignore[arg-type]
        assert ed.with_backend(denoiser, "eager") is denoiser  # type: ignore[arg-type]
