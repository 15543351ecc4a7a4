"""What the network is told about the augmentation of each image: zeros where nothing was done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from elucidiff.augment.options import Options
from elucidiff.augment.pixels import shifts

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
