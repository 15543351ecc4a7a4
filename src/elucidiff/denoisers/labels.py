"""The labels that a denoiser takes: how many, what they are called, and how often its training data had each.

A model keeps what it knows of them among its facts, so in ``model.json``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, cast, get_args

import numpy as np
import torch
from torch import Tensor

from elucidiff.denoisers.conditions import Conditions, conditions_from, tensor_from
from elucidiff.denoisers.shapes import LabelKind, Labels, label_rows
from elucidiff.networks.fields import FIELD, LABELS
from elucidiff.suggest import suggestion
from elucidiff.untrusted import printable

UNIFORM = "uniform"
"""Asks for classes drawn equally often, in place of labels."""

# Rows by number of more columns than this would take much memory for what they say.
_MOST_COLUMNS = 4096
_LISTED = 12
# A draw out of fewer than this takes 32 bits of a generator, whatever their number, and so leaves the draws after it
# as they are.
_MOST_SHARES = 1 << 28


@dataclass(frozen=True, eq=False)
class KnownLabels:
    """The labels that a denoiser was trained with, as far as it knows them.

    A class has a place, 0 to ``dim - 1``, and a number. The number is what the data call it: its name, where the
    names are integers in ascending order, and else its place. Integers that stand for classes are numbers everywhere.

    Attributes:
        dim: number of classes, or of numbers in a label vector; 0 if the denoiser takes no labels.
        kind: whether labels are classes, vectors, or conditions: any tensor, or a mapping of tensors, whose first
            dimension is the batch, as :mod:`.conditions` has them. A denoiser that says nothing takes those.
        names: of the classes; empty where they have none.
        counts: how many training images each class had; empty where that is not known.
        examples: some label vectors of the training data, float32 ``(K, dim)``; None if there are none.
        presence: whether a row has one more column, 1 where there is a label and 0 where there is none. Without it a
            row of zeros stands for no label, and a vector of zeros cannot be told from that.
        field: shape ``(C, *spatial)`` of the condition that the denoiser takes beside them, as the training data had
            it; empty for none. Labels are then given under names: ``{"field": ..., "labels": ...}``.
        field_presence: whether the denoiser knows samples without a condition, too: a field then has one more
            channel, 1 where there is one and 0 where there is none.
    """

    dim: int
    kind: LabelKind = "classes"
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    examples: Tensor | None = None
    presence: bool = False
    field: tuple[int, ...] = ()
    field_presence: bool = False

    @property
    def width(self) -> int:
        """Columns of the rows that the network takes."""
        return self.dim + self.presence

    @cached_property
    def numbers(self) -> Sequence[int]:
        """The number of each class."""
        found = [int(name) for name in self.names if len(name) < 19 and _is_integer(name)]
        ascending = all(one < other for one, other in itertools.pairwise(found))
        return found if found and len(found) == len(self.names) and ascending else range(self.dim)

    @cached_property
    def trained(self) -> Sequence[int]:
        """Places of the classes that the training data had, as far as is known."""
        return [place for place, count in enumerate(self.counts) if count] or range(self.dim)

    def name(self, place: int) -> str:
        """The name of a class."""
        return self.names[place] if self.names else str(place)

    def place(self, label: int | str) -> int:
        """The place of a class, given its number or its name.

        Raises:
            ValueError: there is no such class; the message tells those there are, or suggests the nearest.
        """
        found = self._place_of_name.get(label) if isinstance(label, str) else None
        if found is None and not isinstance(label, str):
            found = self._place_of_number.get(label)
        if found is None and isinstance(label, str) and _is_integer(label) and len(label) < 19:
            found = self._place_of_number.get(int(label))
        if found is not None:
            return found
        if not isinstance(label, str) or _is_integer(label):
            raise ValueError(f"class {label} is out of range, the model knows {self.listed}")
        if not self.names:
            raise ValueError(f"{label!r} is neither a number nor a range; write for example 0-3,7")
        raise ValueError(f"there is no class {label!r}; {suggestion(label, self.names)}")

    @property
    def listed(self) -> str:
        """The classes in a few words."""
        numbers = self.numbers
        if isinstance(numbers, range) or list(numbers) == list(range(self.dim)):
            return f"0 to {self.dim - 1}"
        return f"{', '.join(map(str, numbers[:_LISTED]))}{', ...' if len(numbers) > _LISTED else ''}"

    def rows(self, labels: Labels | str) -> Tensor:
        """Labels as rows ``(B, dim)``, or ``(B, width)`` if they were given so.

        Args:
            labels: names or numbers of classes, ``(B,)`` or one; rows ``(B, dim)``; or rows by number, see
                :meth:`by_number`.

        Raises:
            ValueError: no such class, or no such shape.
        """
        if isinstance(labels, str):
            labels = [labels]
        if isinstance(labels, list | tuple) and any(isinstance(label, str) for label in labels):
            self._refuse_names()
            labels = torch.tensor([self.numbers[self.place(label)] for label in labels])
        if isinstance(labels, np.ndarray) and labels.dtype.kind in "US":
            return self.rows([str(label) for label in labels.reshape(-1)])
        if isinstance(labels, Mapping):
            raise ValueError(f"labels are a mapping of conditions, but this denoiser takes {self.described}")
        given = torch.as_tensor(labels)
        if self.kind == "conditions":
            return given
        if given.ndim == 2 and self.presence and given.shape[1] == self.width:
            return given
        if given.ndim == 2 and given.shape[1] == self._columns and self._columns != self.dim:
            kept = given[:, list(self.numbers)]
            if int(given.count_nonzero()) > int(kept.count_nonzero()):
                raise ValueError(f"label rows stand for classes that the model does not know: it knows {self.listed}")
            return label_rows(kept, self.dim, self.kind)
        whole = given.ndim == 1 and not given.is_floating_point() and given.dtype != torch.bool
        if whole and self.kind == "classes" and self.dim and not isinstance(self.numbers, range):
            given = torch.tensor([self.place(int(number)) for number in given.tolist()], dtype=torch.int64)
        return label_rows(given, self.dim, self.kind)

    def resolved(self, labels: object) -> Conditions:
        """Labels as the denoiser is given them: :meth:`rows`, or conditions as they are.

        Raises:
            ValueError: they are not of this kind.
        """
        if self.field:
            return self.with_field(*self.split(labels))
        if self.kind == "conditions":
            return conditions_from(labels)
        return self.rows(labels)  # type: ignore[arg-type]  # which refuses what is none

    @property
    def takes_any(self) -> bool:
        """True if there is something that it can be given."""
        return self.kind == "conditions" or self.dim > 0 or bool(self.field)

    @property
    def beside_field(self) -> KnownLabels:
        """The same for the labels alone."""
        return replace(self, field=(), field_presence=False)

    def split(self, labels: object) -> tuple[Tensor | None, object]:
        """The field and the labels among what was given, of a denoiser that takes a field.

        Args:
            labels: ``{"field": (B, C, *spatial), "labels": ...}``, or the field alone; a tensor or NumPy array, in
                the units of the model.

        Returns:
            The field ``(B, C, *spatial)``, of any sides, and the labels as they were given; None where there are
            none.

        Raises:
            ValueError: there is no field, and the denoiser cannot do without; or it is of other channels.
        """
        given = labels if isinstance(labels, Mapping) else {} if labels is None else {FIELD: labels}
        if unknown := sorted(map(str, given.keys() - {FIELD, LABELS})):
            raise ValueError(f"there is no condition {unknown[0]!r}: give {FIELD!r}, and {LABELS!r} if there are any")
        shown = f"(B, {', '.join(map(str, self.field))})"
        if given.get(FIELD) is None:
            if self.field_presence:
                return None, given.get(LABELS)
            raise ValueError(
                f"the model makes samples for a condition and was given none: give labels={{'{FIELD}': tensor "
                f"{shown}}}, or --condition"
            )
        field = tensor_from(given[FIELD], "the condition")
        if not field.is_floating_point():
            raise ValueError(f"the condition is {field.dtype}: give it in units of the model, ed.data.to_unit(...)")
        allowed = (self.field[0], self.field[0] + self.field_presence)
        if field.ndim != len(self.field) + 1 or field.shape[1] not in allowed:
            raise ValueError(f"the condition has shape {tuple(field.shape)}, but the model takes {shown}")
        return field, given.get(LABELS)

    def check_given(self, labels: object) -> None:
        """Refuse that there is no condition, where a denoiser cannot do without.

        Raises:
            ValueError: so it is.
        """
        if self.field and labels is None:
            self.split(None)

    def refuse_field(self, what: str) -> None:
        """Refuse a denoiser that cannot do without a condition, for work that gives it none.

        Args:
            what: the work, as the subject of a sentence.

        Raises:
            ValueError: so it is.
        """
        if self.field and not self.field_presence:
            raise ValueError(
                f"the model makes samples for a condition, and {what} gives it none: `elucidiff sample` and "
                "`evaluate` do (--condition); or train with network.condition_dropout 0.1, for samples without, too"
            )

    def with_field(self, field: Tensor | None, labels: object) -> dict[str, Tensor]:
        """A field and labels as the denoiser is given them; without a field, what stands for none."""
        if field is None:
            field = torch.zeros(1, self.field[0] + 1, *self.field[1:])
        made = {FIELD: field}
        if labels is not None:
            made[LABELS] = self.beside_field.rows(labels)  # type: ignore[arg-type]  # which refuses what is none
        return made

    @property
    def described(self) -> str:
        """The labels that the denoiser takes, in a few words."""
        if self.field:
            beside = f" and {self.beside_field.described}" if self.dim else ""
            return f"conditions of shape {self.field}{beside}"
        if self.kind == "conditions":
            return "any conditions"
        if not self.dim:
            return "no labels"
        return f"label vectors of {self.dim} numbers" if self.kind == "vectors" else f"labels of {self.dim} classes"

    def told_present(self, conditions: Conditions) -> Conditions:
        """Rows and fields with the column and the channel that say that they are there; see :meth:`resolved`."""
        if not self.field:
            assert isinstance(conditions, Tensor)
            return self.with_presence(conditions)
        assert isinstance(conditions, Mapping)
        made = dict(conditions)
        if LABELS in made:
            made[LABELS] = self.with_presence(made[LABELS])
        if self.field_presence and made[FIELD].shape[1] == self.field[0]:
            made[FIELD] = torch.cat([made[FIELD], torch.ones_like(made[FIELD][:, :1])], dim=1)
        return made

    def with_presence(self, rows: Tensor) -> Tensor:
        """Rows ``(B, width)`` that say that there is a label, unless they say otherwise already."""
        if not self.presence or rows.shape[1] == self.width:
            return rows
        return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)

    @property
    def _columns(self) -> int:
        """Of rows by number."""
        if self.kind == "vectors" or isinstance(self.numbers, range) or not self.dim:
            return self.dim
        lowest, highest = min(self.numbers), max(self.numbers)
        return highest + 1 if lowest >= 0 and highest < max(_MOST_COLUMNS, self.dim) else self.dim

    def by_number(self, rows: Tensor) -> Tensor:
        """Rows ``(B, dim)`` of classes with their numbers for columns, so that the largest entry is at the number.

        Where numbers are below 0 or too large for that, rows stay as they are.
        """
        if self._columns == self.dim:
            return rows
        wide = rows.new_zeros(len(rows), self._columns)
        wide[:, list(self.numbers)] = rows
        return wide

    def numbers_of(self, rows: Tensor) -> list[int]:
        """The number of the class that each row stands for most."""
        places = rows.argmax(1).tolist()
        return places if rows.shape[1] != self.dim else [self.numbers[place] for place in places]

    def draw(self, draws: Callable[[int], Tensor], *, uniform: bool = False) -> Tensor:
        """A row for each seed, ``(B, dim)``: a class as often as the training data had it, or one of the examples.

        What is drawn is the label of one training image among all. Where all classes are equally frequent, or nobody
        knows how frequent they are, this is one class out of ``dim``, as the reference implementation draws.

        Args:
            draws: :meth:`.SeededNoise.labels`.
            uniform: draw the classes that were trained equally often.

        Raises:
            ValueError: the denoiser takes vectors and keeps none to draw from, or there are no classes to draw
                equally often.
        """
        if self.kind == "conditions" and self.examples is not None:
            return self.examples[draws(len(self.examples))]
        if self.kind == "vectors":
            if self.examples is None:
                raise ValueError(
                    f"the denoiser takes label vectors and keeps no examples to draw from: give rows (B, {self.dim})"
                )
            if uniform:
                raise ValueError(f"labels {UNIFORM!r} are for classes, but this denoiser takes label vectors")
            return self.examples[draws(len(self.examples))]
        shares = [int(count > 0) for count in self.counts] if uniform else list(self.counts)
        if not any(shares):
            shares = [1] * self.dim
        common = math.gcd(*shares)
        shares = [share // common for share in shares]
        if (total := sum(shares)) >= _MOST_SHARES:
            shares = [max(1, share * (_MOST_SHARES // 2) // total) if share else 0 for share in shares]
        ends = torch.tensor(list(itertools.accumulate(shares)))
        places = torch.searchsorted(ends, draws(int(ends[-1])), right=True)
        return torch.nn.functional.one_hot(places, self.dim).float()

    def refuse_untrained(self, rows: Tensor) -> None:
        """Raise ValueError if rows stand for a class that the training data did not have."""
        if self.kind != "classes" or not self.counts:
            return
        for place in sorted(set(range(self.dim)) - set(self.trained)):
            if bool((rows[:, place] != 0).any()):
                raise ValueError(
                    f"class {printable(self.name(place))} had no training images, so nothing is known of what its "
                    "samples are: choose another, or add --any-class (any_class=True)"
                )

    def shares(self) -> str:
        """The frequency of each class in the training data, in a few words; empty where that is not known."""
        total = sum(self.counts)
        if not total:
            return ""
        every = sorted(range(self.dim), key=lambda place: -self.counts[place])
        told = ", ".join(f"{self.name(place)} {self.counts[place] / total:.1%}" for place in every[:_LISTED])
        return f"{printable(told)}{', ...' if len(every) > _LISTED else ''}"

    def _refuse_names(self) -> None:
        if self.kind == "vectors" or not self.dim:
            label_rows([0], self.dim, self.kind)

    @cached_property
    def _place_of_name(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def _place_of_number(self) -> dict[int, int]:
        return {number: place for place, number in enumerate(self.numbers)}


UNSTATED = KnownLabels(0, "conditions")
"""Of a denoiser that says nothing of its labels: it is given them as they are."""


def of_conditions(examples: Tensor | None) -> KnownLabels:
    """:data:`UNSTATED`, with examples ``(K, ...)`` that seeds draw one of each, if there are any."""
    return UNSTATED if examples is None else replace(UNSTATED, examples=examples)


def label_kind(data: Any) -> LabelKind:
    """The meaning of labels: ``"classes"``, of which a sample has one, ``"vectors"`` of numbers, or ``"conditions"``.

    Args:
        data: ``denoiser.facts["data"]``, as somebody's file may have it; classes, where it does not tell.

    Raises:
        ValueError: it tells of another kind.
    """
    kind = _entry(data, "label_kind")
    if kind in (None, "classes"):
        return "classes"
    if kind not in get_args(LabelKind):
        raise ValueError(f"label_kind is {kind!r}, but must be one of {', '.join(get_args(LabelKind))}")
    return cast(LabelKind, kind)


def label_examples(data: Any, label_dim: int) -> Tensor | None:
    """Some label vectors of the training set, float32 ``(K, label_dim)``.

    Args:
        data: ``denoiser.facts["data"]``.
        label_dim: of the denoiser.

    Returns:
        None for classes, and where nobody wrote any down.

    Raises:
        ValueError: an unknown kind, or examples that are not finite rows of ``label_dim`` numbers.
    """
    rows = _entry(data, "label_examples")
    if label_kind(data) != "vectors" or rows is None:
        return None
    if not (isinstance(rows, list) and rows and all(_is_row(row, label_dim) for row in rows)):
        raise ValueError(f"label_examples must be rows of {label_dim} finite numbers")
    return torch.tensor(rows, dtype=torch.float32)


def class_names(data: Any, label_dim: int) -> tuple[str, ...]:
    """Names of the classes; empty where nobody wrote them down, and for label vectors.

    Args:
        data: ``denoiser.facts["data"]``.
        label_dim: of the denoiser.

    Raises:
        ValueError: an unknown kind, or names that are not ``label_dim`` different texts.
    """
    names = _entry(data, "class_names")
    if label_kind(data) != "classes" or not label_dim or names in (None, [], ()):
        return ()
    whole = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    if not whole or len(names) != label_dim or len(set(names)) != label_dim:
        raise ValueError(f"class_names must be {label_dim} different texts")
    return tuple(names)


def class_counts(data: Any, label_dim: int) -> tuple[int, ...]:
    """Number of training images of each class; empty where nobody wrote it down, and for label vectors.

    Args:
        data: ``denoiser.facts["data"]``.
        label_dim: of the denoiser.

    Raises:
        ValueError: an unknown kind, or counts that are not ``label_dim`` integers of which some are more than 0.
    """
    counts = _entry(data, "class_counts")
    if label_kind(data) != "classes" or not label_dim or counts in (None, [], ()):
        return ()
    whole = isinstance(counts, list | tuple) and all(type(count) is int and count >= 0 for count in counts)
    if not whole or len(counts) != label_dim or not 0 < sum(counts) < 2**62:
        raise ValueError(f"class_counts must be {label_dim} numbers of images, not all of them 0")
    return tuple(counts)


def _is_integer(name: str) -> bool:
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdecimal()


def field_shape(data: Any, channels: int, sample_shape: Sequence[int]) -> tuple[int, ...]:
    """Shape ``(C, *spatial)`` of the condition that a model was trained with.

    Args:
        data: ``denoiser.facts["data"]``; where it does not tell, the condition has the sides of a sample.
        channels: that the network takes; 0 for no condition.
        sample_shape: of the model.

    Raises:
        ValueError: the facts are of another number of channels or dimensions, or no shape.
    """
    if not channels:
        return ()
    shape = _entry(data, "condition_shape")
    if shape is None:
        return (channels, *sample_shape[1:])
    whole = isinstance(shape, list | tuple) and all(type(side) is int and side > 0 for side in shape)
    if not whole or len(shape) != len(sample_shape) or shape[0] != channels:
        raise ValueError(f"condition_shape must be {len(sample_shape)} whole numbers, the first of them {channels}")
    return tuple(shape)


def labels_by_facts(data: Any, label_dim: int, presence: bool = False) -> KnownLabels:
    """All that is known of a model's labels.

    Args:
        data: ``denoiser.facts["data"]``.
        label_dim: of the denoiser.
        presence: see :class:`KnownLabels`.

    Raises:
        ValueError: a fact is not what the functions above expect.
    """
    if (kind := label_kind(data)) == "conditions":
        return UNSTATED
    names, counts = class_names(data, label_dim), class_counts(data, label_dim)
    return KnownLabels(label_dim, kind, names, counts, label_examples(data, label_dim), presence)


def _entry(data: Any, name: str) -> Any:
    return data.get(name) if isinstance(data, Mapping) else None


def _is_row(row: Any, label_dim: int) -> bool:
    numbers = isinstance(row, list) and all(type(value) in (int, float) for value in row)
    # Finite in float32, which the network sees.
    return numbers and len(row) == label_dim and all(abs(value) < 3e38 and math.isfinite(value) for value in row)
