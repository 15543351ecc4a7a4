"""Models of k-diffusion: files of its own network, and its convention, ``model(x, sigma, **extra_args)``, both ways.

A file is the averaged network in safetensors, with its settings beside the weights. Such models are preconditioned as
in Karras et al. 2022 (the library began as an implementation of that paper), so only their network is new:
:mod:`.image_v1`. Its samplers call any model as D(x; sigma), with sigma (B,), and wrappers there make networks of
other kinds into such models.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.denoisers.base import DenoiserLike, DenoiserModule, as_denoiser, ask
from elucidiff.denoisers.conditions import Conditions, for_network
from elucidiff.denoisers.labels import KnownLabels, labels_by_facts, of_conditions
from elucidiff.denoisers.opening import opens
from elucidiff.denoisers.preconditioned import Denoiser, floating_type
from elucidiff.denoisers.shapes import label_rows, noise_levels
from elucidiff.design.preconditioning import EDM
from elucidiff.design.steps import karras
from elucidiff.design.values import per_sample
from elucidiff.interop import weights
from elucidiff.interop.home_sampling import along, home, one_of, step_count
from elucidiff.interop.image_v1 import ImageV1
from elucidiff.sampling.churn import Churn
from elucidiff.untrusted import clipped, parse_json, printable, read_json, reading

_AUGMENT = 9  # numbers that describe an augmentation
_MOST = 1 << 14
_SOLVERS = ("heun", "euler", "dpmpp_2m")  # their names there and here
# Names of the averaged weights in a training checkpoint there.
_AVERAGED = "model_ema"


def says_so(path: Path) -> bool:
    """True if a file is of safetensors with the entry ``config``, as the library's ``convert`` script writes it."""
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    return "config" in weights.metadata(path)


@opens(says_so)
def load(path: str | os.PathLike[str], config: Mapping[str, Any] | str | os.PathLike[str] | None = None) -> Denoiser:
    """Read a network of k-diffusion.

    Args:
        path: a safetensors file of the averaged inner model, or a training checkpoint ``*.pth``.
        config: the settings that it was trained with, or their JSON file; by default those in the file itself.

    Returns:
        The denoiser on the CPU, in float32 and evaluation mode; its range is sigma_min to sigma_max of the settings.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is damaged, says nothing of its settings, or they describe no network that is known or that
            fits the weights. The message names the file.
    """
    stored = weights.read(path)
    with reading(path):
        settings = _settings(path, stored, config)
        averaged = weights.tensors(stored.get(_AVERAGED, stored), "it")
        model = _entry(settings, "model", Mapping)
        network = _network(model, len(averaged))
        weights.fit(network, averaged)
        levels = {name: _number(model, name, default) for name, default in _RANGE.items()}
        denoiser = Denoiser(network, EDM(**levels))
    denoiser.facts["home"] = {
        "format": "k_diffusion",
        "settings": dict(settings),
        "arguments": {"config": {"model": dict(settings["model"])}},
    }
    denoiser.facts["provenance"] = {"format": "k-diffusion", "file": printable(Path(path).name)}
    return denoiser.eval()


_RANGE = {"sigma_data": 0.5, "sigma_min": 0.01, "sigma_max": 80.0}


class Adapted(DenoiserModule):
    """A model of k-diffusion's convention as D(x; sigma): see :func:`adapt`."""

    sample_shape: tuple[int, ...] = ()
    label_dim: int = 0
    sigma_min: float = 0.0
    sigma_max: float = math.inf

    def __init__(self, model: Callable[..., Tensor], condition: str | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.condition, self.dtype = model, condition, dtype

    @property
    def known_labels(self) -> KnownLabels:
        """Classes, where their number is known; else whatever conditions it is given."""
        if self.label_dim:
            return labels_by_facts(self.facts.get("data"), self.label_dim)
        return of_conditions(self.drawn_conditions)

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None = None) -> Tensor:
        """The model's own output at positive noise levels; x itself without noise."""
        levels = noise_levels(sigma, x).expand(x.shape[0])
        clean = levels == 0
        given: dict[str, Any] = {}
        if labels is not None and self.condition is None:
            raise ValueError("labels were given to a model that takes none: say under which name, condition=...")
        if labels is not None and self.label_dim:
            rows = label_rows(labels, self.label_dim)  # type: ignore[arg-type]  # a mapping is refused
            given[str(self.condition)] = rows.argmax(1).to(x.device).expand(x.shape[0])
        elif labels is not None:
            given[str(self.condition)] = for_network(labels, x, self.dtype)
        asked = torch.where(clean, 1.0, levels).to(self.dtype)
        denoised = self.model(x.to(self.dtype), asked, **given).to(x.dtype)
        return torch.where(per_sample(clean, x), x, denoised)


