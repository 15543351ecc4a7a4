"""Bits per dimension of a Gaussian mixture against the truth, and how well pictures come back from their latents.

    python -m benchmarks.likelihood MODEL [MODEL ...]

The mixture has as many dimensions as a digit, 64, and its density in closed form. The divergence is taken whole, and
by Hutchinson's estimate. Pictures are the first of the test part where the data have
one, encoded and decoded by the ODE between 80 and 0.002. Writes docs/results/likelihood.md and .csv.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import torch

import elucidiff as ed
from benchmarks.errors import Estimate
from benchmarks.tables import write_table
from elucidiff.sampling.optimise.candidate import exact_range
from elucidiff.sampling.sampler import Sampler

DIMENSIONS, COMPONENTS, PROBES, IMAGES = 64, 5, 16, 8
TOLERANCES = (1e-4, 1e-5)

NOTES = """# Likelihood and inversion

Bits per dimension of {samples} samples of a mixture of {components} Gaussians in {dimensions} dimensions, by its own
exact denoiser and RK45 with tolerance 1e-4, against the mean of its density in closed form on the same samples; the
standard error is that of the mean difference. Then pictures of trained models, encoded and decoded with RK45: root
mean square difference of {images} of them, in [-1, 1].

    python -m benchmarks.likelihood {models}

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--samples", type=int, default=256, help="of the mixture")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [*mixture(options.samples), *(row for model in options.models for row in round_trips(model))]
    facts = {"samples": options.samples, "components": COMPONENTS, "dimensions": DIMENSIONS, "images": IMAGES}
    print(write_table("likelihood", NOTES.format(models=" ".join(["MODEL"] * len(options.models)), **facts), rows))


def mixture(samples: int) -> Iterator[dict[str, str]]:
    """Bits per dimension with the whole divergence and with an estimate of it."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(COMPONENTS, DIMENSIONS, generator=generator, dtype=torch.float64) / 2
    roots = torch.randn(COMPONENTS, DIMENSIONS, DIMENSIONS, generator=generator, dtype=torch.float64) / 20
    covariances = roots @ roots.mT + 0.01 * torch.eye(DIMENSIONS, dtype=torch.float64)
    target = ed.ideal.GaussianMixture(means[:, None], covariances, torch.ones(COMPONENTS) / COMPONENTS)
    x = target.sample(samples, generator)
    truth = target.log_prob(x) / (-DIMENSIONS * math.log(2))
    for name, divergence, probes in (("exact", "exact", 1), (f"by {PROBES} probes", "hutchinson", PROBES)):
        solver = ed.solvers.RK45(1e-4, 1e-4)
        found = ed.sampling.log_likelihood(
            target, x, [80, 0.002, 0], solver=solver, divergence=divergence, probes=probes
        )
        bits = found.log_prob / (-DIMENSIONS * math.log(2))
        error = (bits - truth).std(correction=1) / math.sqrt(samples)
        difference = Estimate(float((bits - truth).mean()), float(error))
        yield {
            "what": f"bits/dim of a mixture, divergence {name}",
            "found": f"{float(bits.mean()):.4f}",
            "truth or bar": f"{float(truth.mean()):.4f}",
            "difference": f"{difference:.4f} ({abs(difference.value / float(truth.mean())):.2%})",
            "evaluations": f"{float(torch.as_tensor(found.nfe).double().mean()):.0f}",
        }


def round_trips(model: Path) -> Iterator[dict[str, str]]:
    """There and back, at two tolerances."""
    denoiser = ed.load(model).eval()
    name = str(denoiser.facts["data"]["name"])
    data = ed.data.open(f"{name}:test" if name == "fashion-mnist" else name)
    x = ed.data.to_unit(data.images(range(IMAGES))).double()
    labels = data.labels(range(IMAGES)) if denoiser.label_dim else None
    low, high = exact_range(Sampler(), denoiser)
    for tolerance in TOLERANCES:
        solver = ed.solvers.RK45(tolerance, tolerance)
        latents, nfe = ed.sampling.encode(denoiser, x, [high, low, 0], labels=labels, solver=solver)
        again, back = ed.sampling.decode(denoiser, latents, [high, low, 0], labels=labels, solver=solver)
        error = float(ed.sampling.round_trip_error(x, again).square().mean().sqrt())
        yield {
            "what": f"{name} pictures there and back, tolerance {tolerance:g}",
            "found": f"{error:.1e}",
            "truth or bar": "below 1e-3",
            "difference": "",
            "evaluations": f"{float((torch.as_tensor(nfe) + torch.as_tensor(back)).double().mean()):.0f}",
        }


if __name__ == "__main__":
    main()
