"""``elucidiff sample MODEL``: draw samples from a trained model, every design choice a flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
import tyro

import elucidiff
from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.models import load_guide
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.cli.sample_job import draw
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.interop.opening import checksum
from elucidiff.launch.coordination import failing_once
from elucidiff.sampling.sampler import Sampler


@dataclass(frozen=True)
class Options:
    """Draw samples from a trained model: a few into a folder, or millions into shards, in one process or many.

    What was begun and stopped or killed goes on with the same command.
    """

    HELP_TITLE: ClassVar[str] = "what to draw"

    model: tyro.conf.Positional[Path]
    """A model folder: runs/.../model, as training writes it."""
    seeds: str = "0-63"
    """Seeds, one sample each: numbers and ranges, such as 0-63,70."""
    labels: str | None = None
    """Classes, taken in turn, by number or name: 3, or 0-9 for all of ten, or cat,dog. For a model of label vectors
    one of them, 0.3,0.7 (write --labels=-0.3,0.7 if it begins with a minus), or a .npy file of rows, taken in turn.
    If this is left out, each seed draws its own class, as often as the training data had it (uniform: all equally
    often), or one of the training set's vectors that the model keeps as examples."""
    any_class: bool = False
    """Take --labels even if the training data had no image of that class."""
    out: Path = Path("samples")
    """Folder to write to. If the same job was begun there, it goes on."""
    overwrite: bool = False
    """Write into a folder that already holds samples."""
    format: Literal["folder", "subfolders", "zip", "tar"] = "folder"
    """A file a seed, and samples.json with all settings and evaluations; or shards with a record each: sub-folders,
    zip archives (both with labels as for training), or WebDataset tars."""
    shard_size: int | None = None
    """Samples in a shard (about 1000)."""
    processes: str = "auto"
    """Processes to start on this machine. auto: a physical core each where that saves time, one on accelerators. With
    --device cuda each takes a GPU of its own."""
    threads: int = 1
    """Threads of each process on a CPU. More are faster if there are fewer batches than cores, but change a sample's
    last bits."""
    grid: bool = False
    """Also write grid.png, all samples in one image: a column for each of --labels, or about square. Signals are
    drawn as lines, volumes by their central slices."""
    batch_size: str = "16"
    """Samples in one call of the network. It changes a sample's last bits; which seeds go together does not. auto
    measures for some seconds which number is fastest here, says it, and keeps it for the whole job."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    backend: Literal["auto", "eager", "compile", "onnx"] = "auto"
    """What computes the network: PyTorch (eager), code that it compiles for minutes first, or ONNX Runtime, which
    takes seconds to begin and `pip install elucidiff[onnx]`. auto chooses by the amount of work, and says what. It
    changes a sample's last bits."""

    sampling: Annotated[SamplingChoices, tyro.conf.arg(name="")] = field(default_factory=SamplingChoices)

    def sampler(self) -> Sampler:
        """The sampler that was asked for; see :meth:`.SamplingChoices.chosen`."""
        return self.sampling.chosen(self.model)

    def denoiser(self, device: torch.device) -> Denoiser:
        """The denoiser to sample from, ready on its device. Every process of a job calls this for itself.

        Raises:
            ValueError: the model is damaged.
            OSError: it cannot be read.
        """
        denoiser: Denoiser = elucidiff.load(self.model).eval().to(device)
        return denoiser

    def guide_model(self, device: torch.device) -> Denoiser | None:
        """The model of --guide, likewise; None without."""
        return None if self.sampling.guide is None else load_guide(self.sampling.guide, self.model, device)

    def facts(self) -> dict[str, Any]:
        """What decides the samples beside sampler, seeds and labels; a job with other facts is another job."""
        models = {"model": self.model, "guide": self.sampling.guide}
        return {name: checksum(path) for name, path in models.items() if path is not None}


def run(arguments: Sequence[str]) -> int:
    """Draw the samples; see ``Options``. Ctrl-C and SIGTERM end it soon, with 130 and 0; the same command goes on.

    Started by torchrun or ``accelerate launch``, the processes share the work, and the first alone tells about it;
    only of a mistake tells the one that finds it first.
    """
    try:
        with failing_once():
            return draw(parse(Options, arguments, prog="elucidiff sample"))
    except ConnectionAbortedError:
        return 2
