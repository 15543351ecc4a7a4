"""Foreign models whose answers are known: the posterior mean over images, asked as each kind of network is asked."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import elucidiff as ed
from elucidiff.data import to_unit

SHAPE = (1, 8, 8)
TABLE = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)


class Blurred(nn.Module):
    """The exact denoiser of digits in [-0.6, 0.6] to which Gaussian noise of std ``spread`` was added once.

    So nearly all of the data are within [-1, 1].
    """

    sample_shape = SHAPE

    def __init__(self, spread: float = 0.1, count: int = 400) -> None:
        super().__init__()
        digits = ed.data.open("digits")
        points = 0.6 * to_unit(digits.images(torch.arange(count))).double()
        self.posterior = ed.ideal.DataPosterior(points)
        self.register_buffer("mean", points.mean(0, keepdim=True))
        self.spread = spread

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = torch.as_tensor(sigma, dtype=torch.float64).reshape(-1).expand(len(x))
        total = level.square() + self.spread**2
        mean = self.posterior(x.double(), total.sqrt())
        share = (self.spread**2 / total).reshape(-1, 1, 1, 1)
        return (mean + share * (x.double() - mean)).to(x.dtype)


class Predicts(nn.Module):
    """What a network would say that predicts one of the kinds, at times and scalings of ``time``.

    The noise level is what the network is told turned back into it, so whoever tells it another time is answered
    for another noise level, as by a real network.
    """

    def __init__(self, kind: str, denoiser: nn.Module, sigma_of) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.kind, self.denoiser, self.sigma_of = kind, denoiser, sigma_of

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """F(x_t; t)."""
        sigma, s = (each.reshape(-1, 1, 1, 1) for each in self.sigma_of(t))
        only_noise = sigma.isinf()
        finite = torch.where(only_noise, 1.0, sigma)
        x = x_t / torch.where(only_noise, 1.0, s)
        clean = torch.where(only_noise, self.denoiser.mean, self.denoiser(x, finite.flatten()))
        noise = torch.where(only_noise, x_t, (x - clean) / finite)
        root = (1 + finite.square()).rsqrt()
        made = {
            "x0": clean,
            "epsilon": noise,
            "score": -noise / (s * finite),
            "v": torch.where(only_noise, -clean, root * (noise - finite * clean)),
            "flow": noise - clean,
        }
        return made[self.kind]


def of_table(t: Tensor) -> tuple[Tensor, Tensor]:
    """Noise level and scaling at indices, whole or not, of :data:`TABLE`."""
    logs = ((1 - TABLE) / TABLE).sqrt().log()
    place = t.double().clamp(0, len(TABLE) - 1)
    below = place.floor().long().clamp(max=len(TABLE) - 2)
    sigma = torch.lerp(logs[below], logs[below + 1], place - below).exp()
    return sigma, (1 + sigma.square()).rsqrt()


def of_flow(t: Tensor) -> tuple[Tensor, Tensor]:
    """Noise level and scaling of a flow at times from 0, data, to 1, noise."""
    return t.double() / (1 - t.double()), 1 - t.double()


def of_vp(t: Tensor) -> tuple[Tensor, Tensor]:
    """Noise level and scaling of the VP schedule."""
    schedule = ed.schedules.VP()
    return schedule.sigma(t.double()), schedule.scale(t.double())


KINDS = ("epsilon table", "v table", "x0 table", "flow", "score vp")


def foreign(kind: str, denoiser: nn.Module | None = None) -> ed.adapters.AdaptedDenoiser:
    """A model of one of :data:`KINDS` behind its adapter."""
    denoiser = denoiser or Blurred()
    adapters = ed.adapters
    predicts, _, where = kind.partition(" ")
    sigma_of = {"table": of_table, "vp": of_vp}.get(where, of_flow)
    time: adapters.Time = adapters.ContinuousTime(ed.schedules.Flow())
    if where == "table":
        time = adapters.DiscreteTime(TABLE, "interpolated")
    elif where == "vp":
        vp = ed.schedules.VP()
        low, high = vp.sigma(torch.tensor([1e-3, 1.0], dtype=torch.float64)).tolist()
        time = adapters.ContinuousTime(vp, sigma_min=low, sigma_max=high)
    network = Predicts(predicts, denoiser, sigma_of)
    return adapters.AdaptedDenoiser(network, predicts, time, dtype=torch.float64, sample_shape=SHAPE)  # type: ignore[arg-type]
