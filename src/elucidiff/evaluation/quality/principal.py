"""Principal components as features: no network, no weights, and data of any dimension."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.data.dataset import Dataset
from elucidiff.data.normalisation import Standard
from elucidiff.data.scaling import AsStored, Scaling, Transparent, has_alpha, moments_of
from elucidiff.data.subsets import evenly_spread
from elucidiff.evaluation.quality.extractors import Extractor, FeatureExtractor, Features, open_extractor
from elucidiff.parts import part

if TYPE_CHECKING:
    from sklearn.decomposition import PCA as Components


# Principal components are known well from so many images.
_IMAGES = 10_000


@dataclass(frozen=True, eq=False)
class PrincipalComponents:
    """The first principal components of a data set; see :class:`.Extractor`. They suit small images, and tell how
    well samples match the data in their coarse structure, not whether they look right.

    Attributes:
        name: such as ``pca-20``.
        id: name and checksum.
        components: fitted to the data set.
        scaling: from the data to what they were fitted to: 8-bit levels in [-1, 1], of other data every channel
            divided by its standard deviation, so that distances do not depend on units. Missing values are the mean.
        shape: of an image, (C, *spatial).
        dtype: of the images.
    """

    name: str
    id: str
    components: Components
    scaling: Scaling
    shape: tuple[int, ...]
    dtype: torch.dtype

    def __call__(self, images: Tensor) -> Features:
        """Components (B, D), float64, of images (B, C, *spatial) as the data set holds them."""
        self.check(images.shape[1:], images.dtype)
        rows: Features = self.components.transform(_rows(self.scaling, images))
        return rows

    @property
    def dim(self) -> int:
        """Number of components."""
        return int(self.components.n_components_)

    @property
    def classes(self) -> int:
        """There are no logits."""
        return 0

    @property
    def batch_size(self) -> int:
        """Images are described one by one."""
        return 1

    @property
    def key(self) -> str:
        """See :class:`.Extractor`."""
        decides = json.dumps([self.id, np.__version__])
        return f"{self.id}-{hashlib.sha256(decides.encode()).hexdigest()[:8]}"

    def check(self, shape: Sequence[int], dtype: torch.dtype) -> None:
        """See :class:`.Extractor`."""
        if tuple(shape) != self.shape or dtype.is_floating_point != self.dtype.is_floating_point:
            raise ValueError(
                f"{self.name} was fitted to {str(self.dtype).removeprefix('torch.')} images of shape {self.shape}, "
                f"not {str(dtype).removeprefix('torch.')} {tuple(shape)}: compare images of one kind"
            )

    def features_only(self) -> PrincipalComponents:
        """Itself."""
        return self


@part("feature extractor", "pca")
@dataclass(frozen=True)
class PCA(FeatureExtractor):
    """The first principal components of the reference, for data of any kind; also written pca-20.

    Args:
        count: how many.
    """

    count: int = 20

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}, but there must be at least 1 component")

    @property
    def dim(self) -> int:
        """As many as there are."""
        return self.count

    def features(self, images: Tensor) -> Features:
        """Refuse: they are fitted to a reference first."""
        raise ValueError(f"{self.name} has to be fitted to images first: see principal_components")

    def fitted(
        self, reference: Dataset | os.PathLike[str], device: torch.device, batch_size: int | None
    ) -> Extractor:
        """Those of the reference."""
        if not isinstance(reference, Dataset):
            raise ValueError(
                f"pca-{self.count} is fitted to the images of the reference, but {reference} holds statistics alone: "
                "give images"
            )
        return principal_components(reference, self.count)


def principal_components(dataset: Dataset, count: int = 20) -> PrincipalComponents:
    """Fit ``count`` components to a data set, or to 10,000 images evenly spread over it.

    Raises:
        ValueError: there are fewer images, or values in an image, than components.

    >>> import elucidiff as ed
    >>> ed.evaluation.principal_components(ed.data.open("digits"), 5).name
    'pca-5'
    """
    from sklearn.decomposition import PCA as Fit  # takes a second

    places = evenly_spread(np.arange(len(dataset)), _IMAGES)
    scaling = _scaling(dataset)
    rows = _rows(scaling, dataset.images(places))
    if not 1 <= count < min(rows.shape):
        raise ValueError(
            f"{count} principal components of {rows.shape[0]} images with {rows.shape[1]} values cannot be had: "
            "choose fewer"
        )
    components = Fit(count, svd_solver="full").fit(rows)
    decides = [components.mean_.tobytes(), components.components_.tobytes()]
    if dataset.dtype != torch.uint8:
        decides.append(parts.to_text(scaling).encode())
    digest = hashlib.sha256(b"".join(decides)).hexdigest()
    name = f"pca-{count}"
    return PrincipalComponents(name, f"{name}-{digest[:8]}", components, scaling, dataset.shape, dataset.dtype)


def _scaling(dataset: Dataset) -> Scaling:
    """That of pictures for 8-bit levels; else each channel is divided by its deviation, unless it is constant."""
    if has_alpha(dataset.shape, dataset.dtype):
        return Transparent()
    if dataset.dtype == torch.uint8:
        return AsStored()
    moments = moments_of(dataset)
    stds = torch.where(moments.channel_stds > 0, moments.channel_stds, 1.0)
    return Standard(tuple(moments.means.tolist()), tuple(stds.tolist()))


def _rows(scaling: Scaling, images: Tensor) -> Features:
    rows: Features = scaling.to_model(images).nan_to_num(0.0).flatten(1).double().cpu().numpy()
    return rows


def extractor_by_name(
    name: str,
    reference: Dataset | os.PathLike[str],
    *,
    device: torch.device,
    batch_size: int | None,
    weights: str | os.PathLike[str] | None = None,
) -> Extractor:
    """A feature network, or a part: ``pca-20``, with any other number, for principal components of the reference.

    Args:
        name: ``pca-N``, the text form of another part, or what :func:`.open_extractor` takes.
        reference: what images will be compared with; the path of a file if it holds statistics alone.
        device: where to compute.
        batch_size: as for :func:`.open_extractor`.
        weights: likewise.

    Raises:
        ValueError: there is none of that name, or it cannot be had with the rest.
        OSError: weights are missing.
    """
    text = re.sub(r"pca-(\d+)", r"pca:count=\1", name)
    if text.partition(":")[0] not in parts.parts_of("feature extractor"):
        return open_extractor(name, weights=weights, device=device, batch_size=batch_size)
    if weights is not None:
        raise ValueError(f"--weights would have no effect with {name}: leave it out")
    made: FeatureExtractor = parts.parse("feature extractor", text)
    return made.fitted(reference, device, batch_size)
