"""The curves of a training are those of its log."""

from __future__ import annotations

import numpy as np
import pytest

from elucidiff.figures.training_curves import draw

LINES = [
    {"images": 1000, "loss": 0.9},
    {"images": 2000, "loss": 0.5},
    {"images": 2000, "validation_loss": 0.6, "memorised_fraction": 0.25, "memorised_fraction_real": 0.0},
    {"images": 3000, "validation_loss": 0.7, "memorised_fraction": 0.5, "memorised_fraction_real": 0.1},
]


def test_losses_and_copies() -> None:
    losses, copies = draw(LINES).axes
    training, held_out = losses.lines
    np.testing.assert_array_equal(training.get_xydata(), [[1000, 0.9], [2000, 0.5]])
    np.testing.assert_array_equal(held_out.get_xydata(), [[2000, 0.6], [3000, 0.7]])
    (lowest,) = losses.texts
    assert (lowest.get_text(), lowest.xy) == ("0.6", (2000, 0.6))
    np.testing.assert_array_equal(copies.lines[0].get_ydata(), [0.25, 0.5])
    np.testing.assert_array_equal(copies.lines[1].get_ydata(), [0.0, 0.1])


def test_without_checks_there_is_one_panel() -> None:
    (axes,) = draw(LINES[:2]).axes
    assert len(axes.lines) == 1
    with pytest.raises(ValueError, match="no loss yet"):
        draw([{"images": 3}])
