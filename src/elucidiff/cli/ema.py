"""``elucidiff ema RUN``: a model with any width of weight averaging, after the training (EDM2, arXiv 2312.02696)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from elucidiff.cli.common.arguments import parse
from elucidiff.interop import published_ema
from elucidiff.training.ema import WELL_FITTED, reconstruct


@dataclass(frozen=True)
class Options:
    """Put a model together from the averages that a run kept (train with --ema-widths 0.05 0.10), or from snapshots
    PREFIX-KIMG-WIDTH.pkl that EDM2 publishes.

    The command prints the model's folder, and how far the profile of the average is from the wanted one.

    Examples::

        elucidiff ema runs/photos --width 0.08
        elucidiff ema published --width 0.13 --out mine
    """

    run_dir: tyro.conf.Positional[Path]
    """The run folder, or a folder of published snapshots of one training."""
    width: float = 0.1
    """Relative width sigma_rel of the average: 0.05 to 0.15 is usual."""
    images_seen: int | None = None
    """The training time at which the average is wanted; the last by default."""
    with_later: bool = False
    """Use averages from after that time, too: a closer fit where none was kept at that time."""
    out: Path | None = None
    """Model folder to write (RUN/model-WIDTH)."""


def run(arguments: Sequence[str]) -> int:
    """Write the model folder; see ``Options``."""
    options = parse(Options, arguments, prog="elucidiff ema")
    out = options.out or options.run_dir / f"model-{options.width:g}"
    if out.exists():
        raise ValueError(f"{out} is there already: choose another --out")
    make = published_ema.reconstruct if published_ema.snapshots_in(options.run_dir) else reconstruct
    denoiser = make(options.run_dir, options.width, options.images_seen, with_later=options.with_later)
    denoiser.save(out)
    print(out)
    error = denoiser.facts["provenance"]["ema_fit_error"]
    advice = (
        ": the averages that this run kept cannot give this width well. Choose one nearer to those of --ema-widths, "
        "a time at which averages were kept, or keep them more often (train with a smaller --checkpoint-images)"
        if error > WELL_FITTED
        else ""
    )
    print(f"width {options.width:g}: the fit is {error:.1%} off{advice}", file=sys.stderr)
    return 0
