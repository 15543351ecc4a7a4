"""Models of score_sde: DDPM++ and NCSN++ by their configuration, with the averaged weights of a checkpoint.

They were trained on one of three SDEs (Song et al. 2021, Section 3.4), and on images in [0, 1] unless the
configuration says ``centered``. Here they answer for images in [-1, 1], so that noise levels are doubled.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from elucidiff.denoisers.adapters import AdaptedDenoiser, ContinuousTime, InUnits, Prediction
from elucidiff.design.schedules import EDM, VP
from elucidiff.design.values import as_tensor
from elucidiff.devices import widest_type
from elucidiff.interop import weights
from elucidiff.interop.home_sampling import home, one_of, settings_of, step_count
from elucidiff.interop.ncsnpp import ACTIVATIONS, NCSNpp, Settings
from elucidiff.untrusted import clipped

_CHOICES = {
    "resblock_type": ("ddpm", "biggan"),
    "progressive": ("none", "output_skip", "residual"),
    "progressive_input": ("none", "input_skip", "residual"),
    "progressive_combine": ("sum", "cat"),
    "embedding_type": ("positional", "fourier"),
    "nonlinearity": tuple(ACTIVATIONS),
}
_EPS = {"vpsde": 1e-3, "subvpsde": 1e-3, "vesde": 1e-5}
_FLATTENED = re.compile(r"ema[./](?:shadow_params[./])?(\d+)")


def load(path: weights.Source, config: Any, *, averaged: bool = True) -> AdaptedDenoiser | InUnits:
    """Read a checkpoint of score_sde.

    Args:
        path: ``checkpoint_*.pth``, or a state dict as safetensors; see :func:`.weights.read`.
        config: its configuration: nested mappings with ``training.sde``, ``data`` and ``model``, or an object with
            such attributes, as the library's configuration files make it.
        averaged: whether to take the averaged weights, where the checkpoint has them.

    Returns:
        The denoiser of images in [-1, 1] on the CPU, in evaluation mode.

    Raises:
        OSError: a file cannot be read.
        ValueError: the configuration lacks an entry, or asks for what is not known; or the file is damaged or does
            not fit it.
    """
    training, data, model = (_section(config, name) for name in ("training", "data", "model"))
    sde = one_of("training.sde", str(training.get("sde", "vpsde")).lower(), tuple(_EPS))
    if not training.get("continuous", True):
        raise ValueError("training.continuous is off: only models that were trained in continuous time are known")
    settings = _settings(model, data)
    stored = weights.read(path)
    with torch.device("meta"):
        network = NCSNpp(settings)
    with weights.naming(path):
        shadows = _shadows(stored)
        raw = stored["model"] if isinstance(stored.get("model"), Mapping) else stored
        named = weights.tensors(raw, "its model")
        weights.fit(network, {name: value for name, value in named.items() if not _FLATTENED.fullmatch(name)})
        if averaged and shadows:
            _take(network, shadows)
    beta_min, beta_max = (float(model.get(name, value)) for name, value in (("beta_min", 0.1), ("beta_max", 20.0)))
    low, high = (float(model.get(name, value)) for name, value in (("sigma_min", 0.01), ("sigma_max", 50.0)))
    time: ContinuousTime | SubVPTime
    if sde == "vesde":
        time = ContinuousTime(EDM(), sigma_min=low, sigma_max=high)
    elif sde == "vpsde":
        vp = VP(beta_max - beta_min, beta_min)
        ends = vp.sigma(torch.tensor([_EPS[sde], 1.0], dtype=torch.float64)).tolist()
        time = ContinuousTime(vp, factor=999.0, sigma_min=ends[0], sigma_max=ends[1])
    else:
        time = SubVPTime(VP(beta_max - beta_min, beta_min))
    # Whether the network divides by sigma or not, for VE the library takes what comes out as the score.
    predicts: Prediction = "score" if sde == "vesde" else "epsilon"
    inner = AdaptedDenoiser(network, predicts, time, sample_shape=network.sample_shape)
    plain = {"sde": sde, "beta_min": beta_min, "beta_max": beta_max, "sigma_min": low, "sigma_max": high}
    sections = {"training": training, "data": data, "model": model}
    kinds = (bool, int, float, str, list, tuple)
    told = {
        name: {key: value for key, value in entries.items() if isinstance(value, kinds)}
        for name, entries in sections.items()
    }
    inner.facts["home"] = {"format": "score_sde", "settings": plain, "arguments": {"config": told}}
    denoiser = inner if settings.centered else InUnits(inner, 2.0, -1.0)
    return denoiser.eval()


@dataclasses.dataclass(frozen=True)
class SubVPTime:
    """999 t and m(t) of the sub-VP SDE: x_t = m x_0 + (1 - m^2) eps with m = exp(-int beta / 2)."""

    vp: VP
    sigma_min: float = 0.0
    sigma_max: float = math.inf

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """``sigma`` itself: time is continuous."""
        return as_tensor(sigma)

    def at(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """999 t and m, where sigma = (1 - m^2) / m."""
        m = 2 / (sigma + (sigma.square() + 4).sqrt())
        return 999 * self.vp.time((1 / m.square() - 1).clamp(min=0).sqrt()), m


@home("score_sde")
def sample_at_home(
    denoiser: AdaptedDenoiser | InUnits,
    noise: Tensor,
    steps: int | str | None,
    labels: Tensor | None,
    step_noise: Tensor | None,
    *,
    sampler: str | None = None,
    method: str = "RK45",
    rtol: float = 1e-5,
    atol: float = 1e-5,
    eps: float | None = None,
) -> Tensor:
    """The probability flow from t = 1 to ``eps``, without a last denoising step.

    "euler" (also "flow") takes ``steps`` equal steps of t, "ode" is SciPy's ``solve_ivp`` with ``method``, ``rtol``
    and ``atol`` over all samples at once; by default the first where steps are given.
    """
    settings = settings_of(denoiser)
    sampler = one_of("sampler", sampler or ("ode" if steps is None else "euler"), ("euler", "flow", "ode"))
    inner = denoiser.denoiser if isinstance(denoiser, InUnits) else denoiser
    end = _EPS[settings["sde"]] if eps is None else eps
    x = noise.to(widest_type(noise.device)) * (settings["sigma_max"] if settings["sde"] == "vesde" else 1.0)
    if sampler == "ode":
        shape, device, dtype = x.shape, x.device, x.dtype

        def flat(t: float, values: Any) -> Any:
            given = torch.from_numpy(values).to(device, dtype).reshape(shape)
            return drift(inner, settings, given, t).double().cpu().numpy().reshape(-1)

        start = x.double().cpu().numpy().reshape(-1)
        found = solve_ivp(flat, (1.0, end), start, method=method, rtol=rtol, atol=atol)
        if not found.success:
            raise ValueError(f"the solver {method} came to no end: {clipped(found.message)}")
        x = torch.from_numpy(found.y[:, -1]).to(device, dtype).reshape(shape)
    else:
        count = step_count(steps)
        for index in range(count):
            t = 1 + (end - 1) * index / count
            x = x + (end - 1) / count * drift(inner, settings, x, t)
    return 2 * x - 1 if isinstance(denoiser, InUnits) else x


def drift(inner: AdaptedDenoiser, settings: Mapping[str, Any], x: Tensor, t: float) -> Tensor:
    """dx/dt of the probability flow in the units of the data (Song et al. 2021, Eq. 13): f x - g^2 score / 2."""
    beta_min, beta_max = settings["beta_min"], settings["beta_max"]
    beta, grown = beta_min + t * (beta_max - beta_min), beta_min * t + (beta_max - beta_min) * t**2 / 2
    if settings["sde"] == "vesde":
        ratio = settings["sigma_max"] / settings["sigma_min"]
        m, std = 1.0, settings["sigma_min"] * ratio**t
        f, g_squared = 0.0, 2 * math.log(ratio) * std**2
    else:
        m = math.exp(-grown / 2)
        preserving = settings["sde"] == "vpsde"
        std = math.sqrt(-math.expm1(-grown)) if preserving else -math.expm1(-grown)
        f, g_squared = -beta / 2, beta if preserving else -beta * math.expm1(-2 * grown)
    denoised, _ = inner.predict(x / m, std / m)
    score = (m * denoised - x) / std**2
    flow: Tensor = f * x - g_squared / 2 * score
    return flow


def _section(config: Any, name: str) -> Mapping[str, Any]:
    found = config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)
    if found is not None and not isinstance(found, Mapping):
        found = vars(found)
    if found is None:
        raise ValueError(f"the configuration has no entry {name!r}: give training, data and model")
    return dict(found)


def _settings(model: Mapping[str, Any], data: Mapping[str, Any]) -> Settings:
    if model.get("name", "ncsnpp") != "ncsnpp":
        raise ValueError(f"model.name is {clipped(str(model['name']))}: only ncsnpp (DDPM++, NCSN++) is known")
    if model.get("normalization", "GroupNorm") != "GroupNorm":
        raise ValueError(f"model.normalization is {clipped(str(model['normalization']))}: only GroupNorm is known")
    given: dict[str, Any] = {}
    for field in dataclasses.fields(Settings):
        of_data = field.name in ("image_size", "num_channels", "centered")
        section, where = (data, "data") if of_data else (model, "model")
        if field.name in section:
            value = section[field.name]
            given[field.name] = tuple(value) if isinstance(value, list | tuple) else value
        elif field.default is dataclasses.MISSING:
            raise ValueError(f"the configuration has no entry {where}.{field.name}")
    for name, known in _CHOICES.items():
        if name in given:
            given[name] = one_of(f"model.{name}", str(given[name]).lower(), known)
    for name in ("image_size", "num_channels", "nf", "num_res_blocks", "num_scales"):
        value = given.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1 << 16:
            raise ValueError(f"the configuration's {name} is {clipped(repr(value))}, but must be at least 1")
    if given["nf"] < 4 or not given["ch_mult"]:
        raise ValueError("the configuration's nf must be at least 4, and ch_mult have a level")
    return Settings(**given)


def _shadows(stored: Mapping[str, Any]) -> list[Tensor]:
    """The averaged parameters of a checkpoint, in their order; none if it has none."""
    numbered = {int(m[1]): value for name, value in stored.items() if (m := _FLATTENED.fullmatch(name))}
    if numbered:
        return [numbered[index] for index in sorted(numbered)]
    average = stored.get("ema")
    if not isinstance(average, Mapping):
        return []
    shadows = average.get("shadow_params")
    if not isinstance(shadows, list | tuple) or not all(isinstance(value, Tensor) for value in shadows):
        raise ValueError("its ema has no list of weights shadow_params")
    return list(shadows)


@torch.no_grad()
def _take(network: NCSNpp, shadows: list[Tensor]) -> None:
    """Replace the parameters by their averages, which are listed in order and without names."""
    parameters = dict(network.named_parameters())
    if len(shadows) != len(parameters):
        raise ValueError(f"it has {len(shadows)} averaged weights for {len(parameters)} of the network")
    for (name, parameter), shadow in zip(parameters.items(), shadows, strict=True):
        if shadow.shape != parameter.shape:
            shapes = f"{tuple(shadow.shape)}, where {tuple(parameter.shape)}"
            raise ValueError(f"the averaged weights {name} have shape {shapes} is needed")
        weights.check_finite(name, shadow.float(), "the averaged weights")
        parameter.copy_(shadow.to(parameter.dtype))
