"""Power-function averages that a run leaves along the way, and models of any width put together from them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from elucidiff.denoisers import model_folder
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.files import write_whole
from elucidiff.training.ema import WeightAverage
from elucidiff.training.posthoc_ema import PowerFunction, Profile, combination, fit_error

_NAME = re.compile(r"(\d+)-(\d*\.?\d+(?:e-\d+)?)\.safetensors")


def save_snapshot(run_dir: Path, average: WeightAverage, weights: Mapping[str, Tensor], images_seen: int) -> None:
    """Write the parameters of a power-function average into ``run_dir/averages``; other averages are passed over.

    Args:
        run_dir: the run folder.
        average: the average.
        weights: what its network holds, whole, by name.
        images_seen: training images so far.

    Raises:
        OSError: the file cannot be written.
    """
    if not isinstance(average.profile, PowerFunction):
        return
    parameters = {name: weights[name].contiguous() for name, _ in average.network.named_parameters()}

    def write(path: Path) -> None:
        try:
            safetensors.torch.save_file(parameters, path)
        except SafetensorError as error:  # which is how safetensors reports a full disk
            raise OSError(f"cannot write {path.parent}: {error}") from None

    write_whole(run_dir / "averages" / f"{images_seen:012d}-{average.profile.sigma_rel!r}.safetensors", write)


def reconstruct(
    run_dir: str | os.PathLike[str],
    sigma_rel: float,
    images_seen: int | None = None,
    *,
    with_later: bool = False,
    network: nn.Module | None = None,
) -> Denoiser:
    """The model whose weights are averaged with relative width ``sigma_rel``, as if that had been done in training.

    It is the best that the snapshots give. How good that is, ``facts["provenance"]["ema_fit_error"]`` of the model
    tells, the relative distance of the profile that was reached from the wanted one
    (:func:`.posthoc_ema.fit_error`): above about 0.1, more snapshots or other widths are needed.

    Args:
        run_dir: a run folder, trained with ``ema_widths``.
        sigma_rel: width of the average, as a share of the training until ``images_seen``; 0.05 to 0.15 is usual.
        images_seen: the training time at which the average is wanted; None for the last snapshot's.
        with_later: use snapshots from after that time, too. Between snapshots they make the fit closer, with weights
            that the wanted average has not seen.

    Raises:
        OSError: the run folder, its model or a snapshot cannot be read.
        ValueError: there are no snapshots, none is as late or as early as ``images_seen``, the width is impossible,
            or a snapshot is damaged or of another network.
    """
    snapshots = _snapshots(Path(run_dir))
    if not snapshots:
        raise ValueError(f"there are no averages in {run_dir}: train with ema_widths, for example 0.05 and 0.10")
    profiles = [snapshot.profile for snapshot in snapshots]
    last = max(profile.images_seen for profile in profiles)
    wanted = Profile(sigma_rel, last if images_seen is None else images_seen)
    coefficients = combination(profiles, wanted, with_later=with_later)
    denoiser = model_folder.load(Path(run_dir) / "model", network=network)
    parameters = dict(denoiser.network.named_parameters())
    totals = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in parameters.items()}
    for snapshot, coefficient in zip(snapshots, coefficients.tolist(), strict=True):
        if coefficient:
            snapshot.add_to(totals, coefficient)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(totals[name])
    denoiser.facts["provenance"] |= {
        "ema_width": sigma_rel,
        "images_seen": wanted.images_seen,
        "ema_fit_error": fit_error(profiles, coefficients, wanted),
    }
    return denoiser


@dataclass(frozen=True)
class _Snapshot:
    path: Path
    profile: Profile

    def add_to(self, totals: dict[str, torch.Tensor], coefficient: float) -> None:
        try:
            with safe_open(self.path, "pt") as file:
                shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
                if shapes != {name: list(total.shape) for name, total in totals.items()}:
                    raise ValueError(f"{self.path} is of another network than the model: their parameters differ")
                for name, total in totals.items():
                    total.add_(file.get_tensor(name), alpha=coefficient)
        except SafetensorError as error:
            raise ValueError(f"{self.path} is damaged: {error}") from None


def _snapshots(run_dir: Path) -> list[_Snapshot]:
    if not run_dir.is_dir():
        raise FileNotFoundError(f"there is no run folder {run_dir}")
    found = ((path, _NAME.fullmatch(path.name)) for path in sorted((run_dir / "averages").glob("*.safetensors")))
    return [_Snapshot(path, Profile(float(match[2]), int(match[1]))) for path, match in found if match]
