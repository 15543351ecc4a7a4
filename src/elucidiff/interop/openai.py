"""Models of guided-diffusion and improved-diffusion: ADM by the flags with which they were trained.

A checkpoint there is a state dict alone, and the command line says the rest. Flags have the names and defaults of
guided-diffusion's; for improved-diffusion's (``rescale_timesteps`` is on by default there) give those that differ.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elucidiff.denoisers.adapters import AdaptedDenoiser, DiscreteTime
from elucidiff.interop import weights
from elucidiff.interop.gaussian_diffusion import (
    Variance,
    alpha_bars_of,
    ancestral,
    betas_of,
    cosine_bar,
    ddim,
    large_variance,
    learned_variance,
    linear_betas,
    small_variance,
)
from elucidiff.interop.home_sampling import draws, home, one_of, settings_of, step_count
from elucidiff.interop.openai_unet import OpenAIUNet, Style
from elucidiff.suggest import suggestion

_FLAGS: dict[str, Any] = {
    "image_size": 64,
    "num_channels": 128,
    "num_res_blocks": 2,
    "num_heads": 4,
    "num_heads_upsample": -1,
    "num_head_channels": -1,
    "attention_resolutions": "16,8",
    "channel_mult": "",
    "dropout": 0.0,
    "class_cond": False,
    "use_checkpoint": False,
    "use_scale_shift_norm": True,
    "resblock_updown": False,
    "use_fp16": False,
    "use_new_attention_order": False,
    "learn_sigma": False,
    "sigma_small": False,
    "diffusion_steps": 1000,
    "noise_schedule": "linear",
    "timestep_respacing": "",
    "use_kl": False,
    "predict_xstart": False,
    "rescale_timesteps": False,
    "rescale_learned_sigmas": False,
    "NUM_CLASSES": 1000,
}
_WIDTHS = {
    512: (0.5, 1, 1, 2, 2, 4, 4),
    256: (1, 1, 2, 2, 4, 4),
    128: (1, 1, 2, 3, 4),
    64: (1, 2, 3, 4),
    32: (1, 2, 2, 2),
}


def load(path: weights.Source, **flags: Any) -> AdaptedDenoiser:
    """Read a checkpoint (``*.pt``, or the same weights as safetensors) of guided-diffusion or improved-diffusion.

    Args:
        path: the file, its parts, or a folder with either; see :func:`.weights.read`.
        flags: those of the command line with which it was trained, such as ``image_size=64, class_cond=True,
            learn_sigma=True, noise_schedule="cosine"``; numbers and truth values also as text. ``NUM_CLASSES`` is a
            constant there, 1000 as published.

    Returns:
        The denoiser on the CPU, in evaluation mode; noise levels of its table, rounded to the nearest.

    Raises:
        OSError: a file cannot be read.
        ValueError: a flag is unknown or has no such value, or the file is damaged or does not fit the flags.
    """
    settings = _settings(flags)
    content = weights.read(path)
    with weights.naming(path):
        stored = weights.tensors(content, "it")
        channels = _channels(stored)
    with torch.device("meta"):
        network = _network(settings, channels)
    with weights.naming(path):
        weights.fit(network, stored)
    time = DiscreteTime(
        alpha_bars(settings),
        factor=1000 / settings["diffusion_steps"] if settings["rescale_timesteps"] else None,
    )
    denoiser = AdaptedDenoiser(
        network,
        "x0" if settings["predict_xstart"] else "epsilon",
        time,
        label_dim=settings["NUM_CLASSES"] if settings["class_cond"] else 0,
        sample_shape=network.sample_shape,
    )
    denoiser.facts["home"] = {"format": "openai", "settings": settings, "arguments": settings}
    return denoiser.eval()


def alpha_bars(settings: dict[str, Any]) -> Tensor:
    """The table of the flags ``noise_schedule`` and ``diffusion_steps``, float64."""
    count = settings["diffusion_steps"]
    linear = settings["noise_schedule"] == "linear"
    return alpha_bars_of(linear_betas(count) if linear else betas_of(cosine_bar, count))


def visited_times(respacing: str, count: int) -> list[int]:
    """The times that ``timestep_respacing`` chooses of ``count``, rising: all, "ddimN", or sections "a,b,...".

    "ddimN" is the smallest stride from 0 with exactly N times. "a,b" divides the times into as many equal sections
    and takes a and b equally spaced ones of them, first and last included.

    Raises:
        ValueError: the text is neither, or there are too few times for it.
    """
    wrong = f"timestep_respacing is {respacing!r}: give 'ddimN', or numbers of times such as '250' or '10,15,20'"
    if not respacing:
        return list(range(count))
    if respacing.startswith("ddim"):
        wanted = _number(respacing[4:], wrong)
        for stride in range(1, count):
            if len(range(0, count, stride)) == wanted:
                return list(range(0, count, stride))
        raise ValueError(f"no stride visits exactly {wanted} of {count} times: choose another number of steps")
    sections = [_number(part, wrong) for part in respacing.split(",")]
    if min(sections) < 1:
        raise ValueError(wrong)
    times: list[int] = []
    start = 0
    for index, wanted in enumerate(sections):
        size = count // len(sections) + (index < count % len(sections))
        if size < wanted:
            raise ValueError(f"a section of {size} times cannot be divided into {wanted}: choose fewer steps")
        apart, at = 1.0 if wanted == 1 else (size - 1) / (wanted - 1), 0.0
        for _ in range(wanted):  # added up, as it is done there: a product could round to another time
            times.append(start + round(at))
            at += apart
        start += size
    return times


@home("openai")
def sample_at_home(
    denoiser: AdaptedDenoiser,
    noise: Tensor,
    steps: int | str | None,
    labels: Tensor | None,
    step_noise: Tensor | None,
    *,
    sampler: str = "ddim",
    timestep_respacing: str | None = None,
    clip_denoised: bool = True,
    eta: float | None = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """``ddim_sample_loop`` or ``p_sample_loop`` ("ancestral") over the times of ``timestep_respacing``.

    ``steps`` may be a number N, which stands for "ddimN" or, with the ancestral sampler, for "N"; or such a text.
    """
    settings = settings_of(denoiser)
    one_of("sampler", sampler, ("ddim", "ancestral"))
    respacing = timestep_respacing if timestep_respacing is not None else settings["timestep_respacing"]
    count = None if steps is None or isinstance(steps, str) else step_count(steps)
    if timestep_respacing is None and steps is not None:
        respacing = steps if isinstance(steps, str) else f"{'ddim' if sampler == 'ddim' else ''}{count}"
    table = denoiser.time
    assert isinstance(table, DiscreteTime)
    times = visited_times(respacing, len(table.alpha_bars))[::-1]
    if count is not None and count != len(times):
        raise ValueError(f"timestep_respacing {respacing!r} makes {len(times)} steps, but steps is {count}")
    bars = torch.as_tensor(table.alpha_bars, dtype=torch.float64)[times]
    sigmas = table.sigmas[times]

    def predict(x: Tensor, index: int) -> tuple[Tensor, Tensor]:
        x0, learned = denoiser.predict(x / bars[index].sqrt(), sigmas[index], labels)
        return x0.clamp(-1, 1) if clip_denoised else x0, learned

    x = noise.double()
    eta = eta or 0.0  # None, as where a run has no such choice
    noisy = sampler == "ancestral" or eta > 0
    draw = draws(step_noise, generator, x, len(times)) if noisy else None
    if draw is None or sampler == "ddim":
        return ddim(predict, x, bars, eta, draw)
    return ancestral(predict, x, bars, _variance(settings, bars), draw)


def _variance(settings: Any, bars: Tensor) -> Variance:
    if settings["learn_sigma"]:
        return learned_variance(bars)
    return small_variance(bars) if settings["sigma_small"] else large_variance(bars)


def _network(settings: dict[str, Any], channels: int) -> OpenAIUNet:
    base, size = settings["num_channels"], settings["image_size"]
    if settings["channel_mult"]:
        multipliers = [
            _number(part, "channel_mult must be numbers, such as '1,2,3'", float)
            for part in str(settings["channel_mult"]).split(",")
        ]
    elif size in _WIDTHS:
        multipliers = list(_WIDTHS[size])
    else:
        raise ValueError(f"image_size {size} has no usual channel_mult: give it, such as channel_mult='1,2,2'")
    given = settings["attention_resolutions"]
    sides = [_number(part, "attention_resolutions must be numbers") for part in given.split(",") if part]
    if any(side < 1 for side in sides):
        raise ValueError(f"attention_resolutions is {given!r}, but must be sides of images, such as '16,8'")
    heads, upsample = settings["num_heads"], settings["num_heads_upsample"]
    return OpenAIUNet(
        image_size=size,
        channels=channels,
        out_channels=2 * channels if settings["learn_sigma"] else channels,
        widths=[int(multiplier * base) for multiplier in multipliers],
        blocks=settings["num_res_blocks"],
        attention=[size // side for side in sides],
        heads=(heads, heads if upsample == -1 else upsample),
        head_channels=None if settings["num_head_channels"] == -1 else settings["num_head_channels"],
        classes=settings["NUM_CLASSES"] if settings["class_cond"] else 0,
        features=base,
        style=Style(
            embedding=4 * base,
            dropout=settings["dropout"],
            scale_and_shift=settings["use_scale_shift_norm"],
            resample_in_blocks=settings["resblock_updown"],
            new_order=settings["use_new_attention_order"],
        ),
    )


def _channels(stored: dict[str, Tensor]) -> int:
    """Channels of the images, which no flag says: those of the first convolution."""
    for name, value in stored.items():
        if name.endswith("input_blocks.0.0.weight") and value.ndim == 4:
            return value.shape[1]
    raise ValueError("it is no checkpoint of guided-diffusion: there are no weights input_blocks.0.0.weight")


def _settings(flags: dict[str, Any]) -> dict[str, Any]:
    """All flags, those given in the type of their defaults."""
    settings = dict(_FLAGS)
    for name, value in flags.items():
        if name not in _FLAGS:
            raise ValueError(f"guided-diffusion has no flag {name!r}: {suggestion(name, _FLAGS)}")
        settings[name] = _in_type(name, value, type(_FLAGS[name]))
    one_of("noise_schedule", settings["noise_schedule"], ("linear", "cosine"))
    for name in ("image_size", "num_channels", "num_res_blocks", "num_heads", "diffusion_steps", "NUM_CLASSES"):
        if not 1 <= settings[name] <= 1 << 16:
            raise ValueError(f"the flag {name} is {settings[name]}, but must be at least 1")
    for name in ("num_heads_upsample", "num_head_channels"):
        if settings[name] != -1 and settings[name] < 1:
            raise ValueError(f"the flag {name} is {settings[name]}, but must be at least 1, or -1 for none")
    return settings


def _in_type(name: str, value: Any, kind: type) -> Any:
    if kind is bool:
        known = {"true": True, "1": True, "false": False, "0": False}
        if str(value).lower() in known:
            return known[str(value).lower()]
        raise ValueError(f"the flag {name} is {value!r}, but must be True or False")
    if kind is str:
        return ",".join(str(part) for part in value) if isinstance(value, list | tuple) else str(value)
    return _number(value, f"the flag {name} is {value!r}, but must be a number", kind)


def _number(text: Any, wrong: str, kind: type = int) -> Any:
    try:
        return kind(text)
    except (TypeError, ValueError):
        raise ValueError(wrong) from None
