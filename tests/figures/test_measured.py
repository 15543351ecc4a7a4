"""Figures that are measured: their numbers against closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import elucidiff as ed
from elucidiff.figures import loss_per_sigma
from elucidiff.figures.report.of_results import of_numbers
from tests.sampling.tiny_model import save_tiny_model


def test_the_loss_of_a_network_whose_output_is_0_is_known(tmp_path: Path) -> None:
    """There D = c_skip x, so the loss is lambda ((1 - c_skip)^2 y^2 + c_skip^2 sigma^2) a pixel, but for chance."""
    levels = np.random.default_rng(0).integers(0, 256, (200, 1, 4, 4)).astype(np.uint8)
    np.savez(tmp_path / "data.npz", images=levels)
    model = save_tiny_model(tmp_path / "model")
    figure = loss_per_sigma.LossPerSigmaFigure(model, str(tmp_path / "data.npz"), device="cpu", images=200, levels=3)
    kept = figure.measure("a test")
    sigma = kept.arrays["sigma"]
    names = kept.facts["curves"]
    assert [name.split(",")[0] for name in names] == ["a network whose output is 0", "the network"]
    c_skip = 0.25 / (sigma**2 + 0.25)
    error = (1 - c_skip) ** 2 * np.mean((levels / 127.5 - 1) ** 2) + c_skip**2 * sigma**2
    weight = (sigma**2 + 0.25) / (0.5 * sigma) ** 2
    np.testing.assert_allclose(kept.arrays[f"loss/{names[0]}"], weight * error, rtol=0.06)
    assert not np.allclose(kept.arrays[f"loss/{names[1]}"], weight * error, rtol=0.06)
    # p_train is ln(sigma) ~ N(-1.2, 1.2^2).
    density = np.exp(-(((np.log(sigma) + 1.2) / 1.2) ** 2) / 2) / (1.2 * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(kept.arrays["density"], density, rtol=1e-9)
    # Drawn again it is the same picture, and a report says what is to be seen.
    path = kept.save(tmp_path / "loss.npz")
    (section,) = of_numbers(tmp_path, path)
    assert section.title == "Loss by noise level"
    assert "Fig. 5a" in section.text


def test_numbers_without_what_the_text_says_are_one_line(tmp_path: Path) -> None:
    kept = ed.parts.find("figure", "curvature")().measure("a test")
    facts = {name: value for name, value in kept.facts.items() if name != "turning"}
    path = ed.figures.Numbers("curvature", "a test", facts, kept.arrays).save(tmp_path / "kept.npz")
    with pytest.raises(ValueError, match="numbers of the figure curvature are missing or damaged: 'turning'"):
        of_numbers(tmp_path, path)


def test_a_figure_nobody_knows_names_the_plugin(tmp_path: Path) -> None:
    path = ed.figures.Numbers("curvatur", "a test", {}, {}).save(tmp_path / "kept.npz")
    with pytest.raises(ValueError, match=r"'curvatur'; did you mean 'curvature'\?.*--plugin MODULE"):
        of_numbers(tmp_path, path)
