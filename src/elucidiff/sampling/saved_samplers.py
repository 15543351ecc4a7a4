"""Samplers with a name, kept with the model that they were measured with: ``MODEL/samplers/NAME.json``.

Noise levels that were optimised for one set of weights are not the best for another, and the errors that the file
states hold for those weights alone. So the file holds the checksum of its model, and is refused by others.
"""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from elucidiff.denoisers.opening import checksum, is_model, samplers_of
from elucidiff.files import write_whole
from elucidiff.plain_data import from_dict
from elucidiff.sampling.optimise import ExactSolutions, Measurement
from elucidiff.sampling.sampler import Sampler
from elucidiff.sampling.seeds import SeedRanges
from elucidiff.suggest import suggestion
from elucidiff.untrusted import clipped, printable, read_json

FORMAT = "elucidiff-sampler"
VERSION = 2

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Quality:
    """A figure of a sampler's samples, from seeds that it was not chosen by.

    Attributes:
        metric: what figure, with all that it depends on, such as extractor and reference.
        value: its mean over blocks of seeds.
        error: standard error of the mean; None for one block.
        base_value: the mean for the sampler that the search began with, on the same seeds.
        base_error: its standard error.
        seeds: as text.
        blocks: how many blocks of equal size they are.
    """

    metric: str
    value: float
    error: float | None
    base_value: float
    base_error: float | None
    seeds: str
    blocks: int


@dataclass(frozen=True)
class NamedSampler:
    """A sampler and what was measured of it. Errors are root mean squares, in units of the data.

    One that adds noise has no error, since there is no exact solution to come close to.

    Attributes:
        name: its name.
        sampler: all sampling choices.
        model: checksum of the model that it was measured with; see :func:`.opening.checksum`.
        nfe: network evaluations per sample.
        error: distance to the exact ODE solution.
        exact_error: estimated error of what counted as the exact solution.
        seeds: what the error was measured on, as text.
        baseline_error: the same of as many karras steps with the same solver and the rho that is best for it.
        baseline_rho: that rho.
        warm_up_seeds: what the levels were optimised on, or the sampler searched on, as text; None for neither.
        command: what made it.
        quality: how good its samples are, where that was measured.

    >>> import elucidiff as ed
    >>> sampler = ed.Sampler(solver="ipndm:order=3", steps=ed.steps.Karras(12))
    >>> named = ed.sampling.NamedSampler("twelve", sampler, "", 12, None, None, None, None, None, None, "by hand")
    >>> named.sampler.to_text()
    'steps=karras:n=12 solver=ipndm:order=3'
    """

    name: str
    sampler: Sampler
    model: str
    nfe: int
    error: float | None
    exact_error: float | None
    seeds: str | None
    baseline_error: float | None
    baseline_rho: float | None
    warm_up_seeds: str | None
    command: str
    quality: Quality | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        measured = {name: getattr(self, name) for name in ("error", "exact_error", "baseline_error", "baseline_rho")}
        for name, value in (measured | ({} if self.quality is None else vars(self.quality))).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is {value}, which no measurement gives")


def describe(
    name: str,
    sampler: Sampler,
    model: str,
    measured: Measurement,
    exact: ExactSolutions,
    command: str,
    warm_up_seeds: str | None,
) -> NamedSampler:
    """The measurements of ``sampler`` against ``exact``, with a name; see :class:`NamedSampler`."""
    return NamedSampler(
        name,
        sampler,
        model,
        measured.nfe,
        measured.error,
        exact.error,
        str(SeedRanges.of(exact.seeds)),
        measured.baseline_error,
        measured.baseline_rho,
        warm_up_seeds,
        command,
    )


def check_name(name: str) -> None:
    """Raise ValueError unless ``name`` can name a sampler, and a file everywhere."""
    if not _NAME.fullmatch(name) or name.endswith(".json"):
        raise ValueError(f"{name!r} cannot name a sampler: use letters, digits, '-', '_' and '.', without '.json'")


def path_of(model: str | os.PathLike[str], name: str) -> Path:
    """The file that keeps the sampler of that name beside a model.

    Raises:
        ValueError: the name is impossible.
    """
    check_name(name)
    return samplers_of(model) / f"{name}.json"


