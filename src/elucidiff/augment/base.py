"""An augmentation as training sees it: drawing is separate from applying, and the network is told what was done."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

EXACT = ("xflip", "yflip", "rotate_int", "translate_int")
SUBPIXEL = ("scale", "rotate_frac", "aniso", "translate_frac")
COLOUR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
FILTER = ("imgfilter",)


class Augmentation(ABC):
    """Random changes of training images, with labels that tell the network what was done (non-leaking).

    A subclass is a frozen dataclass of settings, registered with ``@ed.part("augmentation", NAME)``.

    >>> import elucidiff as ed
    >>> from dataclasses import dataclass, fields
    >>> @dataclass(frozen=True)
    ... class Negative(ed.augment.Augmentation):
    ...     label_dim = 1
    ...
    ...     def draw(self, n, generator, device=None):
    ...         return {"negative": torch.rand(n, generator=generator).round()}
    ...
    ...     def apply(self, images, params):
    ...         negative = params["negative"]
    ...         return images * (1 - 2 * negative).reshape(-1, 1, 1, 1), negative[:, None]
    ...
    >>> images, labels = Negative().apply(torch.ones(2, 1, 1, 1), {"negative": torch.tensor([0.0, 1.0])})
    >>> images.flatten().tolist(), labels.tolist()
    ([1.0, -1.0], [[0.0], [1.0]])
    """

    @property
    @abstractmethod
    def label_dim(self) -> int:
        """The number of label columns: the ``augment_dim`` that a network needs."""

    @property
    def off(self) -> bool:
        """True if it leaves every image as it is, so that a training does without."""
        return False

    def check(self, shape: Sequence[int]) -> None:  # noqa: B027 (it need not refuse any)
        """Refuse images that this augmentation cannot treat, before any work starts; takes all if not overridden.

        Args:
            shape: ``(C, *spatial)`` of one image.

        Raises:
            ValueError: it cannot treat them.
        """

    @abstractmethod
    def draw(self, n: int, generator: torch.Generator, device: torch.device | str | None = None) -> dict[str, Tensor]:
        """Draw the parameters of ``n`` images.

        Args:
            n: number of images.
            generator: where every draw comes from.
            device: where to put the result; default: where the generator is.

        Returns:
            Parameters by name, ``(n,)`` or ``(rows, n)``: images come last.
        """

    @abstractmethod
    def apply(self, images: Tensor, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Transform a batch, each image by its own parameters.

        Args:
            images: ``(n, C, *spatial)`` in units of the noise levels.
            params: from :meth:`draw`.

        Returns:
            the new images, and their labels ``(n, label_dim)``; rows of zeros mean that nothing was done.
        """

    def apply_to_condition(self, fields: Tensor, params: Mapping[str, Tensor], channels: int) -> Tensor:
        """Transform the conditions of a batch along with its images: what moves pixels moves those of both.

        Args:
            fields: ``(n, C, *spatial)``, of the sides of the images.
            params: from :meth:`draw`.
            channels: of the images.

        Raises:
            ValueError: this augmentation does not say how.
        """
        raise ValueError(
            f"the augmentation {type(self).__name__} does not say how conditions are augmented along with their "
            "images: switch it off, or give it a method apply_to_condition"
        )


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
        scale_std: standard deviation of the log2 of the magnification.
        rotate_frac_max: largest rotation, as a part of a half turn.
        aniso_std: standard deviation of the log2 of the stretch.
        aniso_rotate_prob: probability that the stretch has a random direction, rather than along x.
        translate_frac_std: standard deviation of the shift, as a part of the width or height.
        brightness_std: standard deviation of the brightness change, in units of the image (which spans [-1, 1]).
        contrast_std: standard deviation of the log2 of the contrast.
        hue_max: largest turn of the hue, as a part of a half turn.
        saturation_std: standard deviation of the log2 of the saturation.
        imgfilter_std: standard deviation of the log2 of the gain of a frequency band.

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


