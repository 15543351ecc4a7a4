"""A network as a part: settings from which it is built, and the blueprint by which it is built again."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from elucidiff import parts
from elucidiff.untrusted import clipped

_MOST_ENTRIES = 64
_MOST = 1 << 24
_MOST_BLOCKS = 128
_MARK = "_blueprint"


class NetworkPart(ABC):
    """Settings of a network F, from which :meth:`build` makes it. Subclass it to train and save networks of your own.

    A part is a frozen dataclass, registered under a name::

        @ed.part("network", "two_layers")
        @dataclass(frozen=True)
        class TwoLayers(ed.networks.NetworkPart):
            width: int = 32

            def build(self, sample_shape, *, label_dim=0, augment_dim=0):
                return MyModule(sample_shape[0], self.width)

    The module is called as ``network(x, c_noise[, labels[, augment_labels]])``, see :class:`elucidiff.Denoiser`. It
    remembers its part, so that a model folder can say how to build it again.

    >>> import elucidiff as ed
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Layer(ed.networks.NetworkPart):
    ...     kernel: int = 3
    ...
    ...     def build(self, sample_shape, *, label_dim=0, augment_dim=0):
    ...         return torch.nn.Conv2d(sample_shape[0], sample_shape[0], self.kernel, padding="same")
    ...
    >>> network = Layer(kernel=5).build((3, 8, 8))
    >>> ed.networks.blueprint_of(network).part
    Layer(kernel=5)
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "build" in cls.__dict__:
            cls.build = _remembering(cls.build)  # type: ignore[method-assign]

    @abstractmethod
    def build(self, sample_shape: Sequence[int], *, label_dim: int = 0, augment_dim: int = 0) -> nn.Module:
        """The network, with new starting values from PyTorch's generator.

        Args:
            sample_shape: ``(C, *spatial)`` of the samples.
            label_dim: width of the labels that it is to take, 0 for none.
            augment_dim: width of the augmentation labels, 0 for none.

        Raises:
            ValueError: it cannot be built for these.
        """

    def levels_and_blocks(self) -> tuple[int, int] | None:
        """Levels, and blocks of each, of a network that can be built without values; None if that is not known."""
        return None


@dataclass(frozen=True)
class Blueprint:
    """All that a network is before its weights: its part, and what that is built for.

    Attributes:
        part: the settings.
        sample_shape: ``(C, *spatial)``.
        label_dim: width of the labels.
        augment_dim: width of the augmentation labels.

    >>> import elucidiff as ed
    >>> blueprint = ed.networks.Blueprint(ed.networks.ADMSettings(base_channels=8), (1, 16, 16), label_dim=3)
    >>> ed.networks.Blueprint.from_plain(blueprint.to_plain()) == blueprint, blueprint.build().label_dim
    (True, 3)
    """

    part: NetworkPart
    sample_shape: tuple[int, ...]
    label_dim: int = 0
    augment_dim: int = 0

    def build(self) -> nn.Module:
        """The network, with new starting values."""
        return self.part.build(self.sample_shape, label_dim=self.label_dim, augment_dim=self.augment_dim)

    def outline(self, weights: int) -> nn.Module:
        """The network into which the weights of a file are to go; ours have no values (device "meta").

        No values means no memory for them, and what a description of a few bytes can ask for beside that is bounded:
        each block of a network has weights, so a network has no more blocks than its file has weights.

        Args:
            weights: number of arrays of weights that the file holds.

        Raises:
            ValueError: this describes no network, or a larger one than its file.
        """
        try:
            if (shape := self.part.levels_and_blocks()) is None:
                # It may compute with what it makes, so that there must be values.
                with torch.random.fork_rng(devices=[]):
                    return self.build()
            levels, blocks = shape
            if levels * blocks > min(weights, _MOST_BLOCKS):
                raise ValueError(f"{levels} levels of {blocks} blocks each are too many for {weights} weights")
            with torch.device("meta"):
                return self.build()
        except (TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]  # PyTorch goes on with where it arose
            raise ValueError(f"the settings describe no network: {clipped(reason, 300)}") from None

    def to_plain(self) -> dict[str, Any]:
        """This as JSON-able values; :meth:`from_plain` reads them.

        Raises:
            ValueError: the part is not registered.
        """
        return {
            "part": parts.to_plain(self.part),
            "sample_shape": list(self.sample_shape),
            "label_dim": self.label_dim,
            "augment_dim": self.augment_dim,
        }

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Blueprint:
        """Read what :meth:`to_plain` wrote, from a file that anybody may have made.

        Raises:
            ValueError: there is no such part, or it has no such settings.
        """
        if not isinstance(described := values.get("part"), Mapping):
            raise ValueError("the network has no part")
        for name, value in [*described.items(), *((name, values.get(name)) for name in _SHAPES)]:
            if not str(name).isprintable():
                raise ValueError(f"there is no setting {clipped(str(name))}")
            _check_plain(str(name), value)
        if unknown := sorted(map(str, values.keys() - {"part", *_SHAPES})):
            raise ValueError(f"the network has no {clipped(unknown[0])}")
        shape, *dims = (values.get(name, 0) for name in _SHAPES)
        if not isinstance(shape, list | tuple) or not all(map(_is_count, shape)) or not all(map(_is_count, dims)):
            raise ValueError("the network has no sample_shape, label_dim and augment_dim of whole numbers")
        return cls(parts.from_plain("network", described), tuple(shape), *dims)


