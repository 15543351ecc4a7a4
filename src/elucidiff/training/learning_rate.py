"""The learning rate as a function of where the training stands."""

from __future__ import annotations

import math
from typing import Literal

Decay = Literal["constant", "cosine", "cooldown", "inverse-sqrt"]


def learning_rate(
    images_seen: int,
    *,
    peak: float,
    ramp_images: float = 0.0,
    decay: Decay = "constant",
    progress: float = 0.0,
    decay_images: float = math.inf,
    cooldown: float = 1.0,
) -> float:
    """``peak * min(images_seen / ramp_images, 1)``, times a decay.

    The ramp is the paper's (Karras et al. 2022, App. F), which has no decay. ``images_seen`` counts the images before
    the update, so the first update of a run has learning rate 0, even without a ramp, as in the reference; with
    ``inverse-sqrt``, as in that of EDM2, it has 0 only if there is a ramp.

    Args:
        images_seen: training images before this update.
        peak: the highest learning rate.
        ramp_images: length of the linear ramp from 0, in images; 0 for none.
        decay: ``constant``: 1. ``cosine``: ``(1 + cos(pi progress)) / 2``, for runs of a known length.
            ``cooldown``: ``min((1 - progress) / cooldown, 1)``, constant and then linear down to 0 (Hägele et al.
            2024, arXiv 2405.18392), or for a share of 1 linear all along (Defazio et al. 2023, arXiv 2310.07831).
            ``inverse-sqrt``: ``1 / sqrt(max(images_seen / decay_images, 1))``, Karras et al. 2024 (arXiv 2312.02696).
        progress: the share of the run that is done, in [0, 1]; for ``cosine`` and ``cooldown``.
        decay_images: images after which ``inverse-sqrt`` begins to fall; 0 for never.
        cooldown: share of the run over which ``cooldown`` falls, in (0, 1].
    """
    ramp = min(images_seen / max(ramp_images, 1e-8), 1.0)
    if decay == "cosine":
        return peak * ramp * 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))
    if decay == "cooldown":
        return peak * ramp * min(max(1.0 - progress, 0.0) / cooldown, 1.0)
    if decay == "inverse-sqrt":
        ramp = ramp if ramp_images > 0 else 1.0
        return peak * ramp / math.sqrt(max(images_seen / (decay_images or math.inf), 1.0))
    return peak * ramp
