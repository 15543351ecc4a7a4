"""Train on real digits, sample, and measure: everything that the demo's report is drawn from."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from sklearn.decomposition import PCA
from sklearn.svm import SVC
from torch import Tensor

from elucidiff import __version__, parts
from elucidiff.data import Dataset, to_unit
from elucidiff.denoisers.opening import load
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design.steps import Karras
from elucidiff.evaluation import loss_per_sigma, nearest
from elucidiff.evaluation.frechet import frechet_distance, moments
from elucidiff.files import write_whole
from elucidiff.sampling import Sampler, Step, to_uint8
from elucidiff.training import Callbacks, TrainingConfig, TrainingResult, train
from elucidiff.training.batches import TrainingData
from elucidiff.training.state import make_network

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evaluator:
    """A classifier and PCA features, both fitted to the training images alone.

    Attributes:
        classifier: support vector machine with a Gaussian kernel.
        features: principal components of the training images.
        train, held_out: images as rows, ``(N, pixels)``, in [-1, 1].
        held_out_labels: class indices of the held-out images.
    """

    classifier: SVC
    features: PCA
    train: Array
    held_out: Array
    held_out_labels: npt.NDArray[np.int64]

    @classmethod
    def fit(
        cls,
        train: Array,
        train_labels: npt.NDArray[np.int64],
        held_out: Array,
        held_out_labels: npt.NDArray[np.int64],
        components: int = 20,
    ) -> Evaluator:
        """Fit both to images ``(N, C, H, W)`` in [-1, 1]; ``components`` is the number of features."""
        train, held_out = train.reshape(len(train), -1), held_out.reshape(len(held_out), -1)
        classifier = SVC(C=10.0).fit(train, train_labels)
        return cls(classifier, PCA(components).fit(train), train, held_out, held_out_labels)

    def accuracy(self, images: Array, labels: npt.NDArray[np.int64]) -> float:
        """Share of images ``(N, C, H, W)`` that the classifier takes for the class they were meant to be."""
        return float(self.classifier.score(images.reshape(len(images), -1).clip(-1.0, 1.0), labels))

    @property
    def classifier_accuracy(self) -> float:
        """The classifier's own accuracy on held-out digits: the most that :meth:`accuracy` can be trusted to."""
        return float(self.classifier.score(self.held_out, self.held_out_labels))

    def distances(self, images: Array) -> list[float]:
        """Frechet distances to the held-out digits, one for each block of as many images as are held out.

        Equal numbers on both sides make the bias of the estimate, which falls with the number of images, that of
        :meth:`real_distances`.
        """
        rows = images.reshape(len(images), -1).clip(-1.0, 1.0)
        size = len(self.held_out)
        return [self._distance(rows[start : start + size]) for start in range(0, len(rows) - size + 1, size)]

    def real_distances(self, repeats: int = 20, seed: int = 0) -> list[float]:
        """The same for real digits: random subsets of the training images, as many as are held out."""
        generator = np.random.default_rng(seed)
        subsets = (generator.choice(len(self.train), len(self.held_out), replace=False) for _ in range(repeats))
        return [self._distance(self.train[rows]) for rows in subsets]

    def _distance(self, rows: Array) -> float:
        ours, theirs = moments(self.features.transform(rows)), moments(self.features.transform(self.held_out))
        return frechet_distance(*ours, *theirs)


CLASSES = 10
BATCH = 64  # samples in one call of the network: on 8x8 images larger batches than the usual 16 are faster
GRID = 100
STEP_COUNTS = (2, 4, 8, 18, 64)
REFERENCE_STEPS = 256
BLOCKS = 3  # of as many samples as digits are held out, for a Frechet distance with its error


