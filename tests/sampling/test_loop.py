"""The sampling loop itself: what callbacks see, types, labels, synchronisation, bad input."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning, schedules, steps
from elucidiff.sampling import Churn, SeededNoise, Step, clamp_range, sample
from elucidiff.solvers import Euler


class TinyNetwork(nn.Module):
    """A network with every kind of input, small enough for a test."""

    sample_shape, label_dim = (2, 4, 4), 3

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2, 2, 3, padding=1)
        self.embed = nn.Linear(1 + self.label_dim, 2)

    def forward(self, x: Tensor, noise_labels: Tensor, class_labels: Tensor, augment_labels: None = None) -> Tensor:
        rows = max(len(noise_labels), len(class_labels))
        told = torch.cat([noise_labels[:, None].expand(rows, -1), class_labels.expand(rows, -1)], dim=1)
        return torch.tanh(self.mix(x) + self.embed(told)[:, :, None, None])


def tiny() -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(TinyNetwork(), preconditioning.EDM()).eval()


def posterior() -> DataPosterior:
    points = torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return DataPosterior(points, torch.tensor([0, 1, 0, 1, 2]))


def test_callback_sees_each_step() -> None:
    denoiser, record = posterior(), []
    latents = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    schedule = schedules.VP()
    x = sample(denoiser, latents, [5.0, 1.0, 0.2, 0.0], schedule=schedule, callback=record.append)
    assert [step.index for step in record] == [0, 1, 2]
    assert [step.nfe for step in record] == [2, 4, 5]
    for step, sigma in zip(record, [5.0, 1.0, 0.2], strict=True):
        assert isinstance(step, Step)
        assert step.sigma == step.sigma_hat == pytest.approx(sigma, rel=1e-12)
        assert step.t == step.t_hat == pytest.approx(float(schedule.time(sigma)), rel=1e-12)
        unscaled = step.x / float(schedule.scale(step.t))
        torch.testing.assert_close(step.denoised, denoiser(unscaled, sigma), rtol=1e-9, atol=1e-12)
    start = latents.double() * 5.0 * float(schedule.scale(record[0].t))
    torch.testing.assert_close(record[0].x, start, rtol=1e-12, atol=0)
    assert x.shape == latents.shape


def test_state_is_float64_while_the_network_sees_its_own_type() -> None:
    seen: set[torch.dtype] = set()
    denoiser = tiny()
    denoiser.network.mix.register_forward_hook(lambda _, inputs, __: seen.add(inputs[0].dtype))
    latents = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    x = sample(denoiser, latents, steps.karras(4))
    assert x.dtype == torch.float64
    assert seen == {torch.float32}
    assert sample(denoiser, latents, steps.karras(4), dtype=torch.float32).dtype == torch.float32
    torch.testing.assert_close(sample(denoiser, latents, steps.karras(4).float()), x, rtol=1e-4, atol=1e-4)


def test_labels_reach_the_denoiser_as_rows() -> None:
    latents = torch.randn(3, 1, 2, 2, generator=torch.Generator().manual_seed(3))
    denoiser, sigmas = posterior(), steps.karras(18)
    points, classes = denoiser.points, denoiser.classes
    for labels in (torch.tensor([2, 1, 0]), torch.eye(3)[[2, 1, 0]]):
        x = sample(denoiser, latents, sigmas, labels=labels)
        nearest = (x[:, None] - points).flatten(2).norm(dim=2).argmin(1)
        assert classes[nearest].tolist() == [2, 1, 0]
    calls = []
    sample(
        lambda x, sigma: calls.append(sigma.shape) or x * 0, latents, sigmas
    )  # no labels: called with two arguments
    assert set(calls) == {torch.Size(())}


def test_default_noise_depends_on_the_latent_alone() -> None:
    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        return x / (1 + sigma * sigma)

    latents = torch.randn(6, 1, 3, generator=torch.Generator().manual_seed(3))
    options = {"sigmas": steps.karras(6), "churn": Churn(6)}
    together = sample(denoiser, latents, **options)
    assert torch.equal(sample(denoiser, latents[[4, 2]], **options), together[[4, 2]])
    explicit = sample(denoiser, latents, noise=SeededNoise(range(6)), **options)
    assert not torch.equal(explicit, together)
    assert torch.equal(sample(denoiser, latents, noise=SeededNoise(range(6)), **options), explicit)


def test_noise_levels_pass_through_round_sigma() -> None:
    table = torch.tensor([0.1, 0.4, 1.6, 6.4], dtype=torch.float64)
    inner, asked = posterior(), []

    class Rounded:
        def round_sigma(self, sigma: Tensor) -> Tensor:
            return table[(sigma[..., None] - table).abs().argmin(-1)]

        def __call__(self, x: Tensor, sigma: Tensor) -> Tensor:
            asked.append(float(sigma))
            return inner(x, sigma)

    sample(Rounded(), torch.ones(1, 1, 2, 2), [6.0, 2.0, 0.3, 0.11, 0.0], churn=Churn(4), solver=Euler())
    # Raised by sqrt(2) and rounded again, not all levels move.
    assert asked == pytest.approx([6.4, 1.6, 0.4, 0.1], rel=1e-12)


def test_clamp_range() -> None:
    class Limited:
        sigma_min, sigma_max = 0.02, 60.0

    assert clamp_range(Limited(), 0.002, 80.0) == (0.02, 60.0)
    assert clamp_range(Limited(), 0.5, 5.0) == (0.5, 5.0)
    assert clamp_range(object(), 0.002, 80.0) == (0.002, 80.0)
    with pytest.raises(ValueError, match="the denoiser supports 0\\.02 to 60"):
        clamp_range(Limited(), 61.0, 80.0)
    with pytest.raises(ValueError, match="sigma_min 3 is not below sigma_max 2"):
        clamp_range(Limited(), 3, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigmas": [1.0]}, "N \\+ 1"),
        ({"sigmas": [[1.0, 0.0]]}, "N \\+ 1"),
        ({"sigmas": [1.0, 2.0, 0.0]}, "must decrease"),
        ({"sigmas": [1.0, 0.0, 0.0]}, "be positive but for the final 0"),
        ({"sigmas": [1.0, -0.5, 0.0]}, "must decrease, and be positive"),
        ({"sigmas": [2.0, 1.0]}, "the last of sigmas is 1, but must be 0"),
        ({"sigmas": [float("nan"), 0.0]}, "not finite"),
        ({"sigmas": [2.0, float("inf"), 0.0]}, "not finite"),
        ({"latents": torch.full((1, 1, 2, 2), float("nan"))}, "latents hold values that are not finite"),
        ({"latents": torch.full((1, 1, 2, 2), float("inf"))}, "latents hold values that are not finite"),
        ({"latents": torch.ones(1, 1, 2, 2, dtype=torch.int64)}, "latents must be floating point"),
        ({"latents": torch.ones(4)}, "latents must be floating point"),
        ({"labels": torch.tensor([3])}, "class index 3 is out of range"),
        ({"labels": torch.tensor([0, 1])}, "there are 2 label rows for 1 sample: give one"),
        ({"denoiser": lambda x, sigma: x[:, :, :1]}, "the denoiser returned shape"),
        (
            {"schedule": schedules.from_sde(lambda t: 0 * t, lambda t: 1 + 0 * t, 1.0)},
            "outside .* the range of this SDE",
        ),
    ],
)
def test_bad_input(change: dict[str, object], message: str) -> None:
    arguments = {"denoiser": posterior(), "latents": torch.ones(1, 1, 2, 2), "sigmas": [2.0, 1.0, 0.0], **change}
    with pytest.raises(ValueError, match=message) as caught:
        sample(**arguments)
    assert "\n" not in str(caught.value)
