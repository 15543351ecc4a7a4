"""Downscaling of real winds: a conditional model against interpolation, and against restoring without a condition.

Monthly means of the wind at the surface, two components on a grid of 2.5 degrees, 1982 to 1992 (the FNOC winds in
Debian's package ``ferret-datasets``), are cut into patches of 24 x 24 cells. Known are the means over 4 x 4 cells;
wanted are the winds. The last two years are held out.

    apt-get download ferret-datasets && dpkg -x ferret-datasets_*.deb ferret
    python -m benchmarks.downscaling ferret/usr/share/ferret-vis/data/monthly_navy_winds.cdf --minutes 15
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from matplotlib import pyplot as plt
from scipy.io import netcdf_file
from torch import Tensor

import elucidiff as ed
from elucidiff import parts
from elucidiff.data import Dataset, scaling_of
from elucidiff.data.subsets import evenly_spread
from elucidiff.design.steps import Karras
from elucidiff.evaluation import Score
from elucidiff.evaluation.pairs.evaluation import METRICS
from elucidiff.evaluation.pairs.scores import scores
from elucidiff.networks import resampled
from elucidiff.sampling import Sampler
from elucidiff.sampling.grid import range_for
from elucidiff.training import TrainingConfig
from elucidiff.training.learning_rate import Cosine

OUT = Path("docs/results/downscaling.md")
SIDE, HELD_OUT_MONTHS, FACTOR = 24, 24, 4
SAMPLER = Sampler(Karras(12, *range_for(1.0)), solver="ipndm:order=3")
NOISE = 0.01  # of what is known, in standard deviations of the winds
_NETWORK = "mp_unet:base_channels=16,channel_multipliers=1/2/2,blocks_per_level=1,attention_resolutions=6"

Array = npt.NDArray[np.float32]


def winds(file: Path) -> Array:
    """Zonal and meridional winds in m/s, ``(months, 2, 72, 144)``; the row at the north pole is left out."""
    with netcdf_file(file, mmap=False) as opened:
        parts = [np.array(opened.variables[name][:], np.float32) for name in ("UWND", "VWND")]
    return np.stack(parts, axis=1)[:, :, :72]


def patches(fields: Array, step: int) -> Array:
    """Patches of 24 x 24 cells, every ``step`` cells; the earth is round along the other axis."""
    around = np.concatenate([fields, fields[..., :SIDE]], axis=-1)
    rows, columns = range(0, fields.shape[2] - SIDE + 1, step), range(0, fields.shape[3], step)
    cut = [around[:, :, row : row + SIDE, column : column + SIDE] for row in rows for column in columns]
    return np.concatenate(cut)


def pairs(file: Path) -> tuple[Dataset, Dataset]:
    """What is trained on, and what is held out: patches with the means over 4 x 4 cells."""
    fields = winds(file)
    made = f"downsample:{FACTOR}"
    train = Dataset.from_arrays(patches(fields[:-HELD_OUT_MONTHS], SIDE // 2), conditions=made, name="winds")
    held_out = Dataset.from_arrays(patches(fields[-HELD_OUT_MONTHS:], SIDE), conditions=made, name="later winds")
    return train, held_out


def trained(out: Path, train: Dataset, minutes: float, seed: int = 0) -> Path:
    """The model folder of a run; a run that is there is resumed, and left alone if it is finished."""
    config = TrainingConfig(
        network=_NETWORK, normalise="standard", sigma_data=1.0, p_mean=-0.6, p_std=1.4, learned_loss_weighting=True,
        batch_size=32, lr=4e-2, lr_ramp_images=1_600, lr_decay=Cosine(), lr_gains=0.1, ema_half_life_images=2_000,
        max_minutes=minutes, checkpoint_images=10_000, log_images=2_000, memorisation_samples=0, device="cpu",
        compile="off", seed=seed,
    )  # fmt: skip
    result = ed.training.train(config, out, dataset=train, resume=out.is_dir())
    print(f"{out.name}: {result.images_seen:,} images in {result.seconds / 60:.1f} minutes", flush=True)
    return out / "model"


def restored(model: Path, held_out: Dataset, members: int) -> Tensor:
    """Samples ``(K, M, 2, 24, 24)`` of a model without conditions, restored from the means over 4 x 4 cells."""
    denoiser = ed.load(model)
    scaling, pool = scaling_of(denoiser), ed.inverse.AveragePool(FACTOR)
    x, found = scaling.to_model(held_out.images()).double(), []
    for place in range(len(held_out)):
        posterior = ed.inverse.Posterior(denoiser, pool, pool(x[place : place + 1]), NOISE)
        seeds = range(place * members, (place + 1) * members)
        found.append(SAMPLER.run(posterior, seeds, batch_size=members).x)
    return scaling.to_data(torch.cat(found)).reshape(len(held_out), members, *held_out.shape)


def drawn(model: Path, held_out: Dataset, members: int) -> Tensor:
    """Samples of the conditional model, likewise."""
    denoiser = ed.load(model)
    rows = torch.arange(len(held_out) * members) // members
    given = ed.data.given_with(held_out, ed.data.ConditionScaling.of(denoiser), rows)
    x = SAMPLER.run(denoiser, range(len(rows)), given).x
    return scaling_of(denoiser).to_data(x).reshape(len(held_out), members, *held_out.shape)


def figure(held_out: Dataset, samples: Tensor, others: Tensor, path: Path) -> None:
    """Zonal winds of some patches: what is known, bicubic, samples of both models, and the truth."""
    low, truth = held_out.conditions(), held_out.images()
    assert low is not None
    wide = resampled(low.double(), (SIDE, SIDE))
    shown = [0, len(held_out) // 3, 2 * len(held_out) // 3]
    titles = ["known", "bicubic", *["conditional"] * 3, *["restored"] * 2, "truth"]
    with plt.rc_context({"font.size": 8}):
        chart, axes = plt.subplots(len(shown), len(titles), figsize=(10, 4), layout="constrained")
        for row, place in zip(axes, shown, strict=True):
            fields = [low[place], wide[place], *samples[place, :3], *others[place, :2], truth[place]]
            limit = float(truth[place, 0].abs().max())
            for axis, field in zip(row, fields, strict=True):
                drawn = axis.imshow(field[0], cmap="RdBu_r", vmin=-limit, vmax=limit, origin="lower")
                axis.set_xticks([])
                axis.set_yticks([])
            chart.colorbar(drawn, ax=row.tolist(), label="m/s", shrink=0.9)
        for axis, title in zip(axes[0], titles, strict=True):
            axis.set_title(title)
        chart.savefig(path, dpi=130)
    plt.close(chart)


def table(found: Mapping[str, Mapping[str, Score]]) -> str:
    """Metrics of each forecast, with their standard errors."""
    lines = [f"| forecast | {' | '.join(METRICS)} |", f"|---{'|---' * len(METRICS)}|"]
    for name, of_it in found.items():
        cells = [f"{one.value:.3f} ± {one.error:.3f}" if (one := of_it.get(metric)) else "" for metric in METRICS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train both models, measure them, and write table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--minutes", type=float, default=15.0, help="for each training")
    parser.add_argument("--runs", type=Path, default=Path("runs/downscaling"))
    parser.add_argument("--pairs", type=int, default=200, help="held-out pairs for the conditional model")
    parser.add_argument("--restored", type=int, default=32, help="of them, for both models")
    parser.add_argument("--members", type=int, default=8)
    options = parser.parse_args()
    train, held_out = pairs(options.file)
    conditional = trained(options.runs / "conditional", train, options.minutes)
    unconditional = trained(options.runs / "unconditional", train.without_conditions(), options.minutes)
    whole = ed.evaluation.evaluate_pairs(
        conditional, held_out, per_condition=options.members, count=options.pairs, sampler=SAMPLER
    )
    print(whole.to_markdown(), flush=True)
    some = held_out.select(evenly_spread(np.arange(len(held_out)), options.restored))
    begun = time.monotonic()
    samples = drawn(conditional, some, options.members)
    middle = time.monotonic()
    others = restored(unconditional, some, options.members)
    seconds = [middle - begun, time.monotonic() - middle]
    truth, count = some.images(), options.restored * options.members
    several = {name: parts.resolve("pair metric", name) for name in METRICS}
    found = {
        f"bicubic ({whole.conditions} pairs)": whole.baseline,
        f"conditional model ({whole.conditions} pairs)": whole.scores,
        f"conditional model ({len(some)} pairs)": scores(several, samples, truth),
        f"restored, model without conditions ({len(some)} pairs)": scores(several, others, truth),
    }
    print(f"{options.members} samples for each condition, in m/s; {options.minutes:g} minutes of training each\n")
    print(table(found))
    print(f"a sample took {seconds[0] / count:.3f} s with the conditional model, {seconds[1] / count:.3f} s restored")
    figure(some, samples, others, OUT.with_suffix(".png"))


if __name__ == "__main__":
    main()
