"""Consistency training in continuous time: the limit of neighbouring noise levels, by forward-mode differentiation.

Lu and Song 2024 (sCM, arXiv 2410.11081) write it in an angle t: x_t = cos(t) y + sin(t) sigma_data n. With

    sigma = sigma_data tan(t),    x_t = cos(t) x,    cos(t) = sigma_data / rho,    sin(t) = sigma / rho,
    rho = sqrt(sigma^2 + sigma_data^2)

that is the path x = y + sigma n here, and their f(x_t, t) = cos(t) x_t - sin(t) sigma_data F is Karras et al. 2022,
Eq. 7, with the EDM coefficients and -F for F: cos(t)^2 = c_skip, sin(t) sigma_data = c_out, and x_t / sigma_data is
c_in x. So f is D(x; sigma) itself. Along the path, in the angle,

    df/dt = (dD/dsigma) dsigma/dt,    dsigma/dt = sigma_data / cos(t)^2,    dx = n dsigma

which gives the tangent of their Eq. 8 and Algorithm 1 in our terms:

    g = cos(t) df/dt = rho dD/dsigma = (1 - a) cos(t)^2 (D - y) / sin(t) + a rho dD/dsigma    at a = 1.

The first term, which is what remains at a = 0, is the gradient of a denoiser's training, and a rises from 0 to 1
during the warm-up: their r. Derived: sigma_data F - dx_t/dt = -(D - y) / sin(t), for x_t and dx_t/dt are a rotation
of y and sigma_data n.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from elucidiff.design.objectives.base import Ask, Objective
from elucidiff.design.objectives.consistency import same_draws
from elucidiff.design.training_noise import LogNormal
from elucidiff.design.values import Value, as_tensor, check_positive, per_sample
from elucidiff.parts import part, setting


@part("objective", "scm")
@dataclass(frozen=True)
class ContinuousConsistency(Objective):
    """D does not change along a path: the limit of :class:`Consistency` for r -> sigma (sCM).

        [(D - D') / (sin(t) sigma_data) + g / (rms(g) + normalise)]^2,    g = rho / sigma_data dD/dsigma

    of every element, where the derivative is that along the path, D' is D without a gradient, and rms that over the
    elements of an image (Lu and Song 2024, arXiv 2410.11081, Eq. 8 and Algorithm 1; :mod:`.continuous` derives it).
    Its gradient is that of w(sigma) D . dD/dsigma with their w(t) = 1 / (sigma_data tan(t)), tangents normalised. The
    value itself only says how large g is. Their adaptive weighting is ``learned_loss_weighting`` of a training: a
    learned u(sigma).

    The network is differentiated forward, so all of its operations have to allow that. With one pass for the tangent
    and one for the gradient, which draw the same dropout, a step costs about 4/3 of one of :class:`Consistency`.

    Args:
        p_mean: mean of ln(sigma).
        p_std: standard deviation of ln(sigma).
        sigma_data: standard deviation of the data.
        warmup: share of the training in which the tangent grows from the denoiser's to its own.
        normalise: added to the norm of the tangent, by which it is divided; 0 to leave the tangent as it is.

    Raises:
        ValueError: a value is out of its range.

    >>> import elucidiff as ed
    >>> import torch
    >>> objective = ed.objectives.ContinuousConsistency(normalise=0.0)
    >>> image, noise = torch.zeros(1, 1), torch.ones(1, 1)  # D = x / 2: dD/dsigma = n / 2
    >>> loss = objective.loss(lambda x, sigma, labels=None: x / 2, image, 1e-4, noise)
    >>> round(float(loss) ** 0.5, 4)  # rho / (2 sigma_data)
    0.5
    """

    p_mean: float = setting(-1.0, search=(-2.5, 0.5))
    p_std: float = setting(1.4, search=(0.6, 2.5))
    sigma_data: float = 0.5
    warmup: float = 0.1
    normalise: float = 0.1

    _progress = 1.0

    def __post_init__(self) -> None:
        LogNormal(self.p_mean, self.p_std)  # checks them
        check_positive(sigma_data=self.sigma_data)
        if not 0 <= self.warmup <= 1:
            raise ValueError(f"warmup is {self.warmup}: it is a share of the training, from 0 to 1")
        if not 0 <= self.normalise < math.inf:
            raise ValueError(f"normalise is {self.normalise}: it must not be negative")

    @property
    def noise(self) -> LogNormal:
        """ln(sigma) ~ N(p_mean, p_std^2)."""
        return LogNormal(self.p_mean, self.p_std)

    @property
    def has_ode(self) -> bool:
        """False: D is no longer E[y | x]."""
        return False

    def at(self, progress: float) -> Self:
        """The objective with the tangent of that moment."""
        made = copy.copy(self)
        object.__setattr__(made, "_progress", min(max(progress, 0.0), 1.0))
        return made

    def weight(self, sigma: Value) -> Tensor:
        """1 / (sigma_data tan(t)) = 1 / sigma, of dD/dt."""
        return 1 / as_tensor(sigma)

    def errors(self, ask: Ask, images: Tensor, sigma: Tensor, noise: Tensor, present: Tensor | None = None) -> Tensor:
        """See the class."""
        rho = (sigma.square() + self.sigma_data**2).sqrt()
        x = images + noise * per_sample(sigma, images)
        with torch.no_grad(), same_draws(images.device):
            # rho times the direction: products of large and small numbers stay moderate.
            known, tangent = _along(ask, (x, sigma), (noise * per_sample(rho, images), rho))
        sine = per_sample(sigma / rho, images)
        grown = min(1.0, self._progress / self.warmup) if self.warmup else 1.0
        of_denoiser = (1 - sine.square()) * (known - images) / sine
        tangent = ((1 - grown) * of_denoiser + grown * tangent) / self.sigma_data
        if present is not None:
            tangent = tangent * present
        if self.normalise:
            tangent = tangent / (per_sample(_rms(tangent, present), images) + self.normalise)
        denoised = ask(x, sigma)
        return ((denoised - denoised.detach()) / (sine * self.sigma_data) + tangent).square()


def _rms(values: Tensor, present: Tensor | None) -> Tensor:
    """Root mean square of each sample, over what is present."""
    sums = values.flatten(1).square().sum(1)
    count = values[0].numel() if present is None else present.flatten(1).sum(1).clamp_min(1)
    return (sums / count).sqrt()


# They are not annotated.
_DUAL: Callable[[Tensor, Tensor], Tensor] = forward_ad.make_dual
_UNPACK: Callable[[Tensor], tuple[Tensor, Tensor | None]] = forward_ad.unpack_dual


def _along(ask: Ask, at: tuple[Tensor, Tensor], direction: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """D and its derivative in a direction of (x, sigma).

    Raises:
        ValueError: an operation of the network or its preconditioning cannot be differentiated forward.
    """
    try:
        # Fused attention has no forward derivative. (torch.func.jvp would refuse networks that normalise their
        # weights in place, as EDM2's do.)
        with sdpa_kernel(SDPBackend.MATH), forward_ad.dual_level():
            duals = [_DUAL(value.clone(), rate.clone()) for value, rate in zip(at, direction, strict=True)]
            value, rate = _UNPACK(ask(*duals))
    except (NotImplementedError, RuntimeError) as error:
        said = " ".join(str(error).split())
        if not any(words in said for words in ("forward AD", "jvp", "forward-mode", "setup_context")):
            raise
        raise ValueError(
            "this model cannot be differentiated forward, as the objective scm has to: take consistency "
            f"(PyTorch says: {said[:200]})"
        ) from None
    if rate is None:
        raise ValueError("D does not depend on x or sigma, or cuts its derivative: there is nothing for scm to learn")
    return value, rate
