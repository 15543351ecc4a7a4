"""Denoisers in closed form: the posterior mean over a data set, and over a Gaussian mixture.

Nothing is learned here, so these are the truth that solvers are tested against, and the yardstick for networks.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.labels import KnownLabels
from elucidiff.denoisers.shapes import label_rows, noise_levels, rows_for
from elucidiff.devices import widest_type

__all__ = ["DataPosterior", "GaussianMixture"]

_POINTS_AT_ONCE = 1024
_SAMPLES_AT_ONCE = 128
_VALUES_AT_ONCE = 1 << 20


class DataPosterior(DenoiserModule):
    """The denoiser that is optimal for a finite data set: Karras et al. 2022, Appendix B.3, Eq. 57.

        D(x; sigma) = sum_i w_i y_i,    w = softmax_i( -|x - y_i|^2 / (2 sigma^2) )

    With class labels the sum runs over the points of that class. A soft row of labels weighs the classes: w_i is
    multiplied by the row's entry for the class of y_i. No labels, or a row of zeros, stand for all points alike.

    The sum is taken in float64, over a thousand points and a hundred samples at a time, so that beyond the points
    themselves it needs some tens of MB. At sigma = 0 the result is the nearest point.

    Args:
        points: the data set y, (P, C, *spatial), floating point; kept in its type.
        labels: class of each point, indices (P,) or one-hot rows (P, label_dim).

    Raises:
        ValueError: no points, points that are not finite, or labels that do not fit them.

    >>> import elucidiff as ed
    >>> D = ed.ideal.DataPosterior(torch.tensor([[-1.0], [1.0]]))
    >>> float(D(torch.tensor([[0.0]]), torch.tensor(1.0)))
    0.0
    """

    sample_shape: tuple[int, ...] = ()
    known_labels = KnownLabels(0)
    points: Tensor
    classes: Tensor | None

    def __init__(self, points: Tensor, labels: Tensor | None = None) -> None:
        super().__init__()
        if points.ndim < 2 or not len(points) or not points.is_floating_point():
            raise ValueError(
                f"points must be floating point (P, C, *spatial), not {points.dtype} {tuple(points.shape)}"
            )
        for chunk in torch.split(points, _POINTS_AT_ONCE):
            if not bool(chunk.isfinite().all()):
                raise ValueError("points hold values that are not finite")
        self.sample_shape = tuple(points.shape[1:])
        label_dim, self.empty_classes, classes = _classes(labels, len(points))
        self.known_labels = _members(label_dim, self.empty_classes)
        self.register_buffer("points", points)
        self.register_buffer("classes", classes)

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """The posterior mean of the clean sample.

        Args:
            x: noisy samples (B, C, *spatial).
            sigma: noise level in units of the data, a float, () or (B,).
            labels: class indices (B,) or rows (B, label_dim), or None for all points.

        Returns:
            D(x; sigma) in the type of ``x``.

        Raises:
            ValueError: ``x`` or ``labels`` do not fit the data set.
        """
        _check_shape(x, self.sample_shape)
        wide = x.flatten(1).to(widest_type(x.device))
        levels = noise_levels(sigma, wide, may_be_infinite=True).expand(len(x))
        rows = None
        if labels is not None:
            rows = _class_weights(labels, self.label_dim, self.empty_classes, wide).expand(len(x), -1)
        means = [
            self._mean(
                wide[start : start + _SAMPLES_AT_ONCE],
                levels[start : start + _SAMPLES_AT_ONCE],
                None if rows is None else rows[start : start + _SAMPLES_AT_ONCE],
            )
            for start in range(0, len(x), _SAMPLES_AT_ONCE)
        ]
        return torch.cat(means).reshape(x.shape).to(x.dtype)

    def _mean(self, x: Tensor, sigma: Tensor, rows: Tensor | None) -> Tensor:
        """One pass over the points, with a running maximum so that no weight overflows."""
        variance = sigma.square().clamp_min(torch.finfo(x.dtype).tiny)[:, None]
        # Several copies of a block are held at once, so blocks of large points are of few.
        step = min(_POINTS_AT_ONCE, max(1, _VALUES_AT_ONCE // x.shape[1]))
        best = x.new_full((len(x), 1), -math.inf)
        total = x.new_zeros(len(x), 1)
        weighted = torch.zeros_like(x)
        for start in range(0, len(self.points), step):
            y = self.points[start : start + step].flatten(1).to(x.dtype)
            # -|x - y|^2 / 2 up to the |x|^2 that all points share.
            closeness = x @ y.T - y.square().sum(1) / 2
            prior = None
            if rows is not None and self.classes is not None:
                prior = rows[:, self.classes[start : start + step]]
                closeness = closeness.masked_fill(prior == 0, -math.inf)
            raised = torch.maximum(best, closeness.amax(1, keepdim=True))
            # -inf - -inf: none of the points so far belongs to the class.
            weights = ((closeness - raised) / variance).nan_to_num(nan=-math.inf).exp()
            keep = ((best - raised) / variance).nan_to_num(nan=-math.inf).exp()
            if prior is not None:
                weights = weights * prior
            total = total * keep + weights.sum(1, keepdim=True)
            weighted = weighted * keep + weights @ y
            best = raised
        return weighted / total


def _classes(labels: Tensor | None, count: int) -> tuple[int, list[int], Tensor | None]:
    """Number of classes, classes without a member, and the class of each of ``count`` points or components.

    Indices stand for as many classes as the largest needs.
    """
    if labels is None:
        return 0, [], None
    indices = labels.ndim == 1 and labels.numel() > 0 and not labels.is_floating_point()
    rows = label_rows(labels, int(labels.max()) + 1 if indices else labels.shape[-1])
    if len(rows) != count:
        raise ValueError(f"there are {len(rows)} labels for {count} points")
    if not bool(((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all()):
        raise ValueError("the labels of the points must be class indices or one-hot rows")
    return rows.shape[1], torch.nonzero(rows.sum(0) == 0).flatten().tolist(), rows.argmax(1)


def _members(label_dim: int, empty_classes: list[int]) -> KnownLabels:
    """Classes that are drawn equally often, as long as something belongs to them."""
    return KnownLabels(label_dim, counts=tuple(int(place not in empty_classes) for place in range(label_dim)))


def _class_weights(labels: Tensor, label_dim: int, empty_classes: list[int], x: Tensor) -> Tensor:
    """The weight of each class for each sample, (1, label_dim) or (B, label_dim); a row of zeros weighs all alike."""
    rows = rows_for(labels, label_dim, x)
    for index in empty_classes:
        if bool((rows[:, index] != 0).any()):
            raise ValueError(f"no point belongs to class {index}")
    return torch.where(rows.sum(1, keepdim=True) == 0, 1.0, rows)


def _check_shape(x: Tensor, sample_shape: tuple[int, ...]) -> None:
    if tuple(x.shape[1:]) != sample_shape:
        raise ValueError(f"samples have shape {tuple(x.shape[1:])}, but this denoiser knows {sample_shape}")


class GaussianMixture(DenoiserModule):
    """The denoiser of a mixture of Gaussians, and the noisy mixture's density and samples.

        p(x; sigma) = sum_k w_k N(x; mu_k, S_k + sigma^2 I)
        D(x; sigma) = sum_k r_k(x) [ mu_k + S_k (S_k + sigma^2 I)^-1 (x - mu_k) ]

    with r_k the posterior probability of component k. Each S_k = U diag(lambda) U^T is decomposed once, so a call
    costs two products with U a component, whatever sigma is. Any sigma >= 0 will do; at sigma = 0 a component without
    spread in some direction acts as the limit sigma -> 0. All is computed in float64.

    With class labels w_k is multiplied by the entry of the row for the class of component k. No labels, or a row of
    zeros, stand for the whole mixture.

    Args:
        means: mu, (K, C, *spatial).
        covariances: S, (K, n, n) with n the number of values in a sample, in the order of ``flatten``; symmetric
            positive semi-definite.
        weights: w, (K,), positive; normalised here.
        labels: class of each component, indices (K,) or one-hot rows (K, label_dim).

    Raises:
        ValueError: shapes or labels that do not fit, values that are not finite, weights that are not positive, or a
            covariance that is not symmetric positive semi-definite.

    >>> import elucidiff as ed
    >>> D = ed.ideal.GaussianMixture(torch.zeros(1, 1), torch.ones(1, 1, 1), torch.ones(1))
    >>> float(D(torch.tensor([[2.0]]), torch.tensor(1.0)))
    1.0
    """

    sample_shape: tuple[int, ...] = ()
    known_labels = KnownLabels(0)
    means: Tensor
    covariances: Tensor
    weights: Tensor
    spectra: Tensor
    axes: Tensor
    classes: Tensor | None

    def __init__(self, means: Tensor, covariances: Tensor, weights: Tensor, labels: Tensor | None = None) -> None:
        super().__init__()
        self.sample_shape = tuple(means.shape[1:])
        label_dim, self.empty_classes, classes = _classes(labels, len(means))
        wide = widest_type(means.device)
        flat, covariances, weights = (
            value.to(means.device, wide) for value in (means.flatten(1), covariances, weights)
        )
        _check_mixture(flat, covariances, weights)
        spectra, axes = torch.linalg.eigh(covariances)
        lowest, highest = float(spectra.min()), float(spectra.max())
        if lowest < -1e-9 * max(highest, 0.0):
            raise ValueError(f"a covariance has the negative eigenvalue {lowest:g}: it is not positive semi-definite")
        self.known_labels = _members(label_dim, self.empty_classes)
        self.register_buffer("means", flat)
        self.register_buffer("covariances", covariances)
        self.register_buffer("weights", weights / weights.sum())
        self.register_buffer("spectra", spectra.clamp_min(0))
        self.register_buffer("axes", axes)
        self.register_buffer("classes", classes)

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None = None) -> Tensor:
        """The posterior mean of the clean sample.

        Args:
            x: noisy samples (B, C, *spatial).
            sigma: noise level in units of the data, a float, () or (B,).
            labels: class indices (B,) or rows (B, label_dim), or None for the whole mixture.

        Returns:
            D(x; sigma) in the type of ``x``.

        Raises:
            ValueError: ``x`` or ``labels`` do not fit the mixture.
        """
        rotated, spread, log_joint = self._components(x, sigma, labels)
        shrunk = rotated * (self.spectra / spread)
        means = self.means + torch.einsum("kij,bkj->bki", self.axes, shrunk)
        return torch.einsum("bk,bki->bi", log_joint.softmax(1), means).reshape(x.shape).to(x.dtype)

    def log_prob(self, x: Tensor, sigma: float | Tensor = 0.0, labels: Tensor | None = None) -> Tensor:
        """log p(x; sigma), (B,) in nats and float64; arguments as for a call.

        Raises:
            ValueError: ``x`` or ``labels`` do not fit the mixture.
        """
        _, _, log_joint = self._components(x, sigma, labels)
        return log_joint.logsumexp(1) - self._log_weights(x, labels).logsumexp(1)

    def _components(self, x: Tensor, sigma: float | Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """U^T (x - mu) and the eigenvalues of S + sigma^2 I, (B, K, n); log w N(x; mu, S + sigma^2 I), (B, K)."""
        _check_shape(x, self.sample_shape)
        wide = x.flatten(1).to(self.means.dtype)
        variance = noise_levels(sigma, wide, may_be_infinite=True).square().reshape(-1, 1, 1)
        # The floor makes 0 / 0 the limit sigma -> 0; its root keeps squares divided by it finite.
        spread = (self.spectra + variance).clamp_min(torch.finfo(wide.dtype).tiny ** 0.5)
        rotated = torch.einsum("kij,bki->bkj", self.axes, wide[:, None] - self.means)
        log_density = -0.5 * (rotated.square() / spread + (2 * math.pi * spread).log()).sum(2)
        # In pure noise all components are equally far away.
        log_density = torch.where(variance.isinf()[:, :, 0], torch.zeros_like(log_density), log_density)
        return rotated, spread, log_density + self._log_weights(x, labels)

    def _log_weights(self, x: Tensor, labels: Tensor | None) -> Tensor:
        if labels is None:
            return self.weights.log()[None]
        rows = _class_weights(labels, self.label_dim, self.empty_classes, x.to(self.weights.dtype))
        return (self.weights * rows[:, self.classes]).log()

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw ``n`` clean samples, (n, C, *spatial) in float64, with a generator on the mixture's device."""
        component = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        flat = torch.randn(
            n, self.means.shape[1], dtype=self.means.dtype, device=self.means.device, generator=generator
        )
        for k in range(len(self.means)):
            flat[component == k] *= self.spectra[k].sqrt()
            flat[component == k] = self.means[k] + flat[component == k] @ self.axes[k].T
        return flat.reshape(n, *self.sample_shape)

    @property
    def mean(self) -> Tensor:
        """Mean of the mixture, (C, *spatial)."""
        return (self.weights @ self.means).reshape(self.sample_shape)

    @property
    def covariance(self) -> Tensor:
        """Covariance of the mixture, (n, n): the components' own and that of their means."""
        apart = self.means - self.weights @ self.means
        return torch.einsum("k,kij->ij", self.weights, self.covariances) + (self.weights * apart.T) @ apart


def _check_mixture(means: Tensor, covariances: Tensor, weights: Tensor) -> None:
    count, size = means.shape
    if covariances.shape != (count, size, size):
        raise ValueError(
            f"covariances have shape {tuple(covariances.shape)}, but {count} means of {size} values need "
            f"{(count, size, size)}"
        )
    if weights.shape != (count,):
        raise ValueError(f"weights have shape {tuple(weights.shape)} for {count} means")
    if not all(bool(value.isfinite().all()) for value in (means, covariances, weights)):
        raise ValueError("a mean, covariance or weight is not finite")
    if not bool((weights > 0).all()):
        raise ValueError("weights must be positive")
    if float((covariances - covariances.mT).abs().max()) > 1e-9 * float(covariances.abs().max()):
        raise ValueError("covariances must be symmetric")
