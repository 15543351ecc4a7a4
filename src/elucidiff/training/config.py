"""Every setting of a training run, as frozen dataclasses that read from and write to YAML and the command line."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import yaml

from elucidiff import parts
from elucidiff.augment import Augment, Augmentation
from elucidiff.data.scaling import AsStored, Scaling
from elucidiff.design import objectives, preconditioning
from elucidiff.design.objectives import Objective
from elucidiff.design.preconditioning import Preconditioning
from elucidiff.files import write_whole
from elucidiff.networks import DDPMPPSettings, NetworkPart
from elucidiff.plain_data import from_dict, to_dict
from elucidiff.suggest import suggestion
from elucidiff.training.learning_rate import Constant, LearningRateSchedule, learning_rate
from elucidiff.untrusted import clipped, open_regular, printable

Precision = Literal["fp32", "bf16", "fp16"]
Switch = Literal["auto", "on", "off"]


PARTS: dict[str, str] = {
    "network": "network",
    "augment": "augmentation",
    "preconditioning": "preconditioning",
    "objective": "objective",
    "lr_decay": "learning rate schedule",
    "normalise": "scaling",
}
"""The fields of :class:`TrainingConfig` that hold parts, and of what kind."""


@dataclass(frozen=True)
class TrainingConfig:
    """Every setting of a training run. Time is counted in training images, as in the paper, save for minutes.

    The scaling of the data, the network, the augmentation, preconditioning, objective and the decay of the learning
    rate are parts: objects, or their names, text forms or plain forms, such as ``network="adm:base_channels=64"``.
    The constructor also takes ``sigma_data``, ``p_mean`` and ``p_std``, settings of preconditioning and objective.
    """

    data: str = ""
    """Name or path of the data set; empty where one is given as an object."""
    condition: str = ""
    """Train on pairs, for samples that are made for a condition: a folder or file of as many images or fields as
    there are data, matched by the names of files; downsample:4, grayscale or mask:0.25 of the data themselves; or
    column:NAME of their own .npz or .parquet. If left out, those that an imported set has; none: not even those."""
    normalise: Scaling = field(default_factory=AsStored)
    """How floating-point data are scaled for the network: standard (mean 0, std 1), range (-1 to 1), log or none; by
    channel, measured and kept with the model, and undone when it is sampled."""
    conditional: bool = False
    """Train with the labels of the data set, classes or vectors."""
    validation_images: int = 0
    """Images held out of the training; their loss is measured at every checkpoint."""
    memorisation_samples: int = 32
    """Samples drawn at every checkpoint and compared with the training images; 0 for none."""

    start_from: str = ""
    """A model or run to begin with the weights of, as far as names and shapes are the same; `--from` for short. A
    checkpoint, RUN/checkpoints/N.safetensors, has them as they were trained, and not averaged."""
    network: NetworkPart = field(default_factory=lambda: DDPMPPSettings(channel_multipliers=(2, 2, 2), dropout=0.13))
    """The network F."""
    augment: Augmentation = field(default_factory=Augment)
    """How training images are changed: not at all unless transforms are switched on."""
    preconditioning: Preconditioning = field(default_factory=preconditioning.EDM)
    """How the network becomes a denoiser: a column of the paper's Table 1."""
    objective: Objective = field(default_factory=objectives.EDM)
    """Where training looks and how hard: p_train(sigma) and lambda(sigma) of Table 1."""
    learned_loss_weighting: bool = False
    """Learn how large the loss is at every noise level, and divide by it. What is reported stays the plain loss."""

    duration_images: int = 200_000_000
    """Train for this many images,"""
    max_minutes: float | None = None
    """or for this long, whichever comes first; a run that ends by the clock does not repeat to the bit."""
    batch_size: int = 512
    """Images in one optimiser step."""
    device_batch_size: int | None = None
    """Images in one pass through the network, to save memory; a divisor of a process's share. None: all of it."""
    lr: float = 1e-3
    """Highest learning rate."""
    lr_ramp_images: float = 10e6
    """Images over which the learning rate rises from 0."""
    lr_decay: LearningRateSchedule = field(default_factory=Constant)
    """What follows the ramp: nothing (the paper), a half cosine or a linear cool-down to 0, or the inverse root."""
    lr_gains: float = 1.0
    """Learning rate of the gains of edm2 and mp_unet as a share of lr. Each is one number that scales a whole block
    or the output, and nothing bounds it: at a high rate a few odd batches can drive them off together."""
    adam_betas: tuple[float, float] = (0.9, 0.999)
    """Adam's memories of the gradient and of its square."""
    adam_eps: float = 1e-8
    """Adam's epsilon."""
    gradient_clip: float | None = None
    """Largest norm of the gradient; None for no clipping."""
    lr_halvings: int = 0
    """How often a run whose loss has exploded may go back to an earlier checkpoint and on with half the learning
    rate; 0 to go on whatever the loss does."""
    ema_half_life_images: float = 500e3
    """Half-life of the averaged weights, which are the model that is kept."""
    ema_rampup_ratio: float | None = 0.05
    """Longest half-life as a share of the images seen; None for no ramp-up."""
    ema_widths: tuple[float, ...] = ()
    """Widths (sigma_rel) of averages to keep at every checkpoint: from 0.05 and 0.10 any other can be made later."""

    log_images: int = 50_000
    """Images between lines of metrics.jsonl."""
    checkpoint_images: int = 10_000_000
    """Images between checkpoints."""
    preview_images: int | None = None
    """Images before the first preview, which the next ones follow at growing intervals; None: one a checkpoint."""
    keep_checkpoints: int = 3
    """Number of the newest checkpoints to keep."""

    seed: int = 0
    """Fixes the initial weights, the order of the data and every random number of the training."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the first accelerator there is."""
    precision: Precision = "fp32"
    """Arithmetic of the network. fp16 is for CUDA alone; bf16 is slow where the processor lacks it."""
    loss_scale: float | None = None
    """Factor that keeps the gradients of fp16 from vanishing; None: one that adapts in fp16, 1 otherwise."""
    tf32: bool = False
    """Round the factors of float32 products to 10 bits on CUDA: faster. The paper's models were trained without."""
    channels_last: Switch = "auto"
    """Store images with the channels innermost; auto: on CUDA in half precision."""
    compile: Switch = "auto"
    """Compile the network, which takes minutes; auto: if the run is so long that it pays, and a compiler is there."""
    sharding: Literal["none", "fsdp"] = "none"
    """With many processes: a copy of the network in each, or (fsdp) a part of every weight, for large networks."""
    data_workers: int = 2
    """Processes that read a data set too large for the memory; smaller sets are read once, at the start."""

    def __post_init__(self) -> None:
        for name, kind in PARTS.items():
            chosen = parts.resolve(kind, getattr(self, name))
            try:
                parts.name_of(chosen)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
            object.__setattr__(self, name, chosen)
        for name in ("batch_size", "duration_images", "log_images", "checkpoint_images", "keep_checkpoints"):
            _require(getattr(self, name) >= 1, self, name, "must be at least 1")
        for name in ("lr", "lr_gains", "adam_eps"):
            _require(0 < getattr(self, name) < math.inf, self, name, "must be a positive number")
        for name in (
            "lr_halvings", "lr_ramp_images", "ema_half_life_images", "validation_images", "memorisation_samples",
            "data_workers", "seed",
        ):  # fmt: skip
            _require(0 <= getattr(self, name) < math.inf, self, name, "must not be negative")
        for name in ("max_minutes", "gradient_clip", "ema_rampup_ratio", "loss_scale", "preview_images"):
            value = getattr(self, name)
            _require(value is None or 0 < value < math.inf, self, name, "must be a positive number, or left out")
        _require(all(0 <= beta < 1 for beta in self.adam_betas), self, "adam_betas", "must be in [0, 1)")
        for width in self.ema_widths:
            _require(1e-6 <= width < 0.28, self, "ema_widths", "must be in (0, 0.28), sigma_rel of EDM2")
        distinct = len({f"{width:g}" for width in self.ema_widths}) == len(self.ema_widths)
        _require(distinct, self, "ema_widths", "every width must be there once")
        part = self.device_batch_size
        divides = part is None or (part >= 1 and self.batch_size % part == 0)
        _require(divides, self, "device_batch_size", f"must divide batch_size {self.batch_size}")
        dropout = getattr(self.network, "label_dropout", 0.0)
        if dropout:
            _require(0 <= dropout < 1, self.network, "label_dropout", "must be a share in [0, 1)")
            _require(self.conditional, self.network, "label_dropout", "there are no labels to drop: set conditional")

    @property
    def sigma_data(self) -> float:
        """Standard deviation of the data for which preconditioning, or else objective, is made; 0.5 if none says.

        Those of VP, VE and iDDPM have noise levels for images in [-1, 1], as the paper's CIFAR-10.
        """
        found = (getattr(part, "sigma_data", None) for part in (self.preconditioning, self.objective))
        return next((float(value) for value in found if value is not None), 0.5)

    def with_settings(self, settings: Mapping[str, Any]) -> TrainingConfig:
        """This with other values.

        ::

            >>> config = TrainingConfig(data="digits").with_settings({"lr": 1e-3, "objective.p_mean": -0.4})
            >>> config.with_settings({"sigma_data": 0.7}).preconditioning
            EDM(sigma_data=0.7, sigma_min=0.0, sigma_max=inf)

        Args:
            settings: by the name of a field, or PART.SETTING; ``sigma_data`` is that of preconditioning and
                objective.

        Raises:
            ValueError: there is no such setting, or a value is out of range.
        """
        made = self
        for name, value in settings.items():
            owner, dot, setting = name.partition(".")
            if name == "sigma_data":
                having = [each for each in ("preconditioning", "objective") if hasattr(getattr(made, each), name)]
                if not having:
                    raise ValueError("sigma_data would have no effect: neither preconditioning nor objective has it")
                made = made.with_settings({f"{each}.{name}": value for each in having})
            elif not dot and name in _names(made):
                made = replace(made, **{name: value})
            elif dot and owner in PARTS and setting in _names(getattr(made, owner)):
                made = replace(made, **{owner: replace(getattr(made, owner), **{setting: value})})
            elif dot and owner in PARTS:
                part = getattr(made, owner)
                nearest = suggestion(setting, _names(part)) if _names(part) else "it has none"
                raise ValueError(f"the {PARTS[owner]} {parts.name_of(part)} has no setting {setting!r}; {nearest}")
            else:
                raise ValueError(f"there is no setting {name!r}; {suggestion(name, _names(made))}")
        return made

    def save(self, path: str | os.PathLike[str], note: str = "") -> None:
        """Write the settings as YAML, below a comment if there is a note."""
        comment = f"# {note}\n" if note else ""
        write_whole(path, comment + self.to_yaml())

    def to_yaml(self) -> str:
        """The settings as YAML; :meth:`from_yaml` reads them."""
        text: str = yaml.safe_dump(to_dict(self), sort_keys=False)
        return text

    @classmethod
    def from_yaml(cls, text: str) -> TrainingConfig:
        """The inverse of :meth:`to_yaml`.

        Raises:
            ValueError: an unknown field or a value of the wrong type.
        """
        return from_dict(cls, yaml.load(text, _Loader))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TrainingConfig:
        """Read settings that :meth:`save` wrote, or that were written by hand.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not YAML, or holds an unknown field or a value of the wrong type.
        """
        values = _read_yaml(path)
        if not isinstance(values, dict):
            raise ValueError(f"{printable(os.fspath(path))} holds no settings: write one `field: value` a line")
        try:
            return from_dict(cls, values)
        except ValueError as error:
            raise ValueError(f"{printable(os.fspath(path))}: {clipped(str(error), 500)}") from None


