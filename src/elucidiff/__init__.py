"""elucidiff: the design space of diffusion models, after Karras et al. 2022 (arXiv 2206.00364).

Use it as ``import elucidiff as ed``. Every choice that a diffusion model is made of is a separate part::

    denoiser = ed.load("runs/demo/model")
    seeds = ed.SeededNoise(range(16))
    x = ed.sample(denoiser, seeds.latents(denoiser.sample_shape), ed.steps.karras(18), solver=ed.solvers.Heun())

Parts are imported when they are first used, so ``import elucidiff`` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elucidiff import (
        augment,
        autoencoders,
        data,
        evaluation,
        figures,
        interop,
        networks,
        parts,
        sampling,
        solvers,
        training,
    )
    from elucidiff.denoisers import adapters, guided, ideal
    from elucidiff.denoisers.backends import with_backend
    from elucidiff.denoisers.preconditioned import Denoiser
    from elucidiff.design import objectives, preconditioning, schedules, steps
    from elucidiff.interop import load
    from elucidiff.parts import part
    from elucidiff.sampling import inverse, table
    from elucidiff.sampling.churn import Churn, Restart
    from elucidiff.sampling.loop import sample
    from elucidiff.sampling.sampler import Sampler
    from elucidiff.sampling.seeds import SeededNoise

__version__ = "0.2.0"

__all__ = [
    "Churn",
    "Denoiser",
    "Restart",
    "Sampler",
    "SeededNoise",
    "adapters",
    "augment",
    "autoencoders",
    "data",
    "evaluation",
    "figures",
    "guided",
    "ideal",
    "interop",
    "inverse",
    "load",
    "networks",
    "objectives",
    "part",
    "parts",
    "preconditioning",
    "sample",
    "sampling",
    "schedules",
    "solvers",
    "steps",
    "table",
    "training",
    "with_backend",
]

_MODULES = {
    "adapters": "denoisers.adapters",
    "augment": "augment",
    "autoencoders": "autoencoders",
    "data": "data",
    "evaluation": "evaluation",
    "figures": "figures",
    "guided": "denoisers.guided",
    "ideal": "denoisers.ideal",
    "interop": "interop",
    "inverse": "sampling.inverse",
    "networks": "networks",
    "objectives": "design.objectives",
    "parts": "parts",
    "preconditioning": "design.preconditioning",
    "sampling": "sampling",
    "schedules": "design.schedules",
    "solvers": "solvers",
    "steps": "design.steps",
    "table": "sampling.table",
    "training": "training",
}
_OBJECTS = {
    "Churn": "sampling.churn",
    "Denoiser": "denoisers.preconditioned",
    "Restart": "sampling.churn",
    "Sampler": "sampling.sampler",
    "SeededNoise": "sampling.seeds",
    "load": "interop",
    "part": "parts",
    "sample": "sampling.loop",
    "with_backend": "denoisers.backends",
}


def __getattr__(name: str) -> Any:
    """Import a part on first use (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    if name in _OBJECTS:
        return getattr(importlib.import_module(f"{__name__}.{_OBJECTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
