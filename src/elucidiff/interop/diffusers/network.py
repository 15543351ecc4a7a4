"""A network of diffusers, from its folder: built by the installed package, filled from safetensors alone."""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from elucidiff.denoisers.conditions import Conditions, is_named, rows_of
from elucidiff.interop.weights import check_finite
from elucidiff.untrusted import clipped, printable, read_json, reading

WEIGHTS = "diffusion_pytorch_model"
_MOST = 1 << 16
"""Nothing in a network's settings is larger, and no network has as many layers."""


class DiffusersNetwork(nn.Module):
    """A network of diffusers, called as ``network(x, t[, condition])``.

    Args:
        model: the network.

    Attributes:
        sample_shape: shape (C, *spatial) of a sample; empty if the settings do not say it.
        label_dim: number of classes; 0 where the condition is none.
        text: whether the condition is an encoded text (B, L, E), and not a class.
        sign: what the output is multiplied with.
    """

    def __init__(self, model: nn.Module, sign: int = 1) -> None:
        super().__init__()
        self.model = model
        self.sign = sign
        config: Any = getattr(model, "config", {})
        parameters = inspect.signature(model.forward).parameters
        self._takes = tuple(parameters)
        # Transformers call the sample hidden_states.
        self._sample = next(iter(parameters))
        size = config.get("sample_size")
        sides = [size, size] if isinstance(size, int) else [] if size is None else size
        if not isinstance(sides, list | tuple) or not all(isinstance(side, int) and side > 0 for side in sides):
            raise ValueError(f"sample_size is {size!r:.50}, but must be a number of pixels, or one for each side")
        spatial = tuple(sides)
        self.sample_shape = (int(config.get("in_channels", 0)), *spatial) if spatial else ()
        self.label_dim = int(config.get("num_class_embeds") or 0)
        if "class_labels" in parameters and config.get("norm_type") == "ada_norm_zero":
            self.label_dim = int(config.get("num_embeds_ada_norm") or 0)
        # A DiT has one more, which stands for none of them.
        self._classes_known = self.label_dim + (config.get("norm_type") == "ada_norm_zero")
        self.text = "encoder_hidden_states" in parameters and not self.label_dim

    def forward(self, x: Tensor, t: Tensor, condition: Conditions | None = None, _: Tensor | None = None) -> Tensor:
        """The network's output.

        Args:
            x: scaled samples (B, C, *spatial).
            t: times (B,) or (1,).
            condition: class indices (B,), one-hot rows (B, label_dim), or an encoded text (B or 1, L, E); or several
                tensors under the names that the network has for them, such as ``encoder_hidden_states`` and
                ``pooled_projections``. Those that it does not name are its ``added_cond_kwargs``.

        Raises:
            ValueError: the condition is missing, or none that the network takes.
        """
        arguments: dict[str, Any] = {self._sample: x, "timestep": t.expand(x.shape[0]), "return_dict": False}
        if condition is not None and is_named(condition):
            arguments |= self._named(condition, x)
        elif self.text:
            arguments["encoder_hidden_states"] = self._encoded(condition, x)
        elif self.label_dim:
            arguments["class_labels"] = self._classes(condition, x)
        elif condition is not None:
            raise ValueError("a condition was given to a network that takes none: leave labels out")
        output: Tensor = self.model(**arguments)[0]
        return output if self.sign == 1 else self.sign * output

    def _named(self, condition: Mapping[str, Tensor], x: Tensor) -> dict[str, Any]:
        """Keyword arguments of the network."""
        rows = rows_of(condition, slice(None), x.shape[0])
        assert is_named(rows)
        own = {name: value for name, value in rows.items() if name in self._takes}
        added = {name: value for name, value in rows.items() if name not in self._takes}
        if added and "added_cond_kwargs" not in self._takes:
            raise ValueError(
                f"the network takes no {clipped(next(iter(added)))!r}: it takes {', '.join(self._takes)}"
            )
        if self.text and "encoder_hidden_states" not in own:
            raise ValueError("the network needs encoder_hidden_states among its conditions")
        return {**own, "added_cond_kwargs": added} if added else own

    def _encoded(self, condition: Any, x: Tensor) -> Tensor:
        if condition is None:
            raise ValueError("this model needs the encoded text that it draws: give labels (B, length, width)")
        if condition.ndim != 3 or condition.shape[0] not in (1, x.shape[0]):
            raise ValueError(f"labels have shape {tuple(condition.shape)}: give encoded texts (B, length, width)")
        encoded: Tensor = condition.to(x.device, x.dtype).expand(x.shape[0], -1, -1)
        return encoded

    def _classes(self, condition: Any, x: Tensor) -> Tensor:
        seen = not torch.compiler.is_compiling()  # whether there are values to look at
        rows = condition is not None and condition.is_floating_point()
        if condition is None or (rows and seen and not bool((condition.sum(-1) > 0).all())):
            raise ValueError(f"this model has {self.label_dim} classes and none for 'no class': give labels")
        if rows:
            if condition.ndim != 2 or (seen and not bool((condition.amax(1) == condition.sum(1)).all())):
                raise ValueError("this model takes one class a sample: label rows must be one-hot")
            condition = condition.argmax(1)
        if (
            seen
            and condition.device.type == "cpu"
            and not 0 <= int(condition.min()) <= int(condition.max()) < self._classes_known
        ):
            raise ValueError(f"labels must be classes from 0 to {self._classes_known - 1}")
        classes: Tensor = condition.to(x.device).expand(x.shape[0])
        return classes


