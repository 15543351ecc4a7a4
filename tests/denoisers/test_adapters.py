"""Adapters: an ideal denoiser, disguised as each kind of predictor, comes back as itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from elucidiff.denoisers.adapters import AdaptedDenoiser, ContinuousTime, DiscreteTime, Time
from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.design import schedules, steps
from elucidiff.sampling import sample

PREDICTIONS = ["x0", "epsilon", "v", "flow"]
TABLE = torch.cos(torch.linspace(0.01, 1.55, 1000, dtype=torch.float64)) ** 2
LEVELS = ((1 - TABLE) / TABLE).sqrt()
TIMES: dict[str, Time] = {
    "discrete": DiscreteTime(TABLE),
    "vp": ContinuousTime(schedules.VP(), factor=999.0),
    "vp, no scaling": ContinuousTime(schedules.VP(scaling="none")),
    "ve": ContinuousTime(schedules.VE()),
    "flow": ContinuousTime(schedules.Flow(), factor=1000.0),
    "edm": ContinuousTime(schedules.EDM()),
}


def posterior() -> DataPosterior:
    points = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return DataPosterior(points, torch.arange(6) % 3)


def disguise(predicts: str, name: str):
    """The ideal predictor in the textbook's terms: from x_t = s (x0 + sigma eps), at the t that it is told."""
    ideal = posterior()

    def network(x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        assert t.shape == (len(x_t),)
        if name == "discrete":
            assert t.dtype == torch.int64
            sigma, s = LEVELS[t], TABLE[t].sqrt()
        else:
            schedule = TIMES[name].schedule
            sigma, s = schedule.sigma(t / TIMES[name].factor), schedule.scale(t / TIMES[name].factor)
        sigma, s = sigma.reshape(-1, 1, 1), s.reshape(-1, 1, 1)
        x0 = ideal(x_t / s, sigma, labels)
        epsilon = (x_t / s - x0) / sigma
        alpha = 1 / (1 + sigma**2).sqrt()  # v is defined for a variance-preserving process: alpha^2 (1 + sigma^2) = 1
        return {
            "x0": x0,
            "epsilon": epsilon,
            "v": s / alpha * (alpha * epsilon - alpha * sigma * x0),
            "flow": epsilon - x0,
        }[predicts]

    return network


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("predicts", PREDICTIONS)
def test_comes_back_as_itself(predicts: str, name: str) -> None:
    ideal, network = posterior(), disguise(predicts, name)
    adapted = AdaptedDenoiser(network, predicts, TIMES[name], label_dim=3, dtype=torch.float64)
    x = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for wanted in (0.02, 0.3, 1.0, 7.0, 30.0):
        sigma = adapted.round_sigma(torch.tensor(wanted, dtype=torch.float64))
        noisy = x * (1 + sigma)
        torch.testing.assert_close(adapted(noisy, sigma), ideal(noisy, sigma), rtol=1e-7, atol=1e-9)
        labels = torch.tensor([0, 2, 1, 1, 0])
        for given in (labels, torch.eye(3)[labels]):
            torch.testing.assert_close(
                adapted(noisy, sigma, given), ideal(noisy, sigma, labels), rtol=1e-7, atol=1e-9
            )
    several = adapted.round_sigma(torch.tensor([0.1, 0.5, 1.0, 5.0, 20.0], dtype=torch.float64))
    torch.testing.assert_close(adapted(x, several), ideal(x, several), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("predicts", PREDICTIONS)
def test_sampling_gives_what_the_ideal_denoiser_gives(predicts: str) -> None:
    network = disguise(predicts, "discrete")
    adapted = AdaptedDenoiser(network, predicts, DiscreteTime(TABLE), dtype=torch.float64)
    latents = torch.randn(3, 2, 3, generator=torch.Generator().manual_seed(4))
    sigmas = steps.karras(12, adapted.sigma_min, adapted.sigma_max)
    rounded = torch.cat([adapted.round_sigma(sigmas[:-1]), torch.zeros(1, dtype=torch.float64)])
    expected = sample(posterior(), latents, rounded)
    torch.testing.assert_close(sample(adapted, latents, sigmas), expected, rtol=1e-7, atol=1e-8)


def test_discrete_time() -> None:
    time = DiscreteTime(torch.tensor([0.9, 0.5, 0.1]))
    levels = torch.tensor([1 / 3, 1.0, 3.0], dtype=torch.float64)
    torch.testing.assert_close(time.sigmas, levels, rtol=1e-6, atol=0)
    assert (time.sigma_min, time.sigma_max) == pytest.approx((1 / 3, 3.0), rel=1e-6)
    asked = torch.tensor([[0.0, 0.6], [0.7, 100.0]], dtype=torch.float64)
    assert torch.equal(time.round_sigma(asked), time.sigmas[torch.tensor([[0, 0], [1, 2]])])
    assert time.round_sigma(0.9).dtype == torch.float64
    assert time.round_sigma(asked.float()).dtype == torch.float32
    index, scale = time.at(time.sigmas)
    assert index.tolist() == [0, 1, 2]
    torch.testing.assert_close(scale.square(), torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64), rtol=1e-6, atol=0)


def test_continuous_time_states_its_range() -> None:
    adapted = AdaptedDenoiser(lambda x, t: x, "x0", ContinuousTime(schedules.VP(), sigma_min=0.01, sigma_max=150.0))
    assert (adapted.sigma_min, adapted.sigma_max) == (0.01, 150.0)
    assert float(adapted.round_sigma(0.123)) == 0.123
    free = ContinuousTime(schedules.Flow())
    assert (free.sigma_min, free.sigma_max) == (0.0, math.inf)


def test_network_sees_its_own_type_and_its_first_channels_count() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(0.5, dtype=torch.float32))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            assert (x.dtype, t.dtype) == (torch.float32, torch.float32)
            return torch.cat([self.scale * x, 1e6 * torch.ones_like(x)], dim=1)

    x = torch.ones(2, 3, 4, dtype=torch.float64)
    adapted = AdaptedDenoiser(Half(), "x0", ContinuousTime(schedules.EDM()))
    assert torch.equal(adapted(x, 1.0), 0.5 * x)
    assert [name for name, _ in adapted.named_parameters()] == ["network.scale"]


