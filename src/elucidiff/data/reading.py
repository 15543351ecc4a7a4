"""How a data set is to be read where it can be read in more than one way."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args

Pages = Literal["all", "first"]


@dataclass(frozen=True)
class Reading:
    """Which reading to take where several are possible. Defaults: the likelier one, with a note that says so.

    Attributes:
        labels_from: Where labels come from: "folders", "none", or the name of a file, such as
            "metadata.csv". None: from a file if there is one, else from folders.
        label_column: The column of such a file, or of Parquet files, that holds the labels. None: the one with a
            usual name, or the only one.
        pages: Of picture files with several pages or frames, "all" or the "first" alone.

    Raises:
        ValueError: a value that is not one of those.
    """

    labels_from: str | None = None
    label_column: str | None = None
    pages: Pages = "all"

    def __post_init__(self) -> None:
        if self.pages not in get_args(Pages):
            raise ValueError(f"pages is {self.pages!r}, but must be {' or '.join(get_args(Pages))}")

    def changed(self) -> dict[str, str]:
        """The choices that differ from the defaults."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }


AS_USUAL = Reading()
"""The likelier reading of everything."""
