"""A model, or the exact denoiser of a data set, opened with what its samples are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import elucidiff
from elucidiff.data import Dataset, to_unit
from elucidiff.denoisers.backends import Backend, require_compiler, with_backend
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.ideal import DataPosterior
from elucidiff.denoisers.opening import checksum, name_of
from elucidiff.evaluation.ablation.measure import open_evaluator
from elucidiff.evaluation.model_and_data import data_name
from elucidiff.evaluation.quality import Evaluator
from elucidiff.evaluation.quality.reference import holds_statistics
from elucidiff.launch.interrupt import Watch
from elucidiff.sampling.label_choice import draw_labels_from

IDEAL = "ideal"


@dataclass(frozen=True)
class StudiedModel:
    """A model, or the exact denoiser of a data set, on its device.

    Attributes:
        denoiser: D.
        name: what to call it.
        checksum: of the model; ``ideal`` for the exact denoiser.
        data: what samples are judged by: a data set, or a file of statistics; None if that was not asked for.
        backend: what computes its network.
        labels: what seeds draw their labels from, as it was asked for.
    """

    denoiser: DenoiserModule
    name: str
    checksum: str
    data: Dataset | Path | None
    backend: Backend = "eager"
    labels: str | None = None

    @property
    def id(self) -> str:
        """What tables of results call it."""
        return self.name if self.checksum == IDEAL else model_id(self.name, self.checksum)

    @property
    def facts(self) -> dict[str, Any]:
        """What decides its samples, and what they are judged by."""
        facts: dict[str, Any] = {"model": self.checksum, "backend": self.backend}
        if self.labels is not None:
            facts["labels"] = self.labels
        if isinstance(self.data, Dataset):
            facts["data"] = {"name": self.data.name, "count": len(self.data), "shape": self.data.shape}
        return facts

    def evaluator(
        self,
        extractor: str,
        metrics: Sequence[str],
        count: int,
        device: torch.device,
        batch_size: int,
        *,
        weights: Path | None = None,
        cache: Path | None = None,
        watch: Watch | None = None,
    ) -> Evaluator | None:
        """What samples are evaluated by, the reference described; see :func:`.open_evaluator`.

        Args:
            watch: is told how it goes, and may end it between batches of the reference.
        """
        if self.data is None:
            return None
        watch = watch or Watch()
        with watch.bar("reference", len(self.data) if isinstance(self.data, Dataset) else 1, "images") as bar:

            def tick(images: int) -> None:
                bar.advance(images)
                watch.stop_if_asked()

            shape = self.denoiser.sample_shape
            return open_evaluator(
                extractor, self.data, metrics, shape, count, device, batch_size,
                weights=weights, cache=cache, tick=tick,
            )  # fmt: skip


def not_for_ideal(what: str) -> ValueError:
    """The error of giving what only a model folder has, by the names of the options."""
    return ValueError(f"{what} are for a model, not for {IDEAL}: leave them out")


def open_model(
    model: str,
    data: str | None,
    device: torch.device,
    *,
    judged: bool = True,
    backend: Backend = "eager",
    batch_size: int = 64,
    labels: str | None = None,
    any_class: bool = False,
    watch: Watch | None = None,
) -> StudiedModel:
    """Open a model, or the exact denoiser of a data set.

    Args:
        model: what :func:`elucidiff.load` opens; or ``ideal``.
        data: name or path of a data set, or of a file of statistics; None for what the model was trained on.
        device: where to compute.
        judged: whether samples are judged by data.
        backend: what computes the network; see :func:`.with_backend`.
        batch_size: images in one call of it.
        labels: what seeds draw their labels from; see :func:`.draw_labels_from`.
        any_class: likewise.
        watch: is told what takes long.

    Raises:
        ValueError: nobody says what data there are, they do not fit the model, or are damaged; or the backend cannot
            compute the network here.
        OSError: something cannot be read.
    """
    if model == IDEAL:
        if data is None or holds_statistics(data):
            raise ValueError(f"{IDEAL} is the exact denoiser of a data set: name one as data, such as digits")
        if backend != "eager":
            raise ValueError(f"the backend {backend} is for networks, and {IDEAL} has none: leave --backend out")
        if labels is not None or any_class:
            raise ValueError(f"--labels are for a model, and {IDEAL} knows none: leave them out")
        dataset = elucidiff.data.open(data)
        posterior = DataPosterior(to_unit(dataset.in_memory().images())).to(device)
        return StudiedModel(posterior, f"{IDEAL}-{Path(dataset.name).name}", IDEAL, dataset)
    denoiser = elucidiff.load(model, device)
    draw_labels_from(denoiser, labels, any_class=any_class)
    source = _data(model, data or data_name(denoiser)) if judged else None
    if isinstance(source, Dataset) and source.shape != denoiser.sample_shape:
        raise ValueError(
            f"{model} makes samples of shape {denoiser.sample_shape}, but those of {source.name} are {source.shape}: "
            "name the data that it was trained on"
        )
    if backend == "compile":
        require_compiler(device)
        (watch or Watch()).note("compiling the network: this takes minutes")
    ready = with_backend(denoiser, backend, batch_sizes=[batch_size])
    return StudiedModel(ready, name_of(model), checksum(model), source, backend, labels)


def _data(model: str, name: str | None) -> Dataset | Path:
    if name is None:
        raise ValueError(f"{model} does not tell what data it is of: name some to judge its samples by")
    return Path(name).expanduser() if holds_statistics(name) else elucidiff.data.open(name)


def model_id(name: str, checksum: str) -> str:
    """Name and the first eight digits of the checksum, as in tables of results."""
    return f"{name}-{checksum[:8]}"