def NetworkConfig(architecture: str = "ddpmpp", **settings: Any) -> NetworkPart:
    """The settings of a network by the name of its part, such as ``NetworkConfig(base_channels=64, dropout=0.1)``.

    Raises:
        ValueError: there is no such network, or setting.
    """
    part: NetworkPart = parts.from_plain("network", {"type": architecture, **settings})
    return part


def _take_shorthand(cls: type[TrainingConfig]) -> None:
    """Let the constructor take ``sigma_data``, ``p_mean`` and ``p_std``, which preconditioning and objective have."""
    construct = cls.__init__

    @functools.wraps(construct)
    def constructed(
        self: TrainingConfig,
        *args: Any,
        sigma_data: float | None = None,
        p_mean: float | None = None,
        p_std: float | None = None,
        **given: Any,
    ) -> None:
        construct(self, *args, **given)
        short = {"sigma_data": sigma_data, "objective.p_mean": p_mean, "objective.p_std": p_std}
        chosen = {name: value for name, value in short.items() if value is not None}
        if chosen:
            made = self.with_settings(chosen)
            for name in PARTS:
                object.__setattr__(self, name, getattr(made, name))

    cls.__init__ = constructed  # type: ignore[method-assign]


_take_shorthand(TrainingConfig)


def _names(settings: Any) -> list[str]:
    return [entry.name for entry in fields(settings)]


