"""``elucidiff train DATA|PRESET``: train a denoiser on a data set, as planned for it or as a preset has it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, TypeVar

import tyro
from rich.console import Console
from rich.table import Table

from elucidiff import parts
from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.progress import Progress, code_after
from elucidiff.cli.common.samples import write_sheet
from elucidiff.cli.common.verbs import listed
from elucidiff.data.dataset import Dataset
from elucidiff.data.normalisation import Automatic
from elucidiff.data.scaling import scaling_of
from elucidiff.data.standard_sets import NAMES
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.launch.coordination import failing_once, is_main_process, notice_board
from elucidiff.networks import MPUNetSettings
from elucidiff.suggest import suggestion
from elucidiff.training import Callbacks, TrainingConfig, TrainingResult, train
from elucidiff.training import Progress as Standing
from elucidiff.training.config import PARTS
from elucidiff.training.metrics import metrics_until
from elucidiff.training.outlook import remark
from elucidiff.training.planning import Plan, look_at, plan
from elucidiff.training.planning.choosing import EVENING, Choice, Few
from elucidiff.training.presets import PRESETS, preset
from elucidiff.training.pretrained import described
from elucidiff.training.previews import preview_samples
from elucidiff.untrusted import clipped


def make_plan(given: TrainingConfig, minutes: float | None, few_evaluations: Few | None = None) -> Plan:
    """Look at the data, time this machine, and plan; tells on standard error what is being done.

    Args:
        given: the settings that the command line names; data, condition, scaling, labels, device, seed and start are
            heeded.
        minutes: how long the training may take; an evening if nobody says.
        few_evaluations: the objective of a tuning; see :func:`.plan`.
    """
    with Progress("looking at the data", 1, "images") as bar:
        found = look_at(
            given.data,
            condition=given.condition,
            progress=lambda _, done, total: bar.reach(done, fraction=done / max(total, 1)),
            normalise=given.normalise,
        )
    with Progress("planning", 1, "networks") as bar:
        board = notice_board()
        return plan(
            found,
            minutes=EVENING if minutes is None else minutes,
            conditional=given.conditional,
            device=given.device,
            processes=1 if board is None else board.count,
            seed=given.seed,
            start=given.start_from,
            few_evaluations=few_evaluations,
            say=bar.say,
        )


def is_data(name: str, *, helping: bool = False) -> bool:
    """Whether ``name`` is that of data to plan for, not of a preset or of a file of settings.

    Args:
        name: what was given.
        helping: whether help is asked for, for which the data need not be there.

    Raises:
        ValueError: it is the name of nothing; the nearest preset or standard set is suggested.
    """
    if name in PRESETS or name.endswith((".yaml", ".yml")):
        return False
    if helping:
        return True
    base, colon, _ = name.rpartition(":")
    if os.path.exists(os.path.expanduser(name)) or name in NAMES or (colon and base in NAMES):
        return True
    if colon and os.path.exists(os.path.expanduser(base)):
        return True
    near = suggestion(name[:100], [*PRESETS, *NAMES])
    raise ValueError(
        f"{clipped(name)!r} is neither a data set (there is no such file or folder) nor a preset; {near}"
    )


def both_note(name: str) -> str | None:
    """A note on a name that is a preset and something else, too; None if it is not."""
    if name not in PRESETS:
        return None
    if os.path.exists(name):
        return f"{name} is taken as the preset; ./{name} names what lies here"
    return None


def print_plan(made: Plan, config: TrainingConfig, run_dir: Path) -> None:
    """Print a plan as a table, and what was given instead of it.

    Args:
        made: the plan.
        config: the settings with what the command line changed.
        run_dir: the run folder.
    """
    table = Table("setting", "value", "why", title=f"A training on {made.config.data}")
    for choice in [*made.choices, *_given(made.config, config)]:
        table.add_row(choice.setting, choice.value, choice.reason)
    console = Console()
    console.print(table)
    for note in made.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"`elucidiff train {run_dir / 'config.yaml'}` repeats it", markup=False, highlight=False, soft_wrap=True
    )


def _given(planned: TrainingConfig, config: TrainingConfig) -> list[Choice]:
    """The settings that the command line changed."""
    return [
        Choice(entry.name, clipped(str(now), 60), "as it was given")
        for entry in fields(planned)
        if (now := getattr(config, entry.name)) != getattr(planned, entry.name)
    ]


def without(arguments: Sequence[str], *flags: str) -> list[str]:
    """The arguments without some flags that have no value."""
    return [argument for argument in arguments if argument not in flags]


@dataclass(frozen=True)
class Options:
    """Train a denoiser. Every setting of the preset is a flag; what is not given keeps the preset's value. Parts can
    be exchanged whole: --network, --augment, --preconditioning, --objective and --lr-decay take NAME or
    NAME:SETTING=VALUE,... (`elucidiff parts network` lists them), and the flags below are then those of the part.

    Examples::

        elucidiff train fashion-mnist --max-minutes 60 --run-dir runs/garments
        elucidiff train cifar10 --data data/mine --network edm2:base_channels=64
    """

    config: Annotated[TrainingConfig, tyro.conf.arg(name="")]
    sigma_data: float | None = None
    """Standard deviation of the data, in units of the noise levels, for preconditioning and objective."""
    p_mean: float | None = None
    """Mean of ln(sigma) in training: --objective.p-mean."""
    p_std: float | None = None
    """Standard deviation of ln(sigma) in training: --objective.p-std."""
    run_dir: Path | None = None
    """Run folder (runs/PRESET): config.yaml, metrics.jsonl, TensorBoard events, checkpoints/, model/, samples/."""
    resume: bool = False
    """Go on from the newest checkpoint in the run folder."""
    report: bool = False
    """At the end, draw samples, measure them, and write RUN/report.html."""

    def settings(self) -> TrainingConfig:
        """All settings.

        Raises:
            ValueError: a flag is of no use beside the others, or its value is out of range.
        """
        given = {"sigma_data": self.sigma_data, "objective.p_mean": self.p_mean, "objective.p_std": self.p_std}
        return self.config.with_settings({name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class PlannedOptions(Options):
    """Look at a data set, plan a training for it and for this machine, and train. The plan is printed with a reason
    for each choice, and kept as config.yaml in the run folder. Every setting is a flag, too; what is given here is
    taken instead of what would be planned.

    Examples::

        elucidiff train photos --minutes 90
        elucidiff train photos --from runs/old/model --minutes 20
        elucidiff train runs/photos/config.yaml --run-dir runs/again
    """

    minutes: float | None = None
    """How long the training may take (240: an evening)."""
    report: bool = True
    """Write no RUN/report.html at the end, for which samples are drawn and measured."""

    @property
    def few_evaluations(self) -> Few | None:
        """The objective of a tuning; None, for this is a training as usual."""
        return None


_Options = TypeVar("_Options", bound=Options)
_Planned = TypeVar("_Planned", bound=PlannedOptions)


def run(arguments: Sequence[str]) -> int:
    """Train; see ``Options``. Ctrl-C and SIGTERM save a checkpoint first, and exit with 130 and 0.

    Started by torchrun or ``accelerate launch``, the processes train together, and the first alone tells about it;
    only of a mistake tells the one that finds it first.
    """
    try:
        with failing_once():
            return _run(arguments)
    except ConnectionAbortedError:
        return 2


def _run(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    name, rest = arguments[0], [_SHORT.sub("--start-from", argument) for argument in arguments[1:]]
    helping = not {"-h", "--help"}.isdisjoint(rest)
    run_dir = _run_dir(name)
    options: Options
    made: Plan | None = None
    if is_data(name, helping=helping):
        options, made = planned(PlannedOptions, f"train {name}", blank_plan(name), rest, run_dir)
    else:
        options = _preset(name, rest)
    run_dir = options.run_dir or run_dir
    if made is None and is_main_process() and (note := both_note(name)):
        print(f"note: {note}", file=sys.stderr)
    result = train_and_tell(options, made, run_dir)
    if is_main_process() and options.report and result.interrupted is None:
        write_run_report(run_dir)
    return stopped(result, "the same command with --resume goes on from here")


def train_and_tell(options: Options, made: Plan | None, run_dir: Path) -> TrainingResult:
    """Train as the options say, or go on; the main process shows the plan, if there is one, and how it goes."""
    config = options.settings()
    if not is_main_process():
        return train(config, run_dir, resume=options.resume)
    if made is not None:
        print_plan(made, config, run_dir)
    with Progress("training", config.duration_images, "images") as bar:
        result = train(config, run_dir, resume=options.resume, callbacks=Watch(bar))
    loss = "" if result.loss is None else f", loss {result.loss:.4f}"
    print(
        f"{result.images_seen:,} images in {result.seconds:,.0f} s{loss}; model in {run_dir / 'model'}",
        file=sys.stderr,
    )
    return result


def write_run_report(run_dir: Path) -> None:
    """Measure the model, and bind all into a page. The run is done and safe: what fails here is told, and no more."""
    from elucidiff.evaluation.run_quality import SAMPLES, measure_run
    from elucidiff.figures.report import write_report

    try:
        with Progress("measuring the model", SAMPLES, "samples") as bar:
            measure_run(run_dir, progress=lambda done, _: bar.reach(done)).save(run_dir)
        page, problems = write_report(run_dir, run_dir / "report.html")
    except (ValueError, OSError) as error:
        print(f"warning: there is no report: {' '.join(str(error).split())}", file=sys.stderr)
        return
    for problem in problems:
        print(problem, file=sys.stderr)
    print(page)


_SHORT = re.compile(r"^--from(?==|$)")


def _preset(name: str, arguments: Sequence[str]) -> Options:
    """The options of a training from a preset or a file of settings."""
    config = TrainingConfig.load(name) if name.endswith((".yaml", ".yml")) else preset(name)
    options = parsed(Options, f"train {name}", config, arguments)
    if (start := options.config.start_from) != config.start_from and start:
        # The network is that of the model, unless it is named, too.
        network, preconditioning = described(start)
        config = replace(config, network=network, preconditioning=preconditioning)
        options = parsed(Options, f"train {name}", config, arguments)
    _refuse_missing_data(name, options.config.data)
    return options


def blank_plan(data: str) -> TrainingConfig:
    """The settings of a training on data that is still to be planned."""
    return TrainingConfig(data=data, normalise=Automatic(), conditional=True, network=MPUNetSettings())


def planned(
    kind: type[_Planned], name: str, blank: TrainingConfig, arguments: Sequence[str], run_dir: Path
) -> tuple[_Planned, Plan | None]:
    """The options of a training that is planned; without a plan where one is resumed, which goes by its own.

    What is wrong with the arguments is found before anything is measured. Process 0 plans for all.

    Args:
        kind: of options.
        name: the words before the arguments.
        blank: settings that name the data, and hold for what is given in their place.
        arguments: what was given.
        run_dir: the run folder if nobody says.
    """
    arguments = without(arguments, "--conditional")
    asked = parsed(kind, name, blank, arguments)
    if asked.config.data != blank.data:
        raise ValueError(f"--data {asked.config.data} is another data set than {blank.data}: name one of them")
    run_dir = asked.run_dir or run_dir
    board = notice_board()
    before = run_dir / "config.yaml"
    again = asked.resume or (board is not None and board.has_begun(os.path.abspath(run_dir)))
    made: Plan | None = None
    if again and before.is_file():
        config = TrainingConfig.load(before)
        if asked.minutes is not None:
            config = replace(config, max_minutes=asked.minutes)
    else:
        if not asked.resume and any((run_dir / "checkpoints").glob("*")):
            raise ValueError(f"{run_dir} holds a run already: resume it with --resume, or choose another --run-dir")
        planned = ""
        if is_main_process():
            made = make_plan(asked.config, asked.minutes, asked.few_evaluations)
            planned = made.config.to_yaml()
        config = TrainingConfig.from_yaml(planned if board is None else board.from_main(planned))
    if not config.conditional:
        arguments = without(arguments, "--no-conditional")  # it has been heeded
    return parsed(kind, name, config, arguments), made


def _run_dir(name: str) -> Path:
    """The folder of a training if nobody says."""
    return Path("runs") / (Path(name.replace(":", "-")).resolve().stem or "data")


def parsed(options: type[_Options], name: str, config: TrainingConfig, arguments: Sequence[str]) -> _Options:
    """The options of ``elucidiff NAME``, where ``config`` has the settings that are not given."""
    config, rest = _with_parts(config, arguments)
    return parse(options, rest, prog=f"elucidiff {name}", default=options(config))


def _with_parts(config: TrainingConfig, arguments: Sequence[str]) -> tuple[TrainingConfig, list[str]]:
    """The settings with the parts that are spelled whole, and the arguments that are left.

    They come first wherever they stand: which other flags there are depends on them.
    """
    rest: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        flag, equals, text = argument.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or name not in PARTS:
            rest.append(argument)
            continue
        text = text if equals else next(waiting, "")
        if not text or text.startswith("--"):
            raise ValueError(f"{flag} needs a part, NAME or NAME:SETTING=VALUE,...")
        config = replace(config, **{name: parts.parse(PARTS[name], text)})
    return config, rest


def _refuse_missing_data(name: str, data: str) -> None:
    """Some of the paper's data sets have to be brought along."""
    if name in PRESETS and data == PRESETS[name].config.data and data not in NAMES and not Path(data).exists():
        raise FileNotFoundError(
            f"the data set of the preset {name} cannot be fetched: say where you have it with --data PATH, a folder "
            "or zip of images, an array, or a set from `elucidiff data import`"
        )


