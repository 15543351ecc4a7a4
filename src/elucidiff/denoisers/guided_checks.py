"""What guidance refuses before any work: weights, intervals and guides that cannot be meant."""

from __future__ import annotations

import math
from typing import Any


def check_guidance(scale: float, low: float, high: float) -> None:
    """Raise ValueError unless ``scale`` is a weight, and (low, high] holds noise levels."""
    if not 0 <= scale < math.inf:
        raise ValueError(f"guidance is {scale:g}, but must be a finite number >= 0 (1 is none, 0 the guide alone)")
    if not low >= 0:
        raise ValueError(f"the guidance interval begins at {low:g}, but noise levels are not negative: use 0 or more")
    if not low < high:
        raise ValueError(f"the guidance interval is upside down or empty: it begins at {low:g} and ends at {high:g}")


def check_conditional(denoiser: Any) -> None:
    """Raise ValueError unless classifier-free guidance means something to ``denoiser``."""
    if not getattr(denoiser, "label_dim", 0):
        raise ValueError(
            "classifier-free guidance needs a model with labels, but this one is unconditional: "
            "leave guidance out, or give a smaller or earlier model as guide"
        )
    # None: it does not say, as a closed form or a network from elsewhere.
    if getattr(denoiser, "label_dropout", None) == 0:
        raise ValueError(
            "the model was trained without label dropout, so its empty label means nothing and cannot guide: "
            "train with network.label_dropout 0.1, or give an unconditional, a smaller or an earlier model as guide"
        )


def check_guide(denoiser: Any, guide: Any) -> None:
    """Raise ValueError unless ``guide`` can be asked what ``denoiser`` is asked."""
    if guide is denoiser:
        raise ValueError("the guide is the model itself, which changes nothing: give a smaller or an earlier one")
    ours, theirs = (tuple(getattr(each, "sample_shape", ())) for each in (denoiser, guide))
    if ours and theirs and ours != theirs:
        raise ValueError(f"the guide has samples of shape {theirs}, the model of {ours}: use one for the same data")
    dims = [getattr(each, "label_dim", None) for each in (denoiser, guide)]
    if None in dims or dims[1] == 0:
        return
    kinds = [getattr(each, "label_kind", "classes") for each in (denoiser, guide)]
    if dims[0] != dims[1] or kinds[0] != kinds[1]:
        has, wants = (_labels(dim, kind) for dim, kind in zip(reversed(dims), reversed(kinds), strict=True))
        raise ValueError(f"the guide takes {has}, the model {wants}: use one with the same labels, or without any")


def _labels(dim: int, kind: str) -> str:
    if not dim:
        return "no labels"
    return f"label vectors of {dim} numbers" if kind == "vectors" else f"labels of {dim} classes"
