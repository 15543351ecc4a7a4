"""Figures from tables of results: every mark stands where its number is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from elucidiff.figures import ablation_bars, churn_heat_map, quality_against_nfe
from elucidiff.figures.base import metric_title, points
from elucidiff.figures.churn_heat_map import Axis, best_cells, best_place
from elucidiff.figures.style import BLUE, SKY
from tests.figures.rows import BASE, CURVES, measured, trial


def test_curves_are_means_with_standard_errors() -> None:
    deterministic, stochastic = quality_against_nfe.draw(CURVES).axes
    assert [axes.get_title(loc="left") for axes in (deterministic, stochastic)] == ["Deterministic", "Stochastic"]
    heun, other = deterministic.containers
    np.testing.assert_array_equal(heun.lines[0].get_xydata(), [[7, 5], [35, 1]])
    # The standard error of 4 and 6 is 1; that of equal values is 0.
    segments = heun.lines[2][0].get_segments()
    np.testing.assert_allclose(segments, [[[7, 4], [7, 6]], [[35, 1], [35, 1]]])
    np.testing.assert_array_equal(other.lines[0].get_xydata(), [[8, 2]])
    assert [text.get_text() for text in stochastic.texts] == ["heun, churn 20", "sde"]
    assert deterministic.get_ylim() == stochastic.get_ylim()
    assert (deterministic.get_xscale(), deterministic.get_yscale()) == ("log", "log")


def test_what_is_not_positive_has_a_linear_axis() -> None:
    (axes,) = quality_against_nfe.draw(measured("heun", 8, 7, (-0.001, 0.002), metric="kid")).axes
    assert axes.get_yscale() == "linear"
    (axes,) = quality_against_nfe.draw(measured("heun", 8, 7, (0.5,), metric="recall", lower_is_better=False)).axes
    assert axes.get_yscale() == "linear"


def test_names_of_curves_are_not_cut() -> None:
    figure = quality_against_nfe.draw([replace(row, configuration=row.configuration + 30 * "w") for row in CURVES])
    figure.canvas.draw()
    left, right = figure.axes
    for text in left.texts:
        assert text.get_window_extent().x1 < right.get_window_extent().x0
    for text in right.texts:
        assert text.get_window_extent().x1 <= figure.bbox.x1


def test_what_names_share_stands_in_the_title() -> None:
    rows = [
        *measured("heun, rho 7", 8, 7, (4.0,)),
        *measured("ipndm, rho 7", 8, 7, (3.0,)),
        *measured("ipndm, rho 7, churn 3", 8, 7, (2.0,), churn=3.0),
        *measured("euler, rho 7, churn 3", 8, 7, (1.0,), churn=3.0),
    ]
    left, right = quality_against_nfe.draw(rows).axes
    assert [axes.get_title(loc="left") for axes in (left, right)] == [
        "Deterministic: rho 7", "Stochastic: rho 7, churn 3",
    ]  # fmt: skip
    assert [[text.get_text() for text in axes.texts] for axes in (left, right)] == [
        ["heun", "ipndm"],
        ["ipndm", "euler"],
    ]
    colours = [[curve.lines[0].get_color() for curve in axes.containers] for axes in (left, right)]
    assert colours[0][1] == colours[1][0]
    assert len({*colours[0], *colours[1]}) == 3


@pytest.mark.parametrize("names", [["a, b"], ["a, b", "a, b, c"], ["a, b", "b, a"], ["a", "b"]])
def test_names_that_share_nothing_or_all_stay(names: list[str]) -> None:
    assert quality_against_nfe.short_names(names) == ("", names)


def test_lines_to_the_names_end_where_they_begin() -> None:
    """Many curves that end together: no line may run through a name."""
    figure = quality_against_nfe.draw(
        [row for k in range(5) for row in measured(f"sampler {k}", 8, 7, (1 + k / 100,))]
    )
    figure.canvas.draw()
    for text in figure.axes[0].texts:
        assert text.arrow_patch.get_window_extent().x1 <= text.get_window_extent().x0 + 1


@pytest.mark.parametrize(
    ("top", "expected"),
    [(1.0, ["0.6", "0.8", "1"]), (5.0, ["0.5", "1", "2", "3", "5"]), (500.0, ["$\\mathdefault{10^{0}}$"])],
)
def test_numbers_of_a_narrow_axis_are_plain(top: float, expected: list[str]) -> None:
    figure = quality_against_nfe.draw([*measured("a", 8, 7, (top,)), *measured("a", 16, 15, (0.5,))])
    figure.canvas.draw()
    assert set(expected) <= {label.get_text() for label in figure.axes[0].get_yticklabels()}


def test_bars_have_the_length_of_their_means() -> None:
    (axes, other) = ablation_bars.draw(
        [*measured("a", 8, 7, (4.0, 6.0)), *measured("b", 8, 7, (1.0, 3.0)), *measured("a", 36, 35, (0.5, 0.7))]
    ).axes
    assert [patch.get_width() for patch in axes.patches] == [5, 2]
    assert [patch.get_y() + patch.get_height() / 2 for patch in axes.patches] == pytest.approx([0, 1])
    assert [to_hex(patch.get_facecolor()).upper() for patch in axes.patches] == [SKY.upper(), BLUE.upper()]
    assert [text.get_text() for text in axes.texts] == ["5.0 ± 1.0", "2.0 ± 1.0"]
    assert [text.get_fontweight() for text in axes.texts] == ["normal", "bold"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [patch.get_width() for patch in other.patches] == pytest.approx([0.6])
    np.testing.assert_allclose(axes.collections[0].get_segments(), [[[4, 0], [6, 0]]])


def test_ties_are_marked_and_higher_may_be_better() -> None:
    rows = [
        *measured("a", 8, 7, (1.0, 2.0, 3.0)),
        *measured("b", 8, 7, (1.1, 1.9, 3.3)),
        *measured("c", 8, 7, (0, 1, 2)),
    ]
    (axes,) = ablation_bars.draw([replace(row, metric="recall", lower_is_better=False) for row in rows]).axes
    assert [text.get_text()[-1] for text in axes.texts] == ["≈", "4", "8"]
    best = [text.get_text() for text in axes.texts if text.get_fontweight() == "bold"]
    assert best == ["2.10 ± 0.64"]


GRID = [
    trial(0, 5.0, churn=0.0),
    *(
        trial(1 + k, value, churn=churn, churn_sigma_min=low, noise_scale=scale)
        for k, (churn, low, scale, value) in enumerate(
            [(10.0, 0.0, 1.0, 3.0), (10.0, 0.0, 1.01, 2.0), (10.0, 0.1, 1.0, 4.0), (20.0, 0.1, 1.01, 1.0)]
        )
    ),
]


def test_cells_hold_the_best_of_the_others_and_churn_0_stands_for_all() -> None:
    x, y = Axis.of("churn", GRID), Axis.of("churn_sigma_min", GRID)
    np.testing.assert_array_equal(best_cells(GRID, x, y), [[5, 2, np.nan], [5, 4, 1]])
    higher = [replace(row, lower_is_better=False) for row in GRID]
    np.testing.assert_array_equal(best_cells(higher, x, y), [[5, 3, np.nan], [5, 4, 1]])
    assert best_place(best_cells(GRID, x, y), lower=True) == (1, 2)
    assert best_place(best_cells(higher, x, y), lower=False) == (0, 0)


def test_the_best_cell_is_framed_in_every_map() -> None:
    short = trial(9, 0.1, images=20, churn=20.0, churn_sigma_min=0.0)  # ended early: its figure is of fewer images
    fresh = replace(GRID[1], configuration="before", value=0.2)
    figure = churn_heat_map.draw([*GRID, short, fresh])
    first, second, _ = figure.axes
    np.testing.assert_array_equal(np.asarray(first.images[0].get_array()), [[5, 2, np.nan], [5, 4, 1]])
    for axes in (first, second):
        (frame,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert (frame.get_x(), frame.get_y(), frame.get_width(), frame.get_height()) == (1.5, 0.5, 1, 1)
    assert [label.get_text() for label in second.get_yticklabels()] == ["1", "1.01"]
    assert {text.get_text() for text in first.texts} == {"5", "2", "4", "1"}


def test_many_values_are_put_in_bins() -> None:
    generator = np.random.default_rng(0)
    lows = np.geomspace(0.01, 10, 33)
    rows = [
        trial(k, float(generator.uniform(1, 2)), churn=float(k), churn_sigma_min=float(low))
        for k, low in enumerate(lows)
    ]
    x, y = Axis.of("churn", rows), Axis.of("churn_sigma_min", rows)
    np.testing.assert_allclose(x.edges, [0, *np.linspace(1, 32, 9)])
    assert x.values[0] == 0
    np.testing.assert_allclose(y.edges, np.geomspace(0.01, 10, 9))
    cells = best_cells(rows, x, y)
    # Both rise together, about four of them in each bin; churn 0 is alone.
    assert np.isfinite(np.diag(cells[:, 1:])).all()
    assert np.isfinite(cells).sum() <= 17
    assert (cells[0, 0], cells[-1, -1]) == (rows[0].value, min(row.value for row in rows[29:]))


def test_drawn_values_are_put_in_bins_and_those_of_a_grid_are_not() -> None:
    churns, scales = (0.5, 1.0, 4.0, 7.5, 8.5), (1.0071, 1.0072)
    drawn = [trial(k, 1.0, churn=churn, noise_scale=scales[k % 2]) for k, churn in enumerate(churns)]
    axis = Axis.of("churn", drawn)
    np.testing.assert_allclose(axis.edges, np.linspace(0.5, 8.5, 6))
    assert [axis.places(row) for row in drawn] == [[0], [0], [2], [4], [4]]
    assert Axis.of("noise_scale", drawn).labels == ["1.0071", "1.0072"]
    grid = [trial(k, 1.0, churn=churn, noise_scale=scale) for k, churn in enumerate(churns) for scale in scales]
    np.testing.assert_array_equal(Axis.of("churn", grid).values, churns)
    assert Axis.of("churn", grid).edges is None
    assert Axis.of("churn", drawn[:3]).edges is None


def test_seeds_are_averaged_before_the_best_is_chosen() -> None:
    rows = [replace(row, value=row.value + by, seed=seed) for row in GRID for seed, by in enumerate((-1.0, 3.0))]
    x, y = Axis.of("churn", GRID), Axis.of("churn_sigma_min", GRID)
    np.testing.assert_array_equal(best_cells(rows, x, y), [[6, 3, np.nan], [6, 5, 2]])


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda: quality_against_nfe.draw([]), "no rows"),
        (lambda: quality_against_nfe.draw(CURVES, "fdi"), "did you mean 'fid'"),
        (
            lambda: quality_against_nfe.draw([replace(BASE, budget=None, nfe=None, value=1.0)]),
            "heun does not tell its network evaluations",
        ),
        (
            lambda: ablation_bars.draw([*CURVES, replace(BASE, extractor="other-1", value=1.0)]),
            "extractor other-1 and pca",
        ),
        (lambda: churn_heat_map.draw(CURVES), "here there is churn"),
        (lambda: churn_heat_map.draw(GRID, axes=("churn", "rho")), "'rho' has no two values"),
    ],
)
def test_what_cannot_be_drawn(draw: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        draw()  # type: ignore[operator]


def test_points_and_titles() -> None:
    found = points(CURVES, "fid")
    assert [(point.configuration, point.nfe, point.values) for point in found[:2]] == [
        ("heun", 7.0, {0: 4.0, 1: 6.0}),
        ("heun", 35.0, {0: 1.0, 1: 1.0}),
    ]
    assert metric_title("fid", "pca-20-01234567") == "Frechet distance (pca-20)"
    assert metric_title("fid", "inception-v3-01234567") == "FID"
    assert metric_title("truncation_error", "").startswith("distance to the exact solution")


@pytest.mark.parametrize("value", [0.09786813369663777, 0.09786818605782134, 1.0, 3.7e-5])
def test_a_single_value_has_an_axis_around_it(value: float) -> None:
    """Rounding left an axis of one unit in the last place, whose ticks and names failed."""
    figure = quality_against_nfe.draw(measured("heun", 4, 4, (value,), metric="truncation_error"))
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert low < 0.99 * value < 1.01 * value < high
    figure.canvas.draw()