def test_a_network_inside_a_lambda() -> None:
    """It has no parameters to be asked for their type, so it sees float32 unless told otherwise."""
    net = nn.Linear(4, 4, bias=False)
    time = ContinuousTime(schedules.Flow())
    adapted = AdaptedDenoiser(lambda x, t: net(x), "x0", time)
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(adapted(x, 1.0), net((x / 2).float()).double())
        assert sample(adapted, x.float(), [2.0, 1.0, 0.0]).dtype == torch.float64
        net.double()
        wide = AdaptedDenoiser(lambda x, t: net(x), "x0", time, dtype=torch.float64)
        assert torch.equal(wide(x, 1.0), net(x / 2))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([], "must be a table"),
        ([[0.9, 0.5]], "must be a table"),
        ([0.5, 0.9], "must decrease"),
        ([0.9, 0.9], "must decrease"),
        ([1.0, 0.5], "strictly between 0 and 1"),
        ([0.5, 0.0, 0.0], "must decrease"),
        ([0.5, -0.1], "strictly between 0 and 1"),
        ([0.0], "needs a noise level that is finite"),
        ([math.nan, 0.5], "strictly between 0 and 1"),
    ],
)
def test_bad_tables(table: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiscreteTime(torch.tensor(table))


def test_bad_input() -> None:
    time = ContinuousTime(schedules.EDM())
    with pytest.raises(ValueError, match="predicts is 'score', but must be one of x0, epsilon, v, flow"):
        AdaptedDenoiser(lambda x, t: x, "score", time)
    adapted = AdaptedDenoiser(lambda x, t, labels: x, "x0", time, label_dim=2)
    with pytest.raises(ValueError, match="class index 2 is out of range"):
        adapted(torch.ones(1, 1, 2), 1.0, torch.tensor([2]))
    with pytest.raises(ValueError, match="without classes"):
        AdaptedDenoiser(lambda x, t: x, "x0", time)(torch.ones(1, 1, 2), 1.0, torch.tensor([0]))