_MOST_YAML = 1 << 20


class _Loader(yaml.SafeLoader):
    """Reads plain YAML: aliases, with which a short file can describe a structure of any size, are refused."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """See the base class."""
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it uses aliases (*name): write the values out")
        return super().compose_node(parent, index)


def _read_yaml(path: str | os.PathLike[str]) -> Any:
    name = printable(os.fspath(path))
    with open_regular(path) as file:
        content = file.read(_MOST_YAML + 1)
    try:
        if len(content) > _MOST_YAML:
            raise ValueError(f"it has more than {_MOST_YAML} bytes")
        return yaml.load(content, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        said = clipped(" ".join(str(error).split()), 300)
        raise ValueError(f"{name} is not a YAML file of settings: {said}") from None


def _require(condition: bool, config: Any, name: str, what: str) -> None:
    if not condition:
        raise ValueError(f"{name} is {getattr(config, name)!r}, but {what}")


# A rate that rises by no more than this share of the last one, or falls by no more than this share of the peak (as it
# does at the end of every decay), does not leap.
_LEAP = 0.05


def progress_of(config: TrainingConfig, images_seen: int, seconds: float) -> float:
    """The share of a run that is done, in [0, 1]: by images or by minutes, whichever is further."""
    images = images_seen / config.duration_images
    minutes = config.max_minutes
    return min(1.0, images if minutes is None else max(images, seconds / (60 * minutes)))


def rate_at(config: TrainingConfig, images_seen: int, progress: float) -> float:
    """The learning rate of the update that follows; see :func:`.learning_rate`."""
    return learning_rate(
        images_seen,
        peak=config.lr,
        ramp_images=config.lr_ramp_images,
        decay=config.lr_decay,
        progress=progress,
    )


def leap_of_rate(
    config: TrainingConfig, duration_images: int, max_minutes: float | None, images_seen: int, seconds: float
) -> str | None:
    """Tell in one line how the learning rate leaps where a run is resumed with another length; None if it does not.

    The last rate is that of the last update, by the length of before.

    Args:
        config: the settings now.
        duration_images: length before, in images.
        max_minutes: likewise in minutes, or None.
        images_seen: training images so far, at least one batch.
        seconds: time spent so far.
    """
    before = replace(config, duration_images=duration_images, max_minutes=max_minutes)
    progress = progress_of(config, images_seen, seconds)
    if before == config or progress >= 1:
        return None
    seen = max(0, images_seen - config.batch_size)
    last = rate_at(before, seen, progress_of(before, seen, seconds * seen / max(images_seen, 1)))
    # What the rate would do in one step anyway, on the ramp, say, is no leap.
    unchanged = rate_at(before, images_seen, progress_of(before, images_seen, seconds))
    rate = rate_at(config, images_seen, progress)
    if rate == unchanged or -_LEAP * config.lr <= rate - last <= _LEAP * last:
        return None
    times = f", {rate / last:.3g} times that" if last else ""
    return (
        f"the run was {_length(before)} long and now is {_length(config)}, so its learning rate leaps (lr_decay is "
        f"{parts.to_text(config.lr_decay)}, which follows the length): from {last:.3g} at the last step to "
        f"{rate:.3g}{times}. To keep what the decay has won, leave the length as it was, or give the longer run "
        "a folder of its own"
    )


def _length(config: TrainingConfig) -> str:
    minutes = "" if config.max_minutes is None else f" or {config.max_minutes:g} minutes"
    return f"{config.duration_images:,} images{minutes}"