class Source(Protocol):
    """The source of draws, one call a draw. Shapes are ``(n,)``, or ``(rows, n)`` for more rows than one."""

    def integers(self, end: int) -> Tensor:
        """Integers 0 ... end - 1, equally likely, int64."""

    def uniform(self, rows: int = 1) -> Tensor:
        """Uniform numbers in [0, 1)."""

    def normal(self, rows: int = 1) -> Tensor:
        """Standard normal numbers."""


@dataclass(frozen=True)
class Generated:
    """Draws for ``n`` images from ``generator``, on its device, in float32 (whatever the images are)."""

    n: int
    generator: torch.Generator

    def integers(self, end: int) -> Tensor:
        return torch.randint(end, (self.n,), generator=self.generator, device=self.generator.device)

    def uniform(self, rows: int = 1) -> Tensor:
        return torch.rand(
            self._shape(rows), generator=self.generator, device=self.generator.device, dtype=torch.float32
        )

    def normal(self, rows: int = 1) -> Tensor:
        return torch.randn(
            self._shape(rows), generator=self.generator, device=self.generator.device, dtype=torch.float32
        )

    def _shape(self, rows: int) -> tuple[int, ...]:
        return (self.n,) if rows == 1 else (rows, self.n)


def _signed(source: Source, rows: int = 1) -> Tensor:
    return source.uniform(rows) * 2 - 1


_VALUES: dict[str, Callable[[Options, Source], Tensor]] = {
    "xflip": lambda options, source: source.integers(2),
    "yflip": lambda options, source: source.integers(2),
    "rotate_int": lambda options, source: source.integers(4),
    "translate_int": lambda options, source: _signed(source, 2),
    "scale": lambda options, source: source.normal(),
    "rotate_frac": lambda options, source: _signed(source) * (math.pi * options.rotate_frac_max),
    "aniso": lambda options, source: source.normal(),
    "translate_frac": lambda options, source: source.normal(2),
    "brightness": lambda options, source: source.normal(),
    "contrast": lambda options, source: source.normal(),
    "lumaflip": lambda options, source: source.integers(2),
    "hue": lambda options, source: _signed(source) * (math.pi * options.hue_max),
    "saturation": lambda options, source: source.normal(),
    "imgfilter": lambda options, source: source.normal(4),
}


def gated_values(options: Options, source: Source) -> dict[str, Tensor]:
    """Draw the parameters w of every active transform, and set them to 0 where the gate does not pass.

    A transform makes its value draws and then one uniform draw g for its gate, for every image; w is kept where
    g < multiplier * p. Thus the number of draws depends on nothing but the options and the number of images. The
    direction of ``aniso`` is drawn after its w, and has a gate of its own, last, against ``aniso_rotate_prob``. Each
    band of ``imgfilter`` has a gate.

    Returns:
        option -> w of shape ``(n,)``, or ``(2, n)`` for the shifts and ``(4, n)`` for the bands of ``imgfilter``;
        ``"aniso_angle"`` beside ``"aniso"``. Counts (flips, quarter turns) are int64, the others float32.
    """
    params: dict[str, Tensor] = {}
    for option in options.active:
        w = _VALUES[option](options, source)
        angle = _signed(source) * math.pi if option == "aniso" else None
        gates = source.uniform(4 if option == "imgfilter" else 1)
        params[option] = _keep(w, gates < getattr(options, option) * options.p)
        if angle is not None:
            params["aniso_angle"] = _keep(angle, source.uniform() < options.aniso_rotate_prob)
    return params


def _keep(w: Tensor, gate: Tensor) -> Tensor:
    return torch.where(gate, w, torch.zeros_like(w))


def place(tensor: Tensor, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Copy ``tensor`` to ``device``, after a change of type if one is given, without waiting for the device.

    CUDA stages a copy from ordinary memory before the call returns, so the source may be freed at once; other devices
    do not promise that, and there the copy waits.
    """
    return tensor.to(dtype).to(device, non_blocking=device.type == "cuda")
