"""Facts of a data set for a plan, measured now or kept from ``elucidiff data inspect``; or why to import first."""

from __future__ import annotations

import math
import os
import shlex
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elucidiff import data as data_sets
from elucidiff import parts
from elucidiff.data.dataset import Dataset
from elucidiff.data.inspecting import Report, fingerprint_of, inspect, report_file
from elucidiff.data.inspection import Progress, Subject, open_subject
from elucidiff.data.normalisation import Automatic
from elucidiff.data.recommending import recommend_resolution
from elucidiff.data.scaling import Scaling
from elucidiff.untrusted import printable, read_json

_ODD_BEYOND = 16
"""Pictures with a larger side must halve: a network of one level does not see so far."""
_LARGE = 64
"""The side of the largest pictures in the paper."""


@dataclass(frozen=True)
class Findings:
    """Facts of a data set that a plan goes by.

    Attributes:
        data: its name or path, as it was given.
        count: number of images.
        shape: of an image, ``(C, *spatial)``.
        pictures: whether the values are 8-bit levels of two-dimensional images.
        label_dim: width of the labels, 0 without.
        classes: whether the labels are classes.
        equal: images that are there once more, as others of the same values.
        hidden: images with colours under wholly transparent pixels.
        sigma_data: standard deviation of the data, scaled.
        p_mean: recommended mean of ln(sigma) in training.
        p_std: recommended standard deviation of it.
        noise_reason: why these two.
        normalise: how to scale the data, as a text.
        normalise_reason: why.
        smaller: the command that makes large pictures smaller, where they are large.
        kept: the report that all this was read from; None where it was measured now.
        condition: where its conditions are, as it was given.
        condition_shape: of a condition, ``(C, *spatial)``; empty without.
    """

    data: str
    count: int
    shape: tuple[int, ...]
    pictures: bool
    label_dim: int
    classes: bool
    equal: int
    hidden: int
    sigma_data: float
    p_mean: float
    p_std: float
    noise_reason: str
    normalise: str = "pixels"
    normalise_reason: str = ""
    smaller: str = ""
    kept: Path | None = None
    condition: str = ""
    condition_shape: tuple[int, ...] = ()

    @property
    def values(self) -> int:
        """All numbers of the data set."""
        return self.count * math.prod(self.shape)

    @classmethod
    def of_report(cls, data: str, report: Report) -> Findings:
        """Those of a whole report that matter."""
        reason = next(found.reason for found in report.recommendations if found.setting == "p_mean")
        return cls(
            data=data,
            count=report.count,
            shape=report.shape,
            pictures=report.dtype == "uint8" and len(report.shape) == 3,
            label_dim=report.label_dim,
            classes=bool(report.class_counts),
            equal=sum(len(group) - 1 for group in report.duplicates),
            hidden=report.hidden,
            normalise=report.normalise,
            normalise_reason=report.normalise_reason,
            sigma_data=report.recommended("sigma_data"),
            p_mean=report.recommended("p_mean"),
            p_std=report.recommended("p_std"),
            noise_reason=reason,
        )

    @classmethod
    def kept_of(cls, data: str, dataset: Dataset, path: Path, normalise: Scaling) -> Findings | None:
        """Those of a report in a file, if it is about these very images, scaled as it is asked for; else None."""
        try:
            report: Mapping[str, Any] = read_json(path)
            settings = {found["setting"]: found for found in report["recommendations"]}
            same = report["count"] == len(dataset) and report["fingerprint"] == fingerprint_of(dataset)
            scaled = normalise in (Automatic(), parts.parse("scaling", report["normalise"]))
            if not same or not scaled or report["broken"]:
                return None
            return cls(
                data=data,
                count=len(dataset),
                shape=dataset.shape,
                pictures=report["dtype"] == "uint8" and len(dataset.shape) == 3,
                label_dim=dataset.label_dim,
                classes=dataset.label_kind == "classes",
                equal=sum(len(group) - 1 for group in report["duplicates"]),
                hidden=int(report["hidden"]),
                normalise=str(report["normalise"]),
                normalise_reason=str(report["normalise_reason"]),
                sigma_data=float(settings["sigma_data"]["value"]),
                p_mean=float(settings["p_mean"]["value"]),
                p_std=float(settings["p_std"]["value"]),
                noise_reason=str(settings["p_mean"]["reason"]),
                kept=path,
            )
        except (OSError, ValueError, LookupError, TypeError):  # not there, or of another version: measured anew
            return None


