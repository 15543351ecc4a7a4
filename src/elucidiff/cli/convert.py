"""``elucidiff convert SRC OUT``: a model of another format as a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

import elucidiff
from elucidiff import interop
from elucidiff.cli.common.arguments import parse
from elucidiff.launch.output_folder import check_empty


@dataclass(frozen=True)
class Options:
    """Read a model that another library saved, recognised by its content, and write it as a model folder, which all
    verbs take. `elucidiff parts format` lists what can be read. Nothing that is in the files is run."""

    source: tyro.conf.Positional[Path]
    """The file or folder of the model."""
    out: tyro.conf.Positional[Path]
    """Model folder to write."""
    overwrite: bool = False
    """Replace the model that is there."""


def run(arguments: Sequence[str]) -> int:
    """Write the model folder; see ``Options``."""
    options = parse(Options, arguments, prog="elucidiff convert")
    if not options.overwrite:
        check_empty(options.out)
    model = elucidiff.load(options.source)
    interop.save(model, options.out)
    print(options.out)
    return 0
