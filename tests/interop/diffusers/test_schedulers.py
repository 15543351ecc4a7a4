"""Our samplers against the installed schedulers, on settings beside those of the reference numbers.

The network is a function of x and the time, which is not linear and tells times apart. Their states are float64 here,
their tables and noise levels float32; ours differ by what that rounds.
"""

from __future__ import annotations

import inspect
import math
import sys

import numpy as np
import pytest
import torch

from elucidiff.interop.diffusers import from_config
from elucidiff.interop.diffusers.settings import Run
from tests.interop.foreign import distance

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers", "ignore::FutureWarning:diffusers")

SPACINGS = ("leading", "trailing", "linspace")
KINDS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
LOW = {"beta_start": 0.001, "beta_end": 0.01, "num_train_timesteps": 300}


def network(x, t, learned=False):
    t = float(t) / 1000
    y = torch.tanh(x * (0.6 + 0.3 * math.cos(3 * t))) + 0.2 * math.sin(5 * t) * x.roll(1, -1) + 0.1 * x
    return torch.cat([y, 0.9 * torch.sin(2 * x)], 1) if learned else y


def theirs(name, settings, z, noise, steps, monkeypatch, learned=False, **options):
    """What their scheduler makes of unit noise ``z``, its own draws replaced by ``noise``."""
    scheduler = getattr(diffusers, name)(**settings)
    for_times = {key: options.pop(key) for key in ("mu", "sigmas", "timesteps") if key in options}
    if "sigmas" in for_times or "timesteps" in for_times:
        count = {"num_inference_steps": steps} if name.startswith("UniPC") else {}
        scheduler.set_timesteps(**for_times, **count)
    else:
        scheduler.set_timesteps(steps, **for_times)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # without, it begins at the second of two times that are the same
    now = [0]
    fresh = lambda *_, **__: noise[now[0]].clone()  # noqa: E731
    if hasattr(module := sys.modules[type(scheduler).__module__], "randn_tensor"):
        monkeypatch.setattr(module, "randn_tensor", fresh)
    x = z * float(getattr(scheduler, "init_noise_sigma", 1.0))
    takes = inspect.signature(scheduler.step).parameters
    for now[0], t in enumerate(scheduler.timesteps):
        seen = scheduler.scale_model_input(x, t) if hasattr(scheduler, "scale_model_input") else x
        if "variance_noise" in takes:
            options["variance_noise"] = fresh()
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randn_like", fresh)
            output = network(seen.double(), t, learned)
            x = scheduler.step(output, t, x.double(), **options).prev_sample
    return x.double()


def ours(name, settings, z, noise, steps, learned=False, **options):
    scheduler = from_config({"_class_name": name, **settings}, "a test")
    return scheduler.sample(z, steps, Run(lambda x, t: network(x, t, learned), noise.__getitem__, options))


def assert_same(name, settings, steps, monkeypatch, tolerance=2e-5, **options):
    generator = torch.Generator().manual_seed(steps)
    z, *noise = torch.randn(steps + 2, 2, 3, 5, 5, generator=generator, dtype=torch.float64)
    expected = theirs(name, settings, z, torch.stack(noise), steps, monkeypatch, **options)
    assert bool(expected.isfinite().all())
    assert distance(ours(name, settings, z, torch.stack(noise), steps, **options), expected) <= tolerance


def each(**choices):
    """One setting changed at a time."""
    return [{name: value} for name, values in choices.items() for value in values]


