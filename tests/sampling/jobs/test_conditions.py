from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.data import to_uint8, to_unit
from elucidiff.sampling.jobs import draw_samples

SAMPLER = "steps=karras:n=2"


def _saved(path: Path, **facts: object) -> Path:
    torch.manual_seed(0)
    part = (
        "mp_unet:base_channels=8,channel_multipliers=1,blocks_per_level=1,attention_resolutions=,condition_channels=1"
    )
    network = ed.networks.build(part, (1, 8, 8))
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape)
    denoiser = ed.Denoiser(network, ed.preconditioning.EDM())
    denoiser.facts["data"] = {"dtype": "uint8", "condition_shape": [1, 2, 2], "condition_dtype": "uint8", **facts}
    denoiser.save(path)
    return path


def test_samples_for_a_folder_of_conditions(tmp_path: Path) -> None:
    model = _saved(tmp_path / "model")
    fields = np.random.RandomState(0).randint(0, 256, (3, 2, 2), dtype=np.uint8)
    (tmp_path / "low").mkdir()
    for name, field in zip("abc", fields, strict=True):
        Image.fromarray(field).save(tmp_path / "low" / f"{name}.png")
    out = tmp_path / "out"
    code = main(
        f"sample {model} --condition {tmp_path / 'low'} --per-condition 2 --out {out} --n 2 --grid "
        "--device cpu --processes 1".split()
    )
    assert code == 0
    entries = json.loads((out / "samples.json").read_text())["samples"]
    assert [entry["condition"] for entry in entries] == ["a.png", "b.png", "c.png"] * 2
    given = to_unit(torch.from_numpy(fields)[:, None])[torch.arange(6) % 3]
    expected = ed.Sampler(n=2).run(ed.load(model), range(6), {"field": given}).x
    for entry, x in zip(entries, to_uint8(expected), strict=True):
        assert np.array_equal(np.asarray(Image.open(out / entry["file"])), x[0].numpy())


def test_conditions_in_any_form_are_the_same(tmp_path: Path) -> None:
    model = _saved(tmp_path / "model", condition_made="downsample:4")
    image = np.random.RandomState(0).randint(0, 256, (1, 8, 8), dtype=np.uint8)
    low = np.rint(image.reshape(1, 2, 4, 2, 4).mean((2, 4))).astype(np.uint8)
    np.save(tmp_path / "low.npy", low)
    np.save(tmp_path / "two.npy", np.stack([low, low]))
    Image.fromarray(low[0]).save(tmp_path / "low.png")
    Image.fromarray(image[0]).save(tmp_path / "whole.png")
    made = []
    for place, condition in enumerate(
        (low, *(tmp_path / name for name in ("low.npy", "low.png", "two.npy", "whole.png")))
    ):
        out = tmp_path / str(place)
        draw_samples(model, out, [5, 6], sampler=SAMPLER, condition=condition, device="cpu")  # type: ignore[arg-type]
        made.append((out / "00000005.png").read_bytes())
    assert len(set(made)) == 1


def test_a_job_for_other_conditions_is_another_job(tmp_path: Path) -> None:
    model, out = _saved(tmp_path / "model"), tmp_path / "out"
    field = torch.zeros(1, 2, 2, dtype=torch.uint8)
    draw_samples(model, out, [0, 1], sampler=SAMPLER, condition=field, device="cpu", output="subfolders")
    draw_samples(model, out, [0, 1], sampler=SAMPLER, condition=field, device="cpu", output="subfolders")
    with pytest.raises(ValueError, match="conditions"):
        draw_samples(model, out, [0, 1], sampler=SAMPLER, condition=field + 1, device="cpu", output="subfolders")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the model makes samples for a condition and was given none"),
        (["--condition", "wide.npy"], "has shape (1, 4, 4), but the model was trained with (1, 2, 2): bring it to"),
        (["--condition", "rgb.npy"], "has shape (3, 2, 2), but the model was trained with (1, 2, 2)"),
        (["--condition", "low.npy", "--per-condition", "0"], "--per-condition is 0, but must be at least 1"),
        (["--condition", "low.npy", "--per-condition", "2", "--seeds", "0-3"], "both say how many samples"),
        (["--condition", "low.npy", "--backend", "onnx"], "does not know conditions that are fields"),
        (["--condition", "nothing"], "no data set 'nothing'"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    _saved(tmp_path / "model")
    for name, shape in (("low", (1, 2, 2)), ("wide", (1, 4, 4)), ("rgb", (3, 2, 2))):
        np.save(f"{name}.npy", np.zeros(shape, np.uint8))
    assert main(["sample", "model", "--n", "2", *arguments]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert not (tmp_path / "samples").exists()


@pytest.mark.parametrize(
    "command",
    [
        "restore model low.npy --upscale 2",
        "interpolate model --seeds 0-1",
        "curve model digits",
        "likelihood model digits",
        "steps optimise model --nfe 3",
        "search model --reference digits --trials 1",
    ],
)
def test_other_verbs_say_what_they_need(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _saved(tmp_path / "model")
    np.save("low.npy", np.zeros((1, 8, 8), np.uint8))
    assert main(command.split()) == 2
    assert "the model makes samples for a condition" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_model_without_conditions_refuses_them(tmp_path: Path) -> None:
    network = ed.networks.build("mp_unet:base_channels=8,channel_multipliers=1,blocks_per_level=1", (1, 8, 8))
    ed.Denoiser(network, ed.preconditioning.EDM()).save(tmp_path / "bare")
    with pytest.raises(ValueError, match="the model makes samples without conditions: leave it out"):
        draw_samples(tmp_path / "bare", tmp_path / "out", condition=torch.zeros(1, 1, 8, 8), device="cpu")
