"""Proposals of a search: functions of the study's seed, the trial's number and the trials before.

Nothing random is carried from one trial to the next. So a study that was killed and goes on proposes what it would
have proposed, and a trial that was being evaluated is proposed again as it was.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from elucidiff.evaluation.search.options import TRIES, Interval, Option, Space, Values

Method = Literal["tpe", "random", "grid"]


def distributions_of(space: Space) -> dict[str, BaseDistribution]:
    """The options of a space in the terms of Optuna."""
    return {name: _distribution(option) for name, option in space.options.items()}


class Proposals(BaseSampler):
    """Chooses all options of a trial together, and only such as make a possible sampler.

    With tpe and random, the first trial is the base of the space, so that a search never ends with less.

    Args:
        space: what there is to choose from.
        method: tpe, the tree-structured Parzen estimator (Bergstra et al. 2011), over all options jointly; random; or
            grid, every point once, in an order that the seed decides.
        seed: of the study.
        trials: how many trials will be asked for, at most.

    Attributes:
        trials: the same, or the number of points of a grid that has fewer.

    Raises:
        ValueError: a grid has an interval without a step.
    """

    def __init__(self, space: Space, method: Method, seed: int, trials: int) -> None:
        self._space, self._method, self._seed = space, method, seed
        self._points = list(itertools.islice(space.grid(seed), trials)) if method == "grid" else []
        self.trials = len(self._points) if method == "grid" else trials

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All options, always: what a killed trial has stored already then agrees with what it gets again."""
        return distributions_of(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The choice for this trial."""
        if self._method == "grid":
            # A trial too many, which a race of workers can begin, is put back for a later study of more trials.
            return dict(self._points[trial.number % len(self._points)])
        first = self._space.first() if trial.number == 0 else None
        return dict(first or self._possible(self._drawing(study, trial, search_space)))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Never asked for, since all options are chosen together."""
        raise NotImplementedError(f"{param_name} is not an option of this search")

    def _drawing(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Callable[[], dict[str, Option]]:
        """Draws one choice after the other for this trial."""
        entropy = np.random.SeedSequence([self._seed, trial.number])
        generator = np.random.default_rng(entropy)
        if self._method == "random":
            return lambda: self._space.draw(generator)
        inner = TPESampler(seed=int(entropy.generate_state(1)[0]), multivariate=True, constant_liar=True)
        # Before there are enough trials to learn from, it has no proposal.
        return lambda: inner.sample_relative(study, trial, search_space) or self._space.draw(generator)

    def _possible(self, draw: Callable[[], dict[str, Option]]) -> dict[str, Option]:
        for _ in range(TRIES):
            choice = draw()
            if self._space.possible(choice) is not None:
                return choice
        raise ValueError(
            f"none of {TRIES} proposals in a row makes a possible sampler, such as {choice}: search a smaller space"
        )


def _distribution(option: Interval | Values) -> BaseDistribution:
    if isinstance(option, Values):
        return CategoricalDistribution(option.values)
    if option.whole:
        return IntDistribution(int(option.low), int(option.high), option.log, int(option.step or 1))
    return FloatDistribution(option.low, option.high, option.log, option.step)


FACTOR = 3


def rungs(images: int, first: int) -> tuple[int, ...]:
    """The numbers of images after which a trial is looked at, the last one ``images``.

    Args:
        images: for a trial that goes all the way.
        first: for the first look, at least; ``images`` for no other.

    Raises:
        ValueError: not 2 <= first <= images.
    """
    if not 2 <= first <= images:
        raise ValueError(f"trials of {images} images cannot be looked at after {first}: choose from 2 to {images}")
    counts = [images]
    while counts[0] // FACTOR >= first:
        counts.insert(0, counts[0] // FACTOR)
    return tuple(counts)


class Halving(BasePruner):
    """Ends a trial unless it is among the best third of those that came as far before it.

    The asynchronous successive halving of Li et al. 2020 (arXiv 1810.05934), where a trial is compared with those of
    lower numbers alone: so one that was killed and is done again is compared with the same. All trials have seeds,
    latents and noise in common, so those of few images can be compared.
    """

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Decide whether to end ``trial``, whose newest intermediate value is at step ``trial.last_step``."""
        step = trial.last_step
        if step is None:
            return False
        sign = 1 if study.direction is StudyDirection.MINIMIZE else -1
        value = sign * trial.intermediate_values[step]
        others = [
            sign * other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if other.number < trial.number and step in other.intermediate_values
        ]
        better = sum(other < value for other in others)
        return better >= max(1, (len(others) + 1) // FACTOR)
