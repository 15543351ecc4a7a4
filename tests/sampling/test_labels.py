"""Which labels a sampling run uses, and that asking for some leaves every other draw as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.sampling import FixedBatch, Sampler, SeededNoise
from elucidiff.sampling.seeds import labels_for

EXAMPLES = torch.tensor([[0.25, -1.0], [3.0, 0.5], [0.1, 7.0]])


class Shifted:
    """Gaussian data whose mean is the label vector: D = (x + sigma^2 v) / (1 + sigma^2)."""

    sample_shape, label_dim, label_kind = (1, 2), 2, "vectors"

    def __init__(self, examples: Tensor | None) -> None:
        self.label_examples = examples

    def __call__(self, x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        variance = sigma.reshape(-1, 1, 1).square()
        return (x + variance * labels[:, None]) / (1 + variance)


def drawn(denoiser: Any, seeds: list[int], labels: Any = None) -> tuple[Tensor | None, Tensor]:
    """The labels, and the noise that follows them."""
    noise = SeededNoise(seeds)
    noise.latents((1, 2))
    return labels_for(denoiser, noise, labels), noise(torch.zeros(len(seeds), 1, 2), 0)


def test_each_seed_draws_one_of_the_examples() -> None:
    seeds = list(range(40))
    rows, _ = drawn(Shifted(EXAMPLES), seeds)
    assert rows is not None
    which = (rows[:, None] == EXAMPLES).all(2)
    assert which.sum(1).tolist() == [1] * 40
    assert bool(which.any(0).all())
    # By its own seed alone.
    few, _ = drawn(Shifted(EXAMPLES), [17, 3])
    assert few is not None
    assert torch.equal(few, rows[[17, 3]])


@pytest.mark.parametrize("labels", [None, [[1.0, 2.0]], [[1, 2]] * 3])
def test_the_noise_that_follows_does_not_depend_on_the_labels(labels: Any) -> None:
    def classes(x: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        raise AssertionError("nothing is denoised here")

    classes.label_dim = 10  # type: ignore[attr-defined]
    _, expected = drawn(classes, [5, 6, 7])
    assert torch.equal(drawn(Shifted(EXAMPLES), [5, 6, 7], labels)[1], expected)
    assert torch.equal(drawn(classes, [5, 6, 7], 4)[1], expected)
    if labels is not None:
        assert torch.equal(drawn(Shifted(None), [5, 6, 7], labels)[1], expected)


def test_vectors_without_examples_must_be_given() -> None:
    with pytest.raises(ValueError, match=r"keeps no examples to draw from: give rows \(B, 2\)"):
        Sampler().run(Shifted(None), [1])


@pytest.mark.parametrize("labels", [1, [0, 1], torch.tensor([0.5, 0.5]), torch.tensor(3)])
def test_vectors_are_not_class_indices(labels: Any) -> None:
    with pytest.raises(ValueError, match="this denoiser takes label vectors"):
        Sampler().run(Shifted(EXAMPLES), [1, 2], labels)


def test_samples_have_the_mean_that_was_asked_for() -> None:
    """Independent of the label the samples would scatter about one place; their mean shows it to 1 / sqrt(400)."""
    rows = EXAMPLES[torch.arange(400) % 3]
    x = Sampler(steps="karras:n=12").run(Shifted(None), range(400), rows).x[:, 0]
    for k in range(3):
        torch.testing.assert_close(x[k::3].mean(0).float(), EXAMPLES[k], atol=0.26, rtol=0)
        assert 0.85 < float(x[k::3].std(0).mean()) < 1.15
    one_for_all = Sampler(steps="karras:n=12").run(Shifted(None), range(400), EXAMPLES[:1])
    assert torch.equal(one_for_all.x[0::3, 0], x[0::3])


def test_a_fixed_batch_passes_the_kind_on() -> None:
    assert FixedBatch(Shifted(EXAMPLES)).label_kind == "vectors"
    assert FixedBatch(DataPosterior(torch.zeros(1, 1, 2))).label_kind == "classes"
