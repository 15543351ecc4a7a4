"""Evaluation of samples or pictures, from opening them to the table: what ``elucidiff evaluate`` does."""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import elucidiff
from elucidiff.data.dataset import Dataset
from elucidiff.data.scaling import Scaling
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.devices import choose_device
from elucidiff.evaluation.quality.evaluator import Evaluator, Measured, Quality, check_images, markdown, repeated
from elucidiff.evaluation.quality.metric_sets import check_metrics, metrics_of
from elucidiff.evaluation.quality.pictures import open_images
from elucidiff.evaluation.quality.principal import extractor_by_name
from elucidiff.evaluation.quality.reference import Extracted, extract_features, holds_statistics, open_reference
from elucidiff.evaluation.quality.subject import (
    ImagesOrModel,
    Labels,
    OfModel,
    Subject,
    frequencies_advice,
    open_subject,
)
from elucidiff.files import remove_unfinished, write_whole
from elucidiff.launch.interrupt import Watch
from elucidiff.launch.output_folder import check_same_work, held
from elucidiff.notebooks import table_html
from elucidiff.sampling.sampler import SamplerChoice
from elucidiff.suggest import names_in
from elucidiff.untrusted import read_json

RESULTS, TABLE, FEATURES = "results.json", "results.md", "features"
_DEFAULT = ["fid", "kid"]


@dataclass(frozen=True)
class Evaluation:
    """Metrics of samples or pictures, and how they came about.

    Attributes:
        title: of what was evaluated.
        about: a line about it.
        quality: the metrics, each with its error, and warnings.
        nfe: network evaluations a sample; None for pictures.
        facts: all that decides the results, JSON-able.
    """

    title: str
    about: str
    quality: Quality
    nfe: float | None
    facts: Mapping[str, Any]

    def __getitem__(self, metric: str) -> Measured:
        """A metric by its name: its ``value`` and ``error``."""
        return self.quality.metrics[metric]

    def _repr_html_(self) -> str:
        """What was evaluated and its metrics, for notebooks."""
        about = [("evaluated", self.title), ("how", self.about)]
        if self.nfe is not None:
            about.append(("network evaluations", f"{self.nfe:g} a sample"))
        return table_html("Evaluation", about) + self.quality._repr_html_()

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        cost = {} if self.nfe is None else {"nfe": self.nfe}
        return {**self.quality.to_dict(), **cost, "facts": dict(self.facts)}

    def to_markdown(self) -> str:
        """The table and what it is of, the same each time."""
        return f"# {self.title}\n\n{self.about}\n\n{markdown(self.quality)}"

    def save(self, folder: Path) -> None:
        """Write ``results.json`` and ``results.md``.

        Raises:
            OSError: one cannot be written.
        """
        write_whole(folder / TABLE, self.to_markdown())
        write_whole(folder / RESULTS, json.dumps(self.to_dict(), indent=1) + "\n")


