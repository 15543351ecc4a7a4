"""The guide to other people's models does what it says: its code is run in order, on small models of each library."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import elucidiff as ed
from elucidiff.interop import k_diffusion
from tests.e2e.conftest import Run
from tests.golden_files import GOLDEN
from tests.interop.diffusers.folders import pipeline
from tests.interop.foreign import FOREIGN, golden, state_dict
from tests.interop.test_flow_matching import field

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "your-model.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"^    elucidiff (.*)$", re.MULTILINE)
CODE = re.compile(r"^```python\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)


MINE = """
from tests.interop.closed_form import Blurred, foreign

def make():
    return foreign("flow", Blurred(count=50))
"""


class Posterior(nn.Module):
    """As azula has them: of Gaussian data of standard deviation 0.5, with x_t = (1 - t) x_0 + t noise."""

    schedule = staticmethod(lambda t: (1 - t, t))

    def forward(self, x_t: torch.Tensor, t: torch.Tensor) -> SimpleNamespace:
        alpha, sigma = (each.reshape(-1, 1, 1, 1) for each in self.schedule(t))
        return SimpleNamespace(mean=alpha * 0.25 * x_t / (alpha**2 * 0.25 + sigma**2))


def stored(library: str, name: str) -> dict[str, torch.Tensor]:
    return state_dict(*sorted((FOREIGN / library / name).glob("weights*.safetensors")))


def test_the_code_of_the_guide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kd, openai, sde, lucid, nemo = (
        golden(library, name)[1]
        for library, name in (
            ("k_diffusion", "plain"),
            ("openai", "legacy_heads"),
            ("score_sde", "ddpmpp_vp"),
            ("lucidrains", "x0_cosine"),
            ("physicsnemo", "ddpmpp"),
        )
    )
    config = {"config": json.dumps(kd["config"])}
    save_file(stored("k_diffusion", "plain"), "k_diffusion.safetensors", metadata=config)
    torch.save(stored("openai", "legacy_heads"), "openai.pt")
    model = {f"module.{name}": value for name, value in stored("score_sde", "ddpmpp_vp").items()}
    torch.save({"model": model, "step": 1}, "checkpoint.pth")
    torch.save(stored("lucidrains", "x0_cosine"), "lucidrains.pt")
    torch.save(stored("physicsnemo", "ddpmpp"), "physicsnemo.pt")
    pipeline(tmp_path / "pipeline", "eps", "ddim_default")
    shutil.copyfile(GOLDEN / "m_edm2" / "uncond_rgb.pkl", "network-snapshot.pkl")
    names: dict[str, Any] = {
        "flags": openai["flags"],
        "config": sde["config"],
        "unet": lucid["unet"],
        "settings": lucid["wrapper_settings"],
        "precond": nemo["settings"],
        "field": field,
        "posterior": Posterior(),
        "network": lambda x, t: field(x, t / 1000),
    }
    blocks = [block["code"] for block in CODE.finditer(GUIDE)]
    assert len(blocks) == 14
    for code in blocks:
        exec(code, names)
        shown = names.get("theirs", names["images"])
        assert bool(shown.isfinite().all())
    assert names["images"].shape == (4, 2, 8, 8)


@pytest.mark.slow
def test_the_commands_of_the_guide(elucidiff: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder, case, _ = golden("k_diffusion", "plain")
    ed.interop.save(k_diffusion.load(folder / "weights_0.safetensors", case["config"]), "model")
    Path("my_model.py").write_text(MINE)
    for command in COMMAND.findall(GUIDE):
        words = shlex.split(command)
        words += ["--processes=1"] if "sample" in words else []
        done = elucidiff(*words, *([] if "convert" in words else ["--device=cpu"]))
        assert done.returncode == 0, done.stderr
        if "sample" in words:
            folder = Path(words[words.index("--out") + 1])
            assert len(list(folder.glob("*.png"))) == (8 if "0-7" in words else 64)
    assert Path("my_model.py.make-samplers/nfe-6.json").is_file()
