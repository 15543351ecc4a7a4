"""The denoiser: anything callable as D(x; sigma), and what it may say of itself.

A plain function is a denoiser, and so is a network of one's own. :func:`as_denoiser` makes either into a
:class:`DenoiserModule`, which states everything that others ask for; functions that take a denoiser begin with it, so
that behind them nobody has to ask what a denoiser knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from elucidiff.denoisers.conditions import Conditions
from elucidiff.denoisers.labels import KnownLabels, labels_by_facts, of_conditions
from elucidiff.denoisers.shapes import LabelKind
from elucidiff.denoisers.usual import Usual
from elucidiff.design.values import as_tensor
from elucidiff.devices import onto
from elucidiff.notebooks import table_html

DenoiserLike = Callable[..., Tensor]
"""Anything that is taken for a denoiser: called as ``denoiser(x, sigma)`` or ``denoiser(x, sigma, labels)``."""


class AnyDenoiser(Protocol):
    """D(x; sigma), Karras et al. 2022, Eq. 2, and all that it says of itself.

    Only the call is needed of what a user hands in; :func:`as_denoiser` adds the rest with the values that
    :class:`DenoiserModule` has, which are no restriction.
    """

    def __call__(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None = None, /) -> Tensor:
        """The expected clean sample given noisy samples ``x`` (B, C, *spatial) at noise levels () or (B,)."""

    @property
    def sigma_min(self) -> float:
        """Smallest supported noise level."""

    @property
    def sigma_max(self) -> float:
        """Largest supported noise level; may be infinite."""

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """The nearest supported noise level, in the type of ``sigma``."""

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape (C, *spatial) of a sample; empty if it makes samples of any shape, or does not say."""

    @property
    def known_labels(self) -> KnownLabels:
        """All that it knows of its labels."""

    @property
    def label_dropout(self) -> float | None:
        """Share of training samples whose labels were dropped; None if unknown."""

    @property
    def unconditional(self) -> Conditions | None:
        """The conditions (1, ...) that stand for none, to guide away from; None if there are none, or for labels."""

    @property
    def data_std(self) -> float | None:
        """Standard deviation of the training data; None if unknown."""

    @property
    def sigma_data(self) -> float:
        """The standard deviation of data that it is made for: the paper's, 0.5, where it does not say."""

    facts: dict[str, Any]
    """Facts beyond its numbers, JSON-able: ``data``, what it was trained on, ``provenance``, how it came to
    be, and ``home``, if it is of another library, where from."""

    def without_network(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """D(x; sigma) if the network's output were 0: c_skip(sigma) x in Karras et al. 2022, Eq. 7."""

    @property
    def usual(self) -> Usual:
        """The way in which it is sampled where nobody chooses."""

    def evaluations(self, sigma: Tensor) -> Tensor:
        """Network evaluations of each sample in a call at these noise levels, () or (B,): integers of that shape."""

    @property
    def decides_by_sigma(self) -> bool:
        """True if it looks at the noise level to decide what to evaluate, and so wants it on the CPU."""

    @property
    def depends_on_batch(self) -> bool:
        """True if the last bits of a sample may depend on the size of the batch, as those of a network do."""

    @property
    def any_batch_size(self) -> bool:
        """True if it may be called on any number of samples, without being made anew for it."""

    @property
    def device(self) -> torch.device:
        """The device on which it computes: that of its first parameter or buffer, else the CPU."""


class DenoiserModule(nn.Module):
    """The base of denoisers: a module that states, until told otherwise, what is no restriction.

    A new denoiser may derive from it, implement ``forward(x, sigma, labels=None)``, and override what it knows by
    attributes of the class or properties.

    >>> import elucidiff as ed, torch
    >>> class Unit(ed.denoisers.base.DenoiserModule):
    ...     "Of Gaussian data of unit variance: D = x / (1 + sigma^2)."
    ...     sample_shape = (1, 4)
    ...     def forward(self, x, sigma, labels=None):
    ...         return x / (1 + torch.as_tensor(sigma) ** 2).reshape(-1, 1, 1)
    >>> ed.sample(Unit(), 16).shape
    torch.Size([16, 1, 4])
    """

    facts: dict[str, Any]
    drawn_conditions: Tensor | None = None
    """Conditions (K, ...), one of which each seed draws where it is given none; None if seeds draw nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.facts = {"data": {}, "provenance": {}}

    def _repr_html_(self) -> str:
        """A table of what is known of it, for notebooks."""
        data, made = self.facts.get("data"), self.facts.get("provenance")
        known = {
            "samples": " x ".join(map(str, self.sample_shape)),
            "labels": self.label_dim or "none",
            "weights": f"{sum(weight.numel() for weight in self.parameters()):,}",
            "noise levels": f"{float(self.sigma_min):.4g} to {float(self.sigma_max):.4g}",
            "trained on": data.get("name", "") if isinstance(data, dict) else "",
            "images seen": f"{made['images_seen']:,}" if isinstance(made, dict) and "images_seen" in made else "",
        }
        return table_html(type(self).__name__, [(name, value) for name, value in known.items() if value != ""])

    @property
    def sigma_min(self) -> float:
        """See :attr:`AnyDenoiser.sigma_min`."""
        return 0.0

    @property
    def sigma_max(self) -> float:
        """See :attr:`AnyDenoiser.sigma_max`."""
        return math.inf

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """``sigma`` itself."""
        return as_tensor(sigma)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """See :attr:`AnyDenoiser.sample_shape`."""
        return ()

    @property
    def known_labels(self) -> KnownLabels:
        """See :attr:`AnyDenoiser.known_labels`: it takes whatever conditions it is given."""
        return of_conditions(self.drawn_conditions)

    @property
    def label_dim(self) -> int:
        """Number of classes, or of numbers in a label vector; 0 without labels, and for other conditions."""
        return self.known_labels.dim

    @property
    def label_kind(self) -> LabelKind:
        """The kind of labels: classes, vectors, or conditions of any shape."""
        return self.known_labels.kind

    @property
    def label_examples(self) -> Tensor | None:
        """Some label vectors of the training set, float32 (K, label_dim); None for classes, or if there are none."""
        return self.known_labels.examples

    @property
    def label_dropout(self) -> float | None:
        """See :attr:`AnyDenoiser.label_dropout`."""
        return None

    @property
    def unconditional(self) -> Conditions | None:
        """See :attr:`AnyDenoiser.unconditional`."""
        return None

    @property
    def data_std(self) -> float | None:
        """See :attr:`AnyDenoiser.data_std`: by ``facts["data"]["sigma_data"]``."""
        data = self.facts.get("data")
        std = data.get("sigma_data") if isinstance(data, dict) else None
        return std if isinstance(std, float) and 0 < std < math.inf else None

    @property
    def sigma_data(self) -> float:
        """See :attr:`AnyDenoiser.sigma_data`."""
        return 0.5 if self.data_std is None else self.data_std

    def without_network(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """0: nothing is known to pass a network by."""
        return torch.zeros_like(x)

    @property
    def usual(self) -> Usual:
        """See :attr:`AnyDenoiser.usual`: the paper's way."""
        return Usual()

    def evaluations(self, sigma: Tensor) -> Tensor:
        """One of each sample."""
        return torch.ones_like(sigma, dtype=torch.int64)

    @property
    def decides_by_sigma(self) -> bool:
        """See :attr:`AnyDenoiser.decides_by_sigma`."""
        return False

    @property
    def depends_on_batch(self) -> bool:
        """See :attr:`AnyDenoiser.depends_on_batch`."""
        return True

    @property
    def any_batch_size(self) -> bool:
        """See :attr:`AnyDenoiser.any_batch_size`."""
        return True

    @property
    def device(self) -> torch.device:
        """See :attr:`AnyDenoiser.device`."""
        for tensor in (*self.parameters(), *self.buffers()):
            return tensor.device
        return torch.device("cpu")


class Wrapped(DenoiserModule):
    """The base of denoisers that ask another one, and say of themselves what that says.

    Attributes:
        denoiser: the other one, D.
    """

    def __init__(self, denoiser: DenoiserLike) -> None:
        super().__init__()
        self.denoiser = as_denoiser(denoiser)
        self.facts = self.denoiser.facts

    @property
    def sigma_min(self) -> float:
        """Smallest noise level that D supports."""
        return self.denoiser.sigma_min

    @property
    def sigma_max(self) -> float:
        """Largest noise level that D supports."""
        return self.denoiser.sigma_max

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """The noise level nearest to ``sigma`` that D supports."""
        return self.denoiser.round_sigma(sigma)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape (C, *spatial) of a sample of D."""
        return self.denoiser.sample_shape

    @property
    def known_labels(self) -> KnownLabels:
        """All that D knows of its labels."""
        return self.denoiser.known_labels

    @property
    def label_dropout(self) -> float | None:
        """Share of training samples of D whose labels were dropped."""
        return self.denoiser.label_dropout

    @property
    def unconditional(self) -> Conditions | None:
        """The conditions that stand for none to D."""
        return self.denoiser.unconditional

    @property
    def data_std(self) -> float | None:
        """Standard deviation of the training data of D."""
        return self.denoiser.data_std

    @property
    def sigma_data(self) -> float:
        """The standard deviation of data that D is made for."""
        return self.denoiser.sigma_data

    def without_network(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """D with a network whose output is 0."""
        return self.denoiser.without_network(x, sigma)

    @property
    def usual(self) -> Usual:
        """The way in which D is sampled where nobody chooses."""
        return self.denoiser.usual

    def evaluations(self, sigma: Tensor) -> Tensor:
        """Network evaluations of each sample in a call of D."""
        return self.denoiser.evaluations(sigma)

    @property
    def decides_by_sigma(self) -> bool:
        """True if D wants noise levels on the CPU."""
        return self.denoiser.decides_by_sigma

    @property
    def depends_on_batch(self) -> bool:
        """True if the last bits of D depend on the size of the batch."""
        return self.denoiser.depends_on_batch

    @property
    def any_batch_size(self) -> bool:
        """True if D may be called on any number of samples."""
        return self.denoiser.any_batch_size

    @property
    def device(self) -> torch.device:
        """The device of D."""
        return self.denoiser.device


class Described(DenoiserModule):
    """A denoiser that somebody handed in, with the values of :class:`AnyDenoiser` for what it does not state.

    The only place that asks a foreign object what it has.

    Args:
        function: called as ``function(x, sigma)`` or ``function(x, sigma, labels)``. Attributes of the names of
            :class:`AnyDenoiser`, and ``label_dim``, ``label_kind`` and ``label_examples``, are respected.
    """

    def __init__(self, function: DenoiserLike | None) -> None:
        super().__init__()
        self.function = function
        facts = self._stated("facts", None)
        self.facts = facts if isinstance(facts, dict) else self.facts

    def forward(self, x: Tensor, sigma: float | Tensor, labels: Conditions | None = None) -> Tensor:
        """The function's result; it is given labels where there are some."""
        assert self.function is not None  # see as_denoiser
        return self.function(x, sigma) if labels is None else self.function(x, sigma, labels)

    @property
    def sigma_min(self) -> float:
        """That of the function, or 0."""
        return float(self._stated("sigma_min", 0.0))

    @property
    def sigma_max(self) -> float:
        """That of the function, or infinity."""
        return float(self._stated("sigma_max", math.inf))

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """As the function rounds it, or ``sigma`` itself."""
        rounded: Tensor = self._stated("round_sigma", as_tensor)(sigma)
        return rounded

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """That of the function, or empty."""
        return tuple(self._stated("sample_shape", ()))

    @property
    def known_labels(self) -> KnownLabels:
        """That of the function, or what its ``label_dim``, ``label_kind`` and ``label_examples`` amount to."""
        known: KnownLabels | None = self._stated("known_labels", None)
        if known is not None:
            return known
        dim, kind = self._stated("label_dim", None), self._stated("label_kind", None)
        if dim is None and kind in (None, "conditions"):
            return of_conditions(self.drawn_conditions)
        examples = self._stated("label_examples", None)
        if kind in (None, "classes") and examples is None:
            return labels_by_facts(self.facts.get("data"), int(dim or 0))
        return KnownLabels(int(dim or 0), kind or "classes", examples=examples)

    @property
    def label_dropout(self) -> float | None:
        """That of the function, or None."""
        share: float | None = self._stated("label_dropout", None)
        return share

    @property
    def unconditional(self) -> Conditions | None:
        """That of the function, or None."""
        conditions: Conditions | None = self._stated("unconditional", None)
        return conditions

    @property
    def data_std(self) -> float | None:
        """That of the function, or None."""
        std: float | None = self._stated("data_std", super().data_std)
        return std

    @property
    def sigma_data(self) -> float:
        """That of the function, or the standard deviation of its data, or 0.5."""
        return float(self._stated("sigma_data", super().sigma_data))

    @property
    def usual(self) -> Usual:
        """That of the function, or the paper's way."""
        usual: Usual = self._stated("usual", Usual())
        return usual

    def evaluations(self, sigma: Tensor) -> Tensor:
        """As the function counts them, or 1."""
        counted: Tensor = self._stated("evaluations", super().evaluations)(sigma)
        return counted

    @property
    def decides_by_sigma(self) -> bool:
        """True if the function counts its evaluations, which it does by the noise level."""
        return bool(self._stated("decides_by_sigma", hasattr(self.function, "evaluations")))

    @property
    def depends_on_batch(self) -> bool:
        """True if it is a module; other functions are called as they are."""
        return bool(self._stated("depends_on_batch", isinstance(self.function, nn.Module)))

    def _stated(self, name: str, default: Any) -> Any:
        return getattr(self.function, name, default)


def as_denoiser(given: DenoiserLike | None, *, called: bool = True) -> DenoiserModule:
    """``given`` as a denoiser that states everything; itself if it does already.

    Args:
        given: a function, a module, or an object that states some of it.
        called: False for functions that only ask what it states. They may be given None for a denoiser without
            restrictions.

    Raises:
        TypeError: it cannot be called, although it will be.
    """
    if isinstance(given, DenoiserModule):
        return given
    if called and (isinstance(given, type) or not callable(given)):
        what = f"the class {given.__name__}" if isinstance(given, type) else f"of type {type(given).__name__}"
        raise TypeError(f"denoiser is {what}: give a function or module that is called as denoiser(x, sigma)")
    return Described(given)


def same_denoiser(one: DenoiserModule, other: DenoiserModule) -> bool:
    """True if both are the one that somebody handed in."""
    given = [each.function if isinstance(each, Described) else each for each in (one, other)]
    return given[0] is given[1]


def levels_for(denoiser: AnyDenoiser, sigma: float | Tensor, x: Tensor) -> Tensor:
    """Noise levels as ``denoiser`` is to be given them along with ``x``: in its type, and on its device.

    A denoiser that decides by the noise level what to evaluate is given it where it is, which is on the CPU in a
    sampler, so that it need not wait for an accelerator.
    """
    levels = torch.as_tensor(sigma, dtype=x.dtype)
    return levels if denoiser.decides_by_sigma else onto(levels, x.device)


def ask(denoiser: AnyDenoiser, x: Tensor, sigma: Tensor, labels: Conditions | None) -> Tensor:
    """D(x; sigma), or D(x; sigma, labels) where there are some; noise levels as for :func:`levels_for`."""
    levels = levels_for(denoiser, sigma, x)
    return denoiser(x, levels) if labels is None else denoiser(x, levels, labels)
