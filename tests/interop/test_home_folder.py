"""Models of other libraries as folders that open by themselves, give the same D, and sample as at home."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import elucidiff as ed
from elucidiff.interop import home_sample, k_diffusion, lucidrains, openai, physicsnemo, score_sde
from tests.interop.foreign import golden


def models() -> dict[str, Any]:
    made: dict[str, Any] = {}
    folder, case, _ = golden("openai", "legacy_heads")
    made["openai"] = openai.load(folder, **case["flags"])
    for name in ("ddpmpp_vp_ema", "ncsnpp_ve_skips"):
        folder, case, _ = golden("score_sde", name)
        made[name] = score_sde.load(folder / "weights.safetensors", case["config"])
    for name in ("x0_cosine", "elucidated"):
        folder, case, _ = golden("lucidrains", name)
        made[name] = lucidrains.load(folder, case["wrapper"], case["unet"], **case["wrapper_settings"])
    folder, case, _ = golden("k_diffusion", "augment_patch")
    made["k_diffusion"] = k_diffusion.load(folder / "weights_0.safetensors", case["config"])
    folder, case, _ = golden("physicsnemo", "ddpmpp")
    made["physicsnemo"] = physicsnemo.load(folder, **case["settings"])
    return made


MODELS = models()


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_saved_and_opened(name: str, tmp_path: Path) -> None:
    before = MODELS[name]
    ed.interop.save(before, tmp_path / "model")
    after = ed.load(tmp_path / "model")
    x = torch.randn(2, *before.sample_shape, generator=torch.Generator().manual_seed(0))
    for sigma in (0.05, 1.0, 20.0):
        assert torch.equal(after(x * (1 + sigma), sigma), before(x * (1 + sigma), sigma))
    assert (after.sigma_min, after.sigma_max) == (before.sigma_min, before.sigma_max)
    assert torch.equal(home_sample(after, x, 4), home_sample(before, x, 4))
    ed.interop.save(after, tmp_path / "again")
    assert torch.equal(ed.load(tmp_path / "again")(x, 1.0), before(x, 1.0))


def test_a_network_of_somebody_has_no_settings(tmp_path: Path) -> None:
    denoiser = ed.interop.flow_matching.adapt(lambda x, t: x)
    with pytest.raises(ValueError, match="nothing says how the network of AdaptedDenoiser is built"):
        ed.interop.save(denoiser, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_what_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a")
    with pytest.raises(FileExistsError, match="is no model that this would replace"):
        ed.interop.save(MODELS["openai"], tmp_path / "notes")
    assert (tmp_path / "notes" / "a.txt").read_text() == "a"
    for name in ("openai", "x0_cosine"):
        ed.interop.save(MODELS[name], tmp_path / "model")
    assert ed.load(tmp_path / "model").facts["home"]["format"] == "lucidrains GaussianDiffusion"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "does not say format"),
        ({"version": 9}, "has version 9"),
        ({"library": "os"}, "names the library 'os'"),
        ({"arguments": {"image_sise": 8}}, "no flag 'image_sise'"),
        ({"arguments": {"num_res_blocks": 60000}}, "too many for"),
        ({"arguments": {"image_size": 1 << 40}}, "out of range"),
        ({"arguments": {"channel_mult": [1] * 99}}, "too many for|99 entries"),
        ({"weights_sha256": "0"}, "whose SHA-256 differs"),
    ],
)
def test_descriptions_that_are_not_its_own(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    ed.interop.save(MODELS["openai"], tmp_path / "model")
    file = tmp_path / "model" / "home.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=message) as caught:
        ed.load(tmp_path / "model")
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
