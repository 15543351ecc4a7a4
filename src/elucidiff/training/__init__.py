"""Training denoisers: the paper's recipe (Karras et al. 2022, App. F) as one readable loop, and settings for it."""

from __future__ import annotations

from elucidiff.training.callbacks import Callbacks, Progress
from elucidiff.training.config import TrainingConfig
from elucidiff.training.ema import EMA, ema_beta, reconstruct
from elucidiff.training.learning_rate import LearningRateSchedule, learning_rate
from elucidiff.training.loop import TrainingResult, train
from elucidiff.training.presets import PRESETS, Preset, preset

__all__ = [
    "EMA",
    "PRESETS",
    "Callbacks",
    "LearningRateSchedule",
    "Preset",
    "Progress",
    "TrainingConfig",
    "TrainingResult",
    "ema_beta",
    "learning_rate",
    "preset",
    "reconstruct",
    "train",
]
