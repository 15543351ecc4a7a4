"""Which backend is chosen: by the work and the kind of network, and by nothing that changes from run to run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import elucidiff as ed
from elucidiff.denoisers.backends import choose, choosing
from elucidiff.denoisers.backends.choosing import NARROW, SMALL, SPEEDS, forward_flops, payoffs
from tests.denoisers.backends.made import denoiser

FLOPS = 3e6


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting takes a moment, and has its own tests."""
    monkeypatch.setattr(choosing, "forward_flops", lambda config: FLOPS)


@pytest.fixture(scope="module")
def small() -> ed.Denoiser:
    return denoiser()


def evaluations(seconds: float, device: str = "cpu") -> float:
    """As many as take a thread so long."""
    return seconds * SPEEDS[device] / FLOPS


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "is_installed", lambda: True)


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "is_installed", lambda: False)


@pytest.mark.usefixtures("installed")
def test_long_work_pays_for_what_it_takes_to_begin(small: ed.Denoiser) -> None:
    onnx = payoffs("cpu", 2, 1)["onnx"]
    enough = 2 * onnx.seconds / (1 - 1 / onnx.gain)
    assert choose(small, evaluations(0.99 * enough), "cpu").backend == "eager"
    assert choose(small, evaluations(1.01 * enough), "cpu").backend == "onnx"
    # Two threads halve the time.
    assert choose(small, evaluations(1.01 * enough), "cpu", threads=2).backend == "eager"
    assert choose(small, evaluations(2.02 * enough), "cpu", threads=2).backend == "onnx"
    assert choose(small, evaluations(1e6), "cpu").backend == "onnx"


@pytest.mark.usefixtures("missing")
def test_without_onnx_only_very_long_work_is_compiled(small: ed.Denoiser) -> None:
    short, long = (choose(small, evaluations(seconds), "cpu") for seconds in (600, 3600))
    assert (short.backend, long.backend) == ("eager", "compile")
    assert "pip install 'elucidiff[onnx]'" in short.why


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("device", "dims", "flops", "backends"),
    [
        ("cpu", 1, 1e12, {"onnx", "compile"}), ("cpu", 2, 0.99 * SMALL, {"onnx", "compile"}),
        ("cpu", 2, 1.01 * SMALL, {"onnx"}), ("cpu", 2, 1.01 * NARROW, set()), ("cpu", 3, 1e6, set()),
        ("cuda", 2, 1e12, {"compile"}), ("mps", 2, 1e6, set()),
    ],
)  # fmt: skip
def test_what_can_gain_where(device: str, dims: int, flops: float, backends: set[str]) -> None:
    known = payoffs(device, dims, int(flops))
    assert set(known) == backends
    assert all(payoff.gain > 1 for payoff in known.values())


@pytest.mark.usefixtures("installed")
def test_no_other_backend_for_what_none_makes_faster() -> None:
    volume = denoiser("ddpmpp", (1, 4, 4, 4), 0)
    choice = choose(volume, evaluations(1e6), "cpu")
    assert (choice.backend, choice.why) == ("eager", "no other is faster for such a network")
    assert choose(volume, 1e12, "mps").backend == "eager"


def test_accelerators_compile_long_work(small: ed.Denoiser) -> None:
    assert choose(small, evaluations(300, "cuda"), "cuda", threads=8).backend == "eager"
    assert choose(small, evaluations(900, "cuda"), "cuda", threads=8).backend == "compile"


@pytest.mark.usefixtures("installed")
def test_what_it_says(small: ed.Denoiser) -> None:
    assert choose(small, evaluations(60), "cpu").why == "about 60 s of computing, too little for another to pay"
    assert choose(small, evaluations(600), "cpu").why == (
        "about 10 min of computing, which it does 1.4 times as fast once made"
    )
    assert choose(small, evaluations(36000), "cpu").why.startswith("about 10 h of computing")


def test_little_work_is_not_even_counted(small: ed.Denoiser, monkeypatch: pytest.MonkeyPatch) -> None:
    flops = forward_flops(small.network.blueprint)
    most = 2 * 64 * sum(weight.numel() for weight in small.parameters())
    assert flops < most
    monkeypatch.setattr(choosing, "forward_flops", None)
    choice = choose(small, 10 * SPEEDS["cpu"] / most, "cpu")
    assert (choice.backend, choice.why) == ("eager", "10 s of computing at most, too little for another to pay")
    with pytest.raises(TypeError):
        choose(small, 100 * SPEEDS["cpu"] / most, "cpu")


def test_a_network_of_others() -> None:
    foreign = ed.Denoiser(torch.nn.Bilinear(1, 1, 1), ed.preconditioning.EDM())
    choice = choose(foreign, 1e12, "cpu")
    assert (choice.backend, choice.why) == ("eager", "what its Bilinear network costs is not known")


def test_the_guide_has_these_figures() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "sampling-speed.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in guide.splitlines() if line.startswith("| C")]
    told = [tuple(cells[2:]) for cells in rows if len(cells) == 6]
    cases = [
        ("cpu", "onnx", SMALL - 1),
        ("cpu", "compile", SMALL - 1),
        ("cpu", "onnx", NARROW - 1),
        ("cuda", "compile", 1),
    ]
    for (device, backend, flops), row in zip(cases, told, strict=True):
        payoff = payoffs(device, 2, int(flops))[backend]  # type: ignore[index]
        least = 2 * payoff.seconds / (1 - 1 / payoff.gain)
        assert row == (backend, f"{payoff.seconds:g} s", f"{payoff.gain:g}", f"{least:.0f} s")
    assert f"below {SMALL / 1e9:g} GFLOP" in guide
    assert f"below {NARROW / 1e9:g} GFLOP" in guide
