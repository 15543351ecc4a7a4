"""``elucidiff evaluate MODEL|IMAGES REFERENCE``: figures of quality, each with its error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

import elucidiff
from elucidiff.cli.common.arguments import parse
from elucidiff.cli.common.help import Names
from elucidiff.cli.common.progress import Progress
from elucidiff.cli.common.sampling import SamplingChoices
from elucidiff.cli.evaluate_reference import chosen_metrics, evaluator_for
from elucidiff.cli.evaluate_subject import Subject, subject_of
from elucidiff.devices import choose_device
from elucidiff.evaluation.quality import Evaluator, Quality, describe, markdown, repeated
from elucidiff.evaluation.quality.features import Described
from elucidiff.files import remove_unfinished, write_whole
from elucidiff.launch.interrupt import Interrupt, StoppedError
from elucidiff.launch.lock import held
from elucidiff.plain_data import first_difference
from elucidiff.untrusted import read_json

RESULTS, TABLE, FEATURES = "results.json", "results.md", "features"


@dataclass(frozen=True)
class Options:
    """Measure how good samples or pictures are, against reference data: FID and the like, each with its error.

    A model's samples are made as they are needed and not kept; their features are, so what was begun and stopped or
    killed goes on with the same command.
    """

    what: tyro.conf.Positional[str]
    """A model folder; or pictures: a folder, zip, .npy, .npz or .parquet, samples, or the name of a data set."""
    reference: tyro.conf.Positional[str]
    """What to compare with: a data set, such as fashion-mnist:test or a path; or a .npz of statistics (mu and sigma),
    as NVlabs publishes them."""
    extractor: Annotated[str, Names("feature extractor")] = "inception-v3"
    """What describes pictures: inception-v3 for the FID of papers; dinov2; efficientnet-lite0, which needs no
    download; clip-vit-b-32 and other networks of torch-fidelity; pca-20, with any number, for data of any kind; or
    the path of a TorchScript file, which is a program: take only what you trust."""
    weights: Path | None = None
    """File with the weights of the extractor, where they are not to be fetched."""
    metrics: Annotated[str | None, Names("metric")] = None
    """Some of fid, fid_infinity (extrapolated to infinitely many images), kid, precision, recall and is (inception
    score), with commas between them (fid,kid; for a .npz of statistics fid alone)."""
    repeats: int = 1
    """Split seeds or pictures into so many blocks and judge each: the error is then that of the mean over blocks."""
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
    """Of pictures: take so many, evenly spread over them (all)."""
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


def run(arguments: Sequence[str]) -> int:
    """Evaluator, print the table, and write it; see ``Options``. Ctrl-C and SIGTERM end it soon, with 130 and 0."""
    options = parse(Options, arguments, prog="elucidiff evaluate")
    device = choose_device(options.device)
    subject = subject_of(options, device)
    metrics = chosen_metrics(options.metrics, options.reference)
    count = _count_of_each(len(subject.images), options.repeats)
    with Interrupt() as interrupt, held(options.out):
        stop_if_asked = interrupt.stop_if_asked
        try:
            evaluator = evaluator_for(options, metrics, subject, count, device, stop_if_asked)
            facts = _facts(options, subject, evaluator)
            _refuse_others(options, facts)
            described = _describe(options, subject, evaluator, stop_if_asked)
            quality = _judge(evaluator, described, count, stop_if_asked)
        except StoppedError as stopped:
            print(
                f"stopped by {stopped.signal}, the features so far are kept; the same command goes on from here",
                file=sys.stderr,
            )
            return 130 if stopped.signal == "SIGINT" else 0
        text = _report(subject, quality, described)
        results = {**quality.to_dict(), **subject.cost(described), "facts": facts}
        write_whole(options.out / TABLE, text)
        write_whole(options.out / RESULTS, json.dumps(results, indent=1) + "\n")
    print(text, end="")
    return 0


def _count_of_each(total: int, repeats: int) -> int:
    if repeats < 1:
        raise ValueError(f"--repeats is {repeats}, but must be at least 1")
    if total % repeats:
        raise ValueError(f"{total} images cannot be split into {repeats} equal blocks: choose another --repeats")
    return total // repeats


def _facts(options: Options, subject: Subject, evaluator: Evaluator) -> dict[str, Any]:
    """What decides the results, as JSON-able values."""
    facts = {
        "elucidiff": elucidiff.__version__,
        "torch": torch.__version__,
        **subject.facts,
        "reference": evaluator.reference.sha256,
        "extractor": evaluator.extractor.id,
        "extractor_batch_size": evaluator.extractor.batch_size,
        "metrics": list(evaluator.metrics),
        "repeats": options.repeats,
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain


def _refuse_others(options: Options, facts: dict[str, Any]) -> None:
    path = options.out / RESULTS
    if options.overwrite or not path.exists():
        return
    try:
        before = read_json(path)["facts"]
        found = first_difference(before, facts)
    except (ValueError, LookupError, AttributeError, TypeError):
        raise ValueError(f"{path} is damaged: delete it, or add --overwrite") from None
    if found is not None:
        name, old, new = found
        raise ValueError(
            f"{options.out} holds the results of another evaluation ({name} was {old}, now {new}): choose another "
            "--out, or add --overwrite"
        )


def _describe(
    options: Options, subject: Subject, evaluator: Evaluator, stop_if_asked: Callable[[], object]
) -> Described:
    """Features of all images, those of a model in the folder of results, others where those of references are."""
    store = subject.store(options.out / FEATURES, evaluator.extractor, options.cache)
    with Progress(subject.doing, len(subject.images), "images") as bar:

        def tick(images: int) -> None:
            bar.advance(images)
            stop_if_asked()

        if subject.is_model and store.folder.is_dir():
            remove_unfinished(store.folder)
        return describe(subject.ready(stop_if_asked), evaluator.extractor, store, tick)


def _judge(evaluator: Evaluator, described: Described, count: int, stop_if_asked: Callable[[], object]) -> Quality:
    rows = described.rows
    starts = range(0, len(rows), count)
    alone = len(starts) == 1  # else errors are found from the repeats
    with Progress("judging", evaluator.steps if alone else len(starts), "steps") as bar:

        def tick() -> None:
            bar.advance(1)
            stop_if_asked()

        found = []
        for start in starts:
            found.append(evaluator.quality(rows[start : start + count], tick, errors=alone))
            if not alone:
                tick()
    return repeated(found)


def _report(subject: Subject, quality: Quality, described: Described) -> str:
    """The table and what it is of, the same each time."""
    return f"# {subject.title}\n\n{subject.about(described)}\n\n{markdown(quality)}"
