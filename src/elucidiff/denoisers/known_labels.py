"""The labels that a denoiser takes: how many, what they are called, and how often its training data had each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from elucidiff.denoisers.shapes import LabelKind, Labels, label_rows
from elucidiff.suggest import suggestion

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
    """What a denoiser knows of the labels that it was trained with.

    A class has a place, 0 to ``dim - 1``, and a number. The number is what the data call it: its name, where the
    names are integers in ascending order, and else its place. Integers that stand for classes are numbers everywhere.

    Attributes:
        dim: number of classes, or of numbers in a label vector; 0 if the denoiser takes no labels.
        kind: whether labels are classes or vectors.
        names: of the classes; empty where they have none.
        counts: how many training images each class had; empty where that is not known.
        examples: some label vectors of the training data, float32 ``(K, dim)``; None if there are none.
        presence: whether a row has one more column, 1 where there is a label and 0 where there is none. Without it a
            row of zeros stands for no label, and a vector of zeros cannot be told from that.
    """

    dim: int
    kind: LabelKind = "classes"
    names: tuple[str, ...] = ()
    counts: tuple[int, ...] = ()
    examples: Tensor | None = None
    presence: bool = False

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
        """What to call a class."""
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
        given = torch.as_tensor(labels)
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
        if self.kind == "vectors" or not self.counts:
            return
        for place in sorted(set(range(self.dim)) - set(self.trained)):
            if bool((rows[:, place] != 0).any()):
                raise ValueError(
                    f"class {self.name(place)} had no training images, so nothing is known of what its samples are: "
                    "choose another, or add --any-class (any_class=True)"
                )

    def shares(self) -> str:
        """How often the training data had each class, in a few words; empty where that is not known."""
        total = sum(self.counts)
        if not total:
            return ""
        every = sorted(range(self.dim), key=lambda place: -self.counts[place])
        told = ", ".join(f"{self.name(place)} {self.counts[place] / total:.1%}" for place in every[:_LISTED])
        return f"{told}{', ...' if len(every) > _LISTED else ''}"

    def _refuse_names(self) -> None:
        if self.kind == "vectors" or not self.dim:
            label_rows([0], self.dim, self.kind)

    @cached_property
    def _place_of_name(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def _place_of_number(self) -> dict[int, int]:
        return {number: place for place, number in enumerate(self.numbers)}


def known_labels(denoiser: Any) -> KnownLabels:
    """What a denoiser says of its labels; one that says nothing takes none."""
    known: KnownLabels | None = getattr(denoiser, "known_labels", None)
    if known is not None:
        return known
    return KnownLabels(
        int(getattr(denoiser, "label_dim", 0)),
        getattr(denoiser, "label_kind", "classes"),
        examples=getattr(denoiser, "label_examples", None),
    )


def _is_integer(name: str) -> bool:
    digits = name.removeprefix("-")
    return digits.isascii() and digits.isdecimal()
