"""The command and the program that the explorer shows draw what it has drawn, byte by byte."""

from __future__ import annotations

import io
import json
import shlex
import zipfile
from pathlib import Path

import pytest
import torch

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.web.engine import Explorer
from elucidiff.web.fragments import Side, archive, numbers
from elucidiff.web.request import Begin, Repaint, Request

PICTURE = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8) * 4
MASK = torch.arange(64).reshape(8, 8) % 3 == 0


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network of two classes, with random weights."""
    torch.manual_seed(0)
    network = ed.networks.UNet(
        (1, 8, 8), label_dim=2, base_channels=8, channel_multipliers=(1, 2), blocks_per_level=1
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)  # nothing is zero, as it is before training
    folder = tmp_path_factory.mktemp("models") / "random"
    ed.Denoiser(network, ed.preconditioning.EDM()).save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def explorers(model: str) -> dict[str, Explorer]:
    return {"digits": Explorer(device="cpu"), "network": Explorer(model, device="cpu")}


REQUESTS = {
    "paper": Request(ed.Sampler(n=5), "0-17"),
    "column": Request(ed.Sampler.from_table("vp", 6), "3,1", "1,0"),
    "churn": Request(ed.Sampler(n=6, churn=ed.Churn(3, sigma_min=0.05)), "7-9", "uniform"),
    "multistep": Request(ed.Sampler("karras:n=6,rho=5,sigma_max=20", solver="ipndm:order=3"), "0-3"),
    "clipped": Request(ed.Sampler(n=4, clip="clamp:limit=0.5"), "2"),
    "guided": Request(ed.Sampler(n=4, guidance="guidance:weight=2,sigma_max=5"), "0-2", "1"),
    "adaptive": Request(ed.Sampler(solver="rk45:rtol=0.001"), "0-2"),
    "variation": Request(ed.Sampler(n=8), "0-2", "1", Begin(PICTURE, 0.4)),
    "repainted": Request(ed.Sampler(n=3), "0-2", "1", Repaint(PICTURE, MASK, 0.05)),
}


@pytest.mark.parametrize("which", ["digits", "network"])
@pytest.mark.parametrize("name", REQUESTS)
def test_command_and_program_give_the_same_bytes(
    explorers: dict[str, Explorer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str, name: str
) -> None:
    explorer, request = explorers[which], REQUESTS[name]
    if (which, name) == ("network", "guided"):
        pytest.skip("a random network was not trained without labels")
    outcome = explorer.draw(request)
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(io.BytesIO(archive([Side("A", outcome)]))) as downloaded:
        downloaded.extractall(tmp_path)
        drawn = {each: downloaded.read(each) for each in downloaded.namelist() if each[:8].isdigit()}
    assert list(drawn) == [f"{seed:08d}.png" for seed in outcome.seeds]

    words = shlex.split((tmp_path / "draw.sh").read_text())
    words = words[1:] if "=" in words[0] else words
    assert words[0] == "elucidiff"
    assert main(words[1:]) == 0
    out = tmp_path / ("restored" if name == "repainted" else "samples")
    assert {file: (out / file).read_bytes() for file in drawn} == drawn

    found: dict[str, object] = {}
    exec((tmp_path / "draw.py").read_text(), found)
    images = found["images"]
    assert isinstance(images, torch.Tensor)
    assert torch.equal(images, outcome.images)


def test_the_numbers_can_be_read_back(explorers: dict[str, Explorer]) -> None:
    explorer = explorers["digits"]
    outcome = explorer.draw(REQUESTS["multistep"])
    exact = explorer.exactness(outcome)
    told = json.loads(json.dumps(numbers([Side("A", outcome, exact)], explorer.model)))
    assert ed.Sampler.from_plain(told["settings"]["A"]["sampler"]) == outcome.request.sampler
    assert told["settings"]["A"]["nfe"] == [6, 6, 6, 6]
    assert told["settings"]["A"]["distance_to_exact"] == exact.distance.tolist()
    assert told["settings"]["A"]["sigmas"][0] == 20.0
