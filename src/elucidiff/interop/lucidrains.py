"""Models of denoising-diffusion-pytorch (lucidrains): GaussianDiffusion and ElucidatedDiffusion around its Unet.

Images are in [-1, 1] inside, as they are here, and in [0, 1] outside. GaussianDiffusion is DDPM with a choice of what
is predicted; ElucidatedDiffusion is preconditioned as in Karras et al. 2022.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from elucidiff.denoisers.adapters import AdaptedDenoiser, DiscreteTime, Prediction
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design.preconditioning import EDM
from elucidiff.design.steps import karras
from elucidiff.devices import widest_type
from elucidiff.interop import weights
from elucidiff.interop.gaussian_diffusion import (
    alpha_bars_of,
    ancestral,
    betas_of,
    cosine_bar,
    ddim,
    linear_betas,
    sigmoid_bar,
    small_variance,
)
from elucidiff.interop.home_sampling import along, draws, home, one_of, settings_of, step_count
from elucidiff.interop.lucidrains_unet import LucidUnet
from elucidiff.sampling.churn import Churn
from elucidiff.suggest import suggestion

_GAUSSIAN: dict[str, Any] = {
    "image_size": None,
    "timesteps": 1000,
    "sampling_timesteps": None,
    "objective": "pred_v",
    "beta_schedule": "sigmoid",
    "schedule_fn_kwargs": {},
    "ddim_sampling_eta": 0.0,
}
_ELUCIDATED: dict[str, Any] = {
    "image_size": None,
    "num_sample_steps": 32,
    "sigma_min": 0.002,
    "sigma_max": 80.0,
    "sigma_data": 0.5,
    "rho": 7.0,
    "S_churn": 80.0,
    "S_tmin": 0.05,
    "S_tmax": 50.0,
    "S_noise": 1.003,
}
# What only training depends on, or what images look like outside.
_TRAINING = {
    "GaussianDiffusion": (
        "auto_normalize",
        "offset_noise_strength",
        "min_snr_loss_weight",
        "min_snr_gamma",
        "immiscible",
    ),
    "ElucidatedDiffusion": ("channels", "P_mean", "P_std"),
}
_PREDICTIONS: dict[str, Prediction] = {"pred_noise": "epsilon", "pred_v": "v", "pred_x0": "x0"}
_SCHEDULES = ("linear", "cosine", "sigmoid")


def load(path: weights.Source, wrapper: str, unet: Mapping[str, Any], **settings: Any) -> AdaptedDenoiser | Denoiser:
    """Read the state dict of a wrapper with its network, or a checkpoint of the library's Trainer.

    Args:
        path: the file, its parts, or a folder with either; see :func:`.weights.read`. Of a Trainer's checkpoint the
            averaged model is taken.
        wrapper: "GaussianDiffusion" or "ElucidatedDiffusion".
        unet: what ``Unet`` was made with there: ``dim``, ``dim_mults``, ``attn_heads`` ...
        settings: what the wrapper was made with: ``image_size``, ``objective``, ``beta_schedule``, ``timesteps`` ...,
            or ``sigma_data`` ...; what is not given has its default there.

    Returns:
        The denoiser on the CPU, in evaluation mode.

    Raises:
        OSError: a file cannot be read.
        ValueError: a setting is unknown, missing or out of range, or the file is damaged or does not fit them.
    """
    one_of("wrapper", wrapper, tuple(_TRAINING))
    elucidated = wrapper == "ElucidatedDiffusion"
    chosen = _chosen(wrapper, _ELUCIDATED if elucidated else _GAUSSIAN, settings)
    if chosen["image_size"] is None:
        raise ValueError(f"the setting image_size is missing: give what {wrapper} was made with")
    content = weights.read(path)
    network = _network(unet, chosen["image_size"])
    with weights.naming(path):
        stored = _state(content)
        weights.fit(network, stored)
    denoiser: AdaptedDenoiser | Denoiser
    if elucidated:
        denoiser = Denoiser(network, EDM(chosen["sigma_data"]))
    else:
        objective = one_of("objective", chosen["objective"], tuple(_PREDICTIONS))
        table = alpha_bars(chosen)
        with weights.naming(path):
            _check_table(table, stored)
        denoiser = AdaptedDenoiser(
            network, _PREDICTIONS[objective], DiscreteTime(table), sample_shape=network.sample_shape
        )
    denoiser.facts["home"] = {
        "format": f"lucidrains {wrapper}",
        "settings": chosen,
        "arguments": {"wrapper": wrapper, "unet": dict(unet), **chosen},
    }
    return denoiser.eval()


def alpha_bars(settings: Mapping[str, Any]) -> Tensor:
    """The table of ``beta_schedule``, ``timesteps`` and ``schedule_fn_kwargs``, float64."""
    schedule = one_of("beta_schedule", settings["beta_schedule"], _SCHEDULES)
    count, given = step_count(settings["timesteps"], "timesteps"), dict(settings["schedule_fn_kwargs"] or {})
    given.pop("clamp_min", None)  # which is not used there
    try:
        if schedule == "linear":
            return alpha_bars_of(linear_betas(count, **given))
        bar = cosine_bar if schedule == "cosine" else sigmoid_bar
        return alpha_bars_of(betas_of(lambda t: bar(t, **given), count))
    except TypeError:
        raise ValueError(f"schedule_fn_kwargs {sorted(given)} are not those of the schedule {schedule}") from None


@home("lucidrains GaussianDiffusion")
def sample_gaussian(
    denoiser: AdaptedDenoiser,
    noise: Tensor,
    steps: int | str | None,
    labels: Tensor | None,
    step_noise: Tensor | None,
    *,
    sampler: str | None = None,
    eta: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``ddim_sample``, or ``p_sample_loop`` ("ancestral") over all times; by default what the wrapper would take."""
    settings = settings_of(denoiser)
    table = denoiser.time
    assert isinstance(table, DiscreteTime)
    total = len(table.alpha_bars)
    if steps is None:
        steps = total if sampler == "ancestral" else settings["sampling_timesteps"] or total
    count = step_count(steps)
    sampler = one_of("sampler", sampler or ("ddim" if count < total else "ancestral"), ("ddim", "ancestral"))
    if count > total or (sampler == "ancestral" and count != total):
        raise ValueError(f"steps is {count}, but the model has {total} times, of which 'ancestral' visits all")
    times = visited_times(count, total)[:-1]
    bars = torch.as_tensor(table.alpha_bars, dtype=torch.float64)[times]
    sigmas = table.sigmas[times]

    def predict(x: Tensor, index: int) -> tuple[Tensor, Tensor]:
        x0, learned = denoiser.predict(x / bars[index].sqrt().to(x), sigmas[index], labels)
        return x0.clamp(-1, 1), learned

    x = noise.to(widest_type(noise.device))
    if sampler == "ancestral":
        return ancestral(predict, x, bars, small_variance(bars), draws(step_noise, generator, x, count))
    eta = settings["ddim_sampling_eta"] if eta is None else eta
    return ddim(predict, x, bars, eta, draws(step_noise, generator, x, count) if eta > 0 else None)


