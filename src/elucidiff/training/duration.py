"""The length of a run, the learning rate that follows from it, and what changes when a run is made longer."""

from __future__ import annotations

from dataclasses import replace

from elucidiff import parts
from elucidiff.training.config import TrainingConfig
from elucidiff.training.learning_rate import learning_rate

# A rate that rises by no more than this share of the last one, or falls by no more than this share of the peak (as it
# does at the end of every decay), does not leap.
_LEAP = 0.05


def progress_of(config: TrainingConfig, images_seen: int, seconds: float) -> float:
    """The share of a run that is done, in [0, 1]: by images or by minutes, whichever is further."""
    images = images_seen / config.duration_images
    minutes = config.max_minutes
    return min(1.0, images if minutes is None else max(images, seconds / (60 * minutes)))


def rate_at(config: TrainingConfig, images_seen: int, progress: float) -> float:
    """The learning rate of the update that follows; see :func:`.learning_rate`."""
    return learning_rate(
        images_seen,
        peak=config.lr,
        ramp_images=config.lr_ramp_images,
        decay=config.lr_decay,
        progress=progress,
    )


def leap_of_rate(
    config: TrainingConfig, duration_images: int, max_minutes: float | None, images_seen: int, seconds: float
) -> str | None:
    """Tell in one line how the learning rate leaps where a run is resumed with another length; None if it does not.

    The last rate is that of the last update, by the length of before.

    Args:
        config: the settings now.
        duration_images: length before, in images.
        max_minutes: likewise in minutes, or None.
        images_seen: training images so far, at least one batch.
        seconds: time spent so far.
    """
    before = replace(config, duration_images=duration_images, max_minutes=max_minutes)
    progress = progress_of(config, images_seen, seconds)
    if before == config or progress >= 1:
        return None
    seen = max(0, images_seen - config.batch_size)
    last = rate_at(before, seen, progress_of(before, seen, seconds * seen / max(images_seen, 1)))
    # What the rate would do in one step anyway, on the ramp, say, is no leap.
    unchanged = rate_at(before, images_seen, progress_of(before, images_seen, seconds))
    rate = rate_at(config, images_seen, progress)
    if rate == unchanged or -_LEAP * config.lr <= rate - last <= _LEAP * last:
        return None
    times = f", {rate / last:.3g} times that" if last else ""
    return (
        f"the run was {_length(before)} long and now is {_length(config)}, so its learning rate leaps (lr_decay is "
        f"{parts.to_text(config.lr_decay)}, which follows the length): from {last:.3g} at the last step to "
        f"{rate:.3g}{times}. To keep what the decay has won, leave the length as it was, or give the longer run "
        "a folder of its own"
    )


def _length(config: TrainingConfig) -> str:
    minutes = "" if config.max_minutes is None else f" or {config.max_minutes:g} minutes"
    return f"{config.duration_images:,} images{minutes}"