_SHAPES = ("sample_shape", "label_dim", "augment_dim")


def blueprint_of(network: object) -> Blueprint | None:
    """The blueprint of ``network``, if a part built it; else None.

    >>> import elucidiff as ed
    >>> network = ed.networks.build("ddpmpp:base_channels=16", (1, 8, 8))
    >>> ed.networks.blueprint_of(network).part.base_channels, ed.networks.blueprint_of(torch.nn.Linear(1, 1))
    (16, None)
    """
    found = getattr(network, "__dict__", {}).get(_MARK)
    return found if isinstance(found, Blueprint) else None


def remember(network: nn.Module, blueprint: Blueprint) -> None:
    """Let ``network`` know how it was built."""
    setattr(network, _MARK, blueprint)


def build(
    part: NetworkPart | str | Mapping[str, Any],
    sample_shape: Sequence[int],
    *,
    label_dim: int = 0,
    augment_dim: int = 0,
) -> nn.Module:
    """Make a network, with new starting values.

    Args:
        part: its settings, or their text or plain form, such as ``"adm:base_channels=64"``.
        sample_shape: ``(C, *spatial)`` of the samples.
        label_dim: width of the labels, 0 for none.
        augment_dim: width of the augmentation labels, 0 for none.

    Raises:
        ValueError: there is no such part, or a setting is unknown or out of range.

    >>> import elucidiff as ed
    >>> network = ed.networks.build("adm:base_channels=8,blocks_per_level=1", (3, 16, 16), label_dim=10)
    >>> network(torch.zeros(2, 3, 16, 16), torch.zeros(2), torch.eye(10)[:2]).shape
    torch.Size([2, 3, 16, 16])
    """
    chosen: NetworkPart = parts.resolve("network", part)
    return chosen.build(sample_shape, label_dim=label_dim, augment_dim=augment_dim)


def _remembering(make: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    @functools.wraps(make)
    def build(
        self: NetworkPart, sample_shape: Sequence[int], *, label_dim: int = 0, augment_dim: int = 0
    ) -> nn.Module:
        network = make(self, sample_shape, label_dim=label_dim, augment_dim=augment_dim)
        if not isinstance(network, nn.Module):
            raise TypeError(f"build of {type(self).__name__} returned {network!r:.60}, not a torch.nn.Module")
        remember(network, Blueprint(self, tuple(sample_shape), label_dim, augment_dim))
        return network

    return build


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_plain(name: str, value: Any) -> None:
    """Refuse what no setting is: nested lists, huge or endless numbers, long texts."""
    entries = value if isinstance(value, list | tuple) else [value]
    if len(entries) > _MOST_ENTRIES:
        raise ValueError(f"the setting {clipped(name)} has {len(entries)} values")
    for entry in entries:
        match entry:
            case None | bool():
                continue
            case str() if len(entry) <= _MOST_ENTRIES and entry.isprintable():
                continue
            case int() | float() if abs(entry) <= _MOST and math.isfinite(entry):
                continue
        shown = clipped(repr(entry)) if isinstance(entry, str | float) else f"a large {type(entry).__name__}"
        raise ValueError(f"the setting {clipped(name)} is out of range: {shown}")
