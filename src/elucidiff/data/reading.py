"""The reading to take of a data set that can be read in more than one way."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal, get_args

Pages = Literal["all", "first"]
SplitFolders = Literal["parts", "classes"]
ChannelAxis = Literal["first", "last", "none"]


@dataclass(frozen=True)
class Reading:
    """Choices where data can be read in several ways. Defaults: the likelier one, with a note that says so.

    Attributes:
        labels_from: Where labels come from: "folders", "none", or the name of a file, such as
            "metadata.csv". None: from a file if there is one, else from folders.
        label_column: The column of such a file, or of Parquet files, that holds the labels. None: the one with a
            usual name, or the only one.
        image_column: The same for the images. Of a .npz file, both are names of its arrays.
        split_folders: What folders called train, val and test are: "parts" of the data set, or "classes".
        pages: Of picture files with several pages or frames, "all" or the "first" alone.
        channel_axis: Where an array has its channels: "first" or "last" of the axes after that of the images, or
            "none". None: as its shape suggests.
        white: The value that becomes white (255), with 0 as black, of arrays and of pictures of more than 8 bits.
            None: as their type and range suggest.
        missing: The fill value, such as -9999, that stands for missing values in arrays, which become NaN; whole
            numbers become floating point with it. None: NaN alone stands for them.

    Raises:
        ValueError: a value that is not one of those.

    >>> import elucidiff as ed
    >>> ed.data.Reading(labels_from="metadata.csv", label_column="species").split_folders
    'parts'
    >>> ed.data.Reading(pages="last")
    Traceback (most recent call last):
        ...
    ValueError: pages is 'last', but must be all or first
    """

    labels_from: str | None = None
    label_column: str | None = None
    image_column: str | None = None
    split_folders: SplitFolders = "parts"
    pages: Pages = "all"
    channel_axis: ChannelAxis | None = None
    white: float | None = None
    missing: float | None = None

    def __post_init__(self) -> None:
        if self.pages not in get_args(Pages):
            raise ValueError(f"pages is {self.pages!r}, but must be {' or '.join(get_args(Pages))}")
        if self.split_folders not in get_args(SplitFolders):
            raise ValueError(
                f"split_folders is {self.split_folders!r}, but must be {' or '.join(get_args(SplitFolders))}"
            )
        if self.channel_axis not in (None, *get_args(ChannelAxis)):
            raise ValueError(
                f"channel_axis is {self.channel_axis!r}, but must be {' or '.join(get_args(ChannelAxis))}"
            )
        if self.white is not None and not 0 < self.white <= 65535:
            raise ValueError(f"white is {self.white:g}, but must be above 0 and at most 65535")
        if self.missing is not None and not math.isfinite(self.missing):
            raise ValueError(f"missing is {self.missing}, but must be a finite number: NaN is missing in any case")

    def refuse(self, where: str, *names: str) -> None:
        """Refuse choices that mean nothing for what is read.

        Raises:
            ValueError: one of the choices ``names`` was made.
        """
        for name in names:
            if getattr(self, name) is not None:
                raise ValueError(f"{where}: {name.replace('_', '-')} means nothing here; leave it out")

    def changed(self) -> dict[str, str | float]:
        """The choices that differ from the defaults."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }


AS_USUAL = Reading()
"""The likelier reading of everything."""
