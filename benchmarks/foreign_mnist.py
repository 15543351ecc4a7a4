"""Somebody else's small DDPM of MNIST, sampled here by default and at home, against the exact solution of its ODE.

    python -m benchmarks.foreign_mnist WEIGHTS

WEIGHTS are those of sdaloglu/diffusion_with_entropy (MIT licence), as one safetensors file. Its home way is DDIM with
x_0 clipped to the range of the data. The exact solution is that of the ODE of the clipped denoiser, by 128 steps of
Heun's method from the top of the model's table; all begin with the same noise. Writes docs/results/foreign-mnist.md
and .csv.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
from pathlib import Path

import torch
from torch import Tensor

import elucidiff as ed
from benchmarks.foreign_mnist_model import VARIABLE, make
from benchmarks.tables import write_table
from elucidiff.denoisers.clipping import Clamp, Clipped

EVALUATIONS = (5, 8, 12, 16, 25, 35)
SAMPLES, EXACT_STEPS = 64, 128

NOTES = """# A foreign model, sampled by default

Root mean square distance to the exact solution of the ODE, over {samples} samples in [-1, 1], of somebody else's DDPM
of MNIST (`benchmarks/foreign_mnist_model.py` says what it is). "here" is `ed.Sampler.usual(model, n=N)`, which
`elucidiff sample benchmarks/foreign_mnist_model.py:make --n N` draws with: {usual}.
The home way is DDIM with x_0 clipped, by leading and by trailing times; "own epsilon" goes on with the network's
epsilon instead of that of the clipped x_0, as diffusers does. Without clipping, samples of this network diverge: the
standard deviation is {unclipped:.2g} at 35 evaluations, where that of the exact solutions is {exact:.2f}, and of
default samples here {ours:.2f}. The exact solution is known to {error:.1g}: half as many steps differ by so much.

    python -m benchmarks.foreign_mnist WEIGHTS

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    os.environ[VARIABLE] = str(options.weights)
    model = make()
    seeds = range(options.samples)
    z = ed.SeededNoise(seeds).latents(model.sample_shape).double()
    solution, coarser = (exact(model, z, steps) for steps in (EXACT_STEPS, EXACT_STEPS // 2))
    rows = []
    for n in EVALUATIONS:
        ours = ed.Sampler.usual(model, n=n).run(model, seeds)
        assert ours.nfe == n
        home = {
            f"DDIM, {name}": distance(ddim(model, z, times(n), own_epsilon=own), solution)
            for name, times, own in (
                ("leading", leading, False),
                ("trailing", trailing, False),
                ("leading, own epsilon", leading, True),
            )
        }
        here = distance(ours.x, solution)
        numbers = {name: f"{value:.4f}" for name, value in home.items()}
        rows.append(
            {
                "evaluations": str(n),
                "here": f"{here:.4f}",
                **numbers,
                "here / best": f"{here / min(home.values()):.2f}",
            }
        )
    plain = ed.sample(model, z[:16], ed.Sampler.usual(model, n=35).sigmas(model), solver="ipndm:order=2")
    notes = NOTES.format(
        samples=options.samples,
        usual=f"`{ed.Sampler.usual(model).to_text()}`, D clipped to [-1, 1]",
        unclipped=float(plain.std()),
        exact=float(solution.std()),
        ours=float(ed.sample(model, 64).std()),
        error=distance(coarser, solution),
    )
    print(write_table("foreign-mnist", notes, rows))


def exact(model: ed.adapters.InUnits, z: Tensor, steps: int) -> Tensor:
    """The ODE of the clipped denoiser from x_T = z, so from sqrt(sigma^2 + 4) z in [-1, 1] units, images having 2."""
    high = model.sigma_max
    levels = ed.steps.karras(steps, model.sigma_min, high)
    return ed.sample(Clipped(model, Clamp(1.0)), z * start(high) / high, levels)


def start(sigma: float) -> float:
    """How large x is where x_t is unit noise: x = 2 y, y = x_t sqrt(1 + (sigma / 2)^2)."""
    return math.sqrt(sigma**2 + 4)


def leading(n: int) -> list[int]:
    """Times 1 to 1000 in equal strides from 1 on, from the last to the first."""
    return [1 + index * (1000 // n) for index in range(n)][::-1]


def trailing(n: int) -> list[int]:
    """Times from 1000 on down."""
    return [round(1000 - index * 1000 / n) for index in range(n)]


def ddim(model: ed.adapters.InUnits, z: Tensor, times: list[int], *, own_epsilon: bool) -> Tensor:
    """DDIM with x_0 clipped (Song et al. 2021), in x = x_0 + sigma n."""
    table = ed.adapters.DiscreteTime(model.denoiser.time.alpha_bars).sigmas  # type: ignore[attr-defined]
    levels = [2 * float(table[time - 1]) for time in times] + [0.0]
    x = z * start(levels[0])
    with torch.no_grad():
        for sigma, following in itertools.pairwise(levels):
            free = model(x, torch.tensor(sigma))
            clean = free.clamp(-1, 1)
            x = clean + following / sigma * (x - (free if own_epsilon else clean))
    return x


def distance(x: Tensor, y: Tensor) -> float:
    """Root mean square difference."""
    return float((x - y).square().mean().sqrt())


if __name__ == "__main__":
    main()
