"""Samples in one sheet: every pixel where it should be, small pictures enlarged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from elucidiff.cli.common.samples import write_sheet
from elucidiff.data.scaling import to_uint8


@pytest.mark.parametrize(("height", "width", "zoom"), [(8, 8, 8), (28, 28, 2), (3, 30, 2), (64, 64, 1), (90, 40, 1)])
def test_small_pictures_are_enlarged(tmp_path: Path, height: int, width: int, zoom: int) -> None:
    x = torch.rand(3, 1, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    write_sheet(tmp_path / "sheet.png", to_uint8(x), 2)
    with Image.open(tmp_path / "sheet.png") as opened:
        sheet = np.asarray(opened)
    assert sheet.shape == ((2 * height + 1) * zoom, (2 * width + 1) * zoom)
    for image, top, left in zip(to_uint8(x).numpy()[:, 0], (0, 0, height + 1), (0, width + 1, 0), strict=True):
        tile = sheet[top * zoom : (top + height) * zoom, left * zoom : (left + width) * zoom]
        np.testing.assert_array_equal(tile, image.repeat(zoom, 0).repeat(zoom, 1))
