"""elucidiff: the design space of diffusion models, after Karras et al. 2022 (arXiv 2206.00364).

Use it as ``import elucidiff as ed``. Every choice that diffusion models are made of is a separate part::

    sigmas = ed.steps.karras(18)
    latents = ed.SeededNoise(range(64)).latents(denoiser.sample_shape)
    x = ed.sample(denoiser, latents, sigmas, solver=ed.solvers.Heun())
"""

from __future__ import annotations

__version__ = "0.1.0"
