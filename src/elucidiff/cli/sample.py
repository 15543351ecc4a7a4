"""``elucidiff sample MODEL``: draw samples from a trained model, every design choice a flag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

import elucidiff
from elucidiff.cli.arguments import parse
from elucidiff.cli.guide import load_guide
from elucidiff.cli.sample_job import draw
from elucidiff.denoisers.model_folder import checksum
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.launch.notices import failing_once
from elucidiff.sampling.named import load_named
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.solver_names import SolverName


@dataclass(frozen=True)
class Options:
    """Draw samples from a trained model: a few into a folder, or millions into shards, in one process or many.

    What was begun and stopped or killed goes on with the same command.
    """

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

    named_sampler: Annotated[str | None, tyro.conf.arg(name="sampler")] = None
    """A sampler that is kept beside the model, such as fast, or the path of one, instead of all choices below; see
    `elucidiff steps optimise --help`."""
    any_model: bool = False
    """Take --sampler even if it was made for other weights, such as those of an earlier checkpoint."""

    table: Literal["vp", "ve", "iddpm", "edm"] = "edm"
    """A column of Table 1 of Karras et al. 2022 for all choices below that are left out."""
    n: int | None = None
    """Number of steps (18)."""
    steps: Literal["karras", "vp", "ve", "iddpm", "log_uniform", "levels"] | None = None
    """How the noise levels are spaced; levels for those of --levels."""
    levels: tuple[float, ...] | None = None
    """The noise levels themselves, from the highest down to 0, for --steps levels."""
    sigma_min: float | None = None
    """Lowest noise level before 0."""
    sigma_max: float | None = None
    """Highest noise level, where sampling starts."""
    rho: float | None = None
    """Exponent of karras steps (7)."""
    epsilon_s: float | None = None
    """Lowest time of vp steps and of the fitted vp schedule (0.001)."""
    m: int | None = None
    """Length of the iddpm table (1000)."""
    c1: float | None = None
    """Bound of the iddpm table (0.001)."""
    c2: float | None = None
    """Offset of the iddpm table (0.008)."""
    schedule: Literal["edm", "vp", "ve", "flow", "exponential"] | None = None
    """sigma(t) and s(t), the curve that the solver follows."""
    scaling: Literal["none", "vp"] | None = None
    """s(t), if not the schedule's own."""
    solver: SolverName | None = None
    """How a step is taken. With one evaluation: dpmpp_2m, dpmpp_3m, unipc, deis, ipndm; and, adding noise,
    dpmpp_1_sde, dpmpp_2m_sde, dpmpp_3m_sde, er_sde, sa_solver."""
    alpha: float | None = None
    """Position of the second evaluation of rk2: 1 Heun, 1/2 midpoint, 2/3 Ralston."""
    rtol: float | None = None
    """Relative tolerance of rk45 (1e-5)."""
    atol: float | None = None
    """Absolute tolerance of rk45 (1e-5)."""
    order: int | None = None
    """How many evaluations unipc (2), deis (4), ipndm (4), er_sde (3) or sa_solver (3) combine."""
    corrector_order: int | None = None
    """How many sa_solver's corrector combines (3); 0 for none."""
    variant: Literal["bh1", "bh2"] | None = None
    """Of unipc: B(h), h or 1 - exp(-h) (bh2)."""
    eta: float | None = None
    """How fast dpmpp_*_sde replaces noise: 0 is the ODE, 1 the SDE (1)."""
    tau: float | None = None
    """How much noise sa_solver adds: 0 is the ODE, 1 the SDE (1)."""
    tau_sigma_min: float | None = None
    """Lowest noise level at which sa_solver adds noise (0.05)."""
    tau_sigma_max: float | None = None
    """Highest noise level at which sa_solver adds noise (1)."""
    churn: float | None = None
    """S_churn: how much noise is added over the run; 0 is deterministic."""
    churn_sigma_min: float | None = None
    """S_tmin: lowest noise level at which noise is added."""
    churn_sigma_max: float | None = None
    """S_tmax: highest noise level at which noise is added."""
    restarts: int | None = None
    """How many times the run is taken back up by fresh noise, from restart_sigma_min to restart_sigma_max (0)."""
    restart_steps: int | None = None
    """Steps on each way down again (3)."""
    restart_sigma_min: float | None = None
    """Where the run is taken back up, to the nearest of its noise levels (0.06)."""
    restart_sigma_max: float | None = None
    """How far it is taken up (0.3)."""
    noise_scale: float | None = None
    """S_noise: standard deviation of the noise that churn or restarts add (1)."""
    guidance: float | None = None
    """How far samples are led away from the unconditional model, or from --guide: 1 not at all, 2 twice as far."""
    guidance_sigma_min: float | None = None
    """Noise level above which guidance acts (0)."""
    guidance_sigma_max: float | None = None
    """Highest noise level at which guidance acts."""
    guide: Path | None = None
    """Model folder of a worse model of the same data, a smaller or an earlier one, to lead samples away from."""

    def sampler(self) -> Sampler:
        """The column of the table with every given flag in place of its choice.

        Raises:
            ValueError: a flag has no effect under the other choices, or a value is out of its range; or there is no
                sampler of the name that was asked for, or it is for another model.
            OSError: that sampler cannot be read.
        """
        values = {field.name: getattr(self, field.name) for field in fields(Sampler)}
        given = {name: value for name, value in values.items() if value is not None}
        if self.named_sampler is not None:
            if given or self.table != "edm":
                flag = next(iter(given), "table").replace("_", "-")
                raise ValueError(
                    f"--{flag} would have no effect with --sampler, which settles it: leave one of them out"
                )
            return load_named(self.model, self.named_sampler, any_model=self.any_model).sampler
        if self.any_model:
            raise ValueError("--any-model would have no effect without --sampler")
        sampler = replace(Sampler.from_table(self.table), **given)
        if unused := sampler.unused(given):
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
            raise ValueError(
                f"{flags} would have no effect with {sampler.steps} steps, the {sampler.schedule} schedule, "
                f"solver {sampler.solver}, churn {sampler.churn:g} and guidance {sampler.guidance:g}: "
                "leave it out, or choose what uses it"
            )
        return sampler

    def denoiser(self, device: torch.device) -> Denoiser:
        """The denoiser to sample from, ready on its device. Every process of a job calls this for itself.

        Raises:
            ValueError: the model is damaged.
            OSError: it cannot be read.
        """
        return elucidiff.load(self.model).eval().to(device)

    def guide_model(self, device: torch.device) -> Denoiser | None:
        """The model of --guide, likewise; None without."""
        return None if self.guide is None else load_guide(self.guide, self.model, device)

    def facts(self) -> dict[str, Any]:
        """What decides the samples beside sampler, seeds and labels; a job with other facts is another job."""
        models = {"model": self.model, "guide": self.guide}
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