def is_network(folder: Path) -> bool:
    """True if a folder has the settings of a network of diffusers."""
    return (folder / "config.json").is_file()


def load_model(folder: Path) -> nn.Module:
    """The module in a folder of diffusers, a network or an autoencoder, in float32, in evaluation mode.

    It has the settings in ``config.json``, and the weights in safetensors.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a file is damaged, the class is none of diffusers' networks, the weights are not those of the
            network, or diffusers is not installed.
    """
    where = folder / "config.json"
    config = read_json(where)
    if not isinstance(config, dict) or not isinstance(config.get("_class_name"), str):
        raise ValueError(f"{printable(str(where))} does not name a network (_class_name)")
    if "quantization_config" in config:
        raise ValueError(f"{printable(str(where))}: the weights are quantised, which is not read")
    _check_size(config, printable(str(where)))
    shapes, variant = _stored(folder)
    cls = _class(config["_class_name"], printable(str(where)))
    with reading(where), torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outline = cls.from_config(config)
        wanted = {name: tuple(value.shape) for name, value in outline.state_dict().items()}
        _try_out(outline)
    _compare(wanted, shapes, printable(str(folder)))
    with reading(folder), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = cls.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, variant=variant, torch_dtype=torch.float32
        )
    for name, value in model.state_dict().items():
        check_finite(name, value, f"{printable(str(folder))}: the weights")
    loaded: nn.Module = model.requires_grad_(False).eval()
    return loaded


def _try_out(model: Any) -> None:
    """Raise whatever a network without values (on the device "meta") raises for an input of its shape.

    Settings of the wrong kind are noticed only there. Networks with conditions of their own are left alone.
    """
    config = model.config
    if type(model).__name__ not in ("UNet2DModel", "UNet2DConditionModel"):
        return
    network = DiffusersNetwork(model)
    if any(config.get(name) for name in ("class_embed_type", "addition_embed_type", "encoder_hid_dim_type")):
        return
    x = torch.empty(1, *(network.sample_shape or (int(config["in_channels"]), 64, 64)))
    condition = None
    if network.text:
        condition = torch.empty(1, 1, int(config["cross_attention_dim"]))
    elif network.label_dim:
        condition = torch.zeros(1, dtype=torch.long)
    shape = network(x, torch.ones(1), condition).shape
    if shape[2:] != x.shape[2:]:
        raise ValueError(f"the network makes {tuple(shape)} of {tuple(x.shape)}")


def diffusers_package() -> Any:
    """The installed package.

    Raises:
        ValueError: it is not installed.
    """
    try:
        return importlib.import_module("diffusers")
    except ImportError:
        raise ValueError("reading a diffusers model needs diffusers: pip install 'elucidiff[diffusers]'") from None


def _class(name: str, where: str) -> Any:
    package = diffusers_package()
    cls = getattr(package, name, None) if name.isidentifier() else None
    if not (isinstance(cls, type) and issubclass(cls, nn.Module) and issubclass(cls, package.ModelMixin)):
        raise ValueError(f"{where}: {clipped(name)!r} is no network of diffusers {package.__version__}")
    return cls


def _check_size(config: Mapping[str, Any], where: str) -> None:
    """Raise ValueError where a number in the settings could exhaust the memory before weights are looked at."""
    for name, value in config.items():
        numbers = value if isinstance(value, list) else [value]
        if len(numbers) > 64 or any(isinstance(number, int | float) and abs(number) > _MOST for number in numbers):
            raise ValueError(f"{where}: {clipped(name)} is too large for a network")
    if any(isinstance(config.get(name), int) and config[name] > 64 for name in ("layers_per_block", "num_layers")):
        raise ValueError(f"{where}: a network of more than 64 layers in a row is not read")


def _stored(folder: Path) -> tuple[dict[str, tuple[int, ...]], str | None]:
    """Shapes of the stored weights by name, and which variant of the files it is."""
    for variant in (None, "fp16"):
        middle = f".{variant}" if variant else ""
        file = folder / f"{WEIGHTS}{middle}.safetensors"
        index = folder / f"{WEIGHTS}.safetensors.index{middle}.json"
        if file.is_file():
            return _shapes(file), variant
        if index.is_file():
            named = read_json(index)
            weights = named.get("weight_map") if isinstance(named, dict) else None
            if not isinstance(weights, dict) or not all(isinstance(value, str) for value in weights.values()):
                raise ValueError(f"{printable(str(index))} does not say where the weights are")
            names = sorted(set(weights.values()))
            if any(Path(name).name != name for name in names):
                raise ValueError(f"{printable(str(index))} names files outside of its folder")
            return {key: shape for name in names for key, shape in _shapes(folder / name).items()}, variant
    if any(folder.glob("*.bin")):
        raise ValueError(
            f"{printable(str(folder))} has its weights as a pickle (.bin), which is not read: save the model again "
            "with save_pretrained(..., safe_serialization=True)"
        )
    raise FileNotFoundError(f"{printable(str(folder))} has no weights {WEIGHTS}.safetensors")


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    with reading(file), safe_open(file, "pt") as opened:
        return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118


def _compare(wanted: Mapping[str, tuple[int, ...]], stored: Mapping[str, tuple[int, ...]], where: str) -> None:
    for name in sorted(wanted.keys() | stored.keys()):
        if name not in stored:
            raise ValueError(f"{where} lacks the weights {name}")
        if name not in wanted:
            raise ValueError(f"{where} has the weights {clipped(name)!r}, which the network does not")
        if wanted[name] != stored[name]:
            raise ValueError(f"{where}: the weights {name} have shape {stored[name]}, not {wanted[name]}")
