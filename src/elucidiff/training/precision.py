"""The arithmetic of a training: number types, memory layout, the scale of half precision's loss, safe gradients."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.backends import cudnn
from torch.backends.cuda import matmul

from elucidiff.training.config import TrainingConfig

# The loss is a sum over the elements of an image, not a mean, so PyTorch's 65536 would overflow in the first steps.
_FIRST_SCALE = 1024.0
_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(config: TrainingConfig, device: torch.device) -> None:
    """Refuse an arithmetic that the device lacks, and warn of one that it only imitates.

    Raises:
        ValueError: fp16 is asked for on another device than CUDA.
    """
    if config.precision == "fp16" and device.type != "cuda":
        raise ValueError(f"precision fp16 needs CUDA, but the device is {device}: use fp32")
    if config.precision == "bf16" and device.type == "cpu" and not cpu_computes_bf16():
        warnings.warn(
            "this processor has no bf16 arithmetic (AVX512-BF16, AMX) and imitates it, some 100 times slower than "
            "fp32: use fp32",
            stacklevel=3,
        )


def cpu_computes_bf16() -> bool:
    """True if the processor has instructions for products of bf16 numbers."""
    return any(present and "bf16" in name for name, present in torch.cpu.get_capabilities().items())


class Arithmetic:
    """The way in which a network's gradients are computed and used.

    Weights, their averages and Adam's moments are float32 in every precision. In bf16 and fp16 the network's products
    are half precision (autocast); the statistics of its normalisations, its softmax, the preconditioning and the loss
    stay in float32.

    Gradients that are not finite become numbers (:func:`sanitize_gradients`), as in the paper's training, save
    for fp16 with a scale that adapts: there they mean that the scale was too large. Then weights and moments stay as
    they are, and the scale is halved; after 2000 steps without such a thing it is doubled (Micikevicius et al. 2018,
    arXiv 1710.03740, Sec. 3.2). Nothing here waits for the device, save reading or setting the state.

    Args:
        config: ``precision``, ``loss_scale`` and ``gradient_clip`` count.
        device: where the network is.
    """

    def __init__(self, config: TrainingConfig, device: torch.device) -> None:
        self._device_type, self._type = device.type, _TYPES.get(config.precision)
        self._clip = config.gradient_clip
        self._scale = config.loss_scale or 1.0
        adapts = config.precision == "fp16" and config.loss_scale is None
        self._scaler = torch.amp.GradScaler(device.type, init_scale=_FIRST_SCALE) if adapts else None

    def forward(self) -> AbstractContextManager[Any]:
        """The types in which the network computes while this context is active."""
        return torch.autocast(self._device_type, self._type) if self._type else contextlib.nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss`` ``()``, scaled, to the gradients that are there."""
        if self._scaler is not None:
            loss = self._scaler.scale(loss)
        elif self._scale != 1:
            loss = loss * self._scale
        torch.autograd.backward(loss)

    def step(self, optimiser: torch.optim.Optimizer) -> None:
        """Undo the scale of the gradients, see to those that are not finite, clip the norm, and let Adam use them."""
        parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
        if self._scaler is None:
            sanitize_gradients(parameters, self._scale, self._clip)
            optimiser.step()
        else:
            self._scaler.unscale_(optimiser)
            if self._clip is not None:
                clip_gradients([p.grad for p in parameters if p.grad is not None], self._clip)
            self._scaler.step(optimiser)  # a fused Adam looks at the device itself whether to step
            self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """The scale that adapts, for a checkpoint; JSON-able, and empty where there is none. Waits for the device."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        if self._scaler is not None:
            self._scaler.load_state_dict(dict(state))


def sanitize_gradients(parameters: Iterable[nn.Parameter], loss_scale: float, clip: float | None) -> None:
    """Undo the loss scale, replace NaN by 0 and infinities by +-1e5, then scale the norm down to ``clip``.

    Nothing here waits for the device. (The reference keeps the loss scale in the gradients; Adam divides it out, so
    the updates differ by the scale of its epsilon alone.)
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if loss_scale != 1:
        torch._foreach_div_(gradients, loss_scale)
    for gradient in gradients:
        torch.nan_to_num(gradient, nan=0.0, posinf=1e5, neginf=-1e5, out=gradient)
    if clip is not None:
        clip_gradients(gradients, clip)


def clip_gradients(gradients: list[Tensor], clip: float) -> None:
    """Scale all gradients down together, so that their norm is at most ``clip``, without waiting for the device."""
    norm = torch.stack(torch._foreach_norm(gradients)).norm()
    torch._foreach_mul_(gradients, clip / norm.clamp(min=clip))


@contextlib.contextmanager
def cuda_products(tf32: bool) -> Iterator[None]:
    """Context in which CUDA computes products and convolutions in a given way; nothing on other devices.

    Convolutions are tried in several ways on first use, and the fastest is kept: all batches have one shape.

    Args:
        tf32: whether factors of float32 products are rounded to 10 bits of mantissa (TF32).
    """
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = tf32, tf32, True
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


_CHANNELS_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def memory_format(config: TrainingConfig, device: torch.device, dims: int) -> torch.memory_format:
    """The layout to train in: channels innermost, or as weights are made (channels outermost).

    CUDA's half-precision convolutions of pictures want the channels innermost, so that is what ``channels_last:
    auto`` means there. On a CPU the convolutions gain about what the normalisations lose, and auto leaves the layout.
    It leaves that of volumes everywhere: PyTorch's pooling in three dimensions returns to the other layout.

    Args:
        config: ``channels_last`` and ``precision`` count.
        device: where to train.
        dims: number of spatial dimensions; with one there is one layout only.

    Raises:
        ValueError: ``channels_last`` is on for signals of one dimension.
    """
    wanted = config.channels_last
    if wanted == "on":
        if dims not in _CHANNELS_LAST:
            raise ValueError("channels_last is on, but signals of one dimension have one layout only: set it to auto")
        return _CHANNELS_LAST[dims]
    if wanted == "auto" and dims == 2 and device.type == "cuda" and config.precision != "fp32":
        return torch.channels_last
    return torch.preserve_format
