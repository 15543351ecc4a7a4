"""Denoisers at noise level 0, where D(x; 0) = x, at infinity, and at what is no noise level."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.denoisers.adapters import AdaptedDenoiser, ContinuousTime, DiscreteTime
from elucidiff.denoisers.guided import Autoguided, ClassifierFree

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
TABLE = torch.cumprod(1 - BETAS, 0)


def zero_snr() -> Tensor:
    """The table rescaled so that its last alpha-bar is 0: Lin et al. 2023 (arXiv 2305.08891), Algorithm 1."""
    root = TABLE.sqrt()
    return ((root - root[-1]) * root[0] / (root[0] - root[-1])).square()


class Broken(nn.Module):
    """A network whose answer is no number where it is told none, as ln(0), and finite elsewhere."""

    label_dim, label_dropout, sample_shape = 2, 0.1, (1, 2, 2)

    def __init__(self, factor: float = 0.3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor, c_noise: Tensor, labels: Any = None, augment: Any = None) -> Tensor:
        return self.weight * x * (0 * c_noise.to(x.dtype) + 1).reshape(-1, 1, 1, 1)


def preconditioned(make: Callable[[], Any], factor: float = 0.3) -> ed.Denoiser:
    return ed.Denoiser(Broken(factor), make())


EVERY = [ed.preconditioning.EDM, ed.preconditioning.VP, ed.preconditioning.VE, ed.preconditioning.IDDPM]


def adapted() -> list[AdaptedDenoiser]:
    kinds: Any = ("x0", "epsilon", "v", "flow")
    times = (DiscreteTime(TABLE), DiscreteTime(zero_snr()), ContinuousTime(ed.schedules.Flow()))
    return [AdaptedDenoiser(lambda x, t: 0.3 * x, kind, time) for kind in kinds for time in times]


def all_denoisers() -> list[Any]:
    plain = [preconditioned(make) for make in EVERY]
    return [
        *plain,
        *adapted(),
        Autoguided(plain[0], preconditioned(EVERY[0], 0.1), 2.0),
        Autoguided(plain[0], preconditioned(EVERY[0], 0.1), 2.0, (0.0, 1.0)),
        ed.ideal.GaussianMixture(torch.ones(1, 1, 2, 2), torch.eye(4)[None], torch.ones(1)),
    ]


@pytest.mark.parametrize("index", range(len(all_denoisers())))
def test_at_0_nothing_is_changed(index: int) -> None:
    denoiser = all_denoisers()[index]
    x = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(index))
    with torch.no_grad():
        levels: tuple[Any, ...] = (0.0, torch.tensor(0.0), torch.zeros(3, 1, 1, 1))
        for level in levels:
            torch.testing.assert_close(denoiser(x, level), x, rtol=0, atol=1e-6)
        mixed = denoiser(x, torch.tensor([0.5, 0.0, 2.0]))
        assert torch.equal(mixed[1], x[1])
        torch.testing.assert_close(mixed[:1], denoiser(x[:1], 0.5))
        torch.testing.assert_close(mixed[2:], denoiser(x[2:], 2.0))


@pytest.mark.parametrize("make", EVERY)
def test_labels_types_and_gradients_at_0(make: Callable[[], Any]) -> None:
    denoiser = preconditioned(make)
    x = torch.randn(2, 1, 2, 2, requires_grad=True)
    out = denoiser(x, torch.tensor([0.0, 1.0]), torch.tensor([0, 1]))
    out.square().sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad[0], 2 * x.detach()[0])
    assert bool(denoiser.network.weight.grad.isfinite())
    guided = ClassifierFree(denoiser, 3.0)
    assert torch.equal(guided(x.detach(), 0.0, torch.tensor([0, 1])), x.detach())
    half = denoiser.half()
    assert torch.equal(half(x.detach(), 0.0), x.detach())
    # A level that is 0 in the network's type.
    assert torch.equal(half(x.detach(), torch.tensor(1e-300, dtype=torch.float64)), x.detach())


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize(
    "sigma", [-1.0, math.nan, math.inf, torch.tensor([1.0, -0.1]), torch.tensor([math.inf, 1.0])]
)
def test_what_is_no_noise_level_is_refused(make: Callable[[], Any], sigma: Any) -> None:
    wrong = "sigma is (-1|nan|inf|-0.1), but a noise level must be finite and >= 0"
    for denoiser in (preconditioned(make).train(), preconditioned(make).eval()):
        with pytest.raises(ValueError, match=wrong) as caught:
            denoiser(torch.zeros(2, 1, 2, 2), sigma)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=wrong):
        ClassifierFree(preconditioned(make), 2.0)(torch.zeros(2, 1, 2, 2), sigma, torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("x", "sigma", "message"),
    [
        ([[1.0]], 1.0, "x is of type list, but must be a tensor"),
        (torch.zeros(1, 1, 2, 2), "1", "sigma is '1', but must be a number"),
        (torch.zeros(1, 1, 2, 2), None, "sigma is None"),
        (torch.zeros(1, 1, 2, 2), 1j, "real number"),
    ],
)
def test_what_is_no_number_is_refused(x: Any, sigma: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        preconditioned(ed.preconditioning.EDM)(x, sigma)


class TestPureNoise:
    def test_the_last_level_of_the_table_is_infinite_and_nothing_is_rounded_to_it(self) -> None:
        time = DiscreteTime(zero_snr())
        assert time.sigma_max == math.inf
        assert time.sigmas[:-1].isfinite().all()
        levels = torch.tensor([math.inf, 1e30, 80.0, 0.0], dtype=torch.float64)
        index, scale = time.at(levels)
        assert index[:2].tolist() == [999, 998]
        assert scale[0] == 0
        assert time.round_sigma(levels)[:2].tolist() == [math.inf, float(time.sigmas[-2])]
        # A table without such an end is at its last level.
        assert DiscreteTime(TABLE).at(levels)[0][:2].tolist() == [999, 999]

    @pytest.mark.parametrize(("kind", "sign"), [("v", -1.0), ("x0", 1.0)])
    def test_what_a_network_of_that_table_says_of_noise(self, kind: Any, sign: float) -> None:
        """v = s (eps - sigma x0) is -x0 where s = 0 and s sigma = 1."""
        asked: list[tuple[Tensor, Tensor]] = []

        def network(x: Tensor, t: Tensor) -> Tensor:
            asked.append((x, t))
            return 0.25 * x + 1

        denoiser = AdaptedDenoiser(network, kind, DiscreteTime(zero_snr()))
        z = torch.randn(2, 1, 2, 2)
        mixed = denoiser(z, torch.tensor([math.inf, 1.0]))
        torch.testing.assert_close(mixed[0], sign * (0.25 * z[0] + 1))
        assert asked[0][1].tolist()[0] == 999
        assert torch.equal(asked[0][0][0], z[0])
        torch.testing.assert_close(mixed[1:], denoiser(z[1:], 1.0))

    def test_rectified_flow(self) -> None:
        """F = eps - x0, so D = z - F."""
        denoiser = AdaptedDenoiser(
            lambda x, t: 0.5 * x * t[:, None, None, None], "flow", ContinuousTime(ed.schedules.Flow())
        )
        z = torch.randn(2, 1, 2, 2)
        torch.testing.assert_close(denoiser(z, math.inf), 0.5 * z)

    @pytest.mark.parametrize(
        "denoiser",
        [
            AdaptedDenoiser(lambda x, t: x, "epsilon", DiscreteTime(zero_snr())),
            AdaptedDenoiser(lambda x, t: x, "v", ContinuousTime(ed.schedules.VP())),
            AdaptedDenoiser(lambda x, t: x, "v", DiscreteTime(TABLE)),
        ],
    )
    def test_where_there_is_no_answer(self, denoiser: AdaptedDenoiser) -> None:
        with pytest.raises(ValueError, match="sigma is inf, but a noise level must be finite"):
            denoiser(torch.zeros(1, 1, 2, 2), math.inf)

    def test_ideal_denoisers_answer_with_the_mean(self) -> None:
        points = torch.randn(5, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        z = torch.randn(2, 1, 2, 2, dtype=torch.float64)
        torch.testing.assert_close(ed.ideal.DataPosterior(points)(z, math.inf), points.mean(0).expand_as(z))
        mixture = ed.ideal.GaussianMixture(points, torch.eye(4).expand(5, 4, 4), torch.ones(5))
        torch.testing.assert_close(mixture(z, math.inf), points.mean(0).expand_as(z))
