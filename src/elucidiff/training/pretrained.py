"""Fine-tuning: begin a training with the weights of a model, as far as they fit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from elucidiff.data.gaps import Gaps
from elucidiff.data.latents import Latent
from elucidiff.data.normalisation import Log, Range, Standard
from elucidiff.data.scaling import Scaling, scaling_of
from elucidiff.denoisers.opening import load
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design.preconditioning import Preconditioning
from elucidiff.networks import NetworkPart, NetworkSettings, blueprint_of
from elucidiff.training.checkpoint import read_checkpoint
from elucidiff.untrusted import clipped, printable

CHECKPOINTS = "checkpoints"
"""The folder of a run's checkpoints."""

_NAMED = 4


@dataclass(frozen=True)
class Taken:
    """The weights that were taken from a model.

    Attributes:
        model: where they came from.
        taken: names of the weights that were taken.
        reshaped: names of those that are new, because the model has others of that name with another shape.
        new: names of those that are new, because the model has none of that name.
        left: names of the model's weights that nobody wanted.
        share: of all numbers of the new network, those that were taken.
    """

    model: str
    taken: tuple[str, ...]
    reshaped: tuple[str, ...]
    new: tuple[str, ...]
    left: tuple[str, ...]
    share: float

    @property
    def text(self) -> str:
        """In one line."""
        said = f"begun with {self.share:.0%} of the weights from {self.model}"
        parts = [
            f"{_listed(names)} {how}"
            for names, how in (
                (self.reshaped, "begin anew, having another shape there"),
                (self.new, "begin anew, which it does not have"),
                (self.left, "of it are left out"),
            )
            if names
        ]
        return "; ".join([said, *parts])


def take_weights(network: nn.Module, model: str | os.PathLike[str]) -> Taken:
    """Put a model's weights into a network, where names and shapes are the same; the others stay as they are.

    So data of another resolution keep all weights, other labels or augmentation all but those of the embeddings, and
    other channels all but the first and the last layer.

    Args:
        network: the network, in place.
        model: what :func:`elucidiff.load` opens, or a run folder: of these the weights are averaged ones. Those that
            are not are in a checkpoint of a run, ``RUN/checkpoints/000000064000.safetensors``.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, no network, or has no weight that fits.
    """
    theirs = _denoiser(model).network.state_dict()
    mine = network.state_dict()
    taken = [name for name, value in mine.items() if name in theirs and theirs[name].shape == value.shape]
    counted = dict(network.named_parameters())
    numbers = sum(counted[name].numel() for name in taken if name in counted)
    if not numbers:
        raise ValueError(
            f"no weight of {os.fspath(model)} fits the network: train with the network that it has, which is what "
            "happens if none is named"
        )
    with torch.no_grad():
        for name in taken:
            mine[name].copy_(theirs[name])
    return Taken(
        os.fspath(model),
        tuple(taken),
        tuple(name for name in mine if name in theirs and name not in taken),
        tuple(name for name in mine if name not in theirs),
        tuple(name for name in theirs if name not in mine),
        numbers / sum(each.numel() for each in counted.values()),
    )


def described(
    model: str | os.PathLike[str], shape: Sequence[int] | None = None
) -> tuple[NetworkPart, Preconditioning]:
    """The settings of a model's network, and the preconditioning that its weights are for.

    Args:
        model: what :func:`elucidiff.load` opens.
        shape: ``(C, *spatial)`` of other samples, for which attention stays at the levels where it is.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or its network was built by no part, so that none like it can be built.
    """
    denoiser = _denoiser(model)
    blueprint = blueprint_of(denoiser.network)
    if blueprint is None:
        raise ValueError(
            f"the network of {os.fspath(model)} is not one that a part builds: from Python, give it to "
            "ed.training.train(network=...)"
        )
    part = blueprint.part
    if shape is not None and isinstance(part, NetworkSettings):
        before, now = max(blueprint.sample_shape[1:]), max(shape[1:])
        levels = range(len(part.channel_multipliers))
        attend = tuple(now >> level for level in levels if before >> level in part.attention_resolutions)
        part = replace(part, attention_resolutions=attend)
    return part, denoiser.preconditioning


def scaling_kept(model: str | os.PathLike[str], shape: Sequence[int]) -> Scaling | None:
    """The scaling that a model was trained with, to train on with other data ``(C, *spatial)`` of the same channels.

    Its weights expect values so scaled: a new measurement would shift them. None where it has other channels, or none
    that was measured of floating-point data.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    denoiser = _denoiser(model)
    scaling = scaling_of(denoiser)
    scaling = scaling.scaling if isinstance(scaling, Gaps) else scaling
    same = tuple(denoiser.sample_shape[:1]) == tuple(shape[:1])
    return scaling if same and isinstance(scaling, Standard | Range | Log) and type(scaling) is not Latent else None


def held_out_by(model: str | os.PathLike[str]) -> int:
    """Number of images that were held out when a model was trained, by what it says; 0 if it does not.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    count = _training(model).get("validation_images")
    return count if isinstance(count, int) and count > 0 else 0


def data_of(model: str | os.PathLike[str]) -> str:
    """Name or path of the data that a model was trained on, by what it says; empty if it does not.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    data = _training(model).get("data")
    return data if isinstance(data, str) else ""


def _training(model: str | os.PathLike[str]) -> Mapping[str, Any]:
    """The settings of a model's training, as its description has them."""
    provenance = _denoiser(model).facts.get("provenance")
    training = provenance.get("training") if isinstance(provenance, dict) else None
    return training if isinstance(training, dict) else {}


def _denoiser(model: str | os.PathLike[str]) -> Denoiser:
    path = Path(model).expanduser()
    if path.parent.name == CHECKPOINTS and path.suffix == ".safetensors":
        return _not_averaged(path)
    within = path / "model"
    denoiser = load(within if (within / "model.json").is_file() and not (path / "model.json").exists() else model)
    if not isinstance(denoiser, Denoiser):
        raise ValueError(f"{os.fspath(model)} holds no network F with a preconditioning: only such can be trained on")
    return denoiser


def _not_averaged(path: Path) -> Denoiser:
    """The model of a run with the weights of a checkpoint, as they were trained."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no checkpoint {printable(str(path))}")
    denoiser = _denoiser(path.parent.parent / "model")
    try:
        tensors = read_checkpoint(path).tensors
        denoiser.network.load_state_dict(
            {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
        )
    except (ValueError, RuntimeError) as error:
        said = clipped(" ".join(str(error).split()), 300)
        raise ValueError(f"cannot begin with the checkpoint {printable(str(path))}: {said}") from None
    return denoiser


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {len(names) - _NAMED} more" if len(names) > _NAMED else shown
