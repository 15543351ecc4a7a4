"""Every picture of a contact sheet is where it should be, pixel by pixel."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure
from PIL import Image

from elucidiff.figures.contact_sheet import COLUMNS, Section, draw


def rendered(figure: Figure) -> npt.NDArray[np.uint8]:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def pictures(count: int, *shape: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), dtype=np.uint8)


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (3, 28), (3, 64), (4, 32)])
def test_every_pixel_is_in_the_file(channels: int, side: int) -> None:
    rows = [pictures(COLUMNS, channels, side, side), pictures(5, channels, side, side)]
    if channels == 4:
        for row in rows:
            row[:, 3] = 255
    figure = draw("title", [Section("a", rows, ["first", "a name that is much too long for the margin"])])
    sheet = rendered(figure)
    zoom = 72 // side
    for number, row in enumerate(rows):
        for tile in row:
            big = tile[:3].repeat(zoom, 1).repeat(zoom, 2)
            big = np.broadcast_to(big, (3, *big.shape[1:])).transpose(1, 2, 0)
            assert found(sheet, big), f"a picture of row {number} is not in the sheet"


def found(sheet: npt.NDArray[Any], tile: npt.NDArray[Any]) -> bool:
    """Whether the tile is somewhere in the sheet, to one level: that is what matplotlib's greys are right to."""
    sheet, tile = sheet.astype(int), tile.astype(int)
    height, width = tile.shape[:2]
    corners = np.argwhere((abs(sheet[: -height + 1, : -width + 1] - tile[0, 0]) <= 1).all(2))
    return any(abs(sheet[y : y + height, x : x + width] - tile).max() <= 1 for y, x in corners)


def test_large_pictures_are_averaged() -> None:
    """A white row in three becomes grey; a partial square at the edge is averaged over what there is."""
    stripes = np.zeros((1, 1, 142, 146), np.uint8)
    stripes[:, :, ::3] = 150
    figure = draw("t", [Section("a", [stripes])])
    shown = figure.axes[0].images[0].get_array()
    assert shown[0, 0] == 50
    assert shown.shape == (48, 12 * 49 + 11 * 4)
    assert shown[-1, 0] == 150  # the 142nd row alone
    assert shown[0, 60] == 255


def test_no_text_is_cut_or_overlaps_another() -> None:
    names = ["W" * 40, "short"]
    sections = [Section("heading", [pictures(3, 1, 8, 8)] * 2, names), Section("another", [pictures(12, 1, 8, 8)])]
    figure = draw("title of the sheet", sections)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.texts]
    for k, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:k])
        assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
