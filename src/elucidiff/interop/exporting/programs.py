"""Modules for export: of tensors alone, without checks, whose numbers are those of the library."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan  # a loop that exporters know; PyTorch has no public name for it yet

from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.labels import UNSTATED, KnownLabels
from elucidiff.interop.diffusers.autoencoder import Autoencoder
from elucidiff.interop.exporting.course import Course
from elucidiff.networks.magnitude_preserving import folded


class LabelInput:
    """The labels that a file takes, and the part of them that the denoiser is given.

    Classes are numbers (B,), int64; a number of no class, such as -1, is no label. Vectors are (B, label_dim).
    Conditions are as in the example that was given, with any number of rows.

    Args:
        known: of the denoiser's labels.
        example: conditions, for a denoiser that takes those.

    Raises:
        ValueError: an example is missing, or has no use.
    """

    def __init__(self, known: KnownLabels, example: Conditions | None = None) -> None:
        self.known = known
        self.example = example
        if known.field and example is None:
            known.refuse_field("an exported file without an example of one (labels)")
        if example is not None and known.kind != "conditions" and not known.field:
            raise ValueError(f"labels are an example of conditions, but this denoiser takes {known.described}")
        self._numbers = torch.tensor(list(known.numbers), dtype=torch.int64)

    def examples(self, batch: int) -> dict[str, Tensor]:
        """Inputs by their names in the file, for ``batch`` samples; empty without labels."""
        if isinstance(self.example, Mapping):
            return {name: _rows(value, batch) for name, value in self.example.items()}
        if self.example is not None:
            return {"labels": _rows(self.example, batch)}
        if self.known.kind == "conditions" or not self.known.dim:
            return {}
        if self.known.kind == "vectors":
            return {"labels": torch.zeros(batch, self.known.dim)}
        return {"labels": self._numbers[torch.arange(batch) % self.known.dim]}

    def conditions(self, given: tuple[Tensor, ...]) -> Conditions | None:
        """The conditions that the denoiser is given."""
        if not given:
            return None
        if isinstance(self.example, Mapping):
            return dict(zip(self.example, given, strict=True))
        (value,) = given
        if self.known.kind == "classes":
            numbers = self._numbers.to(value.device)
            value = (value[:, None] == numbers).float()
        if not self.known.presence:
            return value
        there = value.sum(1, keepdim=True) if self.known.kind == "classes" else torch.ones_like(value[:, :1])
        return torch.cat([value, there], 1)


class DenoiserProgram(nn.Module):
    """D(x; sigma), for ``x`` (B, C, *spatial) and ``sigma`` (B,), and labels where there are some.

    Args:
        denoiser: any, guidance included; a copy is held.
        labels: see there.
        dtype: of ``x`` and ``sigma``, and of D.
    """

    names = ("x", "sigma")
    output = "denoised"

    def __init__(self, denoiser: DenoiserModule, labels: LabelInput, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.denoiser = folded(copy.deepcopy(denoiser).cpu())
        self.low, self.high = denoiser.sigma_min, denoiser.sigma_max
        self.labels = labels
        self.dtype = dtype

    def forward(self, x: Tensor, sigma: Tensor, *labels: Tensor) -> Tensor:
        """D."""
        conditions = self.labels.conditions(labels)
        given = (x, sigma) if conditions is None else (x, sigma, conditions)
        denoised: Tensor = self.denoiser(*given)
        return denoised.to(self.dtype)

    def examples(self, shape: tuple[int, ...], batch: int) -> list[Tensor]:
        """Inputs before the labels."""
        sigma = torch.linspace(max(self.low, 0.1), min(self.high, 10.0), batch, dtype=self.dtype)
        return [torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0), dtype=self.dtype), sigma]


class SamplerProgram(nn.Module):
    """Samples (B, C, *spatial) from ``latents`` of unit variance, and from ``noise`` (draws, B, C, *spatial) if any.

    The network is there once, in a loop over the evaluations of the course. The solver's state is float64.

    Args:
        denoise: D, called as ``denoise(x, sigma, *labels)``, traced already.
        course: of the run.
        labels: see :class:`LabelInput`.
        decode: what makes images of samples that are latents, traced already; None for none.
    """

    inputs: Tensor
    combined: Tensor
    sigmas: Tensor
    places: Tensor

    def __init__(
        self, denoise: nn.Module, course: Course, labels: LabelInput, decode: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.denoise, self.decode = denoise, decode
        self.output = "samples" if decode is None else DecoderProgram.output
        self.labels = labels
        self.draws = course.draws
        self.names = ("latents", "noise") if course.draws else ("latents",)
        self.register_buffer("inputs", course.inputs.clone())
        self.register_buffer("combined", course.output.clone())
        self.register_buffer("sigmas", course.sigmas.clone())
        # Which of the things known answer k becomes.
        self.register_buffer("places", torch.eye(course.inputs.shape[1], dtype=torch.float64)[1 + course.draws :])

    def forward(self, latents: Tensor, *others: Tensor) -> Tensor:
        """The samples, or the images that they are latents of, in float32."""
        noise, labels = (others[:1], others[1:]) if self.draws else ((), others)
        z = latents.double()[None]
        unknown = z.new_zeros(len(self.sigmas), 1, *[1] * (latents.ndim - 1)) * z
        known = torch.cat([z, *(draws.double() for draws in noise), unknown])

        def evaluate(known: Tensor, step: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            row, sigma, place = step
            x = (_along(row, known) * known).sum(0)
            denoised = self.denoise(x, sigma.expand(x.shape[0]), *labels)
            return known + _along(place, known) * denoised, sigma.clone()

        known, _ = scan(evaluate, known, (self.inputs, self.sigmas, self.places))
        samples: Tensor = (_along(self.combined, known) * known).sum(0).float()
        return samples if self.decode is None else self.decode(samples)

    def examples(self, shape: tuple[int, ...], batch: int) -> list[Tensor]:
        """Inputs before the labels."""
        generator = torch.Generator().manual_seed(0)
        latents = torch.randn(batch, *shape, generator=generator)
        return [latents, torch.randn(self.draws, batch, *shape, generator=generator)] if self.draws else [latents]


class DecoderProgram(nn.Module):
    """Images in [-1, 1] (B, C, *spatial), float32, of ``latents`` as a diffusion model has them.

    Args:
        autoencoder: of diffusers; a copy is held.
    """

    names = ("latents",)
    output = "images"

    def __init__(self, autoencoder: Autoencoder) -> None:
        super().__init__()
        self.autoencoder = copy.deepcopy(autoencoder).cpu().eval()
        self.labels = LabelInput(UNSTATED)

    def forward(self, latents: Tensor) -> Tensor:
        """The images."""
        return self.autoencoder.decode(latents).float()

    def examples(self, shape: tuple[int, ...], batch: int) -> list[Tensor]:
        """Some latents."""
        return [torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))]


def _along(values: Tensor, known: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (known.ndim - 1))


def _rows(value: Tensor, batch: int) -> Tensor:
    return value[torch.arange(batch) % len(value)].contiguous()