def evaluate(
    images: ImagesOrModel,
    reference: str | os.PathLike[str] | Dataset,
    *,
    metrics: str | Sequence[str] | None = None,
    extractor: str = "inception-v3",
    weights: Path | None = None,
    repeats: int = 1,
    count: int | None = None,
    sampler: SamplerChoice = None,
    seeds: str | Sequence[int] | None = None,
    labels: Labels = None,
    any_class: bool = False,
    guide: Path | DenoiserModule | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    extractor_batch_size: int | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    cache: Path | None = None,
    watch: Watch | None = None,
) -> Evaluation:
    """Measure how good samples or pictures are against reference data: FID and the like, each with its error.

    Example::

        found = ed.evaluation.evaluate(
            "runs/demo/model", "digits", extractor="pca-20", metrics="fid,kid",
            sampler="heun steps=karras:n=8", seeds=range(1000),
        )
        found["fid"].value, found["fid"].error, found.nfe
        print(found.to_markdown())

    Args:
        images: what :func:`elucidiff.load` opens, or a denoiser, whose samples are drawn as they are needed and not
            kept; or pictures: a data set, its name, or a path.
        reference: what to compare with: a data set, its name or path, or a ``.npz`` of statistics.
        metrics: some of fid, fid_infinity, kid, precision, recall and is (fid and kid; for statistics fid alone).
        extractor: describes images; see :func:`.extractor_by_name`.
        weights: file with its weights, where they are not to be fetched.
        repeats: split seeds or pictures into so many blocks; errors are then those of the mean over blocks.
        count: of pictures: take so many, evenly spread.
        sampler: of a model: how to draw, such as "ipndm:order=3 steps=karras:n=8"; see :data:`.SamplerChoice`.
        seeds: of a model: one sample each, a text such as "0-9999" (the default) or numbers.
        labels: of a model: names, numbers or rows, taken in turn; None lets each seed draw its own.
        any_class: take classes that the training data did not have.
        guide: of a model: the worse model of autoguidance.
        batch_size: of a model: samples in one call of the network (16).
        device: where to compute.
        extractor_batch_size: images in one call of the extractor (8 on a CPU, 64 elsewhere).
        out: folder for results and features of samples, in which what was stopped goes on; None keeps nothing.
        overwrite: write over the results of another evaluation.
        cache: folder for features of data sets.
        watch: is told how it goes, and may end it.

    Raises:
        ValueError: something of what was asked for is wrong or does not fit the rest, or ``out`` holds other results.
        OSError: something cannot be read, written or fetched.

    >>> import elucidiff as ed
    >>> digits = ed.data.open("digits")
    >>> found = ed.evaluation.evaluate(digits, "digits", extractor="pca-5", metrics="fid")
    >>> abs(found["fid"].value) < 1e-6, found.quality.count  # the distance of the data from themselves
    (True, 1797)
    """
    watch = watch or Watch()
    place = choose_device(device)
    if isinstance(reference, os.PathLike):
        reference = os.fspath(reference)
    if metrics is None:
        chosen = _DEFAULT[:1] if isinstance(reference, str) and holds_statistics(reference) else _DEFAULT
    else:
        chosen = _known(metrics)
    subject = open_subject(
        images, place, sampler=sampler, seeds=seeds, labels=labels, any_class=any_class, guide=guide,
        batch_size=batch_size, count=count, watch=watch,
    )  # fmt: skip
    each = _count_of_each(len(subject.images), repeats)
    with contextlib.ExitStack() as stack:
        if out is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="elucidiff-")))
        else:
            folder = Path(out)
            stack.enter_context(held(folder))
        evaluator = evaluator_for(
            subject, reference, chosen, each, extractor, place,
            weights=weights, batch_size=extractor_batch_size, cache=cache, watch=watch,
        )  # fmt: skip
        facts = _facts(subject, evaluator, repeats)
        if out is not None and not overwrite:
            _check_results(folder, facts)
        extracted = _extracted(subject, evaluator, folder / FEATURES, cache, watch)
        quality = _quality(evaluator, extracted, each, watch)
        nfe = float(extracted.cost.mean()) if subject.is_model else None
        found = Evaluation(subject.title, subject.about(extracted), quality, nfe, facts)
        if out is not None:
            found.save(folder)
    return found


def evaluator_for(
    subject: Subject,
    reference: str | Dataset,
    metrics: Sequence[str],
    count: int,
    extractor: str,
    device: torch.device,
    *,
    weights: Path | None = None,
    batch_size: int | None = None,
    cache: Path | None = None,
    watch: Watch | None = None,
) -> Evaluator:
    """The evaluator of images. Everything is checked before any features are extracted.

    Args:
        subject: the images.
        reference: see :func:`evaluate`.
        metrics: by name.
        count: images in each block.
        extractor: see :func:`.extractor_by_name`.
        device: where to compute.
        weights: of the extractor.
        batch_size: images in one call of it.
        cache: folder for features of data sets.
        watch: is told how it goes, and may end it.

    Raises:
        ValueError: something does not fit the rest, or a file is damaged.
        OSError: something cannot be read, written or fetched.
    """
    source: Dataset | Path
    if isinstance(reference, Dataset):
        source = reference
    else:
        source = Path(reference).expanduser() if holds_statistics(reference) else open_images(reference)
    return evaluator_against(
        source, metrics, subject.shape, subject.dtype, count, extractor, device,
        weights=weights, batch_size=batch_size, cache=cache, watch=watch,
        advice=frequencies_advice(subject.images, source) if isinstance(subject.images, OfModel) else None,
    )  # fmt: skip


def usual_extractor(shape: Sequence[int], dtype: torch.dtype, count: int) -> str:
    """The name of the extractor where none is chosen: inception-v3 for 8-bit pictures, else principal components.

    >>> usual_extractor((3, 32, 32), torch.uint8, 10_000), usual_extractor((2, 128), torch.float32, 10_000)
    ('inception-v3', 'pca-20')
    """
    if dtype == torch.uint8 and len(shape) == 3 and shape[0] in (1, 3):
        return "inception-v3"
    return f"pca-{max(1, min(20, math.prod(shape) // 2, count // 2))}"


