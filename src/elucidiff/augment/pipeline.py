"""Non-leaking augmentation: its settings, what it draws and does, and the labels that tell the network of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from elucidiff.augment.base import (
    COLOUR,
    SUBPIXEL,
    Augmentation,
    Generated,
    Options,
    gated_values,
    place,
)
from elucidiff.augment.colour import colour_matrices, filter_images, gains, recolour
from elucidiff.augment.geometry import inverse_matrices, move_pixels, resample, shifts
from elucidiff.parts import part

_TWO_COLUMNS = frozenset({"rotate_int", "translate_int", "rotate_frac", "aniso", "translate_frac", "hue"})


def label_dim(active: Iterable[str]) -> int:
    """The number of label columns of these transforms."""
    return sum(2 if option in _TWO_COLUMNS else 4 if option == "imgfilter" else 1 for option in active)


def label_columns(options: Options, params: Mapping[str, Tensor], n: int, width: int, height: int) -> Tensor:
    """The labels ``(n, label_dim)``, float64, from the parameters w of each transform (Karras et al. 2022, Table 6).

    Angles enter as (cos w - 1, sin w), which is continuous at a full turn and 0 where w is 0.
    """
    columns: list[Tensor] = []
    for option in options.active:
        w = params[option]
        match option:
            case "rotate_int":
                columns += [(w == 1) | (w == 2), (w == 2) | (w == 3)]
            case "translate_int":
                right, up = shifts(w, width, height, options.translate_int_max)
                columns += [right / (width * options.translate_int_max), up / (height * options.translate_int_max)]
            case "rotate_frac" | "hue":
                columns += [w.cos() - 1, w.sin()]
            case "aniso":
                columns += [w * params["aniso_angle"].cos(), w * params["aniso_angle"].sin()]
            case "translate_frac":
                columns += [w[0], w[1]]
            case "imgfilter":
                columns += list(w)
            case _:
                columns.append(w)
    if not columns:
        return torch.zeros(n, 0, dtype=torch.float64)
    return torch.stack([column.double() for column in columns], dim=1)


@part("augmentation", "non_leaking")
@dataclass(frozen=True, kw_only=True)
class Augment(Options, Augmentation):
    """Non-leaking augmentation: :mod:`elucidiff.augment` has the transforms, :class:`Options` the settings.

    Everything is off by default; :meth:`paper` gives the paper's set.

    >>> import elucidiff as ed
    >>> augment = ed.augment.Augment(p=1.0, xflip=1.0)
    >>> params = augment.draw(4, torch.Generator().manual_seed(0))
    >>> images, labels = augment.apply(torch.zeros(4, 1, 8, 8), params)
    >>> images.shape, labels.shape, ed.augment.Augment().off
    (torch.Size([4, 1, 8, 8]), torch.Size([4, 1]), True)
    """

    @classmethod
    def paper(cls, p: float = 0.12) -> Augment:
        """The paper's set, nine label columns (Karras et al. 2022, Table 6).

        Args:
            p: 0.12 for CIFAR-10, 0.15 for FFHQ and AFHQv2 in the paper; ImageNet is trained without augmentation.
        """
        # The factor of xflip makes its gate pass always, so that half of the images are mirrored whatever p is.
        return cls(p=p, xflip=1e8, yflip=1, scale=1, rotate_frac=1, aniso=1, translate_frac=1)

    @property
    def label_dim(self) -> int:
        """The number of label columns: the ``augment_dim`` that a network needs."""
        return label_dim(self.active)

    @property
    def off(self) -> bool:
        """True if no transform is switched on."""
        return self.p == 0 or not self.active

    def draw(self, n: int, generator: torch.Generator, device: torch.device | str | None = None) -> dict[str, Tensor]:
        """Draw the parameters of ``n`` images.

        Args:
            n: number of images.
            generator: where every draw comes from. One on the CPU is best, also for images on an accelerator: the
                draws are then the same on every machine, and :meth:`apply` never waits for the device.
            device: where to put the result; default: where the generator is.

        Returns:
            option -> w, ``(n,)``, or ``(2, n)`` (x, y) for the two shifts and ``(4, n)`` for the bands of
            ``imgfilter``: 0 where the transform is not applied.
            ``aniso`` has its angle beside it as ``"aniso_angle"``. Flips and quarter turns are int64, the others
            float32.

        Raises:
            ValueError: ``n`` is negative.
        """
        if n < 0:
            raise ValueError(f"the number of images to draw augmentations for must be at least 0, not {n}")
        params = gated_values(self, Generated(n, generator))
        return {name: w.to(generator.device if device is None else device) for name, w in params.items()}

    def check(self, shape: Sequence[int]) -> None:
        """Refuse images that this augmentation cannot treat, before any work starts.

        Args:
            shape: ``(C, H, W)`` of one image.

        Raises:
            ValueError: the images are not two-dimensional; quarter turns of images that are not square; colour
                transforms of images that are neither grey nor RGB.
        """
        if len(shape) != 3:
            raise ValueError(
                f"augmentation works on 2-D images (C, H, W), not on samples of shape {tuple(shape)}: switch it off"
            )
        channels, height, width = shape
        if "rotate_int" in self.active and height != width:
            raise ValueError(
                f"quarter turns need square images, not {height} x {width}: set rotate_int to 0 or crop the images"
            )
        on = [option for option in COLOUR if option in self.active]
        if on and channels not in (1, 3):
            raise ValueError(
                f"{', '.join(on)} need grey (1 channel) or RGB (3) images, not {channels} channels: set them to 0"
            )

    def apply(self, images: Tensor, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Transform a batch, each image by its own parameters.

        Images without a sub-pixel transform keep their exact values: only the others are resampled. Which ones they
        are, the matrices and the labels are worked out on the CPU, where ``params`` should be (if they are elsewhere,
        fetching them waits for that device); the pixels never leave theirs.

        Args:
            images: ``(n, C, H, W)`` in [-1, 1], float32 or float64.
            params: from :meth:`draw`, or made by hand: any real type, one entry for each active option.

        Returns:
            the new images, and the labels ``(n, label_dim)``, in the type and on the device of ``images``.

        Raises:
            ValueError: images that :meth:`check` refuses or of another type; parameters of other options or sizes.
        """
        self.check(images.shape[1:])
        if images.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"augmentation needs float32 or float64 images in [-1, 1], not {images.dtype}: convert them"
            )
        n, _, height, width = images.shape
        values = self._values(params, n)
        labels = label_columns(self, values, n, width, height)
        images = self._coloured(self._moved(images, values), values)
        return images, place(labels, images.device, images.dtype)

    def apply_to_condition(self, fields: Tensor, params: Mapping[str, Tensor], channels: int) -> Tensor:
        """Move the pixels of conditions as :meth:`apply` moves those of their images.

        Colours change where a condition has as many channels as the images, and so is a picture like them (at a lower
        resolution, say); masks, maps and luminances keep their values. Either way the network is told, by the labels,
        what was done to the image.
        """
        values = self._values(params, len(fields))
        moved = self._moved(fields, values)
        return self._coloured(moved, values) if fields.shape[1] == channels else moved

    def _values(self, params: Mapping[str, Tensor], n: int) -> dict[str, Tensor]:
        """The parameters, checked, on the CPU in float64."""
        self._check_params(params, n)
        return {name: w.detach().cpu().double() for name, w in params.items()}

    def _moved(self, images: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        n, _, height, width = images.shape
        images = move_pixels(images, values, self.translate_int_max)
        touched = [w if w.ndim == 2 else w[None] for option, w in values.items() if option in SUBPIXEL]
        if touched and (chosen := torch.cat(touched).any(0).nonzero()[:, 0]).numel():
            index = place(chosen, images.device)
            inverse = inverse_matrices(self, values, n, width, height)[chosen]
            images = images.index_copy(0, index, resample(images.index_select(0, index), inverse))
        return images

    def _coloured(self, images: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        if any(option in values for option in COLOUR):
            images = recolour(images, colour_matrices(self, values, len(images)))
        if "imgfilter" in values and (chosen := values["imgfilter"].any(0).nonzero()[:, 0]).numel():
            index = place(chosen, images.device)
            gain = gains(values["imgfilter"][:, chosen], self.imgfilter_std)
            images = images.index_copy(0, index, filter_images(images.index_select(0, index), gain))
        return images

    def _check_params(self, params: Mapping[str, Tensor], n: int) -> None:
        rows = {"translate_int": 2, "translate_frac": 2, "imgfilter": 4}
        expected = {option: (rows[option], n) if option in rows else (n,) for option in self.active}
        if "aniso" in expected:
            expected["aniso_angle"] = (n,)
        if params.keys() != expected.keys():
            raise ValueError(
                f"parameters for {sorted(params)} were given, but this augmentation takes {sorted(expected)}"
            )
        for name, shape in expected.items():
            if tuple(params[name].shape) != shape:
                raise ValueError(
                    f"parameter {name} has shape {tuple(params[name].shape)}, but a batch of {n} needs {shape}"
                )
