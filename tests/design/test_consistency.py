"""Consistency objectives against closed forms: gaps, distances, gradients, and the function that they teach."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.design.objectives import Consistency, ContinuousConsistency, Objective
from elucidiff.solvers import RK45

STD = 0.5


class OfLevel(nn.Module):
    """A linear D with a coefficient for every level: all that normal data need. F = a(sigma) c_in x."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        found: Tensor = self.layers(c_noise[:, None])
        return found * x


class OfBoth(nn.Module):
    """Any function of one number and the level."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        found: Tensor = self.layers(torch.cat([x, c_noise[:, None].expand_as(x)], dim=1))
        return found


def taught(
    network: nn.Module,
    objective: Objective,
    data: Callable[[int, torch.Generator], Tensor],
    steps: int,
    batch: int = 256,
    lr: float = 3e-3,
) -> ed.Denoiser:
    generator = torch.Generator().manual_seed(1)
    denoiser = ed.Denoiser(network, ed.preconditioning.EDM(sigma_data=objective.sigma_data))  # type: ignore[attr-defined]
    optimiser = torch.optim.Adam(network.parameters(), lr)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = lr * math.cos(math.pi / 2 * step / steps)
        loss = objective.at(step / steps).loss(denoiser, data(batch, generator), generator=generator).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return denoiser


class TestGap:
    def test_it_halves_from_stage_to_stage(self) -> None:
        objective = Consistency(k=0.0, stages=4)
        for progress, gap in ((0.0, 0.5), (0.24, 0.5), (0.25, 0.25), (0.5, 0.125), (0.76, 0.0625), (1.0, 0.0625)):
            assert float(objective.at(progress).lower(3.0)) == pytest.approx(3 * (1 - gap), rel=1e-12)

    def test_it_is_wider_at_low_levels_and_ends_at_zero(self) -> None:
        objective = Consistency(k=8.0, b=1.0, base=2.0, stages=8)
        expected = 2.0 * (1 - (1 + 8 / (1 + math.exp(2.0))) / 16)
        assert float(objective.at(0.4).lower(2.0)) == pytest.approx(expected, rel=1e-12)
        assert float(objective.at(0.0).lower(0.1)) == 0.0
        # For other data everything is in units of their standard deviation.
        wide = Consistency(sigma_data=1.0)
        assert float(wide.lower(4.0)) == pytest.approx(2 * float(Consistency().lower(2.0)), rel=1e-12)

    def test_the_weight_is_one_over_it(self) -> None:
        objective = Consistency().at(0.3)
        assert float(objective.weight(0.7)) == pytest.approx(1 / (0.7 - float(objective.lower(0.7))), rel=1e-12)

    @pytest.mark.parametrize(
        "wrong", [{"base": 1.0}, {"stages": 0}, {"k": -1.0}, {"huber": 0.0}, {"sigma_data": 0.0}]
    )
    def test_what_makes_no_sense_is_refused(self, wrong: dict[str, float]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Consistency(**wrong)  # type: ignore[arg-type]
        for wrong in ({"warmup": 2.0}, {"normalise": -1.0}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                ContinuousConsistency(**wrong)


class TestDistance:
    def test_the_pseudo_huber_distance_of_a_known_difference(self) -> None:
        """Of D = x the two sides differ by (sigma - r) n."""
        objective = Consistency(huber=0.1).at(0.5)
        noise = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        sigma = torch.tensor([0.3, 1.0, 7.0], dtype=torch.float64)
        found = objective.loss(lambda x, sigma, labels=None: x, torch.zeros_like(noise), sigma, noise)
        gap, c = sigma - objective.lower(sigma), 0.1 * 2
        expected = ((gap.square() * noise.flatten(1).square().sum(1) + c**2).sqrt() - c) / gap
        torch.testing.assert_close(found.flatten(1).sum(1), expected, rtol=1e-12, atol=0)

    @pytest.mark.parametrize("objective", [Consistency(), ContinuousConsistency()])
    def test_what_is_missing_has_no_part_in_it(self, objective: Objective) -> None:
        generator = torch.Generator().manual_seed(0)
        images, noise = (torch.randn(2, 1, 4, generator=generator) for _ in range(2))
        present = torch.tensor([[True, True, True, False], [True, False, True, True]])[:, None]
        broken = torch.where(present, 1.0, 100.0)
        sigma = torch.tensor([0.5, 2.0])

        def half(x: Tensor, sigma: Tensor, labels: None = None) -> Tensor:
            return x / 2

        def wild(x: Tensor, sigma: Tensor, labels: None = None) -> Tensor:
            return x / 2 * broken

        one, other = (objective.loss(each, images, sigma, noise, present=present) for each in (half, wild))
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)
        assert float(one[~present].abs().max()) == 0

    @pytest.mark.parametrize(
        "objective", [Consistency(k=0.0, base=1e6, stages=1), ContinuousConsistency(normalise=0.0)]
    )
    def test_both_sides_draw_the_same_dropout_and_leave_the_generator_as_one_pass_does(
        self, objective: Objective
    ) -> None:
        """With other masks on the two sides, differences would be as large as D."""
        dropout = nn.Dropout(0.5)
        images, noise = torch.ones(4, 1, 8), torch.zeros(4, 1, 8)
        torch.manual_seed(3)
        loss = objective.loss(lambda x, sigma, labels=None: dropout(x), images, 1.0, noise)
        state = torch.random.get_rng_state()
        assert float(loss.max()) < 1e-3
        torch.manual_seed(3)
        dropout(images)
        assert torch.equal(torch.random.get_rng_state(), state)


def test_the_gradient_in_continuous_time_is_the_limit_of_that_for_a_small_gap() -> None:
    """With the distance c -> d^2 / (2 c) and gap h both are D . dD/dsigma by 1 / c, and 2 rho / (sigma_d^2 sin t)."""
    torch.manual_seed(0)
    denoiser = ed.Denoiser(OfBoth().double(), ed.preconditioning.EDM(sigma_data=STD))
    images, noise = (torch.randn(64, 1, dtype=torch.float64) for _ in range(2))
    sigma = 0.8

    def gradient(objective: Objective) -> Tensor:
        denoiser.zero_grad()
        objective.loss(denoiser, images, sigma, noise).sum().backward()  # type: ignore[no-untyped-call]
        return torch.cat([each.grad.flatten() for each in denoiser.parameters() if each.grad is not None])

    rho = math.hypot(sigma, STD)
    limit = gradient(ContinuousConsistency(normalise=0.0)) / (2 * rho / (STD**2 * (sigma / rho)))
    errors = []
    for gap in (1e-2, 1e-3, 1e-4):
        discrete = gradient(Consistency(k=0.0, base=1 / gap, stages=1, huber=1.0)) * 1.0
        errors.append(float((discrete - limit).norm() / limit.norm()))
    assert errors[2] < 1e-3
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.1)  # and it falls with the gap
    assert errors[0] > errors[1]


def test_the_tangent_grows_from_that_of_a_denoiser() -> None:
    """At the beginning the gradient is that of |D - y|^2 with weight cos(t)^2 / (sigma_d sin(t))^2."""
    torch.manual_seed(0)
    denoiser = ed.Denoiser(OfBoth().double(), ed.preconditioning.EDM(sigma_data=STD))
    images, noise = (torch.randn(64, 1, dtype=torch.float64) for _ in range(2))
    levels = torch.full((64,), 0.8, dtype=torch.float64)
    ContinuousConsistency(normalise=0.0).at(0.0).loss(denoiser, images, levels, noise).sum().backward()  # type: ignore[no-untyped-call]
    found = [each.grad.clone() for each in denoiser.parameters() if each.grad is not None]
    denoiser.zero_grad()
    error = (denoiser(images + 0.8 * noise, levels) - images).square().sum()
    error.backward()
    weight = STD**2 / (0.8**2 + STD**2) / (STD * 0.8 / math.hypot(0.8, STD)) ** 2
    for one, other in zip(found, denoiser.parameters(), strict=True):
        assert other.grad is not None
        torch.testing.assert_close(one, weight * other.grad, rtol=1e-9, atol=1e-12)


def test_a_network_that_cannot_be_differentiated_forward_is_told_in_one_line() -> None:
    class Backward(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:  # type: ignore[override]
            return x / 2

        @staticmethod
        def backward(ctx: object, grad: Tensor) -> Tensor:  # type: ignore[override]
            return grad / 2

    with pytest.raises(ValueError, match=r"cannot be differentiated forward.*take consistency"):
        ContinuousConsistency().loss(lambda x, sigma, labels=None: Backward.apply(x), torch.ones(2, 1), 1.0)


def normal(count: int, generator: torch.Generator) -> Tensor:
    return STD * torch.randn(count, 1, generator=generator)


@pytest.mark.slow
@pytest.mark.parametrize("objective", [Consistency(huber=1.0), ContinuousConsistency(normalise=0.0)])
def test_on_normal_data_it_teaches_the_known_function(objective: Objective) -> None:
    """The ODE keeps x / sqrt(sd^2 + sigma^2), so f = x sd / sqrt(sd^2 + sigma^2); a denoiser has its square for x."""
    torch.manual_seed(0)
    denoiser = taught(OfLevel(), objective, normal, steps=1500)
    for sigma in (0.1, 0.5, 1.0, 3.0, 20.0):
        expected = STD / math.hypot(STD, sigma)
        assert float(denoiser(torch.ones(1, 1), sigma).detach()) == pytest.approx(expected, rel=0.06), sigma


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective", [Consistency(p_mean=-0.4, sigma_data=1.0), ContinuousConsistency(p_mean=-0.3, sigma_data=1.0)]
)
def test_on_two_points_it_teaches_the_end_of_the_ode(objective: Objective) -> None:
    """Against the ODE of the exact denoiser, tanh(x / sigma^2), followed from each point to its end.

    That denoiser itself is 0.44 and 0.87 away from the end, on average.
    """
    torch.manual_seed(0)

    def points(count: int, generator: torch.Generator) -> Tensor:
        return torch.randint(0, 2, (count, 1), generator=generator) * 2.0 - 1

    denoiser = taught(OfBoth(), objective, points, steps=2000)
    exact = ed.ideal.DataPosterior(torch.tensor([[-1.0], [1.0]], dtype=torch.float64))
    for sigma, untaught in ((1.0, 0.44), (4.0, 0.87)):
        x = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None] * math.hypot(1, sigma) / 2
        end = ed.sample(exact, x / sigma, [sigma, 1e-3, 0.0], solver=RK45(1e-7, 1e-7))
        error = (denoiser(x.float(), sigma).detach().double() - end).abs().mean()
        of_denoiser = (exact(x, torch.tensor(sigma)) - end).abs().mean()
        assert float(of_denoiser) == pytest.approx(untaught, abs=0.01)
        assert float(error) < 0.18, sigma
