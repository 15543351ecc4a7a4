"""What a run checks at every checkpoint: held-out loss, overfitting, memorisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.training.batches import TrainingData
from elucidiff.training.memorisation import MemorisationCheck
from elucidiff.training.overfitting import held_out_trend
from elucidiff.training.state import TrainingState
from elucidiff.training.validation import validate

# Of fewer training images, distances to the nearest two say nothing.
_FEWEST = 4


class Checks:
    """The checks of a run. They read the metrics that are written already and change nothing of the run.

    Args:
        state: the training state.
        data: what is trained on.
    """

    def __init__(self, state: TrainingState, data: TrainingData) -> None:
        self._state, self._held_out = state, data.held_out
        config = state.config
        self._memorisation = None
        # One process samples, while the others wait.
        if config.memorisation_samples and len(data.train) >= _FEWEST and state.processes.main:
            self._memorisation = MemorisationCheck(data.train, config.memorisation_samples, config.sigma_data)
        self._said: set[str] = set()

    def run(self, model: Denoiser, lines: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[str]]:
        """Check the averaged weights. All processes take part.

        Args:
            model: the denoiser with them.
            lines: of metrics.jsonl so far; empty in all processes but the first, where what is returned is used.

        Returns:
            values for a line of metrics.jsonl, and warnings; each kind of warning is given once.
        """
        values: dict[str, Any] = {}
        warnings: list[str] = []
        if self._held_out is not None:
            losses = validate(self._state, model, self._held_out)
            trend = held_out_trend(lines, self._state.images_seen, losses)
            values |= {
                "validation_loss": losses.mean,
                "validation_loss_by_sigma": losses.by_sigma,
                "validation_error_by_sigma": losses.error_by_sigma,
                "validation_best": trend.best,
                "validation_best_images": trend.best_images,
                "overfitting_levels": len(trend.rising),
            }
            warnings += self._once("overfitting", trend.warning)
        if self._memorisation is not None:
            found = self._memorisation(model)
            values |= {
                "memorised_fraction": found.fraction,
                "nearest_ratio": found.ratio,
                "memorised_fraction_real": found.real_fraction,
                "nearest_ratio_real": found.real_ratio,
            }
            warnings += self._once("memorisation", found.warning)
        return values, warnings

    def _once(self, kind: str, warning: str | None) -> list[str]:
        if warning is None or kind in self._said:
            return []
        self._said.add(kind)
        return [f"warning: {warning}"]