def look_at(
    data: str | os.PathLike[str],
    *,
    condition: str = "",
    progress: Progress | None = None,
    normalise: Scaling = Automatic(),  # noqa: B008 (frozen)
) -> Findings:
    """Find what a plan goes by of the data set of this name or path.

    What ``elucidiff data inspect`` kept about the same images is taken, else all of them are read.

    Args:
        data: as for :func:`elucidiff.data.open`.
        condition: likewise; the images alone are measured.
        progress: called as ``progress("measuring", done, total)``.
        normalise: how floating-point data are to be scaled.

    Raises:
        OSError: nothing is there, or it cannot be read.
        ValueError: nothing can be learned from it; or it has to be imported first, and the message has the command.
    """
    subject = open_subject(data)
    refuse_unready(data, subject)
    dataset = subject.dataset
    if len(dataset.shape) < 2:
        raise ValueError(
            f"the samples of {dataset.name} have shape {dataset.shape}, but must have channels and at least one "
            "spatial dimension: save signals as (N, C, length), volumes as (N, C, depth, height, width)"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training says it again
        shape = data_sets.open(data, condition=condition).condition_shape
    text = os.fspath(data)
    found = Findings.kept_of(text, dataset, report_file(dataset.name), normalise)
    if found is None:
        report = inspect(subject, progress=progress, normalise=normalise)
        if report.broken:
            raise ValueError(_import_first(data, subject, report.broken[0], broken=True))
        found = Findings.of_report(text, report)
    found = replace(found, condition=condition, condition_shape=shape)
    large = found.pictures and min(found.shape[1:]) > _LARGE
    return replace(found, smaller=import_command(data, subject, smaller=True)) if large else found


def refuse_unready(data: str | os.PathLike[str], subject: Subject) -> None:
    """Refuse what has to be imported before it can be trained on, with the command that does it.

    That is pictures of several sizes or modes, broken ones, and ones with sides that no network can halve.

    Raises:
        ValueError: so it is.
    """
    sizes = subject.sizes
    if subject.broken:
        raise ValueError(_import_first(data, subject, subject.broken[0], broken=True))
    if len({shape[1:] for shape in sizes}) > 1:
        raise ValueError(_import_first(data, subject, f"its pictures have {len(sizes)} different sizes"))
    if len(sizes) > 1:
        modes = " and ".join(sorted({_MODES.get(shape[0], f"{shape[0]} channels") for shape in sizes}))
        raise ValueError(_import_first(data, subject, f"its pictures differ in mode ({modes})"))
    shape = next(iter(sizes))
    odd = [side for side in shape[1:] if side % 4 and side > _ODD_BEYOND]
    if odd and len(shape) == 3 and str(subject.dataset.dtype) == "torch.uint8":
        what = f"its pictures of {_sides(shape)} cannot be halved twice, as networks do"
        raise ValueError(_import_first(data, subject, what))


def import_command(data: str | os.PathLike[str], subject: Subject, *, smaller: bool = False) -> str:
    """The ``elucidiff data import`` that makes one size and one mode of all pictures.

    Args:
        data: the name or path of the data set.
        subject: the data set, opened.
        smaller: whether pictures of one size are to be made smaller.
    """
    sizes = subject.sizes
    words = ["elucidiff", "data", "import", os.fspath(data), str(_folder(data, subject.dataset.name))]
    shapes = {shape[1:] for shape in sizes}
    unlike = len(shapes) > 1 or any(side % 4 and side > _ODD_BEYOND for side in next(iter(shapes)))
    if unlike or smaller:
        resolution = recommend_resolution(sizes, None)
        words += ["--resize", str(int(resolution.value) if resolution else 32)]
    if len(modes := Counter({shape[0] for shape in sizes})) > 1:
        words += ["--channels", "1" if set(modes) <= {1, 2} else "3"]
    if subject.broken:
        words.append("--skip-broken")
    return shlex.join(words)


def _import_first(data: str | os.PathLike[str], subject: Subject, why: str, broken: bool = False) -> str:
    command = import_command(data, subject)
    if broken and not command.endswith("--skip-broken"):
        command += " --skip-broken"
    folder = _folder(data, subject.dataset.name)
    return (
        f"{printable(os.fspath(data))} has to be imported first: {why}. Run `{command}`, and then "
        f"`elucidiff train {shlex.quote(str(folder))}`"
    )


def _folder(data: str | os.PathLike[str], name: str) -> Path:
    """The folder to import to, unless that is where the pictures are."""
    folder = Path("data") / (Path(name.replace(":", "-")).name or "pictures")
    return folder if folder.resolve() != Path(os.fspath(data)).resolve() else folder.with_name(f"{folder.name}-ready")


_MODES = {1: "grey", 2: "grey with alpha", 3: "RGB", 4: "RGBA"}


def _sides(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape[1:]))
