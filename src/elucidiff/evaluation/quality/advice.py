"""Reasons not to trust a figure, in words."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from elucidiff.evaluation.quality.metrics import KID_SUBSET

_SAFE = 10  # images for each feature, from which the bias of the Frechet distance is small


@dataclass(frozen=True)
class Warned:
    """A warning.

    Attributes:
        text: what is wrong, and what to do.
        metrics: the figures that it is about.
    """

    text: str
    metrics: tuple[str, ...]


def warnings_for(metrics: Collection[str], count: int, dim: int, reference_count: int | None) -> tuple[Warned, ...]:
    """Warnings about too few images.

    Args:
        metrics: by name.
        count: images that are judged.
        dim: features.
        reference_count: images of the reference; None if nobody knows.
    """
    found = []
    sizes = {"images": count} if reference_count is None else {"images": count, "reference images": reference_count}
    if frechet := tuple(name for name in ("fid", "fid_infinity") if name in metrics):
        found += [Warned(_too_few(size, what, dim), frechet) for what, size in sizes.items() if size < _SAFE * dim]
    least = min(sizes.values())
    if "kid" in metrics and least < KID_SUBSET:
        text = f"KID IS OVER SUBSETS OF {least:,} IMAGES, elsewhere over 1,000: it has no bias, but a large error"
        found.append(Warned(text, ("kid",)))
    manifold = tuple(name for name in ("precision", "recall") if name in metrics)
    if manifold and len(set(sizes.values())) > 1:
        text = (
            f"PRECISION AND RECALL DEPEND ON BOTH NUMBERS OF IMAGES, {count:,} and {reference_count:,} here: compare "
            "them only with figures of the same numbers"
        )
        found.append(Warned(text, manifold))
    return tuple(found)


def _too_few(number: int, what: str, dim: int) -> str:
    of_reference = what != "images"
    if number <= dim:
        return (
            f"{number:,} {what.upper()} ARE FAR TOO FEW FOR {dim:,} FEATURES: their covariance is singular, and "
            f"the Frechet distance is mostly bias. Use {2 * dim:,}, better {_SAFE * dim:,}, or kid, which has none"
        )
    compare = "against this very reference" if of_reference else "of the same number"
    instead = "" if of_reference else ", or fid_infinity"
    return (
        f"{number:,} {what.upper()} ARE FEW FOR {dim:,} FEATURES: the Frechet distance has a bias that falls with "
        f"their number. Compare it only with figures {compare}, or use {_SAFE * dim:,}{instead}"
    )
