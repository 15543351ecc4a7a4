"""The guide to averages does what it says: its commands and code are run on a short training, its figures hold."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from elucidiff.training.ema import Profile, combination, fit_error, gamma_of_width
from tests.e2e.conftest import Run

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "ema.md").read_text(encoding="utf-8")
SHORT = {  # the same eight checkpoints, of a hundredth of the images
    "train": ("--duration-images=768", "--checkpoint-images=96", "--batch-size=32", "--memorisation-samples=0",
              "--network.base-channels=8", "--lr-ramp-images=0", "--device=cpu"),
}  # fmt: skip


def test_its_tables() -> None:
    for width, gamma, share in re.findall(r"^\| (0\.\d\d) \| ([\d.]+) \| ([\d.]+)%", GUIDE, re.MULTILINE):
        exponent = gamma_of_width(float(width))
        assert exponent == pytest.approx(float(gamma), abs=0.005)
        assert 100 * (1 - 0.5 ** (1 / (exponent + 1))) == pytest.approx(float(share), abs=0.5)
    rows = re.findall(r"^\| (\d+) times \|(.*)\|$", GUIDE, re.MULTILINE)
    assert len(rows) == 4
    for count, figures in rows:
        kept = [Profile(width, 1000 * k) for width in (0.05, 0.10) for k in range(1, int(count) + 1)]
        for width, figure in zip((0.03, 0.04, 0.07, 0.15, 0.20, 0.25), figures.split("|"), strict=True):
            wanted = Profile(width, 1000 * int(count))
            percent = 100 * fit_error(kept, combination(kept, wanted), wanted)
            assert percent == pytest.approx(float(figure.strip(" %")), abs=0.5 if percent > 10 else 0.06)


@pytest.mark.slow
def test_its_commands(
    elucidiff: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    said = []
    for command in re.findall(r"^    elucidiff ((?:train|ema) .*)$", GUIDE, re.MULTILINE):
        words = shlex.split(command.replace("--images-seen 40960", "--images-seen 384"))
        done = elucidiff(*words, *SHORT.get(words[0], ()))
        assert done.returncode == 0, done.stderr
        said.append(done.stderr)
    assert said[1] in GUIDE.replace("    ", "")
    assert (tmp_path / "narrow" / "model.safetensors").is_file()
    code = re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert code is not None
    exec(code[1], {})
    printed = [float(line) for line in capsys.readouterr().out.split()]
    assert printed == [pytest.approx(0.0333, abs=1e-3)] * 2
