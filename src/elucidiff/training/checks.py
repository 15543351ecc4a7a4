"""What a run checks at every checkpoint: held-out loss, overfitting, memorisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.training.batches import TrainingData
from elucidiff.training.memorisation import MemorisationCheck
from elucidiff.training.metrics import metrics_until
from elucidiff.training.overfitting import held_out_trend, validate
from elucidiff.training.state import TrainingState


class Checks:
    """The checks of a run. They read the metrics that are written already and change nothing of the run.

    What is checked is safe on the disk by then, and a check that fails costs its own figures, not the run: it is told
    as a warning.

    Args:
        state: the training state.
        data: what is trained on.
    """

    def __init__(self, state: TrainingState, data: TrainingData) -> None:
        self._state, self._held_out = state, data.held_out
        config = state.config
        self._memorisation = None
        # One process samples, while the others wait.
        if config.memorisation_samples and state.processes.main:
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
        for kind, check in (("overfitting", self._overfitting), ("memorisation", self._copies)):
            try:
                found, warning = check(model, lines)
            except ConnectionError:  # another process of the run has failed, which ends all
                raise
            except Exception as error:
                found, warning = {}, f"the check for {kind} is left out: {' '.join(str(error).split())}"
                kind += " left out"
            values |= found
            if warning is not None and kind not in self._said:
                self._said.add(kind)
                warnings.append(warning)
        return values, warnings

    @property
    def wanted(self) -> bool:
        """Whether there is anything to check."""
        return self._held_out is not None or self._state.config.memorisation_samples > 0

    def _overfitting(self, model: Denoiser, lines: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], str | None]:
        if self._held_out is None:
            return {}, None
        losses = validate(self._state, model, self._held_out)
        trend = held_out_trend(lines, self._state.images_seen, losses)
        values = {
            "validation_loss": losses.mean,
            "validation_loss_by_sigma": losses.by_sigma,
            "validation_error_by_sigma": losses.error_by_sigma,
            "validation_best": trend.best,
            "validation_best_images": trend.best_images,
            "overfitting_levels": len(trend.rising),
        }
        return values, trend.warning

    def _copies(self, model: Denoiser, lines: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], str | None]:
        if self._memorisation is None:
            return {}, None
        found = self._memorisation(model)
        values = {
            "memorised_fraction": found.fraction,
            "nearest_ratio": found.ratio,
            "memorised_fraction_real": found.real_fraction,
            "nearest_ratio_real": found.real_ratio,
        }
        return {name: value for name, value in values.items() if value is not None}, found.warning


def has_checks(run_dir: Path, images_seen: int) -> bool:
    """Whether metrics.jsonl has a line about the checks after so many images."""
    return any(
        line["images"] == images_seen and any(name in line for name in ("validation_loss", "memorised_fraction"))
        for line in metrics_until(run_dir, images_seen)
    )
