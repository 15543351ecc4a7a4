"""``elucidiff tune MODEL``: tune a model until one, two or four evaluations make its samples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from elucidiff.cli.common.progress import Progress
from elucidiff.cli.train import (
    PlannedOptions,
    blank_plan,
    parsed,
    planned,
    stopped,
    train_and_tell,
    without,
    write_run_report,
)
from elucidiff.denoisers.tuned import FEW
from elucidiff.evaluation.few_evaluations import make_few_samplers
from elucidiff.launch.coordination import failing_once, is_main_process
from elucidiff.training.planning.choosing import Few
from elucidiff.training.pretrained import data_of
from elucidiff.untrusted import printable


@dataclass(frozen=True)
class Options(PlannedOptions):
    """Tune a trained model, ours or a converted one, until one, two or four evaluations make samples like those of
    its 35: a consistency model (ECT, arXiv 2406.14548). It is planned for the data, this machine and the time, as
    `elucidiff train` plans; every setting of a training is a flag. RUN/model gets the samplers one, two and four, for
    `elucidiff sample RUN/model --sampler two`. A tuned model has no ODE: likelihoods, restoration and the like are
    for the model that it was tuned from.

    Examples::

        elucidiff tune runs/photos/model --minutes 60
        elucidiff tune celeba.pkl --data data/faces --method scm --run-dir runs/faces-few
    """

    method: Few = "consistency"
    """consistency: neighbouring noise levels agree. scm: the same in continuous time, by forward-mode
    differentiation, with a learned weighting."""
    minutes: float | None = 60.0
    """How long the tuning may take."""

    @property
    def few_evaluations(self) -> Few | None:
        """The objective."""
        return self.method


def run(arguments: Sequence[str]) -> int:
    """Tune; see ``Options``. Ctrl-C and SIGTERM save a checkpoint first, as in training."""
    try:
        with failing_once():
            return _run(arguments)
    except ConnectionAbortedError:
        return 2


def _run(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE)
        return 0 if arguments else 2
    model, *rest = arguments
    if model.startswith("-"):
        raise ValueError(f"name the model first: elucidiff tune MODEL {printable(model)} ...")
    if any(re.match(r"--objective(=|$)", word) for word in rest):
        raise ValueError(
            "the objective of a tuning is that of --method; its settings are --objective.base and the like"
        )
    rest, name = without(rest, "--conditional"), f"tune {model}"
    blank = replace(blank_plan(""), start_from=model)
    data = parsed(Options, name, blank, rest).config.data or data_of(model)
    if not data:
        raise ValueError(f"{printable(model)} does not say what it was trained on: name the data with --data")
    run_dir = Path("runs") / f"{_name(model)}-tuned"
    options, made = planned(Options, name, replace(blank, data=data), rest, run_dir)
    run_dir = options.run_dir or run_dir
    result = train_and_tell(options, made, run_dir)
    if is_main_process() and result.interrupted is None:
        with Progress("choosing noise levels", len(FEW), "samplers") as bar:
            for number, named in enumerate(make_few_samplers(run_dir), start=1):
                quality = named.quality
                assert quality is not None
                error = "" if quality.error is None else f" +- {quality.error:.2g}"
                bar.say(f"{named.name}: {named.sampler.to_text()}")
                bar.say(f"{named.name}: {quality.metric}: {quality.value:.3g}{error}")
                bar.reach(number)
        if options.report:
            write_run_report(run_dir)
    return stopped(result, "the same command with --resume goes on from here")


def _name(model: str) -> str:
    """What to call the run by: the model's folder, or that of its run."""
    path = Path(model).resolve()
    return path.parent.name if path.name == "model" else path.stem


_USAGE = """\
usage: elucidiff tune MODEL [--data DATA] [--minutes N] [--run-dir DIR] [--method consistency|scm] [--resume]

Tune a trained model until one, two or four evaluations make its samples. MODEL is a model folder, a run, or what
else `elucidiff sample` takes with a network that is trained; DATA is what it was trained on, which models of ours
know. RUN/model gets the samplers one, two and four.

Examples:
  elucidiff tune runs/photos/model --minutes 60
  elucidiff tune celeba.pkl --data data/faces --method scm --run-dir runs/faces-few

`elucidiff tune MODEL --help` lists every setting."""
