"""Honest figures for samples of scikit-learn's digits, each beside the value that real digits reach."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.svm import SVC

from elucidiff.evaluation.frechet import frechet_distance, moments

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
