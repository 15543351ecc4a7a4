"""``elucidiff search MODEL``: find the sampling options that make the best samples, by trying them."""

from __future__ import annotations

import importlib
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.progress import Watching, code_after
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.launch.interrupt import StoppedError


@dataclass(frozen=True)
class Options:
    """Find the sampling options that make the best samples: churn, unless something else is asked for.

    Every trial draws the same seeds, with the same latents and noise, so that trials differ by their options alone;
    trials without a chance are pruned after few images. The best is measured on fresh seeds beside the sampler that
    the search began with, and kept as MODEL/samplers/NAME.json for `elucidiff sample MODEL --sampler NAME`. What was
    begun and stopped or killed goes on with the same command. Started several times, also on several machines with
    one --storage, the processes share the trials.

    Examples::

        elucidiff search runs/demo/model --metric fid --extractor pca-20 --trials 40
        elucidiff search runs/demo/model --over solver n --front --trials 60
    """

    model: tyro.conf.Positional[Path]
    """A model folder, a model of another library, or your own code that makes one, package.module:function."""
    over: tuple[str, ...] = ("churn.amount", "churn.sigma_min", "churn.sigma_max", "churn.noise_scale")
    """What to search, such as solver, n, rho or churn.sigma_min: NAME for the range that the part declares,
    NAME=LOW:HIGH, NAME=LOW:HIGH:log, NAME=LOW:HIGH:STEP, or NAME=A,B,C."""
    labels: str | None = None
    """Classes, taken in turn, such as 0-9 or cat,dog; or a label vector, or a .npy of rows. If this is left out, each
    seed draws its own, as often as the training data had it (uniform: all equally often)."""
    any_class: bool = False
    """Take --labels even if the training data had no image of that class."""

    metric: str = "fid"
    """What is made better: fid, kid, precision, recall or is, see `elucidiff evaluate`; or error, the distance to the
    exact solution of the ODE, which needs no data, but a search without noise."""
    reference: str | None = None
    """What samples are compared with, as for `elucidiff evaluate` (what the model was trained on)."""
    extractor: str = "efficientnet-lite0"
    """What describes samples, as for `elucidiff evaluate`; pca-20 takes principal components, for small images."""
    weights: Path | None = None
    """File with the weights of the extractor, where they are not to be fetched."""
    front: bool = False
    """Look for few evaluations, too: all samplers that none beats in both are kept, as NAME-EVALUATIONS. For this,
    --over names n or solver."""

    method: Literal["tpe", "random", "grid"] = "tpe"
    """tpe learns from trial to trial. grid tries all combinations, those of the paper (App. E.2) for NAMEs alone."""
    trials: int = 40
    """Number of trials in all. More can be asked for later."""
    first_images: int | None = None
    """A trial that is not among the best third so far ends after so many images, or three times as many, and so on (a
    third of --seeds); as many as --seeds for none."""
    seeds: str | None = None
    """Seeds of each trial's images (1000000-1000499; for --metric error 1000000-1000031)."""
    fresh_seeds: str | None = None
    """Other seeds, on which the best is measured: three times as many (from 2000000 on), in blocks for a standard
    error."""
    choice_seed: int = 0
    """Seed of the choices."""

    name: str = "searched"
    """Name of the sampler, and of the study."""
    out: Path | None = None
    """Folder for the table of trials (searches/NAME)."""
    storage: str | None = None
    """Where the study is kept: a file *.db on one machine (OUT/study.db), a file *.journal on a network drive, or
    postgresql://user:password@host:port/database."""
    batch_size: int = 16
    """Samples in one call of the network."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    overwrite: bool = False
    """Replace a sampler of that name."""

    sampling: Annotated[SamplingChoices, tyro.conf.arg(name="")] = field(default_factory=SamplingChoices)


def run(arguments: Sequence[str]) -> int:
    """Search; see ``Options``. Ctrl-C and SIGTERM end it soon, with 130 and 0; the same command goes on."""
    options = parse(Options, arguments, prog="elucidiff search")
    try:
        importlib.import_module("optuna")
    except ModuleNotFoundError:
        raise ValueError("a search needs Optuna: pip install 'elucidiff[search]'") from None
    search = importlib.import_module("elucidiff.evaluation.search")  # imports it
    with Watching() as watch:
        try:
            search.search_samplers(
                options.model,
                options.over,
                sampler=options.sampling.choice(options.model),
                metric=options.metric,
                reference=options.reference,
                extractor=options.extractor,
                weights=options.weights,
                front=options.front,
                method=options.method,
                trials=options.trials,
                first_images=options.first_images,
                seeds=options.seeds,
                fresh_seeds=options.fresh_seeds,
                choice_seed=options.choice_seed,
                labels=options.labels,
                any_class=options.any_class,
                guide=options.sampling.guide,
                name=options.name,
                out=options.out,
                storage=options.storage,
                batch_size=options.batch_size,
                device=options.device,
                overwrite=options.overwrite,
                command=shlex.join(["elucidiff", "search", *arguments]),
                watch=watch,
            )
        except StoppedError:
            print("what was found so far is kept; the same command goes on", file=sys.stderr)
        return code_after(watch.received)
