"""A model of each kind from elsewhere through the verbs: convert, sample, steps optimise, save, load."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.interop import lucidrains, openai, physicsnemo, score_sde
from tests.golden_files import GOLDEN
from tests.interop.diffusers.folders import pipeline
from tests.interop.foreign import golden, state_dict

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning:diffusers", "ignore:sigma goes from"),
]


def snapshot(at: Path) -> Path:
    return GOLDEN / "m_edm2" / "uncond_rgb.pkl"


def published(at: Path) -> Path:
    """A file of k-diffusion, with its settings inside."""
    folder, case, _ = golden("k_diffusion", "plain")
    file = at / "k.safetensors"
    save_file(state_dict(folder / "weights_0.safetensors"), file, metadata={"config": json.dumps(case["config"])})
    return file


def told(read: Callable[..., Any], library: str, name: str, *arguments: str) -> Callable[[Path], Path]:
    """A state dict, whose settings its reader is told once; ``ed.interop.save`` keeps them beside the weights."""

    def made(at: Path) -> Path:
        folder, case, _ = golden(library, name)
        given = [case[each] for each in arguments if each != "**"]
        keywords = case.get("flags") or case.get("wrapper_settings") or case.get("settings") or {}
        files = sorted(folder.glob("weights*.safetensors"))
        denoiser = read(
            folder if len(files) > 1 else files[0], *given, **(keywords if arguments[-1:] == ("**",) else {})
        )
        ed.interop.save(denoiser, at / "read")
        return at / "read"

    return made


KINDS: dict[str, Callable[[Path], Path]] = {
    "nvlabs": snapshot,
    "k_diffusion": published,
    "openai": told(openai.load, "openai", "legacy_heads", "**"),
    "score_sde vp": told(score_sde.load, "score_sde", "ddpmpp_vp", "config"),
    "score_sde ve": told(score_sde.load, "score_sde", "ncsnpp_ve_skips", "config"),
    "lucidrains": told(lucidrains.load, "lucidrains", "x0_cosine", "wrapper", "unet", "**"),
    "lucidrains elucidated": told(lucidrains.load, "lucidrains", "elucidated", "wrapper", "unet", "**"),
    "physicsnemo": told(physicsnemo.load, "physicsnemo", "ddpmpp", "**"),
    "diffusers epsilon": lambda at: pipeline(at / "eps", "eps", "ddim_default"),
    "diffusers v": lambda at: pipeline(at / "v", "v", "ddim_zero_snr"),
    "diffusers flow": lambda at: pipeline(at / "flow", "flow", "euler_shift3"),
    "diffusers edm": lambda at: pipeline(at / "edm", "edm", "edm_euler"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_goes_through_the_verbs(kind: str, tmp_path: Path) -> None:
    source, model = KINDS[kind](tmp_path), tmp_path / "model"
    before = ed.load(source)
    assert main(["convert", str(source), str(model)]) == 0
    after = ed.load(model)
    x = torch.randn(2, *before.sample_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for sigma in (0.1, 1.0, 10.0):
            assert torch.equal(after(x * (1 + sigma), sigma), before(x * (1 + sigma), sigma))
    drawn = tmp_path / "drawn"
    few = ["--seeds", "0-1", "--processes", "1", "--device", "cpu", "--backend", "eager"]
    assert main(["sample", str(model), "--n", "3", "--out", str(drawn), *few]) == 0
    words = ["--nfe", "4", "--solver", "ipndm", "--seeds", "0-3", "--fresh-seeds", "10-13", "--max-minutes", "0.02"]
    assert main(["steps", "optimise", str(model), *words, "--device", "cpu"]) == 0
    kept = [file.stem for file in (model / "samplers").glob("*.json")] if (model / "samplers").is_dir() else []
    for name in kept:
        assert main(["sample", str(model), "--sampler", name, "--out", str(tmp_path / name), *few]) == 0
    # Saved once more, it is the same model still.
    again = tmp_path / "again"
    assert main(["convert", str(model), str(again)]) == 0
    with torch.no_grad():
        assert torch.equal(ed.load(again)(3 * x, 2.0), before(3 * x, 2.0))
    z = torch.randn(2, *before.sample_shape, generator=torch.Generator().manual_seed(1))
    assert torch.equal(ed.sample(ed.load(again), z, "karras:n=3"), ed.sample(before, z, "karras:n=3"))
