"""The guide to figures does what it says: its commands are run, in short, on a tiny digits model, and its code."""

from __future__ import annotations

import base64
import re
import shlex
import shutil
from pathlib import Path

import pytest

from elucidiff.cli.figure import shown
from tests.e2e.conftest import Run

GUIDE = (Path(__file__).parents[2] / "docs" / "guides" / "figures.md").read_text(encoding="utf-8")
# Later values of a flag count.
SHORT = {
    "trajectory": ("--n=4",),
    "strips": ("--sigma=0.1,1",),
    "loss-per-sigma": ("--images=8", "--levels=4"),
    "step-errors": ("--seeds=0-1", "--n=4", "--rho=3,7"),
    "repeated-churn": ("--images=4", "--cycles=0,1"),
    "curve": ("--images=20", "--exact-images=2", "--blocks=2", "--nfe=5,9", "--extractor=pca-5"),
    "ablate": ("--images=20", "--exact-images=2", "--seeds=2", "--nfe=5", "--extractor=pca-5"),
    "search": ("--trials=3", "--seeds=0-19", "--fresh-seeds=20-39", "--n=3", "--extractor=pca-5"),
}
TITLES = (
    "Training",
    "Loss by noise level in training",
    "Samples while training",
    "Loss by noise level",
    "Churn in the long run",
    "What one step costs",
    "From noisy images back",
    "Ablation of second-order methods: distance to the exact solution in alpha",
    "Ablation of second-order methods: Frechet distance (pca-5) in alpha",
    "Quality against evaluations: distance to the exact solution in curve",
    "Quality against evaluations: Frechet distance (pca-5) in curve",
    "Search: Frechet distance (pca-5) in search",
)


@pytest.mark.slow
def test_commands_and_code(elucidiff: Run, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ELUCIDIFF_DATA", str(tmp_path / "cache"))
    shutil.copytree(trained, tmp_path / "runs" / "digits")
    commands = "".join(re.findall(r"<!-- commands -->\n```bash\n(.*?)```", GUIDE, re.DOTALL)).splitlines()
    for line in commands:
        program, verb, *words = shlex.split(line)
        kind = words[0] if verb == "figure" else verb
        device = () if verb == "report" or kind not in SHORT else ("--device=cpu",)
        done = elucidiff(verb, *words, *SHORT.get(kind, ()), *device)
        assert (program, done.returncode) == ("elucidiff", 0), (line, done.stderr)
    assert done.stdout.strip() == "runs/digits/report.html"
    assert done.stderr == ""

    page = Path("runs/digits/report.html").read_text(encoding="utf-8")
    assert re.findall(r"<h2>(.*?)</h2>", page) == list(TITLES)
    assert "http" not in re.sub(r"base64,[^\"]+", "", page)
    pictures = [base64.b64decode(data) for data in re.findall(r"base64,([^\"]+)", page)]
    assert len(pictures) == len(TITLES)
    assert all(picture.startswith((b"\x89PNG", b"<?xml")) for picture in pictures)
    # Each command that the page names is one that was given, or draws its figure again.
    for command in re.findall(r'<pre class="command"><code>(.*?)</code>', page):
        program, verb, *words = shlex.split(command.replace("&#x27;", "'"))
        if verb == "figure" and words[0] in ("quality-against-nfe", "ablation-bars", "churn-heat-map"):
            assert elucidiff(verb, *words, "--out", tmp_path / "again.png").returncode == 0, command

    (code,) = re.findall(r"<!-- code -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
    exec(code, {})
    assert Path("heun.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")


def test_every_figure_is_in_the_guide(elucidiff: Run) -> None:
    assert [name for name in shown() if not re.search(rf"`{name}`|figure {name}\b", GUIDE)] == ["grid"]
    said = elucidiff("figure").stdout
    assert all(f"  {name} " in said for name in shown())
