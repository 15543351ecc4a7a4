"""How to augment, one configuration a row: Karras et al. 2022, Table 6 and App. F.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from elucidiff.augment import Augment
from elucidiff.augment.options import COLOUR, Options
from elucidiff.training.config import TrainingConfig

PAPER = ("xflip", "yflip", "scale", "rotate_frac", "aniso", "translate_frac")
"""The transforms of the paper's set."""

GREY = ("brightness", "contrast", "lumaflip")
"""What colour corruption leaves of itself on grey images: of turns of the hue and of saturation they know nothing."""


@dataclass(frozen=True)
class AugmentationConfiguration:
    """One row of a table about augmentation.

    Attributes:
        name: in tables, files and on the command line.
        what: what it is, in a few words.
        options: the transforms, all for the probability p of the paper's set.
    """

    name: str
    what: str
    options: Options

    def configure(self, recipe: TrainingConfig) -> TrainingConfig:
        """The settings of one run: ``recipe`` with this augmentation."""
        return replace(recipe, augment=self.options)


def augmentation_configurations(p: float, shape: Sequence[int]) -> tuple[AugmentationConfiguration, ...]:
    """No augmentation, each transform of the paper's set alone, all of them, and what harms: colours and filters.

    Args:
        p: probability of each transform, but for the left-right mirror: half of all images are mirrored.
        shape: (C, H, W) of the data: RGB images are corrupted by all colour transforms, grey ones by those that
            change a grey image, and for other channels these rows are left out. Image-space filtering takes any.

    Raises:
        ValueError: p is no probability above 0, or the samples are not two-dimensional.
    """
    if not 0 < p <= 1:
        raise ValueError(f"p is {p:g}, but must be a probability above 0, such as the paper's 0.12")
    paper = Augment.paper(p)
    paper.check(shape)
    options = {name: getattr(paper, name) for name in PAPER}
    rows = [
        AugmentationConfiguration("none", "no augmentation", Options()),
        *(AugmentationConfiguration(name, f"{name} alone", Options(p=p, **{name: options[name]})) for name in PAPER),
        AugmentationConfiguration("paper", "the paper's set", Options(p=p, **options)),
    ]
    if shape[0] in (1, 3):
        names, kind = (COLOUR, "colour") if shape[0] == 3 else (GREY, "grey-level")
        corruption = dict.fromkeys(names, 1.0)
        listed = ", ".join(names)
        rows += [
            AugmentationConfiguration("corruption", f"{kind} corruption alone: {listed}", Options(p=p, **corruption)),
            AugmentationConfiguration(
                "paper-corruption", f"the paper's set and {kind} corruption", Options(p=p, **options, **corruption)
            ),
        ]
    filtering = {"imgfilter": 1.0}
    rows += [
        AugmentationConfiguration("filtering", "image-space filtering alone", Options(p=p, **filtering)),
        AugmentationConfiguration(
            "paper-filtering", "the paper's set and image-space filtering", Options(p=p, **options, **filtering)
        ),
    ]
    return tuple(rows)
