"""A raw network made into a denoiser: Karras et al. 2022, Eq. 7."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.denoisers import model_files
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.conditions import Conditions, for_network
from elucidiff.denoisers.gaps import absent_in
from elucidiff.denoisers.labels import KnownLabels, field_shape, label_kind, labels_by_facts, of_conditions
from elucidiff.denoisers.model_files import HubModel
from elucidiff.denoisers.shapes import LabelKind, Labels, check_label_count, noise_levels
from elucidiff.denoisers.tuned import is_tuned, usual_of_tuned
from elucidiff.denoisers.usual import Usual
from elucidiff.design.preconditioning import Preconditioning
from elucidiff.design.values import per_sample
from elucidiff.networks.base import blueprint_of
from elucidiff.networks.fields import LABELS

_SOME_LEVEL = 1.0  # asked for in place of 0


class Denoiser(HubModel, DenoiserModule):
    """D(x; sigma) = c_skip(sigma) x + c_out(sigma) F(c_in(sigma) x; c_noise(sigma)), Karras et al. 2022, Eq. 7.

    Inputs are cast to the floating type of the network's parameters, and D is returned in that type: the solver that
    calls it keeps its own, wider type. For a half-precision network the coefficients and the sum above are float32,
    and so is D.

    Args:
        network: F, called as ``network(x, c_noise[, labels[, augment_labels]])``: what it does not take it is not
            given, so ``f(x, c_noise)`` is enough. If it returns 2 C channels (a learned variance), the first C are
            used.
        preconditioning: c_skip, c_out, c_in and c_noise; see :mod:`elucidiff.design.preconditioning`.

    Attributes:
        takes: which labels the network takes.
        facts: what is known about the model beyond its numbers, kept in ``model.json``: ``data`` (what it was trained
            on) and ``provenance`` (how it came to be); for its card, ``license`` and ``metrics`` (numbers by name),
            where you write them there. JSON-able values only.

    >>> import elucidiff as ed
    >>> class Zero(torch.nn.Module):
    ...     def forward(self, x, c_noise):
    ...         return torch.zeros_like(x)
    >>> D = ed.Denoiser(Zero(), ed.preconditioning.EDM(sigma_data=0.5))
    >>> float(D(torch.ones(1, 1, 1, 1), torch.tensor([0.5])))
    0.5
    """

    network: nn.Module

    def __init__(self, network: nn.Module, preconditioning: Preconditioning) -> None:
        super().__init__()
        if isinstance(network, type) or not callable(network):
            raise TypeError(f"network is {network!r:.60}: give a torch.nn.Module, called as network(x, c_noise, ...)")
        if isinstance(preconditioning, type) or not hasattr(preconditioning, "c_skip"):
            raise TypeError(
                f"preconditioning is {preconditioning!r}: give an object, such as ed.preconditioning.EDM()"
            )
        self.network = network
        self.preconditioning = preconditioning
        self.takes = Takes.of(network)

    @property
    def sigma_min(self) -> float:
        """Smallest supported noise level."""
        return self.preconditioning.sigma_min

    @property
    def sigma_max(self) -> float:
        """Largest supported noise level; may be infinite."""
        return self.preconditioning.sigma_max

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape (C, *spatial) of the samples that the network was built for, or trained on; () if nobody says."""
        blueprint = blueprint_of(self.network)
        built_for = blueprint.sample_shape if blueprint else self._data_facts.get("shape", ())
        return tuple(getattr(self.network, "sample_shape", built_for))

    @property
    def label_dim(self) -> int:
        """Number of classes, or of numbers in a label vector; 0 if the network is unconditional."""
        if self.takes.labels is None:
            return 0
        blueprint = blueprint_of(self.network)
        built_for = blueprint.label_dim if blueprint else self._data_facts.get("label_dim", 0)
        return int(getattr(self.network, "label_dim", built_for))

    @property
    def _data_facts(self) -> dict[str, Any]:
        data = self.facts.get("data")
        return data if isinstance(data, dict) else {}

    @property
    def known_labels(self) -> KnownLabels:
        """All that is known of the labels, by ``facts["data"]`` and :attr:`label_kind`.

        Raises:
            ValueError: the facts are not what :mod:`.labels` expects.
        """
        if self.label_kind == "conditions":
            return of_conditions(self.drawn_conditions)
        known = labels_by_facts(self.facts.get("data"), self.label_dim, self.label_presence)
        channels = self.condition_channels
        if not channels:
            return known
        shape = field_shape(self.facts.get("data"), channels, self.sample_shape)
        return replace(known, field=shape, field_presence=self.condition_dropout > 0)

    @property
    def condition_channels(self) -> int:
        """Channels of the field that the network is told beside the sample; 0 for none."""
        return int(getattr(self.network, "condition_channels", 0))

    @property
    def condition_dropout(self) -> float:
        """Share of training images whose condition the network did not see."""
        return float(getattr(self.network, "condition_dropout", 0.0))

    @property
    def label_kind(self) -> LabelKind:
        """The kind of labels: conditions if the network has this ``label_kind``, else what ``facts["data"]`` says."""
        stated = getattr(self.network, "label_kind", None)
        return "conditions" if stated == "conditions" else label_kind(self.facts.get("data"))

    @property
    def label_presence(self) -> bool:
        """True if the network is told in a column of its own whether there is a label."""
        return bool(getattr(self.network, "label_presence", False))

    @property
    def label_dropout(self) -> float | None:
        """Share of training images whose labels, or condition, the network did not see; None if it takes none, or
        does not say."""
        if self.condition_channels:
            return self.condition_dropout
        share = getattr(self.network, "label_dropout", None) if self.label_dim else None
        return None if share is None else float(share)

    @property
    def unconditional(self) -> Conditions | None:
        """The network's conditions (1, ...) that stand for none; None if it does not say, and for labels."""
        conditions: Conditions | None = getattr(self.network, "unconditional", None)
        return conditions

    @property
    def any_batch_size(self) -> bool:
        """True if the network may be called on any number of samples: not if it is compiled for each."""
        return bool(getattr(self.network, "any_batch_size", True))

    @property
    def sigma_data(self) -> float:
        """The standard deviation of data that the preconditioning is made for: 0.5, the paper's, if it has none."""
        std = self._preconditioned_std
        return 0.5 if std is None else float(std)

    @property
    def _preconditioned_std(self) -> Any:
        return getattr(self.preconditioning, "sigma_data", None)

    @property
    def data_std(self) -> float | None:
        """Standard deviation of the training data: measured, or what the preconditioning takes it for."""
        for std in (self._data_facts.get("sigma_data"), self._preconditioned_std):
            if isinstance(std, float) and 0 < std < math.inf:
                return std
        return None

    @property
    def usual(self) -> Usual:
        """The paper's way; of a model that was tuned for few evaluations, two of them."""
        return usual_of_tuned(self.sigma_data) if is_tuned(self) else Usual()

    def without_network(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """c_skip(sigma) x; x itself without noise."""
        levels = per_sample(noise_levels(sigma, x), x)
        positive = torch.where(levels == 0, _SOME_LEVEL, levels).to(levels)
        return torch.where(levels == 0, x, self.preconditioning.c_skip(positive) * x)

    def round_sigma(self, sigma: float | Tensor) -> Tensor:
        """The nearest noise level that the network was trained for, in the type of ``sigma``."""
        return self.preconditioning.round_sigma(sigma)

    def forward(
        self,
        x: Tensor,
        sigma: float | Tensor,
        labels: Labels | Conditions | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """The expected clean sample given the noisy sample ``x`` at noise level ``sigma``.

        Args:
            x: noisy samples (B, C, *spatial), unscaled: clean sample plus sigma times unit noise.
            sigma: noise level in units of the data, a float, () or (B,).
            labels: class numbers or names (B,), or rows (B, label_dim), one-hot or soft; rows alone if
                :attr:`label_kind` is ``"vectors"``, and what the network takes if it is ``"conditions"``. With
                :attr:`condition_channels`, ``{"field": (B, C, *spatial), "labels": ...}``. None stands
                for no label: a row of zeros, or, if :attr:`label_presence`, that a label is not present.
            augment_labels: augmentation labels (B, augment_dim), or None.

        Returns:
            D(x; sigma), shaped like ``x``. At sigma = 0 it is ``x`` itself, whatever the network says. Values that no
            training image had are 0, as in training, by ``facts["data"]``.

        Raises:
            TypeError: ``x`` is no tensor, or ``sigma`` no number.
            ValueError: the labels or noise levels do not fit the batch or the network; or a noise level is negative,
                not a number or infinite (which is looked at where it waits for no accelerator).
        """
        dtype = floating_type(self.network)
        if isinstance(x, Tensor):  # else the next line says so
            x = x.to(torch.promote_types(dtype, torch.float32))
        given = noise_levels(sigma, x)
        # Without noise there is nothing to ask the network, and ln(0) is nothing to tell it: it is asked at a level
        # where it has an answer, which is then not used.
        clean = given == 0
        levels = torch.where(clean, torch.full_like(given, _SOME_LEVEL), given)
        rows: Conditions | None = None
        if self.condition_channels:
            rows = for_network(self._with_field(labels), x, dtype)
        elif labels is not None and self.label_kind == "conditions":
            rows = for_network(self.known_labels.resolved(labels), x, dtype)
        elif labels is not None:
            rows = self._rows(labels, x).to(dtype)  # type: ignore[arg-type]  # a mapping is refused
        elif self.label_dim:
            rows = torch.zeros(1, self.label_dim + self.label_presence, dtype=dtype, device=x.device)
        if augment_labels is not None:
            augment_labels = augment_labels.to(x.device, dtype)

        p, sigma = self.preconditioning, per_sample(levels, x)
        inputs = (p.c_in(sigma) * x).to(dtype)
        output: Tensor = self.takes.call(self.network, inputs, p.c_noise(levels), rows, augment_labels)
        channels = x.shape[1]
        if output.shape[1] not in (channels, 2 * channels):
            raise ValueError(f"the network returned {output.shape[1]} channels for samples of {channels}")
        denoised = p.c_skip(sigma) * x + p.c_out(sigma) * output[:, :channels]
        absent = absent_in(self._data_facts, tuple(x.shape[1:]))
        if absent is not None:
            denoised = denoised.masked_fill(absent.to(x.device), 0.0)
        return torch.where(per_sample(clean, x), x, denoised)

    def _with_field(self, labels: object) -> Conditions:
        """The condition as the network takes it, beside rows of labels, or of zeros for none."""
        known = self.known_labels
        given = dict(known.told_present(known.resolved(labels)))
        if self.label_dim and LABELS not in given:
            given[LABELS] = torch.zeros(1, self.label_dim + self.label_presence)
        return given

    def _rows(self, labels: Labels, x: Tensor) -> Tensor:
        """Labels as the network takes them, (B or 1, label_dim), or with the column that tells presence."""
        ready = isinstance(labels, Tensor) and labels.ndim == 2 and labels.is_floating_point()
        if not ready or labels.shape[1] != self.label_dim + self.label_presence:  # type: ignore[union-attr]
            known = self.known_labels
            labels = known.with_presence(known.rows(labels))
        rows: Tensor = labels.to(x.device, x.dtype)  # type: ignore[union-attr]
        check_label_count(rows, x)
        return rows

    def save(self, path: str | os.PathLike[str], *, weights_only: bool = False) -> None:
        """Write the model folder ``path``; :func:`elucidiff.load` reads it. See :func:`.model_files.save`."""
        model_files.save(self, path, weights_only=weights_only)


@dataclass(frozen=True)
class Takes:
    """The labels that a network takes beside ``x`` and c_noise.

    Attributes:
        labels: how it takes labels: by place (``""``), by the name of a keyword, or not (None).
        augment_labels: likewise augmentation labels.
    """

    labels: str | None
    augment_labels: str | None

    @classmethod
    def of(cls, network: Callable[..., Tensor]) -> Takes:
        """Those of ``network``, by the signature of its ``forward``.

        Raises:
            TypeError: it cannot be called as ``network(x, c_noise[, labels[, augment_labels]])``.
        """
        function = network.forward if isinstance(network, nn.Module) else network
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):  # compiled code does not say what it takes
            return cls("", "")
        if any(each.kind is each.VAR_POSITIONAL for each in parameters):
            return cls("", "")
        places = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
        keywords = {each.name: each for each in parameters if each.kind is each.KEYWORD_ONLY}
        spare = [each.name for each in places[4:] if each.default is each.empty]
        if len(places) < 2 or spare:
            what = f"needs {spare[0]}, too" if spare else "takes too few arguments"
            raise TypeError(
                f"the network {type(network).__name__} {what}: it is called as network(x, c_noise[, labels[, "
                "augment_labels]]), so wrap it in a module that is"
            )
        keyword = next((name for name in _LABELS if name in keywords), None)
        if [each.name for each in places[2:]] == ["augment_labels"]:
            return cls(keyword, "augment_labels")
        labels = "" if len(places) > 2 else keyword
        return cls(labels, "" if len(places) > 3 else "augment_labels" if "augment_labels" in keywords else None)

    def call(
        self,
        network: Callable[..., Tensor],
        x: Tensor,
        c_noise: Tensor,
        labels: Conditions | None,
        augment_labels: Tensor | None,
    ) -> Tensor:
        """The output of ``network``, which is given what it takes."""
        places: list[Conditions | None] = []
        keywords: dict[str, Conditions | None] = {}
        for how, value in ((self.labels, labels), (self.augment_labels, augment_labels)):
            if how == "":
                places.append(value)
            elif how is not None:
                keywords[how] = value
        return network(x, c_noise, *places, **keywords)


_LABELS = ("labels", "class_labels")


def floating_type(network: object) -> torch.dtype:
    """The floating type of a network's parameters; float32 where it has none."""
    if isinstance(network, nn.Module):
        for parameter in network.parameters():
            if parameter.is_floating_point():
                return parameter.dtype
    return torch.float32
