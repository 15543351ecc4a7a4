"""``torch.compile``: the numbers of the network, and clear words where there is no compiler."""

from __future__ import annotations

import pytest
import torch

import elucidiff as ed
from elucidiff.denoisers.backends import pytorch as module
from elucidiff.sampling import Sampler
from tests.denoisers.backends.made import batch, denoiser, relative_difference


@pytest.fixture(autouse=True)
def untried() -> None:
    """Whether there is a compiler is remembered."""
    module.require_compiler.cache_clear()


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(device: torch.device) -> None:
        raise RuntimeError("InvalidCxxCompiler: No working\nC++ compiler found")

    monkeypatch.setattr(module, "try_compiler", fail)
    with pytest.raises(
        ValueError,
        match=r"^cannot compile networks here \(InvalidCxxCompiler: No working C\+\+ compiler found\): use the",
    ):
        ed.with_backend(denoiser(), "compile")


def test_a_compiler_that_fails_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> torch.Tensor:
        raise RuntimeError("it went\nwrong")

    monkeypatch.setattr(module, "try_compiler", lambda device: None)
    monkeypatch.setattr(torch, "compile", lambda network, **_: broken)
    monkeypatch.setattr(module, "_Compiled", lambda network: lambda *given: network(*given))
    with pytest.raises(
        ValueError, match=r"compile cannot compute this network \(it went wrong\): use the backend eager"
    ):
        ed.with_backend(denoiser(), "compile")


@pytest.mark.slow
def test_same_samples() -> None:
    slow = denoiser()
    torch.compiler.reset()
    fast = ed.with_backend(slow, "compile", batch_sizes=(4,))
    with torch.no_grad():
        given = batch(slow)
        assert relative_difference(fast(*given), slow(*given)) < 1e-5
    counts = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    sampler = Sampler(steps="karras:n=4")
    found = sampler.run(fast, range(6), batch_size=4)
    assert (found.x - sampler.run(slow, range(6), batch_size=4).x).abs().max() < 1e-4
    assert torch.equal(sampler.run(fast, [5], batch_size=4).x[0], found.x[5])
    # One noise level for all is given out as one each: nothing was compiled anew.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == counts
    assert slow.network._compiled_call_impl is None
    assert not any("_orig_mod" in name for name in slow.state_dict())
