"""``elucidiff convert``: other people's models become model folders; what cannot be is one line."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest
import torch
from safetensors.torch import save_file

import elucidiff as ed
from elucidiff.cli.main import main
from tests.golden_files import GOLDEN, load
from tests.interop.foreign import golden, state_dict


@pytest.mark.parametrize("name", ["ddpmpp", "adm_mult_cond"])
def test_a_snapshot_becomes_a_folder_of_the_same_model(name: str, tmp_path: Path) -> None:
    assert main(["convert", str(GOLDEN / "j_pickles" / f"{name}.pkl"), str(tmp_path / "model")]) == 0
    _, tensors = load(f"j_pickles/{name}")
    model = ed.load(tmp_path / "model")
    labels = tensors.get("class_labels")
    denoised = model(tensors["x"], tensors["sigma"], labels)
    torch.testing.assert_close(denoised, tensors["D"], rtol=0, atol=1e-5 * float(tensors["D"].abs().max()))


def test_a_network_that_is_not_ours_becomes_a_folder_of_its_own_settings(tmp_path: Path) -> None:
    folder, case, numbers = golden("k_diffusion", "plain")
    config = {"config": json.dumps(case["config"])}
    save_file(state_dict(folder / "weights_0.safetensors"), tmp_path / "k.safetensors", metadata=config)
    assert main(["convert", str(tmp_path / "k.safetensors"), str(tmp_path / "model")]) == 0
    denoised = ed.load(tmp_path / "model")(numbers["x"], numbers["sigma"]).detach()
    torch.testing.assert_close(denoised, numbers["D"], rtol=0, atol=2e-5 * float(numbers["D"].abs().max()))


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    (tmp_path / "no.pkl").write_bytes(b"no model")
    snapshot = str(GOLDEN / "j_pickles" / "adm.pkl")
    for words, says in (
        ((snapshot, str(tmp_path / "full")), "already holds files"),
        ((str(tmp_path / "no.pkl"), str(tmp_path / "a")), "no.pkl"),
        ((str(tmp_path / "nowhere"), str(tmp_path / "a")), "nowhere"),
    ):
        assert main(["convert", *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
def test_a_model_becomes_a_file_that_draws_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot, file = str(GOLDEN / "j_pickles" / "ddpmpp.pkl"), tmp_path / "sampler.onnx"
    assert main(["convert", snapshot, str(file), "--solver", "ipndm:order=3", "--n", "4"]) == 0
    assert "a sampler of 4 evaluations, from latents" in capsys.readouterr().out
    model = ed.load(snapshot)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    latents = torch.randn(3, *model.sample_shape, generator=torch.Generator().manual_seed(0))
    given = {"latents": latents.numpy()}
    labels = {"labels": torch.arange(3)} if model.label_dim else {}
    (found,) = session.run(None, given | {name: value.numpy() for name, value in labels.items()})
    expected = ed.sample(model, latents, "karras:n=4", solver="ipndm:order=3", **labels)
    assert float((torch.from_numpy(found) - expected).abs().max() / expected.abs().max()) < 1e-4
    assert main(["convert", snapshot, str(file)]) == 2
    assert "is there already: add --overwrite" in capsys.readouterr().err
    assert main(["convert", snapshot, str(tmp_path / "folder"), "--n", "4"]) == 2
    assert "--n would have no effect on a model folder" in capsys.readouterr().err
    assert main(["convert", snapshot, str(tmp_path / "a.onnx"), "--solver", "rk45"]) == 2
    assert "RK45 chooses its steps by the samples" in capsys.readouterr().err
