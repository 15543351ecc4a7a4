"""The images of an evaluation: pictures, or samples that a model draws as they are needed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.data.dataset import Dataset, Fingerprint
from elucidiff.data.scaling import Pixels, Scaling, scaling_of
from elucidiff.data.subsets import evenly_spread
from elucidiff.denoisers import opening
from elucidiff.denoisers.base import DenoiserLike, DenoiserModule, as_denoiser
from elucidiff.denoisers.labels import KnownLabels
from elucidiff.denoisers.opening import checksum, load, load_guide, weights_checksum
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.evaluation.model_and_data import digest_of, places_of_classes
from elucidiff.evaluation.quality.extractors import Extractor
from elucidiff.evaluation.quality.pictures import open_images
from elucidiff.evaluation.quality.reference import BlockStore, Extracted, OfDataset, kept_features
from elucidiff.launch.interrupt import Watch
from elucidiff.sampling.given import labels_or_uniform
from elucidiff.sampling.grid import range_advice
from elucidiff.sampling.sampler import Sampler, SamplerChoice
from elucidiff.sampling.seeds import SeedRanges, seed_ranges
from elucidiff.untrusted import printable

_LONGEST_NAME = 80


@dataclass(frozen=True, eq=False)
class OfModel:
    """The samples of some seeds; see :class:`.Images`.

    Attributes:
        denoiser: D, which states its ``sample_shape``; used where it is.
        sampler: all sampling choices.
        seeds: one a sample.
        labels: class numbers or rows, taken in turn; None or "uniform" as for :meth:`.Sampler.run`. Whoever asks for
            them has looked whether the model was trained with them.
        batch_size: samples in one call of the denoiser.
        guide: the worse model of autoguidance; see :meth:`.Sampler.run`.
        scaling: from what the denoiser makes to the data, in whose units samples are compared.
        between: called before each batch; may raise to end the work.
    """

    denoiser: DenoiserLike
    sampler: Sampler
    seeds: Sequence[int]
    labels: Tensor | Literal["uniform"] | None = None
    batch_size: int = 16
    guide: DenoiserLike | None = None
    scaling: Scaling = Pixels()  # noqa: RUF009 (frozen)
    between: Callable[[], object] = lambda: None

    def __len__(self) -> int:
        return len(self.seeds)

    def block(self, places: range) -> tuple[Tensor, npt.NDArray[np.float64]]:
        """Samples, and the network evaluations of each.

        Raises:
            ValueError: a sample is not finite; the message names its seed.
        """
        images, nfe = [], []
        for drawn in self.sampler.run_in_parts(
            self.denoiser,
            [self.seeds[place] for place in places],
            lambda part: self.labels_of(places[part.start : part.stop]),
            at_once=self.batch_size,
            before=self.between,
            batch_size=self.batch_size,
            any_class=True,
            guide=self.guide,
        ):
            images.append(self.scaling.to_data(drawn.x).cpu())
            nfe.append(drawn.nfe_each)
        return torch.cat(images), torch.cat(nfe).double().numpy()

    def labels_of(self, places: range) -> Tensor | Literal["uniform"] | None:
        """The labels asked for at some places, as for :meth:`.Sampler.run`."""
        if not isinstance(self.labels, Tensor):
            return self.labels
        return self.labels[torch.tensor(list(places), dtype=torch.int64) % len(self.labels)]

    def name(self, places: range) -> str:
        """See :class:`.Images`: the seeds of the block, and which labels it begins with."""
        seeds = str(SeedRanges.of(self.seeds[place] for place in places))
        text = f"{seeds}@{places.start % len(self.labels)}" if isinstance(self.labels, Tensor) else seeds
        return text if len(text) <= _LONGEST_NAME else hashlib.sha256(text.encode()).hexdigest()[:32]

    def facts(self, model: str, guide: str | None) -> dict[str, Any]:
        """All that decides a sample beside its seed, as JSON-able values.

        Args:
            model: checksum of the model.
            guide: of the guide.
        """
        labels = digest_of(self.labels) if isinstance(self.labels, Tensor) else self.labels
        facts = {
            "model": model,
            "guide": guide,
            "sampler": self.sampler.to_plain(),
            "labels": labels,
            "batch_size": self.batch_size,
            "torch": torch.__version__,
            "scaling": parts.to_plain(self.scaling),
        }
        return json.loads(json.dumps(facts))  # type: ignore[no-any-return]


_SEEDS, _BATCH_SIZE = "0-9999", 16

Labels = str | Tensor | Sequence[Any] | None
ImagesOrModel = str | os.PathLike[str] | Dataset | DenoiserModule


@dataclass(frozen=True, eq=False)
class Subject:
    """Images that are to be evaluated.

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
        """True if the images are samples of a model."""
        return self.fingerprint is None

    @property
    def doing(self) -> str:
        """The work of extracting their features, for a progress bar."""
        return "sampling" if self.is_model else "describing"

    def store(self, folder: Path, extractor: Extractor, cache: Path | None) -> BlockStore:
        """The store of their features."""
        if self.fingerprint is not None:
            return kept_features(self.fingerprint, extractor, cache)
        decides = {name: value for name, value in self.facts.items() if name != "seeds"}
        digits = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
        return BlockStore(folder / f"{extractor.key}-{digits}")

    def ready(self, between: Callable[[], object]) -> OfModel | OfDataset:
        """The images, such that ``between`` is called between batches of samples."""
        return replace(self.images, between=between) if isinstance(self.images, OfModel) else self.images

    def about(self, extracted: Extracted) -> str:
        """A line for the report."""
        if isinstance(self.images, OfModel):
            evaluations = extracted.cost.mean()
            classes = told_classes(self.images)
            told = f"seeds {self.images.seeds}, {evaluations:g} network evaluations a sample"
            return f"{told}, {classes}" if classes else told
        return f"{len(self.images):,} pictures, sha256 {self.facts['sha256'][:16]}"


