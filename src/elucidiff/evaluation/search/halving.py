"""Successive halving over the number of images: hopeless trials end after few of them."""

from __future__ import annotations

from optuna import Study
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

FACTOR = 3


def rungs(images: int, first: int) -> tuple[int, ...]:
    """The numbers of images after which a trial is looked at, the last one ``images``.

    Args:
        images: for a trial that goes all the way.
        first: for the first look, at least; ``images`` for no other.

    Raises:
        ValueError: not 2 <= first <= images.
    """
    if not 2 <= first <= images:
        raise ValueError(f"trials of {images} images cannot be looked at after {first}: choose from 2 to {images}")
    counts = [images]
    while counts[0] // FACTOR >= first:
        counts.insert(0, counts[0] // FACTOR)
    return tuple(counts)


class Halving(BasePruner):
    """Ends a trial unless it is among the best third of those that came as far before it.

    The asynchronous successive halving of Li et al. 2020 (arXiv 1810.05934), where a trial is compared with those of
    lower numbers alone: so one that was killed and is done again is judged by the same ones. All trials have seeds,
    latents and noise in common, so those of few images can be compared.
    """

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether to end ``trial``, whose newest intermediate value is at step ``trial.last_step``."""
        step = trial.last_step
        if step is None:
            return False
        sign = 1 if study.direction is StudyDirection.MINIMIZE else -1
        value = sign * trial.intermediate_values[step]
        others = [
            sign * other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if other.number < trial.number and step in other.intermediate_values
        ]
        better = sum(other < value for other in others)
        return better >= max(1, (len(others) + 1) // FACTOR)
