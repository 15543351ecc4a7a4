"""Denoiser: the golden wrapper numbers, types, labels, noise levels in every shape."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from elucidiff.denoisers.preconditioned import Denoiser, floating_type
from elucidiff.design import preconditioning
from tests.golden_files import cases, load


class Recorder(nn.Module):
    """A network that returns what it is told to, and notes what it was given."""

    def __init__(self, output: Tensor, label_dim: int = 0) -> None:
        super().__init__()
        self.output, self.label_dim, self.sample_shape = output, label_dim, tuple(output.shape[1:])

    def forward(
        self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None
    ) -> Tensor:
        self.given = (x, noise_labels, class_labels, augment_labels)
        return self.output


PRECONDITIONINGS = {
    "VPPrecond": (
        preconditioning.VP,
        {"beta_d": "beta_d", "beta_min": "beta_min", "M": "m", "epsilon_t": "epsilon_t"},
    ),
    "VEPrecond": (preconditioning.VE, {"sigma_min": "sigma_min", "sigma_max": "sigma_max"}),
    "iDDPMPrecond": (preconditioning.IDDPM, {"C_1": "c1", "C_2": "c2", "M": "m"}),
    "EDMPrecond": (
        preconditioning.EDM,
        {"sigma_data": "sigma_data", "sigma_min": "sigma_min", "sigma_max": "sigma_max"},
    ),
}


@pytest.mark.parametrize("name", cases("b_precond"))
def test_golden(name: str) -> None:
    case, tensors = load(name)
    make, names = PRECONDITIONINGS[name.split("/")[1].rsplit("_", 1)[0]]
    settings = {names[key]: float(value) for key, value in case["kwargs"].items() if key in names}
    settings.update({key: int(value) for key, value in settings.items() if key == "m"})
    labels = tensors.get("class_labels")
    network = Recorder(tensors["F"], 0 if labels is None else labels.shape[1])
    denoiser = Denoiser(network, make(**settings))
    close = {"rtol": 2e-6, "atol": 1e-7}

    denoised = denoiser(tensors["x"], tensors["sigma"], labels)
    model_in, c_noise, seen, _ = network.given
    torch.testing.assert_close(denoised, tensors["D"], rtol=2e-6, atol=2e-6 * float(tensors["D"].abs().max()))
    torch.testing.assert_close(model_in, tensors["model_in"], **close)
    # In float32 the round trip sigma -> t near t = 1e-5 is only as good as the sigma there.
    torch.testing.assert_close(c_noise, tensors["c_noise"], rtol=2e-6, atol=1e-5 if "VP" in name else 1e-7)
    if labels is not None:
        assert torch.equal(seen, labels)
        denoiser(tensors["x"], tensors["sigma"])
        assert torch.equal(network.given[2], tensors["class_labels_seen_when_none"])
    assert denoiser.sigma_min == pytest.approx(float(tensors["sigma_min"]), rel=2e-6)
    assert denoiser.sigma_max == pytest.approx(float(tensors["sigma_max"]), rel=2e-6)


class Linear(nn.Module):
    """A network in which every input shows."""

    sample_shape, label_dim = (2, 3), 4

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.7))

    def forward(
        self, x: Tensor, noise_labels: Tensor, class_labels: Tensor, augment_labels: Tensor | None = None
    ) -> Tensor:
        assert {x.dtype, class_labels.dtype} == {self.weight.dtype}
        rank = class_labels @ torch.arange(1, 5, dtype=self.weight.dtype)
        extra = 0 if augment_labels is None else augment_labels.sum(1)[:, None, None]
        return self.weight * x + (noise_labels.to(x.dtype) + rank).reshape(-1, 1, 1) + extra


def denoiser() -> Denoiser:
    return Denoiser(Linear(), preconditioning.EDM())


X = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_is_equation_7() -> None:
    net, design = Linear().double(), preconditioning.EDM(sigma_data=0.7)
    sigma, labels = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64), torch.eye(4, dtype=torch.float64)[[3, 0, 1]]
    augment = torch.rand(3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    s = sigma[:, None, None]
    expected = design.c_skip(s) * X + design.c_out(s) * net(
        design.c_in(s) * X, design.c_noise(sigma), labels, augment
    )
    actual = Denoiser(net, design)(X, sigma, labels, augment)
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("value", [0.4, 2.0, 2])
def test_noise_levels_in_every_shape(value: float) -> None:
    expected = denoiser()(X, torch.full((3,), value))
    for sigma in (
        value,
        torch.tensor(value),
        torch.tensor([value]),
        torch.full((3, 1, 1), value, dtype=torch.float64),
    ):
        assert torch.equal(denoiser()(X, sigma), expected)


def test_labels_in_every_form() -> None:
    indices = torch.tensor([3, 0, 2])
    rows = torch.eye(4)[indices]
    expected = denoiser()(X, 1.0, rows)
    for labels in (indices, indices.int(), indices.to(torch.uint8), rows.double(), rows.long()):
        assert torch.equal(denoiser()(X, 1.0, labels), expected)
    zeros = denoiser()(X, 1.0, torch.zeros(3, 4))
    assert torch.equal(denoiser()(X, 1.0), zeros)
    assert torch.equal(denoiser()(X, 1.0, rows[:1]), denoiser()(X, 1.0, rows[[0, 0, 0]]))
    soft = denoiser()(X, 1.0, 0.5 * rows + 0.5 * rows.roll(1, 1))
    shifted = denoiser()(X, 1.0, rows.roll(1, 1))
    torch.testing.assert_close(soft, 0.5 * (expected + shifted), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("sigma", "labels", "message"),
    [
        (1.0, torch.tensor([0, 1, 4]), "class index 4 is out of range: the denoiser knows classes 0 to 3"),
        (1.0, torch.tensor([0, -1, 3]), "class index -1 is out of range"),
        (1.0, torch.tensor([0.0, 1.0, 2.0]), r"labels have shape \(3,\) and type torch.float32"),
        (1.0, torch.tensor([True, False, True]), "type torch.bool"),
        (1.0, torch.zeros(3, 5), r"labels have shape \(3, 5\)"),
        (1.0, torch.zeros(2, 4), "there are 2 label rows for 3 samples: give one"),
        (1.0, torch.tensor([0, 1]), "there are 2 label rows for 3 samples: give one"),
        (torch.ones(2), None, "sigma has 2 values for 3 samples"),
    ],
)
def test_bad_input(sigma: float | Tensor, labels: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        denoiser()(X, sigma, labels)


def test_labels_for_an_unconditional_network() -> None:
    with pytest.raises(ValueError, match="to a denoiser without classes"):
        Denoiser(Recorder(X), preconditioning.EDM())(X, 1.0, torch.tensor([0, 0, 0]))


def test_learned_variance_is_ignored_and_other_channels_are_refused() -> None:
    twice = torch.cat([X, 100 + X], dim=1)
    design = preconditioning.IDDPM()
    assert torch.equal(Denoiser(Recorder(twice), design)(X, 1.0), Denoiser(Recorder(X), design)(X, 1.0))
    with pytest.raises(ValueError, match="the network returned 3 channels for samples of 2"):
        Denoiser(Recorder(torch.zeros(3, 3, 3)), design)(X, 1.0)


def test_types() -> None:
    assert denoiser()(X, 1.0).dtype == torch.float32
    assert denoiser().double()(X.float(), 1.0).dtype == torch.float64
    for half in (torch.float16, torch.bfloat16):
        low = denoiser().to(half)
        assert floating_type(low.network) == half
        # The coefficients stay float32: only the network's own output carries the rounding of half precision.
        full = denoiser()(X, 0.01)
        assert low(X, 0.01).dtype == torch.float32
        torch.testing.assert_close(low(X, 0.01), full, rtol=0, atol=0.01 * 2**-7 * 10)


def test_gradients_reach_the_network_and_the_input() -> None:
    net, x = denoiser(), X.clone().requires_grad_()
    net(x, 1.0).square().sum().backward()
    assert float(net.network.weight.grad.abs()) > 0
    assert bool((x.grad != 0).all())


def test_attributes() -> None:
    net = denoiser()
    assert (net.sample_shape, net.label_dim, net.sigma_min, net.sigma_max) == ((2, 3), 4, 0.0, float("inf"))
    assert float(net.round_sigma(1.25)) == 1.25
