"""The model that the explorer opens on where none is named: the exact denoiser of the 8x8 digits of scikit-learn."""

from __future__ import annotations

from elucidiff import data
from elucidiff.data.scaling import Pixels
from elucidiff.denoisers.ideal import DataPosterior

MODEL = "elucidiff.web.digits:exact"
"""How it is named wherever a model is: ``elucidiff sample elucidiff.web.digits:exact``."""


def exact() -> DataPosterior:
    """The posterior mean over the 1,797 digits (Karras et al. 2022, Eq. 57), ten classes.

    Nothing is trained, so what is seen of a sampler is the sampler's doing alone. Its samples are the digits.

    >>> from elucidiff.web import digits
    >>> denoiser = digits.exact()
    >>> denoiser.sample_shape, denoiser.label_dim, round(denoiser.sigma_data, 2)
    ((1, 8, 8), 10, 0.75)
    """
    dataset = data.open("digits")
    points = Pixels().to_model(dataset.images(range(len(dataset)))).double()
    denoiser = DataPosterior(points, dataset.classes)
    denoiser.facts["data"] = {
        "name": dataset.name,
        "dtype": "uint8",
        "count": len(dataset),
        "sigma_data": float(points.std()),
    }
    return denoiser
