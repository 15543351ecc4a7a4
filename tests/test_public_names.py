"""The names that others build on: `import elucidiff as ed` and these."""

from __future__ import annotations

import subprocess
import sys
from operator import attrgetter

import pytest

import elucidiff as ed

NAMES = """
    schedules.EDM schedules.VP schedules.VP.fit schedules.VE schedules.Flow schedules.from_sde
    steps.karras steps.vp steps.ve steps.iddpm steps.log_uniform
    preconditioning.EDM preconditioning.VP preconditioning.VE preconditioning.IDDPM
    objectives.EDM objectives.VP objectives.VE table.VP table.VE table.IDDPM table.EDM
    Denoiser ideal.DataPosterior ideal.GaussianMixture load sample
    solvers.Euler solvers.Heun solvers.RK2 solvers.RK45 Churn SeededNoise
    networks.UNet.ddpmpp networks.UNet.ncsnpp networks.ADM networks.EDM2 networks.NetworkPart networks.build
    training.ema_beta training.train training.EMA training.LearningRateSchedule
    augment.Augmentation data.Dataset.from_arrays
    sampling.optimise_steps sampling.load_named
    evaluation.frechet_distance interop.nvlabs.load interop.nvlabs.from_state_dict data.open augment.Augment
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_name_is_there_and_documented(name: str) -> None:
    documentation = attrgetter(name)(ed).__doc__
    assert documentation
    assert len(documentation.split()) >= 5


def test_all_is_true() -> None:
    assert sorted(ed.__all__) == ed.__all__
    for name in ed.__all__:
        assert getattr(ed, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        ed.nothing  # noqa: B018


def test_importing_is_quick_and_initialises_nothing() -> None:
    script = (
        "import sys, elucidiff\n"
        "assert not {'torch', 'matplotlib', 'sklearn', 'elucidiff.networks'} & set(sys.modules)\n"
        "import elucidiff.cli.train, elucidiff.cli.sample, torch\n"
        "assert not torch.cuda.is_initialized()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
