"""``elucidiff demo``: from nothing to a report on a trained model, in minutes."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.progress import Progress
from elucidiff.cli.train import Watch, stopped
from elucidiff.demo.report import write_report
from elucidiff.demo.study import run_study
from elucidiff.training import TrainingConfig
from elucidiff.training.presets import preset


@dataclass(frozen=True)
class Options:
    """Train on real 8x8 digits, draw samples, and write a report that explains what was done.

    Examples::

        elucidiff demo
        elucidiff demo --out runs/longer --duration-images 400000
    """

    out: Path = Path("runs/demo")
    """Run folder; the report is report.html in it. A run that was stopped goes on."""
    config: Annotated[TrainingConfig, tyro.conf.arg(name="")] = field(default_factory=lambda: preset("digits"))


def run(arguments: Sequence[str]) -> int:
    """Run the study and write the report; see ``Options``."""
    options = parse(Options, arguments, prog="elucidiff demo")
    with Progress("training", options.config.duration_images, "images") as bar:
        training = run_study(options.config, options.out, Watch(bar))
    if training.interrupted:
        return stopped(training, "the same command goes on from here")
    report = write_report(options.out)
    print(f"report: {report.resolve()}")
    if sys.stdout.isatty() and (os.environ.get("DISPLAY") or sys.platform in ("darwin", "win32")):
        webbrowser.open(report.resolve().as_uri())
    return 0
