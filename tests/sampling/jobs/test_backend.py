"""Who settles the backend of a sampling job, when, and for how long."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from elucidiff.denoisers.backends import Choice
from elucidiff.denoisers.guided import Guidance
from elucidiff.sampling import Sampler
from elucidiff.sampling.jobs import Task, automatic
from elucidiff.sampling.jobs.automatic import BackendSetting
from tests.sampling.jobs.tiny import Shrink, task

MISSING = "the backend onnx needs packages that are not installed: pip install 'elucidiff[onnx]'"


@dataclasses.dataclass
class Made:
    """What was chosen and made, and which backend is not there."""

    choice: str = "onnx"
    missing: str = ""
    asked: list[float] = dataclasses.field(default_factory=list)
    built: list[tuple[str, tuple[int, ...], str]] = dataclasses.field(default_factory=list)

    def choose(
        self, denoiser: Any, evaluations: Callable[[], float], device: str, threads: int, *, at_most: float
    ) -> Choice:
        self.asked.append(evaluations())
        assert self.asked[-1] <= at_most
        return Choice(self.choice, "of the moon")  # type: ignore[arg-type]

    def with_backend(self, denoiser: Any, backend: str, *, batch_sizes: Sequence[int], file: Path) -> Any:
        if backend == self.missing:
            raise ValueError(MISSING)
        self.built.append((backend, tuple(batch_sizes), file.name))
        return denoiser


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    made = Made()
    monkeypatch.setattr(automatic, "choose", made.choose)
    monkeypatch.setattr(automatic, "with_backend", made.with_backend)
    return made


def begin(out: Path, backend: str, of: Task | None = None) -> None:
    """A job that was begun."""
    out.mkdir()
    of = of or task()
    job = dataclasses.replace(of.job, facts={"backend": backend})
    dataclasses.replace(of, job=job).folder(out).begin(False)
    assert json.loads((out / "job.json").read_text())["job"]["backend"] == backend


def test_auto_chooses_by_the_whole_job_and_says_so(made: Made, tmp_path: Path) -> None:
    setting = BackendSetting(tmp_path)
    of = task("0-99", sampler=Sampler(steps="karras:n=5"))
    found = setting.apply("auto", of, tmp_path / "out")
    assert found.notes == ("backend onnx: of the moon",)
    assert made.asked == [100 * 9]  # Heun, but Euler at the last step
    assert found.job.facts == {"backend": "onnx"}
    assert found.job.identity()["backend"] == "onnx"
    # The processes that it starts go by it.
    made.choice = "eager"
    again = pickle.loads(pickle.dumps(setting)).apply("auto", of, tmp_path / "out")
    assert again.job.identity() == found.job.identity()
    assert [backend for backend, _, _ in made.built] == ["onnx", "onnx"]
    assert again.notes == ()


@pytest.mark.parametrize(("begun", "now"), [("onnx", "eager"), ("eager", "onnx")])
def test_a_job_keeps_what_it_was_begun_with(begun: str, now: str, made: Made, tmp_path: Path) -> None:
    begin(tmp_path / "out", begun)
    made.choice = now
    assert BackendSetting(tmp_path).apply("auto", task(), tmp_path / "out").job.facts["backend"] == begun
    assert made.asked == []
    other = BackendSetting(tmp_path).apply("auto", task(), tmp_path / "out", overwrite=True)
    assert other.job.facts["backend"] == now


def test_another_backend_is_another_job(made: Made, tmp_path: Path) -> None:
    begin(tmp_path / "out", "onnx")
    with pytest.raises(ValueError, match="holds another job, whose backend is onnx, not eager: choose"):
        BackendSetting(tmp_path).apply("eager", task(), tmp_path / "out")
    assert made.built == []  # found before minutes are spent


def test_what_it_was_begun_with_is_not_here(made: Made, tmp_path: Path) -> None:
    """Not other bits in silence."""
    begin(tmp_path / "out", "onnx")
    made.missing = "onnx"
    with pytest.raises(ValueError, match=r"out was begun with the backend onnx: .* pip install 'elucidiff\[onnx\]'$"):
        BackendSetting(tmp_path).apply("auto", task(), tmp_path / "out")


def test_auto_falls_back(made: Made, tmp_path: Path) -> None:
    made.missing = "onnx"
    setting = BackendSetting(tmp_path)
    found = setting.apply("auto", task(), tmp_path / "out")
    assert found.job.facts["backend"] == "eager"
    assert found.notes == ("backend onnx: of the moon", f"backend eager instead: {MISSING}")
    assert setting.backend == "eager"
    with pytest.raises(ValueError, match="pip install"):
        BackendSetting(tmp_path).apply("onnx", task(), tmp_path / "out")


@pytest.mark.parametrize(
    ("guidance", "low", "high", "sizes"),
    [
        (1.0, 0.0, float("inf"), (4,)), (0.0, 0.0, float("inf"), (4,)), (2.0, 0.0, float("inf"), (8,)),
        (2.0, 0.1, float("inf"), (4, 8)), (2.0, 0.0, 5.0, (4, 8)),
    ],
)  # fmt: skip
def test_batches_under_guidance(
    guidance: float, low: float, high: float, sizes: tuple[int, ...], made: Made, tmp_path: Path
) -> None:
    sampler = Sampler(steps="karras:n=3", guidance=Guidance(weight=guidance, sigma_min=low, sigma_max=high))
    BackendSetting(tmp_path).apply("auto", task(sampler=sampler), tmp_path / "out")
    assert made.built == [("onnx", sizes, "model.onnx")]


def test_a_guide_is_made_too(made: Made, tmp_path: Path) -> None:
    of = dataclasses.replace(task(sampler=Sampler(steps="karras:n=3", guidance=2.0)), guide=Shrink())
    found = BackendSetting(tmp_path).apply("auto", of, tmp_path / "out")
    assert made.built == [("onnx", (4,), "model.onnx"), ("onnx", (4,), "guide.onnx")]
    assert found.guide is of.guide
    assert made.asked == [100 * 2 * 5]
