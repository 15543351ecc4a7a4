"""guided-diffusion's models by their flags: the network, its denoiser, and what its own samplers return."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.functional import one_hot

import elucidiff as ed
from elucidiff.interop import home_sample, openai
from tests.interop.foreign import FOREIGN, cases, distance, golden, state_dict, tolerance

FLAGS = {
    "image_size": 8,
    "num_channels": 32,
    "num_res_blocks": 1,
    "channel_mult": "1,1",
    "attention_resolutions": "4",
}
LEGACY = FLAGS | {
    "num_heads": 4,
    "num_head_channels": 8,
    "use_scale_shift_norm": False,
    "resblock_updown": True,
    "learn_sigma": True,
    "diffusion_steps": 400,
    "noise_schedule": "cosine",
    "rescale_timesteps": True,
}


@pytest.mark.parametrize("name", cases("openai"))
@torch.no_grad()
def test_network_and_denoiser(name: str) -> None:
    folder, case, numbers = golden("openai", name)
    denoiser = ed.interop.openai.load(folder, **case["flags"])
    labels = numbers.get("y")
    time = denoiser.time
    bars = numbers["alphas_cumprod"]
    torch.testing.assert_close(time.alpha_bars, bars, rtol=1e-12, atol=0)
    rows = () if labels is None else (one_hot(labels, case["flags"]["NUM_CLASSES"]).float(),)
    told, _ = time.at(numbers["sigma"])
    torch.testing.assert_close(told.to(numbers["t_seen"]), numbers["t_seen"])
    assert distance(denoiser.network(numbers["x_t"], numbers["t_seen"], *rows), numbers["raw"]) < 2e-5
    assert distance(denoiser(numbers["x"], numbers["sigma"], labels), numbers["D"]) < 2e-5
    assert denoiser.sample_shape == numbers["x"].shape[1:]


@pytest.mark.parametrize("name", cases("openai"))
def test_its_own_samplers(name: str) -> None:
    folder, case, numbers = golden("openai", name)
    denoiser = openai.load(folder, **case["flags"])
    labels = None if "y" not in numbers else numbers["y"][:2]
    for run, told in case["runs"].items():
        options = {"sampler": told["sampler"], "clip_denoised": told["clip_denoised"], "eta": told["eta"] or 0.0}
        times = openai.visited_times(told["timestep_respacing"], len(denoiser.time.alpha_bars))
        assert times[::-1] == numbers[f"{run}/timesteps"].tolist()
        noise = numbers.get(f"{run}/noise")
        x = home_sample(denoiser, numbers[f"{run}/x_T"], told["timestep_respacing"], labels, noise, **options)
        assert distance(x, numbers[f"{run}/x_0"]) < tolerance(told), run


def test_number_of_steps_means_the_usual_respacing() -> None:
    folder, case, numbers = golden("openai", "legacy_heads")
    denoiser = openai.load(folder, **case["flags"])
    x_t = numbers["ddim25_clip/x_T"]
    assert torch.equal(home_sample(denoiser, x_t, 8), home_sample(denoiser, x_t, "ddim8"))
    assert torch.equal(home_sample(denoiser, x_t, timestep_respacing="ddim8"), home_sample(denoiser, x_t, 8))
    draws = numbers["ancestral10/noise"]
    ten = home_sample(denoiser, x_t, 10, step_noise=draws, sampler="ancestral")
    assert torch.equal(ten, home_sample(denoiser, x_t, "10", step_noise=draws, sampler="ancestral"))
    with pytest.raises(ValueError, match="'ddim8' makes 8 steps, but steps is 10"):
        home_sample(denoiser, x_t, 10, timestep_respacing="ddim8")
    with pytest.raises(ValueError, match="give step_noise"):
        home_sample(denoiser, x_t, 10, sampler="ancestral")


def test_ours_goes_the_same_way_where_nothing_is_clipped() -> None:
    """DDIM is Euler in sigma: Karras et al. 2022, Section 3."""
    folder, case, numbers = golden("openai", "uncond_linear")
    denoiser = openai.load(folder, **case["flags"])
    times = numbers["ddim10/timesteps"]
    sigmas = torch.cat([denoiser.time.sigmas[times], torch.zeros(1, dtype=torch.float64)])
    start = numbers["ddim10/x_T"].double() * (1 + sigmas[0] ** 2).sqrt()
    x = ed.sample(denoiser, start / sigmas[0], sigmas, solver="euler")
    assert distance(x, numbers["ddim10/x_0"]) < 2e-5


def test_visited_times() -> None:
    assert openai.visited_times("", 5) == [0, 1, 2, 3, 4]
    assert openai.visited_times("ddim25", 1000)[-1] == 960
    assert openai.visited_times("3,2", 10) == [0, 2, 4, 5, 9]
    assert openai.visited_times("1,1", 11) == [0, 6]
    for wrong, message in (
        ("ddim7x", "give 'ddimN'"),
        ("ddim600", "no stride visits exactly 600"),
        ("20", "cannot be divided into 20"),
        ("a", "give 'ddimN'"),
        ("3,0", "give 'ddimN'"),
    ):
        with pytest.raises(ValueError, match=message):
            openai.visited_times(wrong, 10 if wrong == "20" else 1000)


def test_checkpoint_of_pytorch(tmp_path: Path) -> None:
    """The published form, with the words that a parallel wrapper puts before the names."""
    folder = FOREIGN / "openai" / "legacy_heads"
    stored = state_dict(folder / "weights_0.safetensors")
    torch.save({f"module.{name}": value for name, value in stored.items()}, tmp_path / "model.pt")
    _, numbers = golden("openai", "legacy_heads")[1:]
    denoiser = openai.load(tmp_path / "model.pt", **LEGACY)
    assert distance(denoiser(numbers["x"], numbers["sigma"]).detach(), numbers["D"]) < 2e-5


def test_flags_as_text() -> None:
    folder = FOREIGN / "openai" / "legacy_heads"
    denoiser = openai.load(folder, **{name: str(value) for name, value in LEGACY.items()})
    assert denoiser.time.factor == 2.5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"num_chanels": 3}, "no flag 'num_chanels': did you mean 'num_channels'"),
        ({"learn_sigma": "maybe"}, "learn_sigma is 'maybe', but must be True or False"),
        ({"image_size": "large"}, "image_size is 'large', but must be a number"),
        ({"image_size": 48, "channel_mult": ""}, "image_size 48 has no usual channel_mult"),
        ({"noise_schedule": "cosin"}, "did you mean 'cosine'"),
        ({"num_channels": 48}, "multiples of 32"),
        ({"num_heads": 0}, "num_heads is 0"),
        ({"resblock_updown": False}, "the weights lack input_blocks.2.0.op"),
        ({"class_cond": True}, "the weights lack label_emb.weight"),
        ({"use_scale_shift_norm": True}, "where \\(64, 128\\) is needed"),
    ],
)
def test_wrong_flags(flags: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        openai.load(FOREIGN / "openai" / "legacy_heads", **(LEGACY | flags))


def test_a_model_with_classes_needs_labels() -> None:
    folder, case, numbers = golden("openai", "class_learned_cosine")
    denoiser = openai.load(folder, **case["flags"])
    with pytest.raises(ValueError, match="trained with classes"):
        denoiser(numbers["x"], 1.0)
