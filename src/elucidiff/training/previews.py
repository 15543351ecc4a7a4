"""Previews of a run: samples from always the same seeds, from the first minutes on and at growing intervals."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from elucidiff.data import Dataset, scaling_of
from elucidiff.data.given import ConditionScaling, given_with
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.conditions import each, is_named
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.denoisers.tuned import FEW, few_steps, is_tuned
from elucidiff.design.steps import Karras
from elucidiff.networks import resampled
from elucidiff.networks.fields import FIELD
from elucidiff.sampling.grid import range_for
from elucidiff.sampling.sampler import Sampler

GROWTH = 1.5
"""A preview comes when so many times the images of the one before have been seen."""
SAMPLES = 40


def preview_due(first: int, before: int, now: int) -> bool:
    """True if a preview is due between two numbers of training images.

    Previews are due after ``first``, 1.5 ``first``, 1.5^2 ``first`` ... images: a function of the number of images
    alone, so that a resumed run and all processes of a run agree on it.

    Args:
        first: images before the first preview.
        before: images at the last step.
        now: images now.

    >>> [images for images in range(100, 1100, 100) if preview_due(200, images - 100, images)]
    [200, 300, 500, 700]
    """
    if now < first:
        return False
    # The last moment that has come; rounded up to whole images.
    last = max(0, math.floor(math.log(now / first, GROWTH) + 1e-9))
    return math.ceil(first * GROWTH**last - 1e-6) > before


def quick_sampler(model: DenoiserModule) -> Sampler:
    """12 steps, about as close to the exact solution as 18 of Heun's method, in a third of the evaluations.

    Args:
        model: the paper's range of noise levels is scaled to its data. One that was tuned for few evaluations is
            sampled in its own way.
    """
    if is_tuned(model):
        return Sampler.usual(model)
    return Sampler(Karras(12, *range_for(model.sigma_data)), solver="ipndm:order=3")


def preview_samples(model: Denoiser, count: int = SAMPLES, pairs: Dataset | None = None) -> tuple[Tensor, int]:
    """Samples from the seeds 0, 1, 2, ... and how many of them make a row.

    Of a model that was tuned for few evaluations there are samples in 1, 2 and 4 of them, of the same seeds.

    With pairs, a row is a condition, samples for it, and the image that it is of; the same seeds in each row. A
    condition is brought to the sample's size; of its channels as many are shown as a sample has, or the first.

    Random numbers come from the seeds' own generators: a training does not notice that it is looked at.

    Args:
        model: the denoiser.
        count: how many samples.
        pairs: images with conditions.

    Returns:
        ``(count, C, *spatial)``, and the columns: with classes one for each class that was trained, if they fit.
    """
    if pairs is not None:
        return _rows_of_pairs(model, pairs)
    known = model.known_labels
    classes = len(known.trained) if known.kind == "classes" and known.dim else 0
    labels, columns = None, 8
    if classes:
        columns = classes if 1 < classes <= count else 8
        count = max(columns, count // columns * columns)
        places = torch.tensor(list(known.trained))[torch.arange(count) % classes]
        labels = torch.nn.functional.one_hot(places, known.dim).float()
    if not is_tuned(model):
        return quick_sampler(model).run(model, range(count), labels).x, columns
    few = (Sampler(few_steps(n, model.sigma_data), solver="consistency") for n in FEW.values())
    return torch.cat([sampler.run(model, range(count), labels).x for sampler in few]), columns


_FOR_EACH = 4


def _rows_of_pairs(model: Denoiser, pairs: Dataset) -> tuple[Tensor, int]:
    given, truth = given_with(pairs, ConditionScaling.of(model)), scaling_of(model).to_model(pairs.images())
    assert is_named(given)
    channels, each_of = truth.shape[1], range(len(pairs))
    rows = torch.tensor([row for row in each_of for _ in range(_FOR_EACH)])
    seeds = [seed for _ in each_of for seed in range(_FOR_EACH)]
    drawn = quick_sampler(model).run(model, seeds, each(given, lambda value: value[rows])).x.cpu()
    field = resampled(given[FIELD], truth.shape[2:])
    shown = field[:, :channels] if field.shape[1] >= channels else field[:, :1].expand_as(truth)
    samples = drawn.reshape(len(pairs), _FOR_EACH, *truth.shape[1:])
    table = torch.cat([shown[:, None].to(samples), samples, truth[:, None].to(samples)], dim=1)
    return table.flatten(0, 1), _FOR_EACH + 2
