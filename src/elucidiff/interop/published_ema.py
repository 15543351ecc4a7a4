"""Averages of any width from the snapshots that EDM2 publishes: ``PREFIX-KIMG-WIDTH.pkl``, several of one training.

Karras et al. 2024 (arXiv 2312.02696), Section 3: each file holds the weights averaged with a power-function profile
of one width, up to one time. Any other profile is combined of them as of a run's own, see
:mod:`elucidiff.training.ema`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.interop import nvlabs
from elucidiff.training.ema import Profile, combination, fit_error, with_average
from elucidiff.untrusted import printable

_NAME = re.compile(r"(?P<prefix>.+)-(?P<kimg>\d{1,9})-(?P<width>0\.\d{1,6})\.pkl", re.ASCII)
_MULTIPLE = 1024


def snapshots_in(folder: str | os.PathLike[str]) -> list[Path]:
    """The files of a folder that are named so, in order."""
    where = Path(folder)
    return sorted(file for file in where.glob("*.pkl") if _NAME.fullmatch(file.name)) if where.is_dir() else []


def profile_of(file: str | os.PathLike[str]) -> Profile:
    """The average that a file's name tells of: its width, and the images seen, the multiple of 1024 with that kimg.

    Raises:
        ValueError: it is not named so.

    >>> profile_of("edm2-img512-xs-2147483-0.135.pkl")
    Profile(sigma_rel=0.135, images_seen=2147483648)
    """
    named = _NAME.fullmatch(Path(file).name)
    if named is None:
        raise ValueError(f"{printable(os.fspath(file))} is not named PREFIX-KIMG-WIDTH.pkl, as snapshots of EDM2 are")
    least = int(named["kimg"]) * 1000
    return Profile(float(named["width"]), -(-least // _MULTIPLE) * _MULTIPLE)


def reconstruct(
    snapshots: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    sigma_rel: float,
    images_seen: int | None = None,
    *,
    with_later: bool = False,
) -> Denoiser:
    """The model whose weights are averaged with relative width ``sigma_rel``, from published snapshots.

    Weights are summed in float64; snapshots are rounded to half precision, which coefficients of 2 to 3 magnify. How
    near the profile comes to the wanted one is in ``facts["provenance"]["ema_fit_error"]``.

    Args:
        snapshots: files of one training, or the folder that they are in.
        sigma_rel: width of the average, as a share of the training until ``images_seen``.
        images_seen: the training time at which the average is wanted; None for the last snapshot's.
        with_later: use snapshots from after that time, too.

    Raises:
        OSError: a file cannot be read.
        ValueError: there are none, they are not of one training, a file is damaged, or the average cannot be made.
    """
    given = isinstance(snapshots, str | os.PathLike)
    files = snapshots_in(snapshots) if given else [Path(file) for file in snapshots]  # type: ignore[arg-type, union-attr]
    if not files:
        raise ValueError(f"there are no snapshots PREFIX-KIMG-WIDTH.pkl in {snapshots}")
    profiles = [profile_of(file) for file in files]
    prefixes = sorted({_NAME.fullmatch(file.name)["prefix"] for file in files})  # type: ignore[index]
    if len(prefixes) > 1:
        raise ValueError(
            f"the snapshots are of several trainings, {printable(' and '.join(prefixes[:2]))}: name those of one"
        )
    wanted = Profile(sigma_rel, max(each.images_seen for each in profiles) if images_seen is None else images_seen)
    coefficients = combination(profiles, wanted, with_later=with_later)
    used = [(file, float(c)) for file, c in zip(files, coefficients, strict=True) if c]
    # The last one's settings and buffers, which are not averaged.
    order = sorted(used, key=lambda each: profile_of(each[0]).images_seen)
    denoiser = nvlabs.load(order[-1][0])
    totals = {name: order[-1][1] * value.double() for name, value in denoiser.network.named_parameters()}
    for file, coefficient in order[:-1]:
        parameters = dict(nvlabs.load(file).network.named_parameters())
        if {name: value.shape for name, value in parameters.items()} != {n: v.shape for n, v in totals.items()}:
            raise ValueError(f"{printable(str(file))} is of another network than {printable(str(order[-1][0]))}")
        for name, value in parameters.items():
            totals[name] = totals[name] + coefficient * value.double()
    return with_average(denoiser, totals, wanted, fit_error(profiles, coefficients, wanted))
