"""Figures show the numbers that they were given."""

from __future__ import annotations

import numpy as np

from elucidiff.demo.report import draw_budget
from elucidiff.design import steps as noise_levels
from elucidiff.figures import grid, loss_per_sigma, neighbours, steps, trajectory


def test_steps_show_levels_and_ratios() -> None:
    sigmas = noise_levels.karras(18).numpy()
    levels, factors = steps.draw({"rho = 7": sigmas}).axes
    np.testing.assert_array_equal(levels.lines[0].get_ydata(), sigmas[:-1])
    np.testing.assert_allclose(factors.lines[0].get_xdata(), sigmas[:-2])
    np.testing.assert_allclose(factors.lines[0].get_ydata(), sigmas[:-2] / sigmas[1:-1])


def test_loss_curves_and_density() -> None:
    sigma = np.geomspace(0.002, 80, 9)
    curves = {"before": np.ones(9), "after": sigma}
    axes, noise = loss_per_sigma.draw(sigma, curves, np.exp(-(np.log(sigma) ** 2))).axes
    for line, (name, values) in zip(axes.lines, curves.items(), strict=True):
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_ydata(), values)
    assert noise.get_ylim()[0] == 0


def test_budget_curve_leaves_out_the_exact_solution() -> None:
    images = {n: np.zeros((3, 1, 4, 4), np.uint8) for n in (2, 4, 8)}
    figure = draw_budget(images, {2: 3, 4: 7, 8: 15}, {2: 0.5, 4: 0.1, 8: 0.0})
    curve = figure.axes[-1]
    np.testing.assert_array_equal(curve.lines[0].get_xdata(), [3, 7])
    np.testing.assert_array_equal(curve.lines[0].get_ydata(), [0.5, 0.1])
    assert len(figure.axes) == 4


def test_neighbour_distances_are_cumulative() -> None:
    pair = np.zeros((2, 1, 4, 4), np.uint8)
    figure = neighbours.draw({"samples": np.array([0.3, 0.1, 0.2, 0.4])}, pair, pair)
    line = figure.axes[0].lines[0]
    np.testing.assert_array_equal(line.get_xdata(), [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(line.get_ydata(), [0.25, 0.5, 0.75, 1.0])


def test_trajectory_shows_first_and_last_and_keeps_the_contrast() -> None:
    sigmas = np.array([80.0, 10.0, 1.0, 0.1, 0.0])
    denoised = np.zeros((4, 1, 1, 2, 2))
    x = np.stack([np.full((1, 1, 2, 2), sigma) for sigma in sigmas])
    figure = trajectory.draw(x, denoised, sigmas, sigma_data=0.5, most=3)
    assert [axes.get_title() for axes in figure.axes[:3]] == ["80", "1", "0"]
    shown = [int(axes.images[0].get_array()[0, 0]) for axes in figure.axes[:3]]
    # x / sqrt(1 + (sigma / 0.5)^2) = 80 / 160.003, 1 / sqrt(5), 0, on the scale 127.5 x + 128.
    assert shown == [191, 185, 128]


def test_grid_has_a_panel_a_title() -> None:
    images = np.arange(4 * 4, dtype=np.uint8).reshape(4, 1, 2, 2)
    figure = grid.draw({"left": images, "right": images}, columns=2, rows=["a", "b"])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["left", "right"]
    assert figure.axes[0].images[0].get_array()[0, 0] == 0
    assert [text.get_text() for text in figure.axes[0].texts] == ["a", "b"]
