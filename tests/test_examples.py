"""Examples in the docstrings of public names run as they stand there."""

from __future__ import annotations

import doctest
import importlib
import inspect
import types
from collections.abc import Iterator

import pytest
import torch

import elucidiff as ed
from elucidiff import parts

ROOMS = (
    "schedules", "steps", "preconditioning", "objectives", "solvers", "ideal", "sampling", "training", "augment",
    "data", "evaluation", "interop", "networks", "adapters", "guided", "inverse", "parts", "table",
)  # fmt: skip
WITH_EXAMPLES = (
    "Churn", "Denoiser", "SeededNoise", "Sampler", "load", "sample", "schedules.EDM", "schedules.VP", "schedules.VE",
    "schedules.Flow", "steps.karras", "steps.vp", "steps.ve", "steps.iddpm", "steps.log_uniform",
    "preconditioning.EDM", "objectives.EDM", "objectives.VP", "objectives.VE", "solvers.Euler", "solvers.Heun",
    "solvers.RK2", "solvers.RK45", "solvers.Solver", "ideal.DataPosterior", "ideal.GaussianMixture", "training.EMA",
    "training.ema_beta", "evaluation.frechet_distance", "data.open", "data.Dataset", "guided.Guidance",
    "parts.parse", "parts.to_text",
)  # fmt: skip
"""Names of the public contract that have an example."""


def public() -> dict[str, object]:
    """Public names and what they are."""
    found = {name: value for name in ed.__all__ if not inspect.ismodule(value := getattr(ed, name))}
    for room in ROOMS:
        module = getattr(ed, room)
        for name in dict.fromkeys([*getattr(module, "__all__", ()), *vars(module)]):
            value = getattr(module, name)
            own = getattr(value, "__module__", None) == module.__name__ or name in getattr(module, "__all__", ())
            if own and not name.startswith("_") and isinstance(value, type | types.FunctionType):
                found[f"{room}.{name}"] = value
    return found


PUBLIC = public()


@pytest.fixture(autouse=True)
def _no_part_is_left_behind() -> Iterator[None]:
    yield
    for kind in parts._PARTS.values():
        for name in [name for name, cls in kind.items() if "example" in name or name == "plain_euler"]:
            del kind[name]


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_examples_run(name: str) -> None:
    value = PUBLIC[name]
    module = importlib.import_module(str(getattr(value, "__module__", "elucidiff")))
    names = {**vars(module), "ed": ed, "torch": torch}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    for test in doctest.DocTestFinder().find(value, name, module=module, globs=names):
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


def test_the_contract_has_examples() -> None:
    for name in WITH_EXAMPLES:
        found = doctest.DocTestFinder().find(PUBLIC[name], name)
        assert any(test.examples for test in found), name
