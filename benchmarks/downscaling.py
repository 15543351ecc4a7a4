"""Downscaling of real winds: a conditional model against interpolation, and against restoring without a condition.

Monthly means of the wind at the surface, two components on a grid of 2.5 degrees, 1982 to 1992 (the FNOC winds in
Debian's package ``ferret-datasets``), are cut into patches of 24 x 24 cells. Known are the means over 4 x 4 cells;
wanted are the winds. The last two years are held out.

    apt-get download ferret-datasets && dpkg -x ferret-datasets_*.deb ferret
    python -m benchmarks.downscaling ferret/usr/share/ferret-vis/data/monthly_navy_winds.cdf --minutes 15
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.io import netcdf_file

import elucidiff as ed
from elucidiff.data import Dataset
from elucidiff.training import TrainingConfig
from elucidiff.training.learning_rate import Cosine

SIDE, HELD_OUT_MONTHS, FACTOR = 24, 24, 4
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
