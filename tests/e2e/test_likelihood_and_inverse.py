"""``likelihood``, ``interpolate`` and ``restore`` on a model that was really trained, and their mistakes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import elucidiff as ed
from elucidiff.sampling.likelihood import measuring
from tests.e2e.conftest import Run
from tests.e2e.test_guidance_flags import save

# Few steps: what is checked here is not the solver.
FEW = ("--solver", "heun", "--n", "4")


@pytest.fixture(scope="module")
def model(trained: Path) -> Path:
    return trained / "model"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two digits, a mask of the same size, and things that do not fit."""
    folder = tmp_path_factory.mktemp("given")
    digits = ed.data.open("digits").images([0, 1]).numpy()[:, 0]
    for name, digit in zip("ab", digits, strict=True):
        Image.fromarray(digit).save(folder / f"{name}.png")
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 2:6] = 255
    for name, pixels in (("mask", mask), ("wide", np.zeros((8, 9), np.uint8)), ("none", 0 * mask)):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    Image.fromarray(255 - 0 * mask).save(folder / "all.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / "rgb.png")
    np.save(folder / "loud.npy", np.full((1, 8, 8), 200.0))
    np.save(folder / "nan.npy", np.full((1, 8, 8), np.nan))
    np.savez(folder / "loud.npz", images=np.full((4, 1, 8, 8), 255.0, np.float32))
    np.savez(folder / "large.npz", images=np.zeros((4, 1, 16, 16), np.uint8))
    np.savez(folder / "plain.npz", images=np.zeros((4, 1, 8, 8), np.uint8))
    return folder


def said(run: Run, *words: str | Path) -> str:
    done = run(*words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def record(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_likelihood_goes_on_where_it_was_stopped(
    elucidiff: Run, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    words = ("likelihood", model, "digits", "--images", "6", "--repeats", "2", "--batch-size", "2", *FEW)
    whole, parts = tmp_path / "whole.json", tmp_path / "parts.json"
    told = said(elucidiff, *words, "--out", whole)
    done = record(whole)
    mean, error = done["summary"]["bits_per_dim"], done["summary"]["standard_error"]
    assert f"{mean:.4f} +- {error:.4f} bits/dim over 6 held-out images of digits" in told
    assert "6.0 network evaluations and 6.0 backward passes a measurement" in told  # 3 steps of Heun

    measured = 0
    true = measuring.log_likelihood

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal measured
        measured += 1
        if measured == 2:
            signal.raise_signal(number)
        return true(*arguments, **options)

    monkeypatch.setattr(measuring, "log_likelihood", interrupted)
    stopped = elucidiff(*words, "--out", parts)
    assert stopped.returncode == code
    assert f"4 of 6 images are in {parts}; the same command goes on from here" in stopped.stderr
    assert record(parts)["summary"]["images"] == 4
    said(elucidiff, *words, "--out", parts)
    assert measured == 3
    assert record(parts) == done

    other = elucidiff(*words, "--out", parts, "--seed", "1")
    assert other.returncode == 2
    assert "another measurement (choices differ)" in other.stderr
    said(elucidiff, *words, "--out", parts, "--seed", "1", "--overwrite")
    assert record(parts)["images"] != done["images"]


def test_held_out_images_and_their_own_labels(elucidiff: Run, model: Path, tmp_path: Path) -> None:
    """A hundred are held out of each run of the tests; which, is the same for all runs."""
    _, held_out = ed.data.split(ed.data.open("digits"), 100)
    words = ("likelihood", model, "digits", "--images", "2", *FEW)
    said(elucidiff, *words, "--out", tmp_path / "held.json")
    held = record(tmp_path / "held.json")
    chosen = [each["image"] for each in held["images"]]
    assert chosen == [int(held_out.source_rows[0]), int(held_out.source_rows[-1])]
    said(elucidiff, *words, "--part", "training", "--out", tmp_path / "training.json")
    assert not {each["image"] for each in record(tmp_path / "training.json")["images"]} & set(
        held_out.source_rows.tolist()
    )
    classes = ed.data.open("digits").classes[chosen]
    np.save(tmp_path / "labels.npy", classes.numpy())
    said(elucidiff, *words, "--labels", tmp_path / "labels.npy", "--out", tmp_path / "own.json")
    assert record(tmp_path / "own.json")["images"] == held["images"]
    np.save(tmp_path / "labels.npy", (classes.numpy() + 1) % 10)
    said(elucidiff, *words, "--labels", tmp_path / "labels.npy", "--out", tmp_path / "wrong.json")
    assert record(tmp_path / "wrong.json")["images"] != held["images"]


def test_frames_at_seeds_are_the_samples(elucidiff: Run, model: Path, tmp_path: Path) -> None:
    words = ("--seeds", "3,5", "--labels", "1,7", "--n", "4")
    told = said(elucidiff, "interpolate", model, *words, "--frames", "4", "--out", tmp_path / "way")
    assert "4 frames" in told
    assert "labels are mixed" in told
    said(elucidiff, "sample", model, *words, "--out", tmp_path / "samples")
    for frame, seed in (("0000", "00000003"), ("0003", "00000005")):
        ours = (tmp_path / "way" / f"{frame}.png").read_bytes()
        assert ours == (tmp_path / "samples" / f"{seed}.png").read_bytes()
    frames = record(tmp_path / "way" / "interpolation.json")["frames"]
    assert frames[1]["label"][1] == pytest.approx(2 / 3)
    assert frames[1]["label"][7] == pytest.approx(1 / 3)
    with Image.open(tmp_path / "way" / "sheet.png") as sheet:
        assert sheet.size == (4 * 72 - 8, 64)  # pixels 8 times as wide, with gaps


def test_pictures_come_back(elucidiff: Run, model: Path, given: Path, tmp_path: Path) -> None:
    files = (given / "a.png", given / "b.png")
    words = ("interpolate", model, "--images", *files, "--frames", "2", "--labels", "0")
    told = said(elucidiff, *words, "--solver", "rk45:rtol=1e-4,atol=1e-4", "--out", tmp_path / "way")
    assert "all frames have the same label" in told
    assert "root mean square error of at most" in told
    rms = record(tmp_path / "way" / "interpolation.json")["round_trip_rms"]
    assert max(rms) < 1e-3
    for file, frame in zip(files, ("0000", "0001"), strict=True):
        with Image.open(file) as was, Image.open(tmp_path / "way" / f"{frame}.png") as now:
            assert int(np.abs(np.asarray(was, np.int16) - np.asarray(now, np.int16)).max()) <= 2


def test_in_painting_keeps_what_is_known(elucidiff: Run, model: Path, given: Path, tmp_path: Path) -> None:
    words = ("--labels", "0", "--seeds", "0-2", "--n", "8", "--noise", "0.02", "--out", tmp_path / "painted")
    told = said(elucidiff, "restore", model, given / "a.png", "--mask", given / "mask.png", *words)
    assert "3 samples" in told
    assert "15 evaluations with 4 backward passes" in told
    was = np.asarray(Image.open(given / "a.png"), np.float64) / 127.5 - 1
    to_paint = np.asarray(Image.open(given / "mask.png")) > 0
    inside = []
    for entry in record(tmp_path / "painted" / "restored.json")["samples"]:
        now = np.asarray(Image.open(tmp_path / "painted" / entry["file"]), np.float64) / 127.5 - 1
        assert np.sqrt(np.mean((now - was)[~to_paint] ** 2)) < 0.05
        assert entry["misfit_rms"] < 0.05
        inside.append(now[to_paint])
    assert np.std(inside, axis=0).mean() > 0.01
    assert (tmp_path / "painted" / "sheet.png").is_file()


def test_every_choice_of_sampling_is_there(elucidiff: Run, model: Path, given: Path, tmp_path: Path) -> None:
    """Those of `elucidiff sample`, in the same spelling: a choice that costs half is used, and recorded."""
    painted = ("restore", model, given / "a.png", "--mask", given / "mask.png", "--labels", "0", "--seeds", "0,1")
    choices = ("--solver", "euler", "--steps", "karras:n=6,rho=5", "--churn", "2,sigma_max=1")
    choices += ("--guidance", "1.5", "--guide", str(save(tmp_path / "guide", base_channels=4)))
    told = said(elucidiff, *painted, *choices, "--out", tmp_path / "painted")
    assert "12 evaluations with 4 backward passes" in told  # 6 steps, each of the model and of the guide
    sampler = ed.Sampler("karras:n=6,rho=5", solver="euler", churn="2,sigma_max=1", guidance=1.5)
    assert record(tmp_path / "painted" / "restored.json")["sampler"] == sampler.to_plain()
    ways = (
        (("--seeds", "3,5"), ("--solver", "ipndm:order=3", "--n", "5"), "solver=ipndm:order=3 steps=karras:n=5"),
        (("--images", given / "a.png", given / "b.png"), ("--solver", "euler"), "solver=euler steps=karras:n=64"),
    )
    for name, (through, choices, text) in enumerate(ways):
        out = tmp_path / str(name)
        said(elucidiff, "interpolate", model, *through, *choices, "--labels", "0", "--frames", "2", "--out", out)
        found = record(out / "interpolation.json")
        chosen = ed.Sampler.from_plain(found["sampler"])
        assert (chosen.solver, chosen.n) == (ed.Sampler.parse(text).solver, ed.Sampler.parse(text).n)
        assert found.get("nfe", found.get("nfe_encode")) == (5 if name == 0 else 63)
    words = ("figure", "trajectory", model, "--seeds", "0", "--n", "4", "--schedule", "vp", "--churn", "1")
    assert (tmp_path / "t.png").as_posix() in said(elucidiff, *words, "--out", tmp_path / "t.png")
    done = elucidiff("figure", "trajectory", model, "--solver", "rk45", "--out", tmp_path / "u.png")
    assert (done.returncode, "choose a --solver of fixed steps" in done.stderr) == (2, True)


def test_enlarging_keeps_the_means(elucidiff: Run, model: Path, given: Path, tmp_path: Path) -> None:
    """From the small picture, and from the large one that is averaged down to it."""
    was = np.asarray(Image.open(given / "a.png"), np.float64)
    means = was.reshape(4, 2, 4, 2).mean((1, 3))
    np.save(tmp_path / "small.npy", (means / 127.5 - 1)[None].astype(np.float32))
    drawn = []
    for name, file in (("small", tmp_path / "small.npy"), ("large", given / "a.png")):
        words = ("--upscale", "2", "--labels", "0", "--seeds", "1", "--n", "8", "--out", tmp_path / name)
        said(elucidiff, "restore", model, file, *words)
        assert record(tmp_path / name / "restored.json")["samples"][0]["misfit_rms"] < 0.05
        drawn.append(np.asarray(Image.open(tmp_path / name / "00000001.png"), np.int16))
    assert int(np.abs(drawn[0] - drawn[1]).max()) <= 1


LIKELIHOOD = [
    (("digits", "--images", "0"), "--images is 0"),
    (("digits", "--repeats", "0"), "repeats is 0, but must be at least 1"),
    (
        ("digits", "--n", "5"),
        "--n would have no effect with steps=karras:n=5,sigma_min=0.002,sigma_max=80 solver=rk45",
    ),
    (("digits", "--solver", "heun:rtol=1e-3"), "solver heun has no settings, but 'rtol' is set"),
    (("digits", "--solver", "rk45:rtol=0"), "rtol is 0"),
    (("digits", "--solver", "heun", "--n", "1"), "have a single noise level: two or more are needed"),
    (("digits", "--solver", "dpmpp_2m"), "DPMpp2M cannot follow the ODE both ways: use RK45, Heun, RK2 or Euler"),
    (("digits", "--solver", "heun", "--churn", "3"), "churn adds noise, so there is no way back: leave --churn out"),
    (("digits", "--guidance", "2"), "guidance leads away from what the model knows: leave --guidance out"),
    (("digits", "--guide", "nowhere"), "--guide leads away from what the model knows"),
    (("digits", "--table", "vp", "--restarts", "1"), "restarts add noise"),
    (("digits", "--divergence", "exact", "--probes", "2"), "--probes would have no effect"),
    (("digits", "--steps", "karras:sigma_min=100"), "sigma_min"),
    (("digits", "--labels", "10"), "class 10 is out of range"),
    (("digits", "--labels", "1,2"), "are 2 for 100 images"),
    (("{given}/large.npz",), "are (1, 16, 16): name the data that it was trained on"),
    (("{given}/loud.npz", "--labels", "0"), "goes from 255 to 255, but the model's samples from -1 to 1"),
    (("{given}/plain.npz",), "has no labels: give --labels"),
    (("{given}/plain.npz", "--labels", "0", "--part", "held-out"), "leave --part out"),
]
INTERPOLATE = [
    ((), "give either --seeds or --images"),
    (("--seeds", "0,1", "--images", "{given}/a.png"), "give either --seeds or --images"),
    (("--seeds", "0"), "give at least two"),
    (("--seeds", "0,1", "--frames", "1"), "frames is 1"),
    (("--seeds", "0,1,2", "--labels", "0,1"), "are 2 for 3"),
    (("--seeds", "0,1", "--churn", "3"), "churn=churn:amount=3 adds noise"),
    (("--seeds", "0,1", "--solver", "er_sde"), "solver=er_sde adds noise"),
    (("--images", "{given}/a.png", "{given}/b.png", "--labels", "0", "--n", "9"), "--n would have no effect"),
    (("--images", "{given}/a.png", "{given}/b.png", "--labels", "0", "--solver", "ipndm"), "ODE both ways"),
    (("--images", "{given}/a.png", "{given}/b.png", "--labels", "0", "--guidance", "2"), "leave --guidance out"),
    (("--images", "{given}/a.png", "{given}/b.png"), "the model takes labels"),
    (("--images", "{given}/a.png", "{given}/wide.png", "--labels", "0"), "has shape (1, 8, 9)"),
    (("--images", "{given}/a.png", "{given}/rgb.png", "--labels", "0"), "has shape (3, 8, 8)"),
    (("--images", "{given}/a.png", "{given}/loud.npy", "--labels", "0"), "goes from 200 to 200"),
    (("--images", "{given}/a.png", "{given}/nan.npy", "--labels", "0"), "values that are not finite"),
    (("--images", "{given}/a.png", "{given}/missing.png", "--labels", "0"), "missing.png"),
]
RESTORE = [
    (("{given}/a.png", "--labels", "0"), "give either --mask or --upscale"),
    (("{given}/a.png", "--mask", "{given}/mask.png"), "the model takes labels"),
    (
        ("{given}/a.png", "--mask", "{given}/wide.png", "--labels", "0"),
        "has sides (8, 9), but the picture has (8, 8)",
    ),
    (("{given}/a.png", "--mask", "{given}/none.png", "--labels", "0"), "leaves everything as it is"),
    (("{given}/a.png", "--mask", "{given}/all.png", "--labels", "0"), "leaves nothing known"),
    (("{given}/a.png", "--upscale", "3", "--labels", "0"), "does not divide"),
    (("{given}/a.png", "--upscale", "1", "--labels", "0"), "the factor is 1"),
    (("{given}/wide.png", "--upscale", "2", "--labels", "0"), "it must have (1, 4, 4)"),
    (("{given}/a.png", "--upscale", "2", "--labels", "0", "--noise", "0"), "noise is 0"),
    (("{given}/a.png", "--upscale", "2", "--labels", "0", "--solver", "huen"), "did you mean 'heun'"),
    (("{given}/a.png", "--upscale", "2", "--labels", "0", "--guide", "nowhere"), "nowhere"),
    (("{given}/a.png", "--upscale", "2", "--labels", "0", "--iterations", "0"), "iterations is 0"),
    (("{given}/a.png", "--upscale", "2", "--labels", "0", "--seeds", "1,1"), "same seed twice"),
]


@pytest.mark.parametrize(
    ("verb", "words", "says"),
    [
        (verb, *case)
        for verb, cases in (("likelihood", LIKELIHOOD), ("interpolate", INTERPOLATE), ("restore", RESTORE))
        for case in cases
    ],
)
def test_mistakes(
    elucidiff: Run, model: Path, given: Path, tmp_path: Path, verb: str, words: tuple[str, ...], says: str
) -> None:
    out = tmp_path / "out"
    done = elucidiff(verb, model, *(word.format(given=given) for word in words), "--out", out)
    assert done.returncode == 2, (done.stdout, done.stderr)
    lines = [line for line in done.stderr.strip().splitlines() if ": note: " not in line]
    assert len(lines) == 1, done.stderr
    assert says in lines[0]
    assert not out.exists()
