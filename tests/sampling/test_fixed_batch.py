"""A sample's bits do not depend on its batch: with networks, churn, labels, any order, and every kind of solver."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from elucidiff import networks
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning
from elucidiff.sampling import FixedBatch, Sampler, SeededNoise, sample, sample_predictor_corrector, sample_sde
from elucidiff.sampling.churn import Churn, Restart
from elucidiff.solvers import ERSDE, UniPC


@functools.cache
def denoiser(architecture: str) -> Denoiser:
    """A network with weights large enough that no path is silent."""
    settings = {
        "channel_multipliers": (1, 2),
        "blocks_per_level": 1,
        "attention_resolutions": (4,),
        "label_dim": 10,
        "base_channels": 32,
    }
    network = networks.ADM((1, 8, 8), **settings) if architecture == "adm" else networks.UNet((1, 8, 8), **settings)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.08 if parameter.ndim > 1 else 0.3, generator=generator)
    return Denoiser(network, preconditioning.EDM()).eval()


CASES = {
    "heun": ("unet", Sampler(steps="karras:n=2")),
    "churn": (
        "unet",
        Sampler(steps="karras:n=3", churn=Churn(amount=5, sigma_min=0.01, sigma_max=50, noise_scale=1.007)),
    ),
    "euler, vp, churn": (
        "adm",
        Sampler(steps="karras:n=3", schedule="vp_fitted", solver="euler", churn=Churn(amount=1)),
    ),
    "sa_solver, restarts": (
        "unet",
        Sampler(steps="karras:n=3", solver="sa_solver", restarts=Restart(repeats=1, steps=2, sigma_max=9)),
    ),
}


def assert_invariant(architecture: str, sampler: Sampler, count: int) -> None:
    """Samples drawn alone, in sevens and in another order are those of one batch of ``count``, to the bit."""

    def run(seeds: list[int]) -> Tensor:
        return sampler.run(denoiser(architecture), seeds).x

    seeds = list(range(1000, 1000 + count))
    together = run(seeds)
    assert together.std() > 0.05
    order = torch.randperm(count, generator=torch.Generator().manual_seed(5)).tolist()
    for rows in ([0], [count - 1], [11, 12, 13, 14, 15, 16, 17], order):
        assert torch.equal(run([seeds[row] for row in rows]), together[rows])


@pytest.mark.parametrize("name", CASES)
def test_a_sample_depends_on_its_seed_alone(name: str) -> None:
    assert_invariant(*CASES[name], count=64)


@pytest.mark.slow
def test_a_sample_depends_on_its_seed_alone_with_an_adaptive_solver() -> None:
    """Samples arrive at different times, so the chunks are filled with different neighbours all along."""
    assert_invariant("unet", Sampler(steps="karras:sigma_min=0.1", solver="rk45:rtol=0.03,atol=0.03"), count=20)


@pytest.mark.slow
def test_a_sample_depends_on_its_seed_alone_with_two_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert_invariant(*CASES["churn"], count=20)
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "deterministic": functools.partial(sample, sigmas=[40.0, 5.0, 0.5, 0.0]),
    "churn": functools.partial(sample, sigmas=[40.0, 5.0, 0.5, 0.0], churn=Churn(2.0, noise_scale=1.007)),
    "unipc": functools.partial(sample, sigmas=[40.0, 5.0, 0.5, 0.1, 0.0], solver=UniPC(3)),
    "er_sde": functools.partial(sample, sigmas=[40.0, 5.0, 0.5, 0.1, 0.0], solver=ERSDE(3)),
    "sde": functools.partial(sample_sde, sigmas=[40.0, 5.0, 0.5, 0.0]),
    "predictor-corrector": functools.partial(sample_predictor_corrector, sigmas=[40.0, 5.0, 0.0]),
}


def draw(function: Callable[..., Tensor], seeds: list[int], **options: object) -> Tensor:
    noise = SeededNoise(seeds)
    latents = noise.latents((1, 8, 8))
    return function(denoiser("unet"), latents, noise=noise, **options)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_sampling_functions_give_the_same_bits_whatever_the_batch(name: str) -> None:
    together = draw(FUNCTIONS[name], list(range(64)))
    assert together.std() > 0.05
    order = torch.randperm(64, generator=torch.Generator().manual_seed(6)).tolist()
    alone = range(64) if name in ("deterministic", "churn") else (0, 17, 63)
    for rows in (*([row] for row in alone), list(range(20, 27)), order):
        assert torch.equal(draw(FUNCTIONS[name], rows), together[rows])


def test_which_denoisers_are_called_in_batches_of_one_size() -> None:
    """Modules, in the size asked for; other callables as they are, and modules, too, if so wished."""
    sizes: list[int] = []

    class Module(nn.Module):
        def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
            sizes.append(len(x))
            return x / (1 + sigma * sigma)

    latents = torch.randn(5, 1, 2, generator=torch.Generator().manual_seed(0))
    for function in FUNCTIONS.values():
        for module, options, expected in (
            (Module(), {}, {16}),
            (Module(), {"batch_size": 3}, {3}),
            (Module(), {"batch_size": None}, {5}),
            (Module().forward, {}, {5}),
        ):
            sizes.clear()
            function(module, latents, **options)
            assert set(sizes) == expected
        with pytest.raises(ValueError, match="batch size is 0"):
            function(Module(), latents, batch_size=0)


def test_without_it_bits_depend_on_the_batch_and_by_how_much() -> None:
    """The measured bound of the effect that FixedBatch removes: a few units in the last place of float32."""
    inner = denoiser("unet")
    x = 2 * torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        whole, sevens = inner(x, 2.0), torch.cat([inner(part, 2.0) for part in x.split(7)])
    assert float((whole - sevens).abs().max()) < 2e-6 * float(whole.abs().max())


class Recorder:
    """A denoiser that tells apart all its inputs and notes how it was called."""

    def __init__(self) -> None:
        self.calls: list[tuple[torch.Size, torch.Size, torch.Size | None]] = []

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None) -> Tensor:
        self.calls.append((x.shape, sigma.shape, None if labels is None else labels.shape))
        row = 0 if labels is None else labels[:, :1, None]
        return x * (2 + sigma.reshape(-1, 1, 1)) + row


@pytest.mark.parametrize("batch", [1, 3, 4, 5, 9])
def test_calls_have_one_size_and_give_the_same_result(batch: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 1, 3, generator=generator)
    several, one, labels = torch.rand(batch, generator=generator), torch.tensor(0.3), torch.rand(batch, 2)
    for sigma, size in ((several, (4,)), (one, ()), (one[None], (4,))):
        for rows, row_size in ((None, None), (labels, (4, 2)), (labels[:1], (4, 2))):
            recorder = Recorder()
            given = () if rows is None else (rows,)
            assert torch.equal(FixedBatch(recorder, 4)(x, sigma, *given), Recorder()(x, sigma, *given))
            assert recorder.calls == [((4, 1, 3), size, row_size)] * -(-batch // 4)


def test_passes_on_what_the_denoiser_states_and_else_no_restriction() -> None:
    inner = Denoiser(denoiser("unet").network, preconditioning.IDDPM())
    fixed = FixedBatch(inner)
    assert (fixed.sigma_min, fixed.sigma_max) == (inner.sigma_min, inner.sigma_max)
    assert (fixed.sample_shape, fixed.label_dim) == ((1, 8, 8), 10)
    levels = torch.tensor([0.3, 4.4], dtype=torch.float64)
    assert torch.equal(fixed.round_sigma(levels), inner.round_sigma(levels))
    bare = FixedBatch(Recorder())
    assert (bare.sigma_min, bare.sigma_max, bare.sample_shape, bare.label_kind) == (0.0, math.inf, (), "conditions")
    assert torch.equal(bare.round_sigma(levels), levels)


def test_bad_size() -> None:
    with pytest.raises(ValueError, match="batch size is 0"):
        FixedBatch(Recorder(), 0)
