"""``elucidiff evaluate MODEL|IMAGES REFERENCE``: metrics of quality, each with its error."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from elucidiff.cli.common.arguments import Names, parse
from elucidiff.cli.common.progress import Watching, code_after
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.data.opening import open as open_dataset
from elucidiff.denoisers.base import DenoiserModule
from elucidiff.denoisers.opening import load
from elucidiff.evaluation.pairs.evaluation import METRICS, RESULTS, evaluate_pairs
from elucidiff.evaluation.quality.evaluation import evaluate
from elucidiff.evaluation.quality.subject import is_model
from elucidiff.launch.interrupt import StoppedError
from elucidiff.parts import parts_of
from elucidiff.suggest import names_in


@dataclass(frozen=True)
class Options:
    """Measure how good samples or pictures are, against reference data: FID and the like, each with its error.

    A model's samples are made as they are needed and not kept; their features are, so what was begun and stopped or
    killed goes on with the same command.

    Examples::

        elucidiff evaluate runs/demo/model digits --seeds 0-1079 --extractor pca-20 --metrics fid
        elucidiff evaluate samples fashion-mnist:test
        elucidiff evaluate runs/photos/model photos --n 10 --solver ipndm
    """

    what: tyro.conf.Positional[str]
    """A model, as for `elucidiff sample`; or pictures: a folder, zip, .npy, .npz, .parquet, or a data set's name."""
    reference: tyro.conf.Positional[str]
    """What to compare with: a data set, such as fashion-mnist:test or a path; or a .npz of statistics (mu and sigma),
    as NVlabs publishes them."""
    extractor: Annotated[str, Names("feature extractor")] = "auto"
    """What describes images: inception-v3 for the FID of papers, which auto is for pictures; dinov2;
    efficientnet-lite0, which needs no download; clip-vit-b-32 and other networks of torch-fidelity; pca-20, with any
    number, which auto is for data of any other kind; or the path of a TorchScript file, which is a program: take only
    what you trust."""
    weights: Path | None = None
    """File with the weights of the extractor, where they are not to be fetched."""
    metrics: Annotated[str | None, Names("metric")] = None
    """Some of fid, fid_infinity (extrapolated to infinitely many images), kid, precision, recall and is (inception
    score), with commas between them (fid,kid; for a .npz of statistics fid alone). Of a model of conditions also
    rmse, rmse_single, mae, crps and spread_skill (rmse,rmse_single,crps,spread_skill)."""
    repeats: int = 1
    """Split seeds or pictures into so many blocks, each evaluated: the error is then that of the mean over blocks."""
    out: Path = Path("evaluation")
    """Folder for results.json, results.md and the features of samples."""
    overwrite: bool = False
    """Write over the results of another evaluation. Features that fit are used all the same."""
    device: str = "auto"
    """cpu, cuda, mps, or auto for the best there is."""
    extractor_batch_size: int | None = None
    """Pictures in one call of the extractor (8 on a CPU, 64 elsewhere). It changes features in their last bits."""
    cache: Path | None = None
    """Folder for features of data sets (evaluation, beside the named data sets)."""

    images: int | None = None
    """Of pictures, or of pairs: take so many, evenly spread over them (all)."""
    condition: str = ""
    """Of a model of conditions, whose samples are compared with REFERENCE pair by pair: the conditions of it, as in
    training (what they were made by, if they were, or those of an imported set)."""
    per_condition: int | None = None
    """Samples for each condition (8)."""
    seeds: str | None = None
    """Of a model: seeds, one sample each, such as 0-49999 (0-9999)."""
    labels: str | None = None
    """Of a model: classes, taken in turn, such as 0-9 or cat,dog; or a label vector, or a .npy of rows. If this is
    left out, each seed draws its own, as often as the training data had it (uniform: all equally often)."""
    any_class: bool = False
    """Of a model: take --labels even if the training data had no image of that class."""
    batch_size: int | None = None
    """Of a model: samples in one call of the network (16). It changes a sample's last bits."""

    sampling: Annotated[SamplingChoices, tyro.conf.arg(name="")] = field(default_factory=SamplingChoices)


def _run_pairs(options: Options, denoiser: DenoiserModule) -> int:
    """Evaluate a model of conditions on pairs."""
    if (options.out / RESULTS).exists() and not options.overwrite:
        raise ValueError(f"{options.out} holds results already: choose another --out, or add --overwrite")
    for name, usual in (("seeds", None), ("labels", None), ("repeats", 1)):
        if getattr(options, name) != usual:
            raise ValueError(f"--{name} would have no effect on a model of conditions: say --per-condition")
    names = METRICS if options.metrics is None else names_in(options.metrics)
    known = parts_of("pair metric")
    of_pairs = [name for name in names if name.partition(":")[0] in known]
    others = [name for name in names if name not in of_pairs]
    distances = {
        "metrics": others,
        "extractor": options.extractor,
        "weights": options.weights,
        "device": options.device,
        "extractor_batch_size": options.extractor_batch_size,
        "cache": options.cache,
    }
    data = denoiser.facts.get("data")
    made = str(data.get("condition_made", "")) if isinstance(data, dict) else ""
    pairs = open_dataset(options.reference, condition=options.condition)
    if made and not pairs.condition_shape and not options.condition:
        pairs = open_dataset(options.reference, condition=made)
    with Watching() as watch:
        try:
            found = evaluate_pairs(
                options.what,
                pairs,
                metrics=of_pairs,
                per_condition=8 if options.per_condition is None else options.per_condition,
                count=options.images,
                sampler=options.sampling.choice(Path(options.what)),
                guide=options.sampling.guide,
                batch_size=options.batch_size or 16,
                device=options.device,
                distances=distances if others else None,
                out=options.out,
                watch=watch,
            )
        except StoppedError as stopped:
            print(f"stopped by {stopped.signal}, nothing is kept", file=sys.stderr)
            return code_after(stopped.signal)
    print(found.to_markdown(), end="")
    return 0


def run(arguments: Sequence[str]) -> int:
    """Evaluate, print the table, and write it; see ``Options``. Ctrl-C and SIGTERM end it soon, with 130 and 0."""
    options = parse(Options, arguments, prog="elucidiff evaluate")
    sampler = None
    if is_model(options.what):
        sampler = options.sampling.choice(Path(options.what))
        if (denoiser := load(options.what)).known_labels.field:
            return _run_pairs(options, denoiser)
    elif given := options.sampling.given:
        flag = given[0].replace("_", "-")
        raise ValueError(f"--{flag} is about a model's samples, but {options.what} is no model: leave it out")
    if options.condition or options.per_condition is not None:
        raise ValueError(f"--condition is for a model of conditions, and {options.what} is none: leave it out")
    with Watching() as watch:
        try:
            found = evaluate(
                options.what,
                options.reference,
                metrics=options.metrics,
                extractor=options.extractor,
                weights=options.weights,
                repeats=options.repeats,
                count=options.images,
                sampler=sampler,
                seeds=options.seeds,
                labels=options.labels,
                any_class=options.any_class,
                guide=options.sampling.guide,
                batch_size=options.batch_size,
                device=options.device,
                extractor_batch_size=options.extractor_batch_size,
                out=options.out,
                overwrite=options.overwrite,
                cache=options.cache,
                watch=watch,
            )
        except StoppedError as stopped:
            print(
                f"stopped by {stopped.signal}, the features so far are kept; the same command goes on from here",
                file=sys.stderr,
            )
            return code_after(stopped.signal)
    print(found.to_markdown(), end="")
    return 0
