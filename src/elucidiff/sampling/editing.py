"""SDEdit (Meng et al. 2022, arXiv 2108.01073): begin at a picture with noise on it instead of at pure noise.

With x = y + sigma n, where y is the picture and n the unit noise of a seed, the ODE, or a stochastic sampler, goes on
from sigma down to 0. What is coarser than the noise stays as it was in y; what is finer is made anew. So a rough
sketch becomes a picture, and a picture one that is like it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Edit:
    """A picture to begin at, and how much of it is to be made anew.

    Args:
        init: the picture y, ``(C, *spatial)`` for all samples or ``(B, C, *spatial)``, in the units of the noise
            levels: pictures in [-1, 1].
        strength: share of the steps that are taken, in (0, 1]: the last ones, so that the first of them begins at
            the noise level that the whole run would have had there. With 1 it begins at the highest, where next to
            nothing is left of the picture.

    Raises:
        ValueError: the strength is no such share, or the picture is not finite.

    >>> import elucidiff as ed
    >>> edit = ed.sampling.Edit(torch.zeros(1, 8, 8), strength=0.25)
    >>> edit.sigmas(torch.tensor([80.0, 20.0, 5.0, 1.0, 0.0]))
    tensor([1., 0.])
    """

    init: Tensor
    strength: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ValueError(f"strength is {self.strength:g}, but must be a share of the steps in (0, 1]")
        if not bool(self.init.isfinite().all()):
            raise ValueError("the picture to begin at holds values that are not finite")

    def check(self, shape: Sequence[int], count: int) -> None:
        """Refuse a picture that is of another shape than the samples, or pictures of another number.

        Args:
            shape: ``(C, *spatial)`` of a sample.
            count: how many samples.

        Raises:
            ValueError: so it is.
        """
        mine = tuple(self.init.shape)
        if mine not in (tuple(shape), (1, *shape), (count, *shape)):
            raise ValueError(
                f"the picture to begin at has shape {mine}, but the samples have {tuple(shape)}: give one of that "
                f"shape, or {count} of them"
            )

    def sigmas(self, sigmas: Tensor) -> Tensor:
        """The last noise levels ``(M + 1,)`` of a whole run ``(N + 1,)``, with M = strength N rounded, at least 1."""
        steps = len(sigmas) - 1
        return sigmas[steps - max(1, round(self.strength * steps)) :]

    def latents(self, latents: Tensor, sigma: Tensor) -> Tensor:
        """Latents ``n + y / sigma``, from which a run that begins at ``sigma`` begins at ``y + sigma n``.

        Args:
            latents: the unit noise n, ``(B, C, *spatial)``.
            sigma: the first noise level, a scalar tensor; it may be infinite.
        """
        return latents + self.init.to(latents) / sigma.to(latents)
