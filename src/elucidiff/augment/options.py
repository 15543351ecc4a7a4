"""Which transforms are switched on, how often, and how strong they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

EXACT = ("xflip", "yflip", "rotate_int", "translate_int")
SUBPIXEL = ("scale", "rotate_frac", "aniso", "translate_frac")
COLOUR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
FILTER = ("imgfilter",)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The settings of the augmentation pipeline; :mod:`elucidiff.augment` has the formula of each transform.

    Attributes:
        p: overall probability, in [0, 1].
        xflip, yflip, rotate_int, translate_int, scale, rotate_frac, aniso, translate_frac: multiplier of ``p`` for
            this transform; 0 switches it off, which also removes its label columns. A product above 1 means always.
        brightness, contrast, lumaflip, hue, saturation, imgfilter: multiplier of ``p`` for this transform; 0
            switches it off.
        translate_int_max: largest integer shift, as a part of the width or height.
        scale_std: spread of the log2 of the magnification.
        rotate_frac_max: largest rotation, as a part of a half turn.
        aniso_std: spread of the log2 of the stretch.
        aniso_rotate_prob: probability that the stretch has a random direction, rather than along x.
        translate_frac_std: spread of the shift, as a part of the width or height.
        brightness_std: spread of the brightness change, in units of the image (which spans [-1, 1]).
        contrast_std: spread of the log2 of the contrast.
        hue_max: largest turn of the hue, as a part of a half turn.
        saturation_std: spread of the log2 of the saturation.
        imgfilter_std: spread of the log2 of the gain of a frequency band.

    Raises:
        ValueError: a setting out of its range.
    """

    p: float = 1.0
    xflip: float = 0.0
    yflip: float = 0.0
    rotate_int: float = 0.0
    translate_int: float = 0.0
    scale: float = 0.0
    rotate_frac: float = 0.0
    aniso: float = 0.0
    translate_frac: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    lumaflip: float = 0.0
    hue: float = 0.0
    saturation: float = 0.0
    imgfilter: float = 0.0
    translate_int_max: float = 0.125
    scale_std: float = 0.2
    rotate_frac_max: float = 1.0
    aniso_std: float = 0.2
    aniso_rotate_prob: float = 0.5
    translate_frac_std: float = 0.125
    brightness_std: float = 0.2
    contrast_std: float = 0.5
    hue_max: float = 1.0
    saturation_std: float = 1.0
    imgfilter_std: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(
                    f"augmentation option {field.name} must be a finite number of at least 0, not {value}"
                )
        for name in ("p", "aniso_rotate_prob"):
            if getattr(self, name) > 1:
                raise ValueError(f"augmentation option {name} is a probability, at most 1, not {getattr(self, name)}")
        if self.translate_int > 0 and self.translate_int_max == 0:
            raise ValueError(
                "translate_int is on, but translate_int_max is 0: set a maximum above 0 or translate_int to 0"
            )

    @property
    def active(self) -> tuple[str, ...]:
        """The names of the transforms that are switched on, in the order in which they run."""
        return tuple(option for option in (*EXACT, *SUBPIXEL, *COLOUR, *FILTER) if getattr(self, option) > 0)