def evaluator_against(
    source: Dataset | Path,
    metrics: Sequence[str],
    shape: Sequence[int],
    dtype: torch.dtype,
    count: int,
    extractor: str,
    device: torch.device,
    *,
    weights: Path | None = None,
    batch_size: int | None = None,
    cache: Path | None = None,
    watch: Watch | None = None,
    advice: str | None = None,
    scaling: Scaling | None = None,
) -> Evaluator:
    """The evaluator of images of a shape and type against a data set or a file of statistics, likewise.

    Args:
        source: the reference, opened; of latents their pictures are taken.
        metrics: see :func:`evaluator_for`, as for the others.
        shape: of an image, (C, *spatial); with ``scaling`` of a sample.
        dtype: torch.uint8 for pictures; with ``scaling`` it says itself what samples become.
        advice: is noted once all is checked, before the work.
        scaling: see :class:`.Evaluator`.

    Raises:
        ValueError: something does not fit the rest, or a file is damaged.
        OSError: something cannot be read, written or fetched.
    """
    watch = watch or Watch()
    if isinstance(source, Dataset):
        source = source.pictures or source
    if scaling is not None:
        shape, dtype = scaling.data_shape(tuple(shape)), scaling.data_dtype
    if extractor == "auto":
        extractor = usual_extractor(shape, dtype, count)
    made = extractor_by_name(extractor, source, device=device, batch_size=batch_size, weights=weights)
    check_metrics(metrics, made, source.name, isinstance(source, Dataset))
    if isinstance(source, Dataset):
        check_images(made, metrics, shape, dtype, count, source, len(source))
    else:
        made.check(shape, dtype)
    if advice:
        watch.note(advice)
    with watch.bar("reference", len(source) if isinstance(source, Dataset) else 1, "images") as bar:
        opened = open_reference(source, made, cache=cache, tick=_ticking(bar.advance, watch))
    evaluator = Evaluator(made, opened, metrics, scaling)
    evaluator.check(shape, dtype, count)
    return evaluator


def _known(metrics: str | Sequence[str]) -> list[str]:
    names = names_in(metrics)
    try:
        return list(metrics_of(names))
    except ValueError as error:
        raise ValueError(f"--metrics {metrics if isinstance(metrics, str) else ','.join(metrics)}: {error}") from None


def _ticking(advance: Callable[[float], object], watch: Watch) -> Callable[[float], None]:
    def tick(amount: float) -> None:
        advance(amount)
        watch.stop_if_asked()

    return tick


def _count_of_each(total: int, repeats: int) -> int:
    if repeats < 1:
        raise ValueError(f"--repeats is {repeats}, but must be at least 1")
    if total % repeats:
        raise ValueError(f"{total} images cannot be split into {repeats} equal blocks: choose another --repeats")
    return total // repeats


def _facts(subject: Subject, evaluator: Evaluator, repeats: int) -> dict[str, Any]:
    """All that decides the results, as JSON-able values."""
    facts = {
        "elucidiff": elucidiff.__version__,
        "torch": torch.__version__,
        **subject.facts,
        "reference": evaluator.reference.sha256,
        "extractor": evaluator.extractor.id,
        "extractor_batch_size": evaluator.extractor.batch_size,
        "metrics": list(evaluator.metrics),
        "repeats": repeats,
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain


def _check_results(folder: Path, facts: Mapping[str, Any]) -> None:
    path = folder / RESULTS
    if not path.exists():
        return
    try:
        before = dict(read_json(path)["facts"])
    except (ValueError, LookupError, TypeError):
        raise ValueError(f"{path} is damaged: delete it, or add --overwrite") from None
    check_same_work(folder, "the results of another evaluation", before, facts)


def _extracted(subject: Subject, evaluator: Evaluator, folder: Path, cache: Path | None, watch: Watch) -> Extracted:
    """Features of all images, those of a model in the folder of results, others where those of references are."""
    store = subject.store(folder, evaluator.extractor, cache)
    with watch.bar(subject.doing, len(subject.images), "images") as bar:
        if subject.is_model and store.folder.is_dir():
            remove_unfinished(store.folder)
        images = subject.ready(watch.stop_if_asked)
        return extract_features(images, evaluator.extractor, store, _ticking(bar.advance, watch))


def _quality(evaluator: Evaluator, extracted: Extracted, count: int, watch: Watch) -> Quality:
    rows = extracted.features
    starts = range(0, len(rows), count)
    alone = len(starts) == 1  # else errors are found from the repeats
    with watch.bar("evaluating", evaluator.steps if alone else len(starts), "steps") as bar:
        tick = _ticking(bar.advance, watch)
        found = []
        for start in starts:
            found.append(evaluator.quality(rows[start : start + count], lambda: tick(1), errors=alone))
            if not alone:
                tick(1)
    return repeated(found)