def save_named(model: str | os.PathLike[str], named: NamedSampler) -> Path:
    """Write a sampler beside a model, whole or not at all, over one of the same name.

    Raises:
        ValueError: the name is impossible.
        OSError: the file cannot be written.

    >>> import elucidiff as ed
    >>> import tempfile
    >>> network = ed.networks.UNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1)
    >>> sampler = ed.Sampler(solver="ipndm:order=3", steps=ed.steps.Karras(12))
    >>> named = ed.sampling.NamedSampler("twelve", sampler, "", 12, None, None, None, None, None, None, "by hand")
    >>> with tempfile.TemporaryDirectory() as model:
    ...     ed.Denoiser(network, ed.preconditioning.EDM()).save(model)
    ...     path = ed.sampling.save_named(model, named)
    ...     read = ed.sampling.load_named(model, "twelve", any_model=True)
    ...
    >>> path.name, read.sampler == sampler
    ('twelve.json', True)
    """
    quality = None if named.quality is None else vars(named.quality)
    values = {**vars(named), "sampler": named.sampler.to_plain(), "quality": quality}
    text = json.dumps({"format": FORMAT, "version": VERSION, **values}, indent=2, allow_nan=False)
    return write_whole(path_of(model, named.name), text + "\n")


def load_named(model: str | os.PathLike[str], which: str, *, any_model: bool = False) -> NamedSampler:
    """Read the sampler of a name beside a model, or of a path.

    Args:
        model: where the model is, as for :func:`elucidiff.load`.
        which: a name, or the path of a file that ends in ``.json``.
        any_model: whether one that was made for other weights will do.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: there is no sampler of that name (the nearest is suggested), the file is damaged, or it was made
            for another model.

    >>> import elucidiff as ed
    >>> import tempfile
    >>> from pathlib import Path
    >>> network = ed.networks.UNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1)
    >>> sampler = ed.Sampler(solver="ipndm:order=3", steps=ed.steps.Karras(12))
    >>> named = ed.sampling.NamedSampler("twelve", sampler, "", 12, None, None, None, None, None, None, "by hand")
    >>> with tempfile.TemporaryDirectory() as model:
    ...     ed.Denoiser(network, ed.preconditioning.EDM()).save(model)
    ...     path = ed.sampling.save_named(model, named)
    ...     read = [ed.sampling.load_named(model, which, any_model=True) for which in ("twelve", str(path))]
    ...
    >>> [found.nfe for found in read]
    [12, 12]
    """
    if not Path(model).is_dir() and not is_model(model):
        raise FileNotFoundError(f"there is no model folder or file {model}")
    if which.endswith(".json"):
        named = read_named(Path(which))
    else:
        known = names_beside(model)
        if which not in known:
            if not known:
                raise ValueError(
                    f"{model} has no samplers yet, so none is called {which!r}: make some with "
                    f"`elucidiff steps optimise {model}`"
                )
            raise ValueError(f"{model} has no sampler {which!r}; {suggestion(which, known)}")
        named = read_named(path_of(model, which))
    if not any_model and named.model != checksum(model):
        raise ValueError(
            f"the sampler {which} was made for other weights than those of {model}: measure it there with "
            f"`elucidiff steps measure {model} --samplers {which}`, or add --any-model to use it as it is"
        )
    return named


def names_beside(model: str | os.PathLike[str]) -> list[str]:
    """The names of the samplers beside a model, in order."""
    return sorted(path.stem for path in samplers_of(model).glob("*.json") if _NAME.fullmatch(path.stem))


def read_named(path: Path) -> NamedSampler:
    """Read a file that :func:`save_named` wrote, whatever model it was made for.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no sampler {path}")
    values = read_json(path)
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"{path} is no sampler: it does not say format {FORMAT!r}")
    if values.get("version") != VERSION:
        raise ValueError(f"{path} has version {values.get('version')!r}, but this program reads {VERSION}")
    try:
        sampler = values.pop("sampler", None)
        if not isinstance(sampler, dict):
            raise ValueError("it says nothing of the sampler")
        chosen = {key: value for key, value in values.items() if key not in ("format", "version")}
        return from_dict(NamedSampler, chosen | {"sampler": Sampler.from_plain(sampler)})
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{printable(str(path))} describes no sampler: {clipped(str(error), 300)}") from None
