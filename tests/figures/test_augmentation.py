"""The augmentation figure: every transform is there, and its pictures are what the pipeline makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from elucidiff.figures import augmentation, style

IMAGE = np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)


@pytest.fixture(scope="module")
def figure() -> Figure:
    return augmentation.draw(IMAGE)


def texts(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.texts}


def test_rows_for_each_kind_of_image(figure: Figure) -> None:
    rows = {
        "xflip", "yflip", "scale", "rotate_frac", "aniso", "translate_frac", "together",
        "rotate_int", "translate_int", "brightness", "contrast", "lumaflip", "hue", "saturation",
    }  # fmt: skip
    assert rows <= texts(figure)
    assert texts(augmentation.draw(IMAGE[:1, :12])) & rows == rows - {"rotate_int", "hue", "saturation"}


def test_pictures_are_the_transformed_image(figure: Figure) -> None:
    pictures = [axes.images[0].get_array() for axes in figure.axes]
    upright = IMAGE.transpose(1, 2, 0)
    np.testing.assert_array_equal(pictures[0], upright)
    np.testing.assert_array_equal(pictures[1], upright[:, ::-1])
    np.testing.assert_array_equal(pictures[3], upright[::-1])


def test_no_text_is_cut_or_overlaps_another(figure: Figure) -> None:
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    for k, box in enumerate(boxes):
        assert figure.bbox.x0 <= box.x0
        assert box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0
        assert box.y1 <= figure.bbox.y1
        assert not any(box.overlaps(other) for other in boxes[:k])


def test_written_as_png_and_svg(figure: Figure, tmp_path: Path) -> None:
    png, svg = style.save(figure, tmp_path / "augmentation")
    assert Image.open(png).size[0] > 1200
    assert svg.read_text().rstrip().endswith("</svg>")


def test_other_channel_counts_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 8, 8\)"):
        augmentation.draw(np.zeros((2, 8, 8), dtype=np.uint8))
