"""The model of a finished run, measured: samples, their nearest training images, distances with error bars."""

from __future__ import annotations

import io
import json
import math
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.data import Dataset, scaling_of
from elucidiff.data.given import ConditionScaling, given_with
from elucidiff.data.nearest import compared_with, nearest_in
from elucidiff.data.sources import ArraySource
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.opening import load
from elucidiff.evaluation.quality.evaluation import evaluate
from elucidiff.files import write_whole
from elucidiff.sampling.sampler import Sampler
from elucidiff.training import TrainingConfig
from elucidiff.training.batches import TrainingData
from elucidiff.training.previews import quick_sampler
from elucidiff.untrusted import read_json, reading

QUALITY, PICTURES = "quality.json", "quality.npz"
SAMPLES = 256
_SHOWN, _PAIRS = 64, 8
_COMPONENTS = 20
_METRICS = ("fid", "kid")

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class RunQuality:
    """Measurements of a run's model.

    Attributes:
        facts: numbers, JSON-able: ``samples``, ``nfe``, ``extractor``; ``metrics`` and ``real`` (name -> value,
            error, images); and ``closer_than_real``, the share of samples closer to a training image than 95% of
            the held-out images are.
        samples: the first of them, 8-bit for pictures.
        closest: the samples that are closest to a training image, the closest first.
        nearest: the training image nearest to each of these.
        distances: of every sample to its nearest training image, root mean square difference per value.
        real_distances: of the held-out images; empty where none were held out.
    """

    facts: dict[str, Any]
    samples: Array
    closest: Array
    nearest: Array
    distances: Array
    real_distances: Array

    def save(self, run_dir: Path) -> None:
        """Write ``quality.json`` and ``quality.npz`` into the run folder."""
        file = io.BytesIO()
        np.savez_compressed(file, **{name: getattr(self, name) for name in _ARRAYS})
        write_whole(run_dir / PICTURES, file.getvalue())
        write_whole(run_dir / QUALITY, json.dumps(self.facts, indent=1) + "\n")

    @classmethod
    def load(cls, run_dir: Path) -> RunQuality:
        """Read back what :meth:`save` wrote.

        Raises:
            OSError: it is not there.
            ValueError: it is damaged.
        """
        facts = read_json(run_dir / QUALITY)
        with reading(run_dir / PICTURES), np.load(run_dir / PICTURES, allow_pickle=False) as arrays:
            return cls(facts, *(arrays[name] for name in _ARRAYS))


_ARRAYS = ("samples", "closest", "nearest", "distances", "real_distances")


def measure_run(
    run_dir: str | os.PathLike[str],
    *,
    count: int = SAMPLES,
    dataset: Dataset | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> RunQuality:
    """Draw samples from the model of a run, and compare them with what it was trained on and with what was held out.

    Distances of quality are between 20 principal components of the training images, which suit data of any kind and
    need no network; feature networks say more about pictures: :func:`.evaluate`.

    Args:
        run_dir: the run folder.
        count: samples to draw.
        dataset: what was trained on, where ``config.data`` does not name it.
        progress: called as ``progress(done, count)`` while samples are drawn.

    Raises:
        OSError: the run, or its data, cannot be read.
        ValueError: they are damaged, or the data are not those of the run.
    """
    folder = Path(run_dir)
    config = TrainingConfig.load(folder / "config.yaml")
    data = TrainingData.open(config, dataset)
    model = load(folder / "model", config.device)
    sampler = quick_sampler(model)
    x, nfe = _draw(model, sampler, count, progress, data.held_out or data.train)
    shown = scaling_of(model).to_data(x)
    drawn = Dataset("samples", ArraySource(shown.numpy()))
    # Latents are compared as they are, and not once more encoded; all else as it is shown.
    of_latents = data.train.autoencoder is not None
    distances, places = _nearest(x.float() if of_latents else data.scaling.to_model(shown), data)
    held_out, pictures = data.held_out, data.train.pictures or data.train
    real = np.zeros(0) if held_out is None else _nearest(data.scaling.to_model(held_out.images()), data)[0]
    order = np.argsort(distances, kind="stable")[:_PAIRS]
    components = max(1, min(_COMPONENTS, len(pictures) // 2, count // 2, math.prod(data.shape) // 2))
    compared = {"metrics": drawn, "real": held_out and (held_out.pictures or held_out)}
    # Both are compared with the same features of the training images, which are computed once.
    with tempfile.TemporaryDirectory(prefix="elucidiff-") as cache:
        measured = {name: _metrics(images, pictures, components, Path(cache)) for name, images in compared.items()}
    facts = {
        "samples": count,
        "nfe": nfe,
        "sampler": sampler.to_text(),
        "extractor": f"pca-{components}",
        **measured,
        "closer_than_real": float((distances < np.quantile(real, 0.05)).mean()) if len(real) else None,
    }
    return RunQuality(
        facts, shown[:_SHOWN].numpy(), shown[order].numpy(), pictures.images(places[order]).numpy(), distances, real
    )


def _draw(
    model: DenoiserModule,
    sampler: Sampler,
    count: int,
    progress: Callable[[int, int], object],
    pairs: Dataset,
) -> tuple[Tensor, float]:
    """Samples from the seeds 0, 1, 2, ..., each with a label as often as the data have it, or for a condition of
    ``pairs``, taken in turn."""
    conditions = ConditionScaling.of(model)

    def given(places: range) -> Conditions | None:
        return given_with(pairs, conditions, torch.tensor(places) % len(pairs)) if model.known_labels.field else None

    found: list[Tensor] = []
    nfe = 0.0
    for part in sampler.run_in_parts(model, range(count), given, at_once=_SHOWN):
        found.append(part.x.cpu())
        nfe = float(part.nfe_each.double().mean())
        progress(sum(map(len, found)), count)
    return torch.cat(found), nfe


def _nearest(seen: Tensor, data: TrainingData) -> tuple[Array, Array]:
    """Distances to the nearest training images, as the model sees both, and the places of these."""
    train = data.train
    distances, places = nearest_in(seen.nan_to_num(0.0), train, compared_with(train), 1, data.scaling)
    return distances[:, 0].numpy(), places[:, 0]


def _metrics(images: Dataset | None, train: Dataset, components: int, cache: Path) -> dict[str, dict[str, float]]:
    """Each with its error; none where there are too few images for any."""
    if images is None or len(images) <= components:
        return {}
    found = evaluate(
        images.without_labels(), train.without_labels(), metrics=_METRICS, extractor=f"pca-{components}", cache=cache
    )
    return {
        name: {"value": found[name].value, "error": found[name].error, "images": len(images)} for name in _METRICS
    }