def is_model(images: ImagesOrModel) -> bool:
    """True if images are to be drawn from a model: a denoiser, or what :func:`elucidiff.load` takes for one."""
    if isinstance(images, (Dataset, DenoiserModule)):
        return isinstance(images, DenoiserModule)
    return opening.is_model(images)


def open_subject(
    images: ImagesOrModel,
    device: torch.device,
    *,
    sampler: SamplerChoice = None,
    seeds: str | Sequence[int] | None = None,
    labels: Labels = None,
    any_class: bool = False,
    guide: Path | DenoiserModule | None = None,
    batch_size: int | None = None,
    count: int | None = None,
    watch: Watch | None = None,
) -> Subject:
    """Open what is to be evaluated, and check it; see :func:`.evaluate`.

    Raises:
        ValueError: something of what was asked for is wrong, or does not fit the rest.
        OSError: something cannot be read.
    """
    if is_model(images):
        assert not isinstance(images, Dataset)
        if count is not None:
            raise ValueError(f"--images is about pictures, but {images} is a model: say how many with --seeds")
        return _samples(
            images, device, sampler, seeds, labels, any_class, guide,
            _BATCH_SIZE if batch_size is None else batch_size, watch or Watch(),
        )  # fmt: skip
    of_a_model = {"seeds": seeds, "labels": labels, "batch_size": batch_size, "sampler": sampler, "guide": guide}
    if given := [name for name, value in of_a_model.items() if value is not None]:
        flag = given[0].replace("_", "-")
        raise ValueError(f"--{flag} is about a model's samples, but {images} is no model: leave it out")
    assert not isinstance(images, DenoiserModule)
    dataset = images if isinstance(images, Dataset) else open_images(str(images))
    if count is not None:
        if not 1 <= count <= len(dataset):
            raise ValueError(f"--images is {count}, but {images} holds {len(dataset)} of them")
        dataset = dataset.select(evenly_spread(np.arange(len(dataset)), count))
    fingerprint = dataset.without_labels().without_conditions().verify()
    facts = {"images": dataset.name, "count": len(dataset), "sha256": fingerprint.sha256}
    return Subject(dataset.name, OfDataset(dataset), dataset.shape, dataset.dtype, facts, fingerprint)


def _samples(
    model: str | os.PathLike[str] | DenoiserModule,
    device: torch.device,
    choice: SamplerChoice,
    seeds: str | Sequence[int] | None,
    labels: Labels,
    any_class: bool,
    guide: Path | DenoiserModule | None,
    batch_size: int,
    watch: Watch,
) -> Subject:
    ranges = seed_ranges(_SEEDS if seeds is None else seeds)
    if (twice := ranges.first_repeated()) is not None:
        raise ValueError(f"--seeds {seeds}: {twice} is there twice, which would count its sample twice")
    place = None if isinstance(model, DenoiserModule) else model
    denoiser = model.to(device) if isinstance(model, DenoiserModule) else load(model, device)
    guided_by = guide if guide is None or isinstance(guide, DenoiserModule) else load_guide(guide, place, device)
    sampler = Sampler.chosen(choice, denoiser)
    sigmas = sampler.sigmas(sampler.guided(denoiser, guided_by))  # refuses what the models do not know
    if advice := range_advice(sigmas, denoiser):
        watch.note(f"warning: {advice}")
    asked = labels_or_uniform(labels, denoiser, any_class=any_class)
    if batch_size < 1:
        raise ValueError(f"--batch-size is {batch_size}, but must be at least 1")
    images = OfModel(denoiser, sampler, ranges, asked, batch_size, guided_by, scaling_of(denoiser))
    facts = images.facts(_identity(model), None if guide is None else _identity(guide))
    facts |= {"device": device.type, "seeds": str(ranges)}
    title = "samples" if isinstance(model, DenoiserModule) else str(model)
    dtype, shape = images.scaling.data_dtype, images.scaling.data_shape(tuple(denoiser.sample_shape))
    return Subject(title, images, shape, dtype, facts, None)


