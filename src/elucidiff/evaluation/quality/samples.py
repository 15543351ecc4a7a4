"""Images that a model makes when they are asked for, and nobody writes to files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elucidiff.data.scaling import to_uint8
from elucidiff.denoisers.base import DenoiserLike
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import SeedRanges

_LONGEST_NAME = 80


@dataclass(frozen=True, eq=False)
class OfModel:
    """The samples of some seeds; see :class:`.Images`.

    Attributes:
        denoiser: D, which states its ``sample_shape``; used where it is.
        sampler: all sampling choices.
        seeds: one a sample.
        labels: class numbers or rows, taken in turn; None or "uniform" as for :meth:`.Sampler.run`. Whoever asks for
            them has looked whether the model was trained with them.
        batch_size: samples in one call of the denoiser.
        guide: the worse model of autoguidance; see :meth:`.Sampler.run`.
        rounded: whether samples are pictures in [-1, 1], to be rounded to 8 bits; else they become float32.
        between: called before each batch; may raise to end the work.
    """

    denoiser: DenoiserLike
    sampler: Sampler
    seeds: Sequence[int]
    labels: Tensor | Literal["uniform"] | None = None
    batch_size: int = 16
    guide: DenoiserLike | None = None
    rounded: bool = True
    between: Callable[[], object] = lambda: None

    def __len__(self) -> int:
        return len(self.seeds)

    def block(self, places: range) -> tuple[Tensor, npt.NDArray[np.float64]]:
        """Samples, and the network evaluations of each.

        Raises:
            ValueError: a sample is not finite; the message names its seed.
        """
        images, nfe = [], []
        for start in range(places.start, places.stop, self.batch_size):
            self.between()
            part = range(start, min(start + self.batch_size, places.stop))
            seeds = [self.seeds[place] for place in part]
            drawn = self.sampler.run(
                self.denoiser,
                seeds,
                self.labels_of(part),
                any_class=True,
                batch_size=self.batch_size,
                guide=self.guide,
            )
            images.append((to_uint8(drawn.x) if self.rounded else drawn.x.float()).cpu())
            cost = torch.as_tensor(drawn.nfe, dtype=torch.float64).cpu()
            nfe.append(np.broadcast_to(cost.numpy(), len(seeds)))
        return torch.cat(images), np.concatenate(nfe)

    def labels_of(self, places: range) -> Tensor | Literal["uniform"] | None:
        """The labels asked for at some places, as for :meth:`.Sampler.run`."""
        if not isinstance(self.labels, Tensor):
            return self.labels
        return self.labels[torch.tensor(list(places), dtype=torch.int64) % len(self.labels)]

    def name(self, places: range) -> str:
        """See :class:`.Images`: the seeds of the block, and which labels it begins with."""
        seeds = str(SeedRanges(range(self.seeds[place], self.seeds[place] + 1) for place in places))
        text = f"{seeds}@{places.start % len(self.labels)}" if isinstance(self.labels, Tensor) else seeds
        return text if len(text) <= _LONGEST_NAME else hashlib.sha256(text.encode()).hexdigest()[:32]

    def facts(self, model: str, guide: str | None) -> dict[str, Any]:
        """What decides a sample beside its seed, as JSON-able values.

        Args:
            model: checksum of the model.
            guide: of the guide.
        """
        labels = _sha256(self.labels) if isinstance(self.labels, Tensor) else self.labels
        facts = {
            "model": model,
            "guide": guide,
            "sampler": self.sampler.to_plain(),
            "labels": labels,
            "batch_size": self.batch_size,
            "torch": torch.__version__,
            "rounded": self.rounded,
        }
        return json.loads(json.dumps(facts))  # type: ignore[no-any-return]


def _sha256(values: Tensor) -> str:
    return hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()