def adapt(
    model: Callable[..., Tensor],
    sample_shape: Sequence[int] = (),
    *,
    condition: str | None = None,
    label_dim: int = 0,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
) -> Adapted:
    """A model of k-diffusion, such as one of its wrappers around other networks, as a denoiser of ours.

    Args:
        model: called as ``model(x, sigma)``, with sigma (B,), which returns the denoised samples: what the library's
            samplers take. ``K.external.DiscreteEpsDDPMDenoiser``, ``CompVisDenoiser``, ``VDenoiser`` and
            ``K.layers.Denoiser`` make such models.
        sample_shape: shape (C, *spatial) of a sample, if samples are to be drawn by their number.
        condition: the keyword under which it takes conditions, such as ``class_cond``; None if it takes none.
        label_dim: number of classes, if the conditions are their numbers (B,); else they reach it as they are.
        sigma_min: smallest noise level; by default the model's own, or 0 where it has none.
        sigma_max: largest noise level, likewise; or infinity.

    Returns:
        The denoiser, in evaluation mode; the model sees the type of its parameters.

    >>> import elucidiff as ed
    >>> D = ed.interop.k_diffusion.adapt(lambda x, sigma: x / (1 + sigma[:, None] ** 2), (1,))
    >>> float(D(torch.ones(1, 1), 1.0))
    0.5
    """
    if label_dim and condition is None:
        raise ValueError("label_dim without condition: say under which name the model takes classes")
    made = Adapted(model, condition, floating_type(model))
    made.sample_shape, made.label_dim = tuple(sample_shape), label_dim
    made.sigma_min = float(getattr(model, "sigma_min", 0.0)) if sigma_min is None else sigma_min
    made.sigma_max = float(getattr(model, "sigma_max", math.inf)) if sigma_max is None else sigma_max
    return made.eval()


class KDiffusionModel(nn.Module):
    """A denoiser of ours as a model of k-diffusion: see :func:`to_k_diffusion`."""

    def __init__(self, denoiser: DenoiserModule) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.sigma_min, self.sigma_max = denoiser.sigma_min, denoiser.sigma_max
        self.sigma_data = denoiser.sigma_data

    def forward(self, x: Tensor, sigma: Tensor, *, class_cond: Any = None) -> Tensor:
        """D(x; sigma), in the type of ``x``."""
        labels, known = class_cond, self.denoiser.known_labels
        if known.dim and isinstance(labels, Tensor) and labels.ndim == 1 and not labels.is_floating_point():
            # The number after the last is no class: a row of zeros.
            labels = nn.functional.one_hot(labels, known.dim + 1)[:, : known.dim].to(x.dtype)
            if known.presence:
                labels = torch.cat([labels, labels.sum(1, keepdim=True)], 1)
        return ask(self.denoiser, x, sigma, labels).to(x.dtype)


def to_k_diffusion(denoiser: DenoiserLike) -> KDiffusionModel:
    """A denoiser of ours as a model that the samplers of k-diffusion take.

    Args:
        denoiser: any.

    Returns:
        A module, called as ``model(x, sigma)`` with sigma (B,), or with ``extra_args={"class_cond": ...}``: class
        numbers (B,), of which the one after the last is no class, or what the denoiser takes as labels. It has
        ``sigma_min``, ``sigma_max`` and ``sigma_data``, which ``get_sigmas_karras`` and the losses there ask for.

    >>> import elucidiff as ed
    >>> model = ed.interop.k_diffusion.to_k_diffusion(ed.ideal.DataPosterior(torch.tensor([[-1.0], [1.0]])))
    >>> round(float(model(torch.tensor([[0.5]]), torch.tensor([1.0]))), 4)  # tanh(1/2)
    0.4621
    """
    return KDiffusionModel(as_denoiser(denoiser)).eval()


