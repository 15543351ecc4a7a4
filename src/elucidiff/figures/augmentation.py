"""Every augmentation of :mod:`elucidiff.augment` at several strengths, on one image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from elucidiff.augment import Augment
from elucidiff.data.scaling import to_unit
from elucidiff.figures.style import GREY, INK, new_figure, picture

# Inches: the width of an image, the space to the next, between blocks, for an option's name, and the heights of the
# three kinds of text.
_TILE, _GAP, _BETWEEN, _OPTION = 0.98, 0.08, 0.35, 1.16
_TITLE, _NAME, _CAPTION = 0.5, 0.26, 0.22
_COLUMNS = 5
_STEPS = (-2.0, -1.0, 0.0, 1.0, 2.0)
_DEGREES = (-90, -30, 0, 30, 90)
_DEFAULT = Augment()


@dataclass(frozen=True)
class _Row:
    """One transform: what it does, the values of w that are shown, and what each amounts to."""

    option: str
    meaning: str
    values: Sequence[float]
    captions: Sequence[str]


def _factors(option: str, meaning: str, std: float) -> _Row:
    return _Row(option, meaning, _STEPS, [f"×{2 ** (w * std):.2f}" for w in _STEPS])


def _amounts(option: str, meaning: str, step: float, largest: float = 2.0) -> _Row:
    captions = [f"{w * step:+.3g}".replace("-", "−") if w else "0" for w in _STEPS]
    return _Row(option, meaning, [w * largest / 2 for w in _STEPS], captions)


def _angles(option: str, meaning: str) -> _Row:
    captions = [f"{angle:+d}°".replace("-", "−") if angle else "0°" for angle in _DEGREES]
    return _Row(option, meaning, [math.radians(angle) for angle in _DEGREES], captions)


_PAPER = (
    _Row("xflip", "mirror left-right", (0, 1), ("as it is", "mirrored")),
    _Row("yflip", "mirror top-bottom", (0, 1), ("as it is", "mirrored")),
    _factors("scale", "enlarge", _DEFAULT.scale_std),
    _angles("rotate_frac", "turn counter-clockwise"),
    _factors("aniso", "stretch along a diagonal", _DEFAULT.aniso_std),
    _amounts("translate_frac", "shift right and down, in parts of the side", _DEFAULT.translate_frac_std),
)
_OTHERS = (
    _Row("rotate_int", "quarter turns counter-clockwise", (0, 1, 2, 3), ("0", "1", "2", "3")),
    _amounts("translate_int", "shift right and up, in parts of the side", _DEFAULT.translate_int_max / 2, 1.0),
    _amounts("brightness", "add", _DEFAULT.brightness_std),
    _factors("contrast", "multiply", _DEFAULT.contrast_std),
    _Row("lumaflip", "reverse along the grey axis", (0, 1), ("as it is", "reversed")),
    _angles("hue", "turn about the grey axis"),
    _factors("saturation", "multiply the distance from the grey axis", _DEFAULT.saturation_std),
)


def draw(image: npt.NDArray[np.uint8]) -> Figure:
    """Two blocks, the paper's set and the others, with a row for each transform and five random draws of the set.

    Strengths are in units of the default options: from -2 to 2 standard deviations, or over the whole range.

    Args:
        image: ``(C, H, W)``, uint8, grey or RGB. Transforms that its shape does not allow, or that do nothing to a
            grey image, are left out.

    Raises:
        ValueError: the image is neither grey nor RGB.
    """
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise ValueError(f"the augmentation figure needs one grey or RGB image (1 or 3, H, W), not {image.shape}")
    channels, height, width = image.shape
    clean = to_unit(torch.from_numpy(image))
    without = {"rotate_int"} if height != width else set()
    without |= {"hue", "saturation"} if channels == 1 else set()
    together = Augment.paper(p=1.0)
    params = together.draw(_COLUMNS, torch.Generator().manual_seed(0))
    mixed, _ = together.apply(clean.expand(_COLUMNS, -1, -1, -1), params)
    blocks = {
        "The paper's set": [
            *((row, _strengths(clean, row)) for row in _PAPER),
            (_Row("together", "five random draws, every gate open", (), [""] * _COLUMNS), mixed),
        ],
        "Off by default": [(row, _strengths(clean, row)) for row in _OTHERS if row.option not in without],
    }

    tall = _TILE * height / width
    lines = max(len(rows) for rows in blocks.values())
    block_width = _COLUMNS * (_TILE + _GAP) - _GAP
    figure = new_figure(
        _BETWEEN + len(blocks) * (block_width + _BETWEEN), _TITLE + lines * (_NAME + tall + _CAPTION) + _GAP
    )
    # The layout is a plain grid in inches; the automatic one would make room for each text on its own.
    figure.set_layout_engine("none")
    for block, (title, rows) in enumerate(blocks.items()):
        left = _BETWEEN + block * (block_width + _BETWEEN)
        _write(figure, left, 0.6 * _TITLE, title, fontsize=13, color=INK)
        for line, (row, images) in enumerate(rows):
            top = _TITLE + line * (_NAME + tall + _CAPTION)
            _write(figure, left, top + 0.75 * _NAME, row.option, fontsize=9.5, fontweight="bold", color=INK)
            _write(figure, left + _OPTION, top + 0.75 * _NAME, row.meaning, fontsize=9.5, color=GREY)
            pixels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
            for column, (one, caption) in enumerate(zip(pixels, row.captions, strict=True)):
                x = left + column * (_TILE + _GAP)
                picture(_axes(figure, x, top + _NAME, _TILE, tall), one)
                _write(
                    figure, x + _TILE / 2, top + _NAME + tall + 0.75 * _CAPTION, caption,
                    fontsize=8.5, color=GREY, ha="center",
                )  # fmt: skip
    return figure


def _strengths(clean: Tensor, row: _Row) -> Tensor:
    """``clean`` ``(C, H, W)`` under each value of ``row``."""
    w = torch.tensor(row.values)
    params = {row.option: w.expand(2, -1) if row.option.startswith("translate") else w}
    if row.option == "aniso":
        params["aniso_angle"] = torch.full_like(w, math.pi / 4)
    images, _ = Augment(**{row.option: 1.0}).apply(clean.expand(len(w), -1, -1, -1), params)
    return images


def _axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the figure's upper left corner."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


def _write(figure: Figure, left: float, baseline: float, text: str, **style: Any) -> None:
    """``text`` with its baseline at a place in inches from the figure's upper left corner."""
    w, h = figure.get_size_inches()
    figure.text(left / w, 1 - baseline / h, text, va="baseline", **style)