def _identity(model: str | os.PathLike[str] | DenoiserModule) -> str:
    """The checksum of a model somewhere, or of the weights of a denoiser and what is around them."""
    if not isinstance(model, DenoiserModule):
        return checksum(model)
    around = model.preconditioning if isinstance(model, Denoiser) else type(model).__qualname__
    return hashlib.sha256(f"{around!r}{weights_checksum(model)}".encode()).hexdigest()


# The share of the samples that is of other classes than in the reference, from which on it is worth a word; and how
# many times what chance alone makes of it.
_SHARE, _TIMES = 0.02, 3.0


def told_classes(images: OfModel) -> str:
    """The choice of a model's classes, in a few words; empty where nothing is known of them."""
    known: KnownLabels = as_denoiser(images.denoiser).known_labels
    if not known.dim or known.kind == "vectors":
        return ""
    if isinstance(images.labels, Tensor):
        return ""
    if images.labels is not None:
        return "classes drawn equally often"
    shares = known.shares()
    return f"classes drawn as often as in training ({shares})" if shares else "classes drawn equally often"


def frequencies_advice(images: OfModel, reference: Dataset | Path) -> str | None:
    """A line if the samples are of other classes than the reference, or of the same in other numbers; else None.

    A reference without labels, such as a file of statistics, is taken to have the classes as often as the training
    data.
    """
    known: KnownLabels = as_denoiser(images.denoiser).known_labels
    if not known.dim or known.kind == "vectors":
        return None
    drawn = _drawn(images, known)
    if isinstance(reference, Path) or reference.classes is None:
        return _advice_without_labels(images, known, drawn, reference.name)
    found = torch.zeros(known.dim + 1, dtype=torch.float64)  # the last for classes that the model does not know
    places = places_of_classes(reference, known)
    for index, count in enumerate(reference.class_counts):
        found[places.get(index, known.dim)] += count / len(reference)
    difference = float((drawn - found).abs().sum()) / 2
    chance = float((found * (1 - found) / len(reference)).sqrt().sum()) / 2
    if difference <= max(_SHARE, _TIMES * chance):
        return None
    worst = int((drawn - found).abs().argmax())
    name = printable(known.name(worst)) if worst < known.dim else "those that the model does not know"
    return (
        f"classes are not as frequent in the samples as in {reference.name} (class {name}: {float(drawn[worst]):.1%} "
        f"of the samples, {float(found[worst]):.1%} of the reference), and metrics count that: choose "
        "--labels, or a reference with the frequencies of the training data"
    )


def _advice_without_labels(images: OfModel, known: KnownLabels, drawn: Tensor, reference: str) -> str | None:
    if images.labels is None or not known.counts:
        return None
    trained = torch.tensor(known.counts, dtype=torch.float64)
    difference = drawn[:-1] - trained / trained.sum()
    if float(difference.abs().sum()) / 2 <= _SHARE:
        return None
    worst = int(difference.abs().argmax())
    share = float(trained[worst] / trained.sum())
    return (
        f"classes are not as frequent in the samples as in the training data (class {printable(known.name(worst))}: "
        f"{float(drawn[worst]):.1%} of the samples, {share:.1%} of the training data), "
        f"and metrics count that if they are not so in {reference}, which has no labels, either"
    )


def _drawn(images: OfModel, known: KnownLabels) -> Tensor:
    """The share of each class among the samples, and 0 for classes that are not known."""
    if isinstance(images.labels, Tensor):
        counts = known.rows(images.labels).sum(0).double()
    elif images.labels is None and known.counts:
        counts = torch.tensor(known.counts, dtype=torch.float64)
    else:
        counts = torch.zeros(known.dim, dtype=torch.float64)
        counts[list(known.trained)] = 1
    return torch.cat([counts / counts.sum(), counts.new_zeros(1)])
