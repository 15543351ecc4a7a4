"""What ``elucidiff evaluate`` is to evaluator: the samples of a model, or pictures."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import elucidiff
from elucidiff.cli.common.labels import labels_or_uniform
from elucidiff.cli.common.models import load_guide
from elucidiff.cli.common.units import of_8_bits, range_advice
from elucidiff.data.subsets import evenly_spread
from elucidiff.evaluation.class_frequencies import told_classes
from elucidiff.evaluation.quality import BlockStore, Extractor, OfDataset, OfModel, open_images
from elucidiff.evaluation.quality.features import Described
from elucidiff.evaluation.quality.reference import kept_features
from elucidiff.interop.opening import checksum
from elucidiff.sampling import parse_seeds

if TYPE_CHECKING:
    from elucidiff.cli.evaluate import Options
    from elucidiff.data import Fingerprint

_SEEDS, _BATCH_SIZE = "0-9999", 16
_OF_A_MODEL = ("seeds", "labels", "batch_size")


@dataclass(frozen=True, eq=False)
class Subject:
    """Images that are to be judged.

    Attributes:
        title: what they are.
        images: the images.
        shape: of an image, (C, *spatial).
        dtype: torch.uint8 for pictures.
        facts: what decides them, as JSON-able values.
        fingerprint: of pictures; None for a model.
    """

    title: str
    images: OfModel | OfDataset
    shape: tuple[int, ...]
    dtype: torch.dtype
    facts: dict[str, Any]
    fingerprint: Fingerprint | None

    @property
    def is_model(self) -> bool:
        """Whether the images are samples of a model."""
        return self.fingerprint is None

    @property
    def doing(self) -> str:
        """What it is to describe them, for a progress bar."""
        return "sampling" if self.is_model else "describing"

    def store(self, folder: Path, extractor: Extractor, cache: Path | None) -> BlockStore:
        """Where their features are kept."""
        if self.fingerprint is not None:
            return kept_features(self.fingerprint, extractor, cache)
        decides = {name: value for name, value in self.facts.items() if name != "seeds"}
        digits = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
        return BlockStore(folder / f"{extractor.key}-{digits}")

    def ready(self, between: Callable[[], object]) -> OfModel | OfDataset:
        """The images, such that ``between`` is called between batches of samples."""
        return replace(self.images, between=between) if isinstance(self.images, OfModel) else self.images

    def about(self, described: Described) -> str:
        """A line for the report."""
        if isinstance(self.images, OfModel):
            evaluations = described.cost.mean()
            classes = told_classes(self.images)
            told = f"seeds {self.images.seeds}, {evaluations:g} network evaluations a sample"
            return f"{told}, {classes}" if classes else told
        return f"{len(self.images):,} pictures, sha256 {self.facts['sha256'][:16]}"

    def cost(self, described: Described) -> dict[str, Any]:
        """Network evaluations a sample, for the results."""
        return {"nfe": float(described.cost.mean())} if self.is_model else {}


def subject_of(options: Options, device: torch.device) -> Subject:
    """Open what is to be judged, and check it.

    Raises:
        ValueError: something of what was asked for is wrong, or does not fit the rest.
        OSError: something cannot be read.
    """
    if (Path(options.what).expanduser() / "model.json").is_file():
        return _samples(options, device)
    given = [name for name in _OF_A_MODEL if getattr(options, name) is not None]
    given += options.sampling.given
    if given:
        flag = given[0].replace("_", "-")
        raise ValueError(f"--{flag} is about a model's samples, but {options.what} is no model folder: leave it out")
    dataset = open_images(options.what)
    if options.images is not None:
        if not 1 <= options.images <= len(dataset):
            raise ValueError(f"--images is {options.images}, but {options.what} holds {len(dataset)} of them")
        dataset = dataset.select(evenly_spread(np.arange(len(dataset)), options.images))
    fingerprint = dataset.without_labels().verify()
    facts = {"images": dataset.name, "count": len(dataset), "sha256": fingerprint.sha256}
    return Subject(dataset.name, OfDataset(dataset), dataset.shape, dataset.dtype, facts, fingerprint)


def _samples(options: Options, device: torch.device) -> Subject:
    if options.images is not None:
        raise ValueError(f"--images is about pictures, but {options.what} is a model: say how many with --seeds")
    folder = Path(options.what).expanduser()
    sampler, seeds = options.sampling.chosen(folder), parse_seeds(options.seeds or _SEEDS)
    if (twice := seeds.first_repeated()) is not None:
        raise ValueError(f"--seeds {options.seeds}: {twice} is there twice, which would count its sample twice")
    denoiser = elucidiff.load(folder).eval().to(device)
    guide = None if options.sampling.guide is None else load_guide(options.sampling.guide, folder, device)
    sampler.sigmas(sampler.guided(denoiser, guide))  # refuses guidance or noise levels that the model does not know
    if advice := range_advice(sampler, denoiser):
        print(advice, file=sys.stderr)
    images = OfModel(
        denoiser,
        sampler,
        seeds,
        labels_or_uniform(options.labels, denoiser, any_class=options.any_class),
        _BATCH_SIZE if options.batch_size is None else options.batch_size,
        guide,
        of_8_bits(denoiser),
    )
    if images.batch_size < 1:
        raise ValueError(f"--batch-size is {images.batch_size}, but must be at least 1")
    facts = images.facts(
        checksum(folder), None if options.sampling.guide is None else checksum(options.sampling.guide)
    )
    facts |= {"device": device.type, "seeds": str(seeds)}
    dtype = torch.uint8 if images.rounded else torch.float32
    return Subject(str(options.what), images, tuple(denoiser.sample_shape), dtype, facts, None)