def run_study(config: TrainingConfig, run_dir: Path, callbacks: Callbacks) -> TrainingResult:
    """Train as ``config`` says (or go on with a run that was stopped), sample and measure.

    Writes ``results.json`` (figures) and ``numbers.npz`` (images and curves) into ``run_dir``, beside the run itself.
    A finished training is not done again. If the training is interrupted, it is saved and nothing else is done.

    Raises:
        ValueError: as :func:`elucidiff.training.train`; or the data are not digits, trained on with their classes and
            with enough of them held out.
        OSError: as :func:`elucidiff.training.train`.
    """
    if config.data != "digits" or not config.conditional:
        raise ValueError("the demo is about digits and their classes; for other data there is `elucidiff train`")
    if config.validation_images < GRID:
        raise ValueError(
            f"validation_images is {config.validation_images}: hold out at least {GRID} digits to compare with"
        )
    training = train(config, run_dir, resume=(run_dir / "checkpoints").exists(), callbacks=callbacks)
    if training.interrupted:
        return training
    data = TrainingData.open(config)
    seen, unseen = data.train, cast("Dataset", data.held_out)
    denoiser = load(run_dir / "model")
    training_images, held_out = to_unit(seen.images()), to_unit(unseen.images())
    training_classes, held_out_classes = np.asarray(seen.classes), np.asarray(unseen.classes)

    samples, seconds, nfe, labels = _sample(denoiser, max(GRID, BLOCKS * len(held_out)))
    evaluator = Evaluator.fit(_array(training_images), training_classes, _array(held_out), held_out_classes)
    frechet, real_frechet = evaluator.distances(_array(samples)), evaluator.real_distances()
    distance, closest = nearest(samples[:GRID].clamp(-1, 1), training_images)
    real_distance, _ = nearest(held_out, training_images)
    order = distance.argsort()[:8]
    budget_images, budget_nfe, budget_rms = _budget(denoiser)
    x, denoised, sigmas = _trajectory(denoiser)

    results = {
        "version": __version__,
        "data": {
            "name": seen.name,
            "train": len(seen),
            "held_out": len(unseen),
            "components": evaluator.features.n_components_,
        },
        "model": {
            "architecture": parts.name_of(config.network),
            "parameters": sum(parameter.numel() for parameter in denoiser.network.parameters()),
            "sigma_data": config.sigma_data,
        },
        "training": {
            "images": training.images_seen,
            "steps": training.step,
            "seconds": training.seconds,
            "batch_size": config.batch_size,
            "config": dataclasses.asdict(config),
        },
        "sampling": {"images": GRID, "steps": Sampler().n, "nfe": nfe, "seconds": seconds},
        "quality": {
            "accuracy": evaluator.accuracy(_array(samples), labels),
            "accuracy_n": len(samples),
            "accuracy_grid": evaluator.accuracy(_array(samples[:GRID]), labels[:GRID]),
            "frechet": float(np.mean(frechet)),
            "frechet_std": float(np.std(frechet, ddof=1)),
            "nearest_median": float(distance.median()),
            "closer_than_real": float((distance < real_distance.quantile(0.05)).double().mean()),
        },
        "real": {
            "accuracy": evaluator.classifier_accuracy,
            "frechet": float(np.mean(real_frechet)),
            "frechet_std": float(np.std(real_frechet, ddof=1)),
            "nearest_median": float(real_distance.median()),
        },
        "budget": {
            "steps": list(STEP_COUNTS),
            "nfe": budget_nfe,
            "rms": budget_rms,
            "reference_steps": REFERENCE_STEPS,
        },
        "machine": {
            "processor": _processor(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
    }
    numbers = {
        "samples": _pixels(_by_class(samples[:GRID])),
        "real": _pixels(_ten_of_each(held_out, held_out_classes)),
        "trajectory_x": x,
        "trajectory_denoised": denoised,
        "sigmas": sigmas,
        "distance_samples": distance.numpy(),
        "distance_held_out": real_distance.numpy(),
        "closest_samples": _pixels(samples[order]),
        "closest_training": _pixels(training_images[closest[order]]),
        **_losses(config, denoiser, seen, unseen),
        **{f"budget_{n}": _pixels(images) for n, images in budget_images.items()},
    }
    file = io.BytesIO()
    np.savez_compressed(file, **numbers)
    write_whole(run_dir / "numbers.npz", file.getvalue())
    write_whole(run_dir / "results.json", json.dumps(results, indent=1))
    return training


def _sample(denoiser: Denoiser, count: int) -> tuple[Tensor, float, int, np.ndarray[Any, np.dtype[np.int64]]]:
    """Seeds 0 to count - 1, the classes in turn; the seconds are those of the first 100."""
    labels = torch.arange(count) % CLASSES
    start = time.monotonic()
    first = Sampler().run(denoiser, range(GRID), labels[:GRID], batch_size=BATCH)
    seconds = time.monotonic() - start
    rest = Sampler().run(denoiser, range(GRID, count), labels[GRID:], batch_size=BATCH)
    return torch.cat([first.x, rest.x]), seconds, int(first.nfe), labels.numpy()


def _budget(denoiser: Denoiser) -> tuple[dict[int, Tensor], list[int], list[float]]:
    """The same ten seeds at each number of steps, and their distance to a fine solution."""
    seeds, labels = range(CLASSES), torch.arange(CLASSES)
    fine = Sampler(Karras(REFERENCE_STEPS)).run(denoiser, seeds, labels).x
    runs = {n: Sampler(Karras(n)).run(denoiser, seeds, labels) for n in STEP_COUNTS}
    rms = [float((run.x - fine).square().mean().sqrt()) for run in runs.values()]
    return {n: run.x for n, run in runs.items()}, [int(run.nfe) for run in runs.values()], rms


def _trajectory(denoiser: Denoiser) -> tuple[Any, Any, Any]:
    """States, denoised images and noise levels of three seeds, as arrays."""
    taken: list[Step] = []
    result = Sampler().run(denoiser, range(3), torch.tensor([3, 5, 8]), callback=taken.append)
    x = torch.stack([*(step.x for step in taken), result.x])
    return x.numpy(), torch.stack([step.denoised for step in taken]).numpy(), result.sigmas.numpy()


def _losses(config: TrainingConfig, denoiser: Denoiser, seen: Dataset, unseen: Dataset) -> dict[str, Any]:
    """Loss per noise level: the untrained network and the trained one on held-out digits, and on training digits."""
    sigmas = torch.logspace(math.log10(0.002), math.log10(80.0), 20, dtype=torch.float64)
    objective = config.objective
    before = Denoiser(make_network(config, seen.shape, seen.label_dim, 0), config.preconditioning).eval()
    some_seen = seen.select(range(len(unseen)))  # as many, so that both curves are equally noisy
    sides = {
        "loss_before": (before, unseen),
        "loss_after": (denoiser, unseen),
        "loss_train": (denoiser, some_seen),
    }
    curves = {
        name: loss_per_sigma(
            model,
            to_unit(images.images()),
            sigmas,
            weight=objective.weight,
            generator=torch.Generator().manual_seed(0),
            labels=images.labels(),
        ).numpy()
        for name, (model, images) in sides.items()
    }
    return {
        **curves,
        "loss_sigmas": sigmas.numpy(),
        "loss_density": objective.noise.log_density(sigmas).exp().numpy(),
    }


def _array(images: Tensor) -> np.ndarray[Any, np.dtype[np.float64]]:
    return images.double().numpy()


def _pixels(images: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return to_uint8(images).numpy()


def _by_class(images: Tensor) -> Tensor:
    """Images whose classes come in turn, sorted by class."""
    return torch.cat([images[k::CLASSES] for k in range(CLASSES)])


def _ten_of_each(images: Tensor, classes: np.ndarray[Any, np.dtype[np.int64]]) -> Tensor:
    rows = [np.flatnonzero(classes == k)[: GRID // CLASSES] for k in range(CLASSES)]
    return images[np.concatenate(rows)]


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
