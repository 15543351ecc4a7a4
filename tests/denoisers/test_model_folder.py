"""Model folders: there and back, and every way in which one can be damaged."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from elucidiff import networks
from elucidiff.denoisers import model_folder
from elucidiff.denoisers.preconditioned import Denoiser
from elucidiff.design import preconditioning


def denoiser(seed: int = 0) -> Denoiser:
    torch.manual_seed(seed)
    network = networks.UNet(
        (1, 4, 4),
        base_channels=8,
        channel_multipliers=(1,),
        blocks_per_level=1,
        attention_resolutions=(),
        label_dim=2,
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    model = Denoiser(network, preconditioning.EDM(sigma_data=0.3)).eval()
    model.facts["data"] = {"name": "digits", "shape": [1, 4, 4]}
    model.facts["provenance"] = {"images": 1000}
    return model


X = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    denoiser().save(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize(
    "design",
    [
        preconditioning.EDM(0.3),
        preconditioning.VP(15.0, 0.2),
        preconditioning.VE(0.05, 60.0),
        preconditioning.IDDPM(400),
    ],
    ids=lambda design: type(design).__name__,
)
def test_there_and_back(design: preconditioning.Preconditioning, tmp_path: Path) -> None:
    model = Denoiser(denoiser().network, design).eval()
    model.facts["data"] = {"name": "digits"}
    model.save(tmp_path / "a" / "model")
    again = model_folder.load(tmp_path / "a" / "model")
    assert not again.training
    assert again.preconditioning == design
    assert again.facts == model.facts
    assert torch.equal(again(X, 1.5, torch.tensor([1, 0])), model(X, 1.5, torch.tensor([1, 0])))
    assert all(parameter.requires_grad for parameter in again.parameters())
    assert sorted(os.listdir(tmp_path / "a" / "model")) == ["README.md", "model.json", "model.safetensors"]


def test_keeps_the_type_of_the_weights(tmp_path: Path) -> None:
    denoiser().to(torch.bfloat16).save(tmp_path)
    assert {value.dtype for value in model_folder.load(tmp_path).network.parameters()} == {torch.bfloat16}


def test_description(folder: Path) -> None:
    description = json.loads((folder / "model.json").read_text())
    assert (description["format"], description["version"]) == ("elucidiff-model", 2)
    assert description["preconditioning"]["type"] == "edm"
    assert description["network"]["part"]["type"] == "ddpmpp"
    assert (description["network"]["sample_shape"], description["network"]["label_dim"]) == ([1, 4, 4], 2)
    assert description["data"] == {"name": "digits", "shape": [1, 4, 4]}
    assert description["provenance"] == {"images": 1000}


def refuses(folder: Path, message: str, error: type[Exception] = ValueError, file: str | None = None) -> None:
    with pytest.raises(error, match=message) as caught:
        model_folder.load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder / file if file else folder) in str(caught.value)


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    refuses(tmp_path / "nothing", "there is no model folder", FileNotFoundError)
    for file in ("model.safetensors", "model.json"):
        (folder / file).rename(tmp_path / file)
        refuses(folder, "is missing", FileNotFoundError, file)
        (tmp_path / file).rename(folder / file)


@pytest.mark.parametrize("keep", [0, 4, 100, 2000, -1])
def test_truncated_weights(folder: Path, keep: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    refuses(folder, "truncated or damaged", file="model.safetensors")


def test_weights_that_are_a_pickle(folder: Path) -> None:
    torch.save({"a": torch.ones(2)}, folder / "model.safetensors")
    refuses(folder, "truncated or damaged", file="model.safetensors")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1, 2]", b'"text"', b"null", b'{"format": "other"}'])
def test_descriptions_that_are_none(folder: Path, content: bytes) -> None:
    (folder / "model.json").write_bytes(content)
    refuses(folder, "is damaged|is not the description of a model", file="model.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "has version 3, but this program reads 2"),
        ({"version": 1, "network": {"type": "unet"}}, "has version 1, .*: train the model again"),
        ({"network": "unet"}, "does not describe the network"),
        ({"network": None}, r"says nothing of how its network is built.*ed\.load\(path, network=\.\.\.\)"),
        ({"preconditioning": "edm"}, "does not describe the preconditioning"),
        (
            {"network": {"part": {"type": "transformer"}, "sample_shape": [1, 4, 4]}},
            r"no model that can be built: there is no network 'transformer'; .*--plugin MODULE",
        ),
        ({"network": {"part": {"type": "ddpmpp"}}}, "no model that can be built"),
        ({"network": {"type": "ddpmpp", "sample_shape": [1, 4, 4]}}, "no model that can be built"),
        (
            {"network": {"part": {"type": "ddpmpp", "depth": 3}, "sample_shape": [1, 4, 4]}},
            "no model that can be built: .*depth",
        ),
        ({"preconditioning": {"type": "edm", "sigma_data": -1}}, "no model that can be built: sigma_data"),
        (
            {"preconditioning": {"type": "edm", "sigma_data": 0.5, "sigma_min": 1e30}},
            r"lowest noise level, 1e\+30, is so far above the standard deviation",
        ),
        ({"preconditioning": {"type": "cosine"}}, "no model that can be built: .*cosine"),
    ],
)
def test_descriptions_of_other_models(folder: Path, change: dict[str, object], message: str) -> None:
    file = folder / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    refuses(folder, message, file="model.json")


@pytest.mark.parametrize(
    ("value", "name"), [(float("nan"), "NaN"), (float("inf"), "an infinity"), (-float("inf"), "an inf")]
)
def test_weights_that_are_not_finite(folder: Path, value: float, name: str) -> None:
    weights = load_file(folder / "model.safetensors")
    key = sorted(weights)[3]
    weights[key].view(-1)[0] = value
    save_file(weights, folder / "model.safetensors")
    refuses(folder, f"the weight {key} holds {name}", file="model.safetensors")


def test_weights_of_another_network(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    key = sorted(weights)[0]
    save_file({name: value for name, value in weights.items() if name != key}, file)
    refuses(folder, f"lacks the weight {key}", file="model.safetensors")
    save_file({**weights, "spare": torch.ones(1)}, file)
    refuses(folder, "has the weight 'spare', which the network does not", file="model.safetensors")
    save_file({**weights, key: torch.ones(17)}, file)
    refuses(folder, rf"{key} has shape \(17,\), not", file="model.safetensors")


def test_weights_of_other_types(folder: Path) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    first, second = sorted(weights)[:2]
    for dtype in (torch.int64, torch.bool, torch.complex64, torch.float8_e4m3fn):
        save_file({**weights, first: weights[first].to(dtype)}, file)
        refuses(folder, f"weight {first} has type {dtype}, which is no type for weights", file="model.safetensors")
    save_file({**weights, second: weights[second].half()}, file)
    refuses(folder, r"mixes weights of the types torch\.float16, torch\.float32", file="model.safetensors")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("base_channels", 1e9),
        ("base_channels", 10**9),
        ("base_channels", 10**30),
        ("base_channels", -8),
        ("base_channels", "8"),
        ("base_channels", [[8]]),
        ("blocks_per_level", 10**9),
        ("blocks_per_level", "many"),
        ("channel_multipliers", [10**6] * 2),
        ("channel_multipliers", 5),
        ("channel_multipliers", {}),
        ("label_dim", 10**15),
        ("embedding_multiplier", 10**12),
        ("sample_shape", [10**12, 4, 4]),
        ("sample_shape", []),
        ("sample_shape", None),
    ],
)
def test_absurd_networks(folder: Path, setting: str, value: object) -> None:
    """They are refused at once, and before memory is asked for: far more than there is of it would be needed."""
    file = folder / "model.json"
    description = json.loads(file.read_text())
    network = description["network"]
    (network if setting in network else network["part"])[setting] = value
    file.write_text(json.dumps(description))
    refuses(folder, r"no model that can be built: .|has shape|lacks the weight|has the weight")


def test_deeply_nested_descriptions(folder: Path) -> None:
    (folder / "model.json").write_text("[" * 100_000)
    refuses(folder, "is damaged", file="model.json")


def test_weights_of_another_model_or_with_a_flipped_bit(folder: Path, tmp_path: Path) -> None:
    file = folder / "model.safetensors"
    good = file.read_bytes()
    denoiser(seed=1).save(tmp_path / "other")
    flipped = good[:-1] + bytes([good[-1] ^ 1])
    for content in ((tmp_path / "other" / "model.safetensors").read_bytes(), flipped):
        file.write_bytes(content)
        refuses(folder, "is not what was saved with .*save the model again", file="model.safetensors")
    file.write_bytes(good)
    assert torch.equal(model_folder.load(folder)(X, 1.0), denoiser()(X, 1.0))


def test_a_folder_from_before_checksums(folder: Path) -> None:
    file = folder / "model.json"
    description = json.loads(file.read_text())
    del description["weights_sha256"]
    file.write_text(json.dumps(description))
    assert torch.equal(model_folder.load(folder)(X, 1.0), denoiser()(X, 1.0))


@pytest.mark.parametrize("fails", ["model.json", "model.safetensors"])
def test_a_save_that_is_torn(folder: Path, fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last moments of a save: if a file cannot be put in place, the old model is there, or the mix is refused."""
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if Path(target).name == fails:
            raise OSError(f"cannot replace {target}")
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="cannot replace"):
            denoiser(seed=1).save(folder)
    assert sorted(os.listdir(folder)) == ["README.md", "model.json", "model.safetensors"]
    if fails == "model.json":
        assert torch.equal(model_folder.load(folder)(X, 1.0), denoiser()(X, 1.0))
    else:
        refuses(folder, "saving was interrupted", file="model.safetensors")
    denoiser(seed=1).save(folder)
    assert torch.equal(model_folder.load(folder)(X, 1.0), denoiser(seed=1)(X, 1.0))


def test_a_full_disk_leaves_the_old_model(folder: Path) -> None:
    """A limit on the size of files fails a write in the same way as a full disk."""
    before = model_folder.load(folder)
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match=r"model\.safetensors|File too large") as caught:
            denoiser(seed=1).save(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "\n" not in str(caught.value)
    assert sorted(os.listdir(folder)) == ["README.md", "model.json", "model.safetensors"]
    assert torch.equal(model_folder.load(folder)(X, 1.0), before(X, 1.0))


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        denoiser().save(tmp_path / "file" / "model")


def test_facts_that_cannot_be_described(tmp_path: Path) -> None:
    model = denoiser()
    model.facts["data"] = {"name": object()}
    with pytest.raises(ValueError, match="facts cannot be written as JSON"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_settings_of_a_network_are_quoted_printably() -> None:
    with pytest.raises(ValueError, match=r"there is no setting a\\x1b\[2J"):
        networks.Blueprint.from_plain({"part": {"type": "ddpmpp", "a\x1b[2J": 1}, "sample_shape": [1, 4, 4]})