TABLES = [
    *each(
        beta_schedule=("scaled_linear", "squaredcos_cap_v2"),
        prediction_type=("sample", "v_prediction"),
        timestep_spacing=SPACINGS,
        steps_offset=(3,),
        trained_betas=([0.001 + 0.0001 * i for i in range(120)],),
    ),
    LOW,
    {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
]
THRESHOLDS = [
    {"thresholding": True},
    {"thresholding": True, "sample_max_value": 1.4, "dynamic_thresholding_ratio": 0.8, "prediction_type": "sample"},
]


def whole(settings):
    """Betas are as many as times."""
    betas = settings.get("trained_betas")
    return settings if betas is None else {**settings, "num_train_timesteps": len(betas)}


@pytest.mark.parametrize(
    "settings",
    [
        *TABLES,
        *THRESHOLDS,
        *each(clip_sample=(False,), clip_sample_range=(0.7,), set_alpha_to_one=(False,)),
        {"prediction_type": "epsilon", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [1, 7, 30])
def test_ddim(settings, steps, monkeypatch):
    assert_same("DDIMScheduler", whole(settings), steps, monkeypatch)


@pytest.mark.parametrize("options", [{"eta": 0.6}, {"eta": 1.0, "use_clipped_model_output": True}], ids=str)
def test_ddim_with_fresh_noise(options, monkeypatch):
    assert_same("DDIMScheduler", {"set_alpha_to_one": False}, 9, monkeypatch, **options)


@pytest.mark.parametrize(
    "settings",
    [
        *TABLES,
        *THRESHOLDS,
        *each(clip_sample=(False,), variance_type=("fixed_small_log", "fixed_large"), beta_schedule=("sigmoid",)),
        {"variance_type": "fixed_large", "timestep_spacing": "trailing"},
    ],
    ids=str,
)
def test_ddpm(settings, monkeypatch):
    assert_same("DDPMScheduler", whole(settings), 7, monkeypatch)


def test_ddpm_with_a_learned_variance_and_given_times(monkeypatch):
    assert_same("DDPMScheduler", {"variance_type": "learned_range"}, 7, monkeypatch, learned=True)
    assert_same("DDPMScheduler", {}, 4, monkeypatch, timesteps=[900, 400, 70, 0])


@pytest.mark.parametrize(
    "settings",
    [
        *TABLES,
        *each(final_sigmas_type=("sigma_min",), interpolation_type=("log_linear",)),
        *[{kind: True, "sigma_min": 0.04, "sigma_max": 30.0} for kind in KINDS],
        {"use_karras_sigmas": True, "interpolation_type": "log_linear"},
        {"use_karras_sigmas": True, "prediction_type": "v_prediction", "timestep_type": "continuous"},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [1, 12])
def test_euler(settings, steps, monkeypatch):
    # Of the cosine table, which begins at 20291, float32 steps leave less.
    tolerance = 1e-3 if settings.get("beta_schedule") == "squaredcos_cap_v2" else 2e-5
    assert_same("EulerDiscreteScheduler", whole(settings), steps, monkeypatch, tolerance)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_euler_adds_its_noise_after_the_network(prediction, monkeypatch):
    churn = {"s_churn": 4.0, "s_tmin": 0.2, "s_tmax": 9.0, "s_noise": 1.01}
    assert_same("EulerDiscreteScheduler", {"prediction_type": prediction}, 8, monkeypatch, **churn)


def test_euler_at_given_levels_and_times(monkeypatch):
    assert_same("EulerDiscreteScheduler", {}, 3, monkeypatch, sigmas=[50.0, 4.0, 0.3, 0.0])
    assert_same("EulerDiscreteScheduler", {}, 3, monkeypatch, timesteps=[900, 333, 20])


@pytest.mark.parametrize(
    "settings",
    [
        *each(
            timestep_spacing=SPACINGS, prediction_type=("v_prediction",), steps_offset=(2,), beta_schedule=("exp",)
        ),
        *[{kind: True} for kind in KINDS],
        {"clip_sample": True, "clip_sample_range": 0.8},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [1, 6])
def test_heun(settings, steps, monkeypatch):
    assert_same("HeunDiscreteScheduler", settings, steps, monkeypatch)


@pytest.mark.parametrize(
    "settings",
    [
        *TABLES,
        *THRESHOLDS,
        *each(
            solver_order=(1, 3),
            solver_type=("heun",),
            lower_order_final=(False,),
            euler_at_final=(True,),
            lambda_min_clipped=(-3.0,),
            algorithm_type=("sde-dpmsolver++",),
            use_lu_lambdas=(True,),
        ),
        *[{kind: True, "beta_schedule": table} for kind in KINDS for table in ("linear", "squaredcos_cap_v2")],
        {"final_sigmas_type": "sigma_min", "use_karras_sigmas": True},
        {"final_sigmas_type": "sigma_min", "euler_at_final": True},
        {"final_sigmas_type": "sigma_min", "solver_order": 3, "algorithm_type": "dpmsolver", "solver_type": "heun"},
        {"final_sigmas_type": "sigma_min", "thresholding": True, "algorithm_type": "dpmsolver"},
        {"final_sigmas_type": "sigma_min", "algorithm_type": "sde-dpmsolver"},
        {"final_sigmas_type": "sigma_min", "algorithm_type": "sde-dpmsolver", "solver_type": "heun"},
        {"solver_order": 3, "algorithm_type": "sde-dpmsolver++"},
        {"solver_type": "heun", "algorithm_type": "sde-dpmsolver++"},
        {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 0.7},
        {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "final_sigmas_type": "sigma_min"},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [2, 9, 17])
def test_dpm_solver(settings, steps, monkeypatch):
    assert_same("DPMSolverMultistepScheduler", whole(settings), steps, monkeypatch)


@pytest.mark.parametrize(
    "settings",
    [
        *TABLES,
        *THRESHOLDS,
        *each(solver_order=(1, 3), disable_corrector=([0, 2],)),
        *[{kind: True, "sigma_min": 0.04, "sigma_max": 30.0} for kind in KINDS],
        {"final_sigmas_type": "sigma_min", "solver_type": "bh1", "solver_order": 3},
        {"final_sigmas_type": "sigma_min", "lower_order_final": False, "solver_order": 3},
        {"final_sigmas_type": "sigma_min", "predict_x0": False, "timestep_spacing": "leading"},
        {"final_sigmas_type": "sigma_min", "predict_x0": False, "thresholding": True, "timestep_spacing": "leading"},
        {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0},
        {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "shift_terminal": 0.1},
        {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "use_karras_sigmas": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [2, 9])
def test_unipc(settings, steps, monkeypatch):
    assert_same("UniPCMultistepScheduler", whole(settings), steps, monkeypatch)


def test_shift_by_the_size_of_the_image(monkeypatch):
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "use_dynamic_shifting": True}
    for name in ("DPMSolverMultistepScheduler", "UniPCMultistepScheduler"):
        assert_same(name, flow, 6, monkeypatch, mu=0.8)


@pytest.mark.parametrize(
    "settings",
    [
        *each(shift=(0.5, 3.0), num_train_timesteps=(500,), stochastic_sampling=(True,), invert_sigmas=(True,)),
        {"shift": 2.0, "shift_terminal": 0.1},
        *[{kind: True, "shift": 3.0} for kind in KINDS],
    ],
    ids=str,
)
def test_flow_euler(settings, monkeypatch):
    assert_same("FlowMatchEulerDiscreteScheduler", settings, 7, monkeypatch)


@pytest.mark.parametrize("kind", ["exponential", "linear"])
def test_flow_euler_with_a_dynamic_shift_and_given_levels(kind, monkeypatch):
    settings = {"use_dynamic_shifting": True, "time_shift_type": kind}
    assert_same("FlowMatchEulerDiscreteScheduler", settings, 6, monkeypatch, mu=0.7)
    assert_same("FlowMatchEulerDiscreteScheduler", settings, 3, monkeypatch, mu=0.7, sigmas=[1.0, 0.6, 0.2])


EDM = [
    *each(
        sigma_data=(1.0,),
        sigma_schedule=("exponential",),
        prediction_type=("v_prediction",),
        rho=(3.0,),
        sigma_max=(20.0,),
        final_sigmas_type=("sigma_min",),
    ),
]


@pytest.mark.parametrize("settings", EDM, ids=str)
@pytest.mark.parametrize("steps", [1, 8])
def test_edm_euler(settings, steps, monkeypatch):
    assert_same("EDMEulerScheduler", settings, steps, monkeypatch)
    assert_same("EDMEulerScheduler", settings, steps, monkeypatch, s_churn=3.0, s_tmax=40.0, s_noise=1.02)


@pytest.mark.parametrize(
    "settings",
    [
        *EDM,
        *THRESHOLDS[:1],
        *each(
            solver_order=(1, 3),
            solver_type=("heun",),
            lower_order_final=(False,),
            euler_at_final=(True,),
            algorithm_type=("sde-dpmsolver++",),
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("steps", [1, 9, 17])
def test_edm_dpm_solver(settings, steps, monkeypatch):
    assert_same("EDMDPMSolverMultistepScheduler", settings, steps, monkeypatch)


def test_given_times_and_levels(monkeypatch):
    assert_same("HeunDiscreteScheduler", {"timestep_spacing": "leading"}, 3, monkeypatch, timesteps=[900, 400, 70])
    assert_same("DPMSolverMultistepScheduler", {}, 4, monkeypatch, timesteps=[900, 400, 70, 20])
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": 3.0}
    levels = np.array([0.9, 0.6, 0.2])
    assert_same("UniPCMultistepScheduler", flow, 3, monkeypatch, sigmas=levels)
    assert_same("UniPCMultistepScheduler", {**flow, "shift_terminal": 0.1}, 3, monkeypatch, sigmas=levels)
    assert_same("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, 3, monkeypatch, timesteps=[900.0, 400.0, 100.0])
    both = {"timesteps": [800.0, 300.0, 50.0], "sigmas": [0.9, 0.4, 0.1]}
    assert_same("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, 3, monkeypatch, **both)


@pytest.mark.parametrize("kind", [*KINDS, "use_lu_lambdas", "use_flow_sigmas"])
def test_times_are_not_given_along_with_a_spacing(kind):
    scheduler = from_config({"_class_name": "DPMSolverMultistepScheduler", kind: True}, "a test")
    with pytest.raises(ValueError, match=f"along with {kind}"):
        scheduler.sample(torch.ones(1, 1, 2), 2, Run(network, torch.ones, {"timesteps": [9, 3]}))
