"""The best denoiser that treats every frequency alone: what can be known of data without training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.data.spectrum import Array, channel_basis, from_frequencies, power, to_frequencies


@dataclass(frozen=True)
class Wiener:
    """The Wiener filter: D = m + sum_k v_k / (v_k + sigma^2) <x - m, e_k> e_k.

    The e_k are the cosine transform over space of the principal components of the channels, v_k the variances of
    the data's coefficients about m, their mean. For Gaussian data with such a covariance it is the ideal denoiser
    (Karras et al. 2022, Eq. 2), whose error per value is the mean of v_k sigma^2 / (v_k + sigma^2).

    With class labels m is the mean of the class, and the variances are those within classes.

    Attributes:
        means: of each class, ``(label_dim, C, *spatial)``; without labels one, of all.
        basis: principal components of the channels as columns, ``(C, C)``.
        variances: v, ``(C, *spatial)``.
    """

    means: Tensor
    basis: Array
    variances: Array

    @classmethod
    def fit(cls, samples: Tensor, classes: Tensor | None = None, label_dim: int = 1) -> Wiener:
        """The filter for data of which ``samples``, float32 ``(N, C, *spatial)``, are examples.

        Args:
            samples: the examples.
            classes: the class of each, int64 ``(N,)``, or None.
            label_dim: number of classes.
        """
        places = torch.zeros(len(samples), dtype=torch.int64) if classes is None else classes
        sums = samples.new_zeros(label_dim, *samples.shape[1:]).index_add_(0, places, samples)
        counts = places.bincount(minlength=label_dim).clamp_min(1)
        means = sums / counts.reshape(-1, *[1] * (samples.ndim - 1))
        centred = samples - means[places]
        basis = channel_basis(centred)
        return cls(means, basis, power(centred, basis))

    def __call__(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """D(x; sigma).

        Args:
            x: noisy samples ``(B, C, *spatial)``.
            sigma: noise level, one for all.
            labels: rows ``(B, label_dim)``, one-hot, or None if the filter has but one mean.
        """
        mean = self.means if labels is None else torch.einsum("bk,k...->b...", labels.cpu(), self.means)
        coefficients = to_frequencies((x.cpu() - mean).numpy(), self.basis)
        kept = coefficients * (self.variances / (self.variances + float(sigma) ** 2))
        return (mean + torch.from_numpy(from_frequencies(kept, self.basis))).to(x)
