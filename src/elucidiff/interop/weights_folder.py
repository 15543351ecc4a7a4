"""A folder of weights and a description, which say of each other that they belong together.

``weights.safetensors`` holds the weights; the description, JSON, its format and version, the checksum of the weights,
and whatever its reader needs to make the network. A model card lies beside them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from elucidiff.denoisers.model_card import write_card
from elucidiff.files import sha256, write_folder_whole
from elucidiff.untrusted import clipped, printable, read_json, reading

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class WeightsFolder:
    """A kind of such folders.

    Attributes:
        format: what its descriptions say they are.
        version: of the format.
        file: the name of a description.
    """

    format: str
    version: int
    file: str

    def is_one(self, path: Path) -> bool:
        """True if :meth:`write` wrote this folder."""
        return (path / self.file).is_file() and (path / WEIGHTS).is_file()

    def write(
        self,
        path: str | os.PathLike[str],
        weights: Mapping[str, Tensor],
        entries: Mapping[str, Any],
        card: Mapping[str, Any],
    ) -> None:
        """Write a folder, whole or not at all.

        Args:
            path: a folder to make.
            weights: by name, on the CPU, each of a memory of its own.
            entries: of the description.
            card: what the card is made of, as for :func:`.write_card`.

        Raises:
            OSError: it cannot be written.
        """

        def fill(folder: Path) -> None:
            save_file(dict(weights), folder / WEIGHTS)
            description = {"format": self.format, "version": self.version, **entries}
            text = json.dumps(description | {"weights_sha256": sha256(folder / WEIGHTS)}, indent=2)
            (folder / self.file).write_text(text + "\n", encoding="utf-8")
            write_card(folder, card, replaces=Path(path))

        write_folder_whole(path, fill)

    def description(self, path: str | os.PathLike[str]) -> Mapping[str, Any]:
        """The description of a folder.

        Raises:
            OSError: a file is missing or cannot be read.
            ValueError: it is damaged, of another format or version, or not that of the weights beside it. The
                message names the file.
        """
        file, stored = Path(path) / self.file, Path(path) / WEIGHTS
        found = read_json(file)
        with reading(file):
            if not isinstance(found, Mapping) or found.get("format") != self.format:
                raise ValueError(f"it does not say format {self.format!r}")
            if found.get("version") != self.version:
                raise ValueError(
                    f"it has version {clipped(repr(found.get('version')))}, but this reads {self.version}"
                )
            if found.get("weights_sha256") != sha256(stored):
                raise ValueError(f"it is not what was saved with {printable(str(stored))}, whose SHA-256 differs")
        return found


def card_of(
    facts: Mapping[str, Any], part: Mapping[str, Any], network: nn.Module, sample_shape: Sequence[int]
) -> dict[str, Any]:
    """The facts for the card of a model of another library.

    Args:
        facts: of the model.
        part: what the card calls the network: ``type``, and its settings.
        network: is asked how many parameters it has.
        sample_shape: (C, *spatial).
    """
    count = sum(each.numel() for each in network.parameters())
    return {**facts, "network": {"part": dict(part), "sample_shape": list(sample_shape)}, "parameters": count}
