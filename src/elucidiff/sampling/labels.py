"""The labels of a sampling run: those that are asked for, or one drawn for each seed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elucidiff.denoisers.shapes import LabelKind, Labels, label_rows
from elucidiff.sampling.seeds import SeededNoise


def labels_for(denoiser: Any, noise: SeededNoise, labels: Labels | int | None) -> Tensor | None:
    """Label rows, and the seeds' generators advanced by one draw each, whether it is used or not.

    Args:
        denoiser: its ``label_dim``, ``label_kind`` and ``label_examples`` are asked for.
        noise: the seeds, whose latents are drawn already.
        labels: see :meth:`.Sampler.run`. None: each seed draws a class, or one of the denoiser's examples.

    Returns:
        rows ``(B, label_dim)``, or ``(1, label_dim)`` for all; None for a denoiser without labels.

    Raises:
        ValueError: the labels do not fit the denoiser, or it takes vectors and knows none to draw from.
    """
    label_dim = getattr(denoiser, "label_dim", 0)
    kind: LabelKind = getattr(denoiser, "label_kind", "classes")
    examples: Tensor | None = getattr(denoiser, "label_examples", None) if kind == "vectors" else None
    if label_dim:
        # Always drawn, so that given labels leave the noise of the steps as it is.
        drawn = noise.labels(label_dim if examples is None else len(examples))
        if labels is None and kind == "vectors":
            if examples is None:
                raise ValueError(
                    f"the denoiser takes label vectors and keeps no examples to draw from: give rows (B, {label_dim})"
                )
            return examples[drawn]
        labels = drawn if labels is None else labels
    if labels is None:
        return None
    chosen = torch.as_tensor(labels)
    if chosen.ndim == 0 and kind == "classes":
        chosen = chosen.expand(len(noise.seeds))
    return label_rows(chosen, label_dim, kind)
