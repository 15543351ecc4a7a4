"""Samplers and denoisers as ONNX files and programs of torch.export: the library's numbers, without the library."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import elucidiff as ed
from elucidiff import parts
from elucidiff.interop.exporting import export
from tests.denoisers.backends.made import denoiser as made_denoiser

SHAPE = (2, 6, 6)
pytestmark = pytest.mark.filterwarnings("ignore:sigma goes from")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Small(nn.Module):
    """A network that depends on all that it is given, and is not linear in any of it."""

    def __init__(self, label_dim: int = 0, **says: Any) -> None:
        super().__init__()
        self.sample_shape, self.label_dim = SHAPE, label_dim
        for name, value in says.items():
            setattr(self, name, value)
        torch.manual_seed(3)
        self.first, self.last = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)
        self.level = nn.Linear(1, 8)
        width = label_dim + says.get("label_presence", False)
        self.label = nn.Linear(width, 8) if width else None

    def forward(self, x: Tensor, t: Tensor, labels: Any = None) -> Tensor:
        h = self.first(x) + self.level(t.to(x.dtype).reshape(-1, 1) / 100)[:, :, None, None]
        if isinstance(labels, Mapping):
            h = h + labels["text"].mean(1)[:, :, None, None] + labels["field"]
        elif labels is not None and self.label is not None:
            h = h + self.label(labels)[:, :, None, None]
        return self.last(torch.tanh(h))


def plain(label_dim: int = 0, **says: Any) -> ed.Denoiser:
    return ed.Denoiser(Small(label_dim, **says), ed.preconditioning.EDM()).eval()


def run(path: Path, **given: Tensor) -> Tensor:
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        assert {each.name for each in session.get_inputs()} == set(given)
        (found,) = session.run(None, {name: value.numpy() for name, value in given.items()})
        return torch.from_numpy(found)
    return torch.export.load(path).module()(*given.values())


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def sampled(denoiser: Any, text: str, z: Tensor, noise: Tensor | None = None, **options: Any) -> Tensor:
    """What ``ed.sample`` returns, from the latents of a batch of its own."""
    sampler = ed.Sampler.parse(text)
    draws = iter(() if noise is None else noise)
    return sampler.prepare(denoiser).sample(
        sampler.guided(denoiser),
        z,
        noise=lambda x, _: next(draws).double(),
        **options,
    )


SAMPLERS = {
    "heun steps=karras:n=4": (7, 0),
    "solver=ipndm:order=3 steps=karras:n=6": (6, 0),
    "dpmpp_2m steps=karras:n=5": (5, 0),
    "dpmpp_3m steps=karras:n=5": (5, 0),
    "unipc schedule=vp steps=vp:n=5": (5, 0),
    "deis steps=karras:n=5": (5, 0),
    "rk2:alpha=0.7 schedule=ve steps=ve:n=4": (7, 0),
    "euler schedule=flow steps=karras:n=1": (1, 0),
    "heun churn=20,noise_scale=1.01 steps=karras:n=3": (5, 3),
    "solver=dpmpp_2m:eta=1 steps=karras:n=4": (4, 4),
    "heun restarts=2,sigma_min=0.1,sigma_max=3 steps=karras:n=4": None,
}


@pytest.mark.slow
@pytest.mark.parametrize("text", SAMPLERS)
def test_a_sampler_of_any_solver(text: str, tmp_path: Path) -> None:
    denoiser = plain()
    made = export(denoiser, tmp_path / "sampler.onnx", text)
    counts = SAMPLERS[text]
    if counts is not None:
        assert (made.about["evaluations"], made.about["draws"]) == counts
    z = torch.randn(5, *SHAPE, generator=generator(0))
    noise = torch.randn(made.about["draws"], 5, *SHAPE, generator=generator(1))
    given = {"latents": z, "noise": noise} if len(noise) else {"latents": z}
    found, expected = run(made.path, **given), sampled(denoiser, text, z, noise)
    assert found.dtype == torch.float32
    assert distance(found, expected) < 1e-5
    assert made.difference < 1e-5


@pytest.mark.slow
def test_classes_by_their_numbers_under_guidance(tmp_path: Path) -> None:
    denoiser = plain(3, label_dropout=0.1)
    denoiser.facts["data"] = {"class_names": ["2", "5", "7"], "dtype": "uint8"}
    z, labels = torch.randn(4, *SHAPE, generator=generator(0)), torch.tensor([7, 2, 5, 2])
    for text in ("heun steps=karras:n=3 guidance=2,sigma_max=5", "ipndm steps=karras:n=4 guidance=1.5"):
        for suffix in (".onnx", ".pt2"):
            made = export(denoiser, tmp_path / f"sampler{suffix}", text)
            found = run(made.path, latents=z, labels=labels)
            assert distance(found, sampled(denoiser, text, z, labels=labels)) < 1e-5
    assert made.about["labels"] == {"kind": "classes", "dim": 3, "names": ["2", "5", "7"], "numbers": [2, 5, 7]}
    free = export(denoiser, tmp_path / "free.onnx", "heun steps=karras:n=3")
    none = run(free.path, latents=z, labels=torch.full((4,), -1))
    assert distance(none, sampled(denoiser, "heun steps=karras:n=3", z)) < 1e-5


def test_a_column_that_says_whether_there_is_a_label(tmp_path: Path) -> None:
    denoiser = plain(3, label_presence=True)
    made = export(denoiser, tmp_path / "sampler.onnx", "euler steps=karras:n=3")
    z = torch.randn(3, *SHAPE, generator=generator(0))
    found = run(made.path, latents=z, labels=torch.tensor([2, -1, 0]))
    rows = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0], [1.0, 0, 0, 1]])
    assert distance(found, sampled(denoiser, "euler steps=karras:n=3", z, labels=rows)) < 1e-5


def test_label_vectors(tmp_path: Path) -> None:
    denoiser = plain(4)
    denoiser.facts["data"] = {"label_kind": "vectors"}
    made = export(denoiser, tmp_path / "sampler.onnx", "heun steps=karras:n=3")
    z, rows = torch.randn(5, *SHAPE, generator=generator(0)), torch.randn(5, 4, generator=generator(1))
    found = run(made.path, latents=z, labels=rows)
    assert distance(found, sampled(denoiser, "heun steps=karras:n=3", z, labels=rows)) < 1e-5


@pytest.mark.slow
def test_conditions_by_name(tmp_path: Path) -> None:
    denoiser = plain(label_kind="conditions")

    def conditions(batch: int) -> dict[str, Tensor]:
        draws = generator(batch)
        text, field = torch.randn(batch, 7, 8, generator=draws), torch.randn(batch, 8, *SHAPE[1:], generator=draws)
        return {"text": text, "field": field}

    with pytest.raises(ValueError, match="labels are an example of conditions, but"):
        export(plain(), tmp_path / "sampler.onnx", "heun steps=karras:n=3", labels=conditions(1))
    made = export(denoiser, tmp_path / "sampler.onnx", "heun steps=karras:n=3", labels=conditions(1))
    z, given = torch.randn(3, *SHAPE, generator=generator(0)), conditions(3)
    found = run(made.path, latents=z, **given)
    assert distance(found, sampled(denoiser, "heun steps=karras:n=3", z, labels=given)) < 1e-5


@pytest.mark.slow
def test_autoguidance(tmp_path: Path) -> None:
    better, worse = plain(), plain()
    with torch.no_grad():
        for parameter in worse.parameters():
            parameter.mul_(0.8)
    made = export(better, tmp_path / "sampler.onnx", "heun steps=karras:n=3 guidance=2,sigma_min=0.05", guide=worse)
    z = torch.randn(3, *SHAPE, generator=generator(0))
    guided = ed.guided.Autoguided(better, worse, 2, (0.05, math.inf))
    assert distance(run(made.path, latents=z), ed.sample(guided, z, "karras:n=3")) < 1e-5
    with pytest.raises(ValueError, match="without a sampler"):
        export(better, tmp_path / "alone.onnx", guide=worse)


TABLE = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
ADAPTED: dict[str, Callable[[], Any]] = {
    "nearest": lambda: ed.adapters.AdaptedDenoiser(
        Small(), "epsilon", ed.adapters.DiscreteTime(TABLE), sample_shape=SHAPE, clip=ed.adapters.Clamp()
    ),
    "interpolated": lambda: ed.adapters.AdaptedDenoiser(
        Small(), "v", ed.adapters.DiscreteTime(TABLE, "interpolated"), sample_shape=SHAPE
    ),
    "thresholded": lambda: ed.adapters.AdaptedDenoiser(
        Small(),
        "x0",
        ed.adapters.DiscreteTime(TABLE, "rounded"),
        sample_shape=SHAPE,
        clip=ed.adapters.DynamicThreshold(0.9),
    ),
    "flow": lambda: ed.adapters.AdaptedDenoiser(
        Small(), "flow", ed.adapters.ContinuousTime(ed.schedules.Flow(), factor=1000), sample_shape=SHAPE
    ),
    "trigflow": lambda: ed.adapters.AdaptedDenoiser(
        Small(), "trigflow", ed.adapters.TrigTime(0.5, factor=100), sample_shape=SHAPE
    ),
    "units": lambda: ed.adapters.InUnits(
        ed.adapters.AdaptedDenoiser(
            Small(), "score", ed.adapters.ContinuousTime(ed.schedules.VP(), factor=999), sample_shape=SHAPE
        ),
        2,
        -1,
    ),
    "iddpm": lambda: ed.Denoiser(Small(), ed.preconditioning.IDDPM()).eval(),
    "vp": lambda: ed.Denoiser(Small(), ed.preconditioning.VP(19.9, 0.1)).eval(),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "suffix"), [*((name, ".onnx") for name in ADAPTED), ("interpolated", ".pt2"), ("units", ".pt2")]
)
def test_other_predictions_and_times(name: str, suffix: str, tmp_path: Path) -> None:
    denoiser = ADAPTED[name]()
    text = "dpmpp_2m steps=karras:n=4,sigma_min=0.05,sigma_max=20"
    made = export(denoiser, tmp_path / f"sampler{suffix}", text)
    z = torch.randn(3, *SHAPE, generator=generator(0))
    with torch.no_grad():
        assert distance(run(made.path, latents=z), sampled(denoiser, text, z)) < 2e-5
        alone = export(denoiser, tmp_path / f"denoiser{suffix}")
        sigma = torch.tensor([0.06, 1.0, 17.0])
        assert distance(run(alone.path, x=20 * z, sigma=sigma), denoiser(20 * z, sigma)) < 2e-5


def test_from_pure_noise(tmp_path: Path) -> None:
    denoiser = ADAPTED["flow"]()
    times = torch.linspace(0, 1, 6, dtype=torch.float64)
    levels = ((1 - times) / times).tolist()
    path = tmp_path / "flow.onnx"
    export(denoiser, path, ed.Sampler(ed.steps.Levels(tuple(levels)), "flow", "euler"))
    z = torch.randn(3, *SHAPE, generator=generator(0))
    assert distance(run(path, latents=z), ed.sample(denoiser, z, levels, solver="euler", schedule="flow")) < 1e-5


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_what_a_file_says_of_itself(suffix: str, tmp_path: Path) -> None:
    denoiser = plain()
    denoiser.facts["provenance"] = {"made_by": "a test"}
    made = export(denoiser, tmp_path / f"sampler{suffix}", "heun steps=karras:n=3")
    if suffix == ".onnx":
        model = onnx.load(made.path)
        onnx.checker.check_model(model, full_check=True)
        (entry,) = [each.value for each in model.metadata_props if each.key == "elucidiff"]
        assert b"site-packages" not in made.path.read_bytes()
        loops = [node for node in model.graph.node if node.op_type in ("Scan", "Loop")]
        assert len(loops) == 1  # the network is there once
    else:
        files = {"elucidiff.json": ""}
        torch.export.load(made.path, extra_files=files)
        entry = files["elucidiff.json"]
    about = json.loads(entry)
    assert about == made.about
    assert (about["kind"], about["elucidiff"], about["shape"]) == ("sampler", ed.__version__, list(SHAPE))
    assert ed.Sampler.from_plain(about["sampler"]) == ed.Sampler.parse("heun steps=karras:n=3")
    assert about["sigmas"][0] == 80
    assert (about["sigma_min"], about["sigma_max"]) == (0, "inf")
    assert about["facts"]["provenance"] == {"made_by": "a test"}


@pytest.mark.slow
def test_a_real_network_with_normalised_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    denoiser = made_denoiser("mp-unet", (1, 8, 8), 3, label_dropout=0.1)
    text = "heun steps=karras:n=3 guidance=2,sigma_max=5"
    made = export(denoiser, tmp_path / "sampler.onnx", text)
    z, labels = torch.randn(5, 1, 8, 8, generator=generator(0)), torch.tensor([0, 1, 2, 1, 0])
    assert distance(run(made.path, latents=z, labels=labels), sampled(denoiser, text, z, labels=labels)) < 1e-4
    weights = sum(each.numel() * each.element_size() for each in denoiser.parameters())
    assert made.path.stat().st_size < 1.1 * weights + 400_000


def test_what_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for denoiser, name, sampler, message in (
        (plain(), "file.bin", "heun", r"ends in none of \.onnx, \.pt2"),
        (plain(), "file.onnx", "rk45", "RK45 chooses its steps by the samples"),
        (lambda x, sigma: x, "file.onnx", "heun", "does not say what shape"),
        (plain(), "file.onnx", "heun guidance=2", "needs a model with labels"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            export(denoiser, tmp_path / name, sampler)
        assert "\n" not in str(caught.value)
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(IsADirectoryError):
        export(plain(), tmp_path / "folder.onnx", "heun")
    monkeypatch.setattr("elucidiff.interop.exporting.files.is_installed", lambda: False)
    with pytest.raises(ValueError, match=r"pip install 'elucidiff\[onnx\]'"):
        export(plain(), tmp_path / "file.onnx", "heun")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder.onnx"]


def test_a_file_that_gives_other_numbers_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "elucidiff.interop.exporting.files"
    monkeypatch.setattr(f"{module}._from_onnx", lambda file, given: 1.001 * given["latents"])
    with pytest.raises(ValueError, match="the file gives other numbers"):
        export(plain(), tmp_path / "file.onnx", "heun steps=karras:n=3")
    assert not list(tmp_path.iterdir())


def test_steps_that_are_not_linear_are_refused(tmp_path: Path) -> None:
    class Limited(ed.solvers.Solver):
        def step(self, ode: Any, x: Tensor, t: float, t_next: float, state: Any = None) -> Any:
            denoised = ode.denoise(x, t)
            dx_dt = ode.velocity(x, t, denoised)
            return ed.solvers.StepResult((x + (t_next - t) * dx_dt).clamp(-50, 50), denoised)

    made = parts.part("solver", "limited_test")(dataclass(frozen=True)(Limited))
    try:
        with pytest.raises(ValueError, match="depend on the samples other than by linear combinations"):
            export(plain(), tmp_path / "file.onnx", ed.Sampler(solver=made()))
    finally:
        del parts.registry.PARTS["solver"]["limited_test"]