@home("k_diffusion")
def sample_at_home(
    denoiser: Denoiser,
    noise: Tensor,
    steps: int | str | None,
    labels: Tensor | None,
    step_noise: Tensor | None,
    *,
    sampler: str = "dpmpp_2m",
    sigma_min: float | None = None,
    sigma_max: float | None = None,
    rho: float = 7.0,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``sample_heun``, ``sample_euler`` or ``sample_dpmpp_2m`` over ``get_sigmas_karras``."""
    name = one_of("sampler", sampler.removeprefix("sample_"), _SOLVERS)
    low = denoiser.sigma_min if sigma_min is None else sigma_min
    high = denoiser.sigma_max if sigma_max is None else sigma_max
    sigmas = karras(step_count(steps), low, high, rho)
    churn = Churn(s_churn, s_tmin, s_tmax, s_noise) if s_churn else None
    return along(denoiser, noise, sigmas, name, labels, churn, step_noise, generator)


def _settings(path: Any, stored: Mapping[str, Any], config: Any) -> Mapping[str, Any]:
    if isinstance(config, Mapping):
        return config
    if config is not None:
        found: Any = read_json(config)
    elif isinstance(stored.get("config"), Mapping):
        found = stored["config"]
    else:
        text = weights.metadata(path).get("config")
        if text is None:
            raise ValueError("it has no entry 'config': give config, the settings that the network was trained with")
        found = parse_json(text, Path(path))
    if not isinstance(found, Mapping):
        raise ValueError("its 'config' is no set of settings")
    return found


def _network(model: Mapping[str, Any], count: int) -> ImageV1:
    """The network that the settings mean, without values, and no larger than a file of ``count`` weights can fill."""
    if model.get("type") != "image_v1":
        raise ValueError(f"its model is of type {clipped(repr(model.get('type')))}: only image_v1 is known")
    for name in ("mapping_cond_dim", "unet_cond_dim", "cross_cond_dim"):
        if model.get(name):
            raise ValueError(f"its model takes conditions ({name} is not 0), which are not known here")
    if any(_entry(model, "cross_attn_depths", list, None) or []):
        raise ValueError("its model attends to conditions (cross_attn_depths), which are not known here")
    depths, channels = (_numbers(model, name) for name in ("depths", "channels"))
    if sum(depths) > count or max(channels) > _MOST or len(depths) > 16:
        raise ValueError(f"its settings ask for {sum(depths)} blocks, for which {count} weights are too few")
    size = _numbers(model, "input_size")
    with torch.device("meta"):
        return ImageV1(
            channels_in=_whole(model, "input_channels"),
            size=size,
            mapping_out=_whole(model, "mapping_out"),
            depths=depths,
            channels=channels,
            self_attn_depths=[bool(entry) for entry in _entry(model, "self_attn_depths", list)],
            patch_size=_whole(model, "patch_size", 1),
            skip_stages=_whole(model, "skip_stages", 0),
            augment=_AUGMENT if model.get("augment_wrapper", True) else 0,
            has_variance=bool(model.get("has_variance", False)),
        )


_REQUIRED = object()


def _entry(settings: Mapping[str, Any], name: str, kind: type, default: Any = _REQUIRED) -> Any:
    value = settings.get(name)
    if value is None and default is not _REQUIRED:
        return default
    if not isinstance(value, kind):
        raise ValueError(f"its setting {name} is {clipped(repr(value))}, but must be a {kind.__name__.lower()}")
    return value


def _whole(settings: Mapping[str, Any], name: str, default: Any = _REQUIRED) -> int:
    value = _entry(settings, name, int, default)
    if isinstance(value, bool) or not 0 <= value <= _MOST:
        raise ValueError(f"its setting {name} is {clipped(repr(value))}, but must be a number up to {_MOST}")
    return int(value)


def _number(settings: Mapping[str, Any], name: str, default: float) -> float:
    value = settings.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"its setting {name} is {clipped(repr(value))}, but must be a number")
    return float(value)


def _numbers(settings: Mapping[str, Any], name: str) -> list[int]:
    listed = _entry(settings, name, list)
    if not 0 < len(listed) <= 16:
        raise ValueError(f"its setting {name} has {len(listed)} entries")
    return [_whole({name: entry}, name) for entry in listed]
