"""Our models as folders that ``DiffusionPipeline.from_pretrained`` runs, and models of diffusers written back.

This module needs the extra ``diffusers``; the others of this package import it where it is asked for.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor

from elucidiff.denoisers import model_folder
from elucidiff.denoisers.adapters import AdaptedDenoiser
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import noise_tables
from elucidiff.files import write_whole
from elucidiff.interop.diffusers.network import DiffusersNetwork
from elucidiff.interop.diffusers.pipeline_scheduler import ElucidiffScheduler
from elucidiff.untrusted import read_json

_TABLE = 1000


class ElucidiffUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """A denoiser of ours as a network that predicts epsilon for a table of betas, as pipelines ask for.

    The table has noise levels equally spaced in their logarithm. Its folder is a model folder of ours with a
    ``config.json``; :func:`elucidiff.load` reads it, too.

    Args:
        sample_size: side of a sample, or (height, width).
        in_channels: channels of a sample.
        num_class_embeds: number of classes; None without.
        trained_betas: the table, which the scheduler must have, too.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int | list[int],
        in_channels: int,
        trained_betas: list[float],
        num_class_embeds: int | None = None,
    ) -> None:
        super().__init__()
        self.denoiser: Denoiser | None = None
        table = noise_tables.alpha_bars("linear", 0.0, 0.0, len(trained_betas), trained_betas)
        self.register_buffer("sigmas", torch.from_numpy(np.sqrt((1 - table) / table)), persistent=False)

    @classmethod
    def of(cls, denoiser: Denoiser, low: float, high: float) -> ElucidiffUNet:
        """A denoiser as such a network, for noise levels from ``low`` to ``high``."""
        channels, *spatial = denoiser.sample_shape
        bars = 1 / (1 + np.exp(np.linspace(math.log(low), math.log(high), _TABLE)) ** 2)
        betas = 1 - bars / np.append(1.0, bars[:-1])
        size = spatial[0] if len(set(spatial)) == 1 else spatial
        made: ElucidiffUNet = cls(size, channels, betas.tolist(), denoiser.label_dim or None)
        made.denoiser = denoiser
        return made

    def forward(
        self, sample: Tensor, timestep: Any, class_labels: Tensor | None = None, return_dict: bool = True
    ) -> UNet2DOutput | tuple[Tensor]:
        """epsilon = (x - D(x; sigma)) / sigma with x = sample sqrt(1 + sigma^2), at a position in the table."""
        assert self.denoiser is not None
        time = torch.as_tensor(timestep, dtype=torch.float64).reshape(-1).cpu()
        logs = self.sigmas.cpu().log()
        below = time.floor().long().clamp(0, len(logs) - 2)
        level = torch.lerp(logs[below], logs[below + 1], time - below).exp().to(sample.device, sample.dtype)
        sigma = level.expand(len(sample)).reshape(-1, *[1] * (sample.ndim - 1))
        x = sample * (1 + sigma.square()).sqrt()
        given = () if class_labels is None else (class_labels,)
        output = ((x - self.denoiser(x, level, *given)) / sigma).to(sample.dtype)
        return UNet2DOutput(sample=output) if return_dict else (output,)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **_: Any) -> None:
        """Write the folder."""
        assert self.denoiser is not None
        self.denoiser.save(save_directory)
        settings = {"_class_name": type(self).__name__, **{key: self.config[key] for key in _UNET_SETTINGS}}
        write_whole(Path(save_directory) / "config.json", json.dumps(settings, indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str], **options: Any) -> ElucidiffUNet:
        """Read the folder.

        Args:
            folder: that :meth:`save_pretrained` wrote.
            options: of a pipeline: ``subfolder``, and ``torch_dtype`` or ``dtype``; others are for other networks.
        """
        where = Path(folder) / (options.get("subfolder") or "")
        settings = read_json(where / "config.json")
        if not isinstance(settings, dict) or not all(key in settings for key in _UNET_SETTINGS):
            raise ValueError(f"{where / 'config.json'} does not describe a network of elucidiff")
        made: ElucidiffUNet = cls(**{key: settings[key] for key in _UNET_SETTINGS})
        made.denoiser = model_folder.load(where)
        dtype = options.get("torch_dtype") or options.get("dtype")
        if isinstance(dtype, torch.dtype):
            made.denoiser.to(dtype)
        made.eval()
        return made


_UNET_SETTINGS = ("sample_size", "in_channels", "trained_betas", "num_class_embeds")


def export(denoiser: Denoiser | AdaptedDenoiser, path: str | os.PathLike[str], sampler: str = "") -> None:
    """Write a folder that ``DiffusionPipeline.from_pretrained`` runs, and :func:`elucidiff.load` reads again.

    Where a pipeline reads it, elucidiff must be installed; a model that came from diffusers needs diffusers alone.

    Args:
        denoiser: one of ours, or one that :func:`.loading.load` read.
        path: a new folder, or an empty one.
        sampler: of :class:`ElucidiffScheduler`, for one of ours.

    Raises:
        ValueError: the folder is not empty, the denoiser does not say what its samples are, or cannot be saved.
        OSError: the folder cannot be written.
    """
    folder = Path(path)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: name a new folder")
    scheduler: Any
    network: Any
    home = denoiser.facts.get("home", {})
    if isinstance(denoiser.network, DiffusersNetwork) and home.get("format") == "diffusers":
        network, settings = denoiser.network.model, dict(home["settings"])
        scheduler = getattr(diffusers, settings["_class_name"]).from_config(settings)
    elif isinstance(denoiser, Denoiser):
        if not denoiser.sample_shape:
            raise ValueError("the denoiser does not say what shape its samples have, which a pipeline must know")
        low, high = max(denoiser.sigma_min, 0.002), min(denoiser.sigma_max, 80.0)
        network = ElucidiffUNet.of(denoiser, low, high)
        scheduler = ElucidiffScheduler(sampler, _TABLE, trained_betas=network.config.trained_betas)
    else:
        raise ValueError(f"a {type(denoiser).__name__} that did not come from diffusers cannot be written for it")
    part = "unet" if "UNet" in type(network).__name__ else "transformer"
    network.save_pretrained(folder / part)
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DDPMPipeline" if part == "unet" else "DiTPipeline",
        "_diffusers_version": diffusers.__version__,
        part: [_library(network), type(network).__name__],
        "scheduler": [_library(scheduler), type(scheduler).__name__],
    }
    write_whole(folder / "model_index.json", json.dumps(index, indent=2) + "\n")


def _library(part: object) -> str:
    module = type(part).__module__
    return "diffusers" if module.startswith("diffusers.") else module