def visited_times(count: int, total: int) -> list[int]:
    """The times of ``count`` steps, falling, and the -1 at which they end."""
    times: list[int] = torch.linspace(-1, total - 1, count + 1).int().tolist()  # towards 0, in float32, as there
    return times[::-1]


@home("lucidrains ElucidatedDiffusion")
def sample_elucidated(
    denoiser: Denoiser,
    noise: Tensor,
    steps: int | str | None,
    labels: Tensor | None,
    step_noise: Tensor | None,
    *,
    sampler: str = "heun",
    clamp: bool = True,
    S_churn: float | None = None,
    S_tmin: float | None = None,
    S_tmax: float | None = None,
    S_noise: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``sample`` ("heun": Algorithm 2) or ``sample_using_dpmpp`` ("dpmpp").

    By default there is as much churn as the wrapper says, 80; but none without ``step_noise`` and ``generator``,
    unless ``S_churn`` asks for it.
    """
    one_of("sampler", sampler, ("heun", "dpmpp"))
    settings = settings_of(denoiser)
    count = step_count(settings["num_sample_steps"] if steps is None else steps)
    sigmas = karras(count, settings["sigma_min"], settings["sigma_max"], settings["rho"])
    if sampler == "dpmpp":
        return along(denoiser, noise, sigmas, "dpmpp_2m", labels).clamp(-1, 1)
    if S_churn is None:
        S_churn = settings["S_churn"] if step_noise is not None or generator is not None else 0.0
    low, high, scale = (
        settings[name] if given is None else given
        for name, given in (("S_tmin", S_tmin), ("S_tmax", S_tmax), ("S_noise", S_noise))
    )
    churn = Churn(S_churn, low, high, scale) if S_churn else None

    def clamped(x: Tensor, sigma: Tensor, *given: Tensor) -> Tensor:
        denoised: Tensor = denoiser(x, sigma, *given)
        return denoised.clamp(-1, 1) if clamp else denoised

    return along(clamped, noise, sigmas, "heun", labels, churn, step_noise, generator).clamp(-1, 1)


def _chosen(wrapper: str, defaults: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    known = (*defaults, *_TRAINING[wrapper])
    for name in settings:
        if name not in known:
            raise ValueError(f"{wrapper} has no setting {name!r}: {suggestion(name, known)}")
    chosen = dict(defaults) | {name: value for name, value in settings.items() if name in defaults}
    for name, default in defaults.items():
        value = chosen[name]
        wrong = isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
        if isinstance(default, int | float) and wrong:
            raise ValueError(f"the setting {name} is {value!r}, but must be a number")
    return chosen


def _network(unet: Mapping[str, Any], image_size: Any) -> LucidUnet:
    known = [name for name in inspect.signature(LucidUnet).parameters if name != "image_size"]
    given = dict(unet)
    given.pop("flash_attn", None)  # which says how attention is computed
    if given.pop("self_condition", False):
        raise ValueError("self_condition is on: networks that see their last answer are not known here")
    for name in given:
        if name not in known:
            raise ValueError(f"Unet has no setting {name!r}: {suggestion(name, known)}")
    try:
        with torch.device("meta"):
            return LucidUnet(image_size=image_size, **given)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"the settings of the Unet describe no network: {str(error).splitlines()[0]}") from None


def _state(stored: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict of the wrapper; of a Trainer's checkpoint, that of the averaged one."""
    if isinstance(stored.get("ema"), Mapping):
        averaged = weights.tensors(stored["ema"], "its ema")
        return {name: value for name, value in averaged.items() if name.startswith("ema_model.")}
    return weights.tensors(stored.get("model", stored), "its model")


def _check_table(table: Tensor, stored: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless the table is the one that the file keeps, if it does."""
    for name, value in stored.items():
        if name.endswith("alphas_cumprod") and "log" not in name and "sqrt" not in name:
            if value.shape != table.shape or not torch.allclose(value.double(), table, rtol=1e-3, atol=1e-6):
                raise ValueError(
                    f"its table of {value.numel()} times is not what beta_schedule, timesteps and schedule_fn_kwargs "
                    "make: they are not those of the checkpoint"
                )
            return
