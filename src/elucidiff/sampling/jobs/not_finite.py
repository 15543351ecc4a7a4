"""Samples that are not finite: whose they are, and at which step it happened."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from elucidiff.sampling.jobs.task import Task
from elucidiff.sampling.sampler import SampleResult
from elucidiff.sampling.watch import Watch


def refuse_not_finite(task: Task, result: SampleResult, labels: Tensor | Literal["uniform"] | None) -> None:
    """Raise ValueError, with seed and step, if a sample of ``result`` is not finite.

    The steps are not watched while samples are drawn. Only when something went wrong is the first bad seed drawn
    again, with a look at each step: it depends on nothing but itself, so the same goes wrong again.
    """
    finite = result.x.isfinite().flatten(1).all(dim=1).cpu()
    if bool(finite.all()):
        return
    bad = (~finite).nonzero().flatten().tolist()
    seed = result.seeds[bad[0]]
    label = labels[bad[0]][None] if isinstance(labels, Tensor) else labels
    others = f" (and {len(bad) - 1} of the {len(result.seeds) - 1} drawn with it)" if len(bad) > 1 else ""
    raise ValueError(
        f"seed {seed}{others} gave values that are not finite{_where(task, seed, label)}: try a smaller --sigma-max, "
        "less --churn, or more steps"
    )


def _where(task: Task, seed: int, label: Tensor | Literal["uniform"] | None) -> str:
    watch = Watch()
    if bool(task.draw([seed], label, watch).x.isfinite().all()):
        return ", but not when it was drawn again"
    return f" {watch.where(0)}"
