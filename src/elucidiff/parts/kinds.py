"""The kinds of parts there are: what each decides, and where ours are."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elucidiff.suggest import suggestion


@dataclass(frozen=True)
class Kind:
    """A kind of part.

    Attributes:
        name: what it is called, such as ``solver``.
        what: what such a part decides, in a few words.
        base: its base class, as ``module:Class``.
        home: the module that has ours; of a package all modules are imported.
        bare: the part that settings without a name stand for, so that ``30`` can mean ``churn:amount=30``.

    >>> import elucidiff as ed
    >>> kind = ed.parts.KINDS["solver"]
    >>> kind.name, kind.base
    ('solver', 'elucidiff.solvers.base:Solver')
    """

    name: str
    what: str
    base: str
    home: str
    bare: str | None = None

    @functools.cached_property
    def type(self) -> type:
        """The base class."""
        module, _, name = self.base.partition(":")
        found: type = getattr(importlib.import_module(module), name)
        return found


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("solver", "how a sampling step is taken", "elucidiff.solvers.base:Solver", "elucidiff.solvers"),
        Kind("schedule", "sigma(t) and s(t)", "elucidiff.design.schedules:Schedule", "elucidiff.design.schedules"),
        Kind("steps", "how noise levels are spaced", "elucidiff.design.steps:Steps", "elucidiff.design.steps"),
        Kind(
            "churn",
            "noise added at every step",
            "elucidiff.sampling.churn:Churn",
            "elucidiff.sampling.churn",
            "churn",
        ),
        Kind(
            "restart",
            "parts of a run to repeat",
            "elucidiff.sampling.churn:Restart",
            "elucidiff.sampling.churn",
            "restart",
        ),
        Kind(
            "guidance",
            "how samples are led away from a worse model",
            "elucidiff.denoisers.guided:Guidance",
            "elucidiff.denoisers.guided",
            "guidance",
        ),
        Kind(
            "clip",
            "how the denoised image is held within a range",
            "elucidiff.denoisers.clipping:Clipping",
            "elucidiff.denoisers.clipping",
            "clamp",
        ),
        Kind(
            "preconditioning",
            "how a network becomes a denoiser",
            "elucidiff.design.preconditioning:Preconditioning",
            "elucidiff.design.preconditioning",
        ),
        Kind(
            "objective",
            "noise levels and weights of training",
            "elucidiff.design.objectives.base:Objective",
            "elucidiff.design.objectives",
        ),
        Kind(
            "training noise",
            "the distribution of noise levels in training",
            "elucidiff.design.training_noise:TrainingNoise",
            "elucidiff.design.training_noise",
        ),
        Kind(
            "metric",
            "how good images are, from their features",
            "elucidiff.evaluation.quality.metrics:Metric",
            "elucidiff.evaluation.quality.metrics",
        ),
        Kind(
            "pair metric",
            "how good samples for conditions are",
            "elucidiff.evaluation.pairs.scores:PairMetric",
            "elucidiff.evaluation.pairs.scores",
        ),
        Kind(
            "feature extractor",
            "what describes images by numbers",
            "elucidiff.evaluation.quality.extractors:FeatureExtractor",
            "elucidiff.evaluation.quality",
        ),
        Kind(
            "figure",
            "what is drawn, measured first or not",
            "elucidiff.figures.base:FigurePart",
            "elucidiff.figures",
        ),
        Kind(
            "format",
            "in what other people's models are kept",
            "elucidiff.denoisers.opening:Format",
            "elucidiff.interop",
        ),
        Kind(
            "autoencoder",
            "how pictures become latents, and back",
            "elucidiff.autoencoders.base:Autoencoder",
            "elucidiff.interop.autoencoders",
        ),
        Kind("verb", "what the command line can do", "elucidiff.cli.common.verbs:Verb", "elucidiff.cli.common.verbs"),
        Kind(
            "scaling",
            "from the values of the data to what a denoiser sees",
            "elucidiff.data.scaling:Scaling",
            "elucidiff.data.gaps",  # and, with it, those of data.scaling, data.normalisation and data.latents
        ),
        Kind("network", "the network F", "elucidiff.networks.base:NetworkPart", "elucidiff.networks"),
        Kind(
            "learning rate schedule",
            "the learning rate after the ramp",
            "elucidiff.training.learning_rate:LearningRateSchedule",
            "elucidiff.training.learning_rate",
        ),
        Kind(
            "augmentation",
            "how training images are changed",
            "elucidiff.augment.base:Augmentation",
            "elucidiff.augment",
            "non_leaking",
        ),
        Kind(
            "condition",
            "fields that images are made for",
            "elucidiff.data.conditions:Condition",
            "elucidiff.data.conditions",
        ),
    )
}
"""The kinds of parts, by name."""


def kind_named(kind: str) -> Kind:
    """The kind of that name; hyphens and underscores count as spaces.

    Raises:
        ValueError: there is none; the nearest is suggested.

    >>> import elucidiff as ed
    >>> ed.parts.kind_named("training-noise").name
    'training noise'
    >>> ed.parts.kind_named("solvr")
    Traceback (most recent call last):
        ...
    ValueError: there is no kind of part 'solvr'; did you mean 'solver'?
    """
    name = re.sub(r"[-_]", " ", kind.strip().lower())
    if name not in KINDS:
        raise ValueError(f"there is no kind of part {kind!r}; {suggestion(name, KINDS)}")
    return KINDS[name]


def called(kind: Kind, name: str) -> str:
    """The name of a part in messages."""
    return name if kind.name == name else f"{kind.name} {name}"


def kind_of(annotation: Any) -> Kind | None:
    """The kind of part that a field so annotated holds."""
    if not isinstance(annotation, type) or annotation in (int, float, bool, str):
        return None
    names = {f"{each.__module__}:{each.__qualname__}" for each in annotation.__mro__}
    return next((kind for kind in KINDS.values() if kind.base in names), None)
