"""Figures drawn again from the numbers they left are the same to the byte; nothing else is taken for numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from elucidiff.design import schedules
from elucidiff.figures import curvature, loss_per_sigma, repeated_churn, step_errors, strips
from elucidiff.figures.base import Numbers, read_numbers, redraw
from elucidiff.figures.curvature import paths
from elucidiff.figures.repeated_churn import ChurnTrace
from elucidiff.figures.step_errors import StepErrors
from elucidiff.figures.style import encoded

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(-1, 1, (3, 2, 3, 4, 4)).astype(np.float32).astype(np.float64)
PATHS = [paths(schedules.EDM(), sigma_max=top, count=4, resolution=20) for top in (9.0, 1.0)]
ERRORS = StepErrors(
    np.array([2.0, 3.0]), np.array([[3.0, 1.0]] * 2), np.array([[0.2, 0.1], [0.1, 0.1]]), np.array([2.0, 1.0])
)
TRACE = ChurnTrace(
    (0, 1, 10), IMAGES, RANDOM.uniform(1, 2, (3, 2)), RANDOM.uniform(1, 2, (3, 2)), RANDOM.uniform(1, 2, (3, 2))
)
SIGMA, LOSS = np.geomspace(0.01, 10, 5), {"a": np.linspace(1, 2, 5)}
STRIP = (np.array([0.1, 1.0, 9.0]), IMAGES, {"exact one": IMAGES / 2}, {"exact one": np.array([0.0, 0.123, 1.0])})

EVERY: dict[str, tuple[Callable[[], Figure], Callable[[], Numbers]]] = {
    "curvature": (lambda: curvature.draw({"EDM": PATHS}), lambda: curvature.numbers({"EDM": PATHS}, "c")),
    "step-errors": (lambda: step_errors.draw(ERRORS), lambda: step_errors.numbers(ERRORS, "c")),
    "repeated-churn": (
        lambda: repeated_churn.draw({"x": TRACE}, (0.1, 0.5)),
        lambda: repeated_churn.numbers({"x": TRACE}, (0.1, 0.5), "c"),
    ),
    "loss-per-sigma": (
        lambda: loss_per_sigma.draw(SIGMA, LOSS, SIGMA), lambda: loss_per_sigma.numbers(SIGMA, LOSS, SIGMA, "c"),
    ),
    "strips": (lambda: strips.draw(*STRIP, sigma_data=0.7), lambda: strips.numbers(*STRIP, "c", sigma_data=0.7)),
}  # fmt: skip


@pytest.mark.parametrize("name", EVERY)
def test_the_same_figure_from_a_file(name: str, tmp_path: Path) -> None:
    draw, numbers = EVERY[name]
    kept = read_numbers(numbers().save(tmp_path / "n.npz"))
    assert (kept.figure, kept.command) == (name, "c")
    assert encoded(redraw(kept), "png") == encoded(draw(), "png")


def test_marks_of_the_step_errors() -> None:
    local, even, sums = step_errors.draw(ERRORS).axes
    np.testing.assert_array_equal(local.lines[0].get_xydata(), [[3, 0.2], [1, 0.1]])
    assert [text.get_text() for text in even.texts if "most" in text.get_text()] == [r"most even: $\rho$ = 3"]
    np.testing.assert_allclose(sums.lines[0].get_ydata(), [0.3, 0.2])
    assert [text.get_text() for text in sums.texts if "best" in text.get_text()] == [r"best: $\rho$ = 3"]


def test_turning_stands_below_its_panel() -> None:
    figure = curvature.draw({"EDM": PATHS})
    said = [axes.get_xlabel().splitlines()[-1] for axes in figure.axes]
    assert said == [f"turns by {window.turning.mean():.0f}° on average" for window in PATHS]
    np.testing.assert_array_equal(figure.axes[0].lines[2].get_ydata(), PATHS[0].x[2])


def test_churn_is_shown_relative_to_the_start() -> None:
    axes = repeated_churn.draw({"x": TRACE}, (0.1, 0.5)).axes[3]
    change = (TRACE.contrast - TRACE.contrast[0]) / TRACE.contrast[0].mean()
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 1 + change.mean(1))
    band = axes.collections[0].get_paths()[0].vertices
    estimate = change[2].std(ddof=1) / np.sqrt(2)
    assert band[band[:, 0] == 10][:, 1].max() == pytest.approx(1 + change[2].mean() + estimate)


def test_errors_below_the_strips() -> None:
    figure = strips.draw(*STRIP)
    errors = [text.get_text() for text in figure.texts if text.get_text() in ("0", "0.12", "1")]
    assert errors == ["0", "0.12", "1"]
    shown = np.asarray(figure.axes[2].images[0].get_array())
    assert shown.shape == (4, 4, 3)


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.npz"
    np.savez(path, images=np.zeros(3))
    with pytest.raises(ValueError, match="holds no numbers of a figure"):
        read_numbers(path)
    np.savez(path, about=np.array([{"figure": "strips"}], dtype=object))  # would have to be unpickled
    with pytest.raises(ValueError, match="holds no numbers of a figure"):
        read_numbers(path)
    path.write_bytes(b"PK not a zip")
    with pytest.raises(ValueError, match="holds no numbers of a figure"):
        read_numbers(path)
    with pytest.raises(OSError, match="absent"):
        read_numbers(tmp_path / "absent.npz")


def test_missing_numbers_and_unknown_figures(tmp_path: Path) -> None:
    np.savez(tmp_path / "n.npz", about=np.array(json.dumps({"figure": "strips", "command": "", "facts": {}})))
    with pytest.raises(ValueError, match="missing or damaged"):
        redraw(read_numbers(tmp_path / "n.npz"))
    with pytest.raises(ValueError, match="did you mean 'strips'"):
        redraw(Numbers("stripes", "", {}, {}))