def stopped(result: TrainingResult, how_to_go_on: str) -> int:
    """The exit code after training, see :func:`.code_after`; the main process says how to go on after a signal."""
    if result.interrupted is not None and is_main_process():
        print(f"stopped by {result.interrupted}, all work is saved; {how_to_go_on}", file=sys.stderr)
    return code_after(result.interrupted)


class Watch(Callbacks):
    """Shows how a run goes, and draws previews from always the same seeds.

    Args:
        bar: where progress is shown.
    """

    def __init__(self, bar: Progress) -> None:
        self._bar = bar

    def on_note(self, text: str) -> None:
        """See :class:`Callbacks`."""
        self._bar.say(text)

    def on_progress(self, progress: Standing) -> None:
        """See :class:`Callbacks`."""
        loss = "" if progress.loss is None else f"loss {progress.loss:.4f}"
        self._bar.reach(progress.images_seen, loss, progress.fraction)

    def on_checkpoint(self, model: Denoiser, images_seen: int, run_dir: Path) -> None:
        """See :class:`Callbacks`."""
        if said := remark(metrics_until(run_dir, images_seen)):
            self._bar.say(said)

    def on_preview(self, model: Denoiser, images_seen: int, run_dir: Path, pairs: Dataset | None = None) -> None:
        """See :class:`Callbacks`. A preview that cannot be drawn or written is no reason to end a run."""
        try:
            x, columns = preview_samples(model, pairs=pairs)
            write_sheet(run_dir / "samples" / f"{images_seen:012d}.png", scaling_of(model).to_data(x), columns)
        except Exception as error:
            self._bar.say(f"warning: there is no preview after {images_seen:,} images: {error}")


def _usage() -> str:
    rows = listed({name: entry.result for name, entry in PRESETS.items()})
    return (
        "usage: elucidiff train DATA [--minutes N] [--field value ...] [--run-dir DIR] [--resume]\n"
        "       elucidiff train PRESET|CONFIG.yaml [--field value ...] [--run-dir DIR] [--resume]\n\n"
        "DATA is a folder, zip, array or imported set of your own, or the name of a standard set, such as mnist or\n"
        "cifar10:all: the training is planned for it, for this machine and for the time there is.\n\n"
        "Examples:\n"
        "  elucidiff train photos --minutes 90\n"
        "  elucidiff train fashion-mnist --max-minutes 60 --run-dir runs/garments\n\n"
        f"presets are fixed settings:\n{rows}\n\n"
        "--data PATH trains a preset on other data. `elucidiff train DATA|PRESET --help` lists every field."
    )
